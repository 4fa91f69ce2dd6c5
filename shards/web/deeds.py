"""Deeds: what a form changes, as the profile of the command, through its Gateway. Runs in the reader.

A form brings back what its page had shown of the task, so that what somebody else changed meanwhile is never
overwritten: the deed is refused as ``stale``, and the page says what came between.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from msgspec.structs import replace

from kanban_shards.changes.fields import BlockKind
from kanban_shards.errors import KanbanError, Refused, Undecided, UnknownTask
from kanban_shards.gateway import Gateway
from kanban_shards.paths import profile_meant
from kanban_shards.records import OPEN, Status, Task
from kanban_shards.web.site import Site
from kanban_shards.web.task_page import Told, told
from kanban_shards.web.wire import Ask

KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
_KINDS_NAMED: dict[str, BlockKind] = {kind: kind for kind in KINDS}
Form = Mapping[str, str]


@dataclass(frozen=True)
class Notice:
    """What became of a form: ``kind`` is done, stale, refused or late. ``events``: what others did meanwhile. ``kept``:
    what was written in it, so that it is not lost."""

    kind: str
    sentence: str
    events: tuple[Told, ...] = ()
    kept: str = ""


@dataclass(frozen=True)
class Deed:
    """One thing that a form does. ``label``: what its button says. ``said``: what is said when it is done. ``asks``: of
    text, assignee and kind those that the form has. ``of``: the statuses of tasks that have the form."""

    label: str
    said: str
    do: Callable[[Gateway, Task, Form], object]
    asks: tuple[str, ...]
    of: tuple[Status, ...]


def _assign(gateway: Gateway, task: Task, form: Form) -> None:
    name = form.get("assignee", "").strip()
    gateway.assign(task, profile_meant(name) if name else None)


def _block(gateway: Gateway, task: Task, form: Form) -> None:
    gateway.block(task, form.get("text") or None, kind=_KINDS_NAMED.get(form.get("kind", "")))


DEEDS: dict[str, Deed] = {
    "comment": Deed(
        "Comment",
        "Your comment is there.",
        lambda gateway, task, form: gateway.make_comment(task.id, form.get("text", "")),
        ("text",),
        (*OPEN, "done", "archived"),
    ),
    "assign": Deed(
        "Assign",
        "It is handed over.",
        _assign,
        ("assignee",),
        ("triage", "todo", "scheduled", "ready", "blocked", "review"),
    ),
    "block": Deed("Block", "It is blocked.", _block, ("text", "kind"), ("ready", "running")),
    "unblock": Deed(
        "Unblock",
        "It may go on.",
        lambda gateway, task, form: gateway.unblock(task, form.get("text") or None),
        ("text",),
        ("blocked", "scheduled"),
    ),
    "promote": Deed(
        "Promote",
        "It is ready.",
        lambda gateway, task, form: gateway.promote(task, form.get("text") or None, force="force" in form),
        ("text", "force"),
        ("todo", "blocked"),
    ),
    "archive": Deed(
        "Archive",
        "It is archived.",
        lambda gateway, task, form: gateway.archive(task),
        (),
        (*OPEN, "done"),
    ),
}


def forms_for(task: Task) -> dict[str, Deed]:
    """The deeds whose forms the page of the task has."""
    return {name: deed for name, deed in DEEDS.items() if task.status in deed.of}


def is_of_this_server(site: Site, form: Form) -> bool:
    """Whether the form was made by this server since it was started."""
    return hmac.compare_digest(form.get("key", "").encode(), site.forms_key.encode())


def do(site: Site, ask: Ask, task_id: str, form: Form) -> Notice:
    """Do what the form asks of the task. Raises UnknownTask, and the StorageErrors of board and shard."""
    deed, name = DEEDS.get(form.get("deed", "")), form.get("deed", "")
    if deed is None:
        return Notice("refused", "There is no such deed; load the page again.")
    gateway = site.gateway(ask.board)
    task = gateway.board.task(task_id)
    if task is None:
        raise UnknownTask(task_id=task_id, board=gateway.paths)
    seen = _vector(form.get("seen", ""))
    if name != "comment" and (seen is None or seen != task.vector):
        return _stale(gateway, task_id, form)
    try:
        deed.do(gateway, task if seen is None else replace(task, vector=seen), form)
    except Refused as refused:
        if refused.reason == "stale":
            return _stale(gateway, task_id, form)
        return Notice("refused", f"That was refused: {refused}", kept=form.get("text", ""))
    except Undecided as late:
        return Notice("late", str(late))
    except UnknownTask:
        raise
    except KanbanError as error:
        return Notice("refused", str(error), kept=form.get("text", ""))
    return Notice("done", deed.said)


def create(site: Site, ask: Ask, form: Form) -> str | Notice:
    """Make the task that the form describes; its id, or why there is none."""
    gateway = site.gateway(ask.board)
    assignee, tenant = form.get("assignee", "").strip(), form.get("tenant", "").strip()
    try:
        made = gateway.make(
            form.get("title", ""),
            body=form.get("text") or None,
            assignee=profile_meant(assignee) if assignee else None,
            tenant=tenant or None,
            priority=_number(form.get("priority", "")),
            starts="triage" if "triage" in form else None,
            parents=form.get("parents", "").replace(",", " ").split(),
            # The same form, sent twice, makes one task.
            idempotency_key=f"web:{form['once']}" if form.get("once") else None,
        )
    except Undecided as late:
        return Notice("late", str(late))
    except KanbanError as error:
        return Notice("refused", str(error))
    return made.task_id


def once() -> str:
    """What tells one form from another."""
    return secrets.token_urlsafe(12)


def _stale(gateway: Gateway, task_id: str, form: Form) -> Notice:
    """Somebody changed the task since the page was made: who, and what."""
    last = form.get("last", "")
    events = told(gateway.board, task_id, int(last)) if last.isascii() and last.isdigit() and len(last) < 17 else []
    said = "Nothing was changed, because somebody changed this task since your page showed it. Look, then decide again."
    return Notice("stale", said, tuple(events), form.get("text", ""))


def _vector(told: str) -> dict[str, int] | None:
    try:
        found: Any = json.loads(told)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    return {str(profile): seq for profile, seq in found.items() if isinstance(seq, int)}


def _number(told: str) -> int:
    try:
        return int(told)
    except ValueError:
        return 0
