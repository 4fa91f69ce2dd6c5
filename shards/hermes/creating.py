"""Creating: what ``create_task`` inserts becomes one change.

Hermes's own ``create_task`` runs as it is, with its checks of skills, workspaces and projects. It draws the id first,
because paths and branches hold it, and inserts in one transaction, which is sent when it is committed.
"""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from kanban_shards.changes.identities import new_task
from kanban_shards.changes.kinds import Create, Start
from kanban_shards.errors import Refused
from kanban_shards.hermes.identity import create_soon, profile_now, writer_of
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.paths import BoardPaths

# Ids that were drawn and not used yet; one is used at once, or never.
_DRAWN_AT_MOST = 1_000
_STARTS: dict[str, Start] = {"blocked": "blocked", "triage": "triage"}
# Columns that have their own names here, or that the board fills in itself.
_OTHERWISE = ("id", "status", "created_at", "skills", "goal_mode")

_salts: OrderedDict[str, str] = OrderedDict()


class Duplicate(Exception):
    """The idempotency key belongs to ``task_id``."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id


def new_task_id(hermes: Hermes) -> str:
    """An id for a task of the profile that this call is made for."""
    drawn = new_task(profile_now())
    _salts[drawn.id] = drawn.salt
    while len(_salts) > _DRAWN_AT_MOST:
        _salts.popitem(last=False)
    return drawn.id


def salt_of(task_id: str) -> str | None:
    """What the id was drawn with, once."""
    return _salts.pop(task_id, None)


def create_task(hermes: Hermes, conn: sqlite3.Connection, **fields: Any) -> str:
    """Hermes's own; of a key that another task got meanwhile, that task's id."""
    try:
        return hermes.released.create_task(conn, **fields)
    except Duplicate as held:
        return held.task_id


def create(paths: BoardPaths, row: dict[str, Any], parents: Sequence[str]) -> None:
    """Make the task that Hermes inserted as ``row``; where no verdict can be against it, none is waited for, and what
    reads the board next shows it. Raises Duplicate, ValueError for a parent that is gone, and
    IntegrityError for an id that is taken, after which Hermes draws another one."""
    said = {name: value for name, value in row.items() if name not in _OTHERWISE and value is not None}
    skills = row.get("skills")
    change = Create(
        **said,
        parents=tuple(parents),
        starts=_STARTS.get(row["status"]),
        skills=None if skills is None else tuple(json.loads(skills)),
        goal_mode=bool(row.get("goal_mode")),
        salt=salt_of(row["id"]),
    )
    if change.salt is not None and change.idempotency_key is None and not change.parents:  # nothing can be refused
        create_soon(paths, row["id"], change)
        return
    try:
        writer_of(paths).ask_unseen(row["id"], change)
    except Refused as refused:
        if refused.reason == "duplicate":
            raise Duplicate(refused.answer["task_id"]) from refused
        if refused.reason == "taken_id":
            raise sqlite3.IntegrityError(str(refused)) from refused
        raise
