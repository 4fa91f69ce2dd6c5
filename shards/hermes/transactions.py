"""Transactions of Hermes's, and the events that it adds in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, get_args

from kanban_shards.changes.kinds import Note, NotedKind
from kanban_shards.errors import KanbanError
from kanban_shards.hermes.connection import BoardConnection, refusal
from kanban_shards.hermes.errors import as_hermes_knows
from kanban_shards.hermes.identity import write_soon
from kanban_shards.hermes.upstream import Hermes

GUARDED = "respawn_guarded"


@contextmanager
def write_txn(hermes: Hermes, conn: BoardConnection) -> Iterator[BoardConnection]:
    """What Hermes writes in one transaction; see shards/hermes/statements.py."""
    try:
        with conn.statements.transaction():
            yield conn
    except KanbanError as error:
        raise as_hermes_knows(error) from error


def append_event(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    kind: str,
    payload: dict[str, Any] | None = None,
    *,
    run_id: int | None = None,
) -> None:
    """An event that Hermes adds to what it wrote: one that a verb has written already, or one that decides nothing.
    Raises WriteRefused for any other."""
    if conn.statements.event(task_id, kind):
        return
    if kind not in get_args(NotedKind):
        raise refusal(f"INSERT INTO task_events … {kind!r}")
    if kind != GUARDED or not _is_noted(conn, task_id, kind, payload):
        write_soon(conn.paths, task_id, Note(event=cast(NotedKind, kind), facts=payload, about_run=run_id))


def _is_noted(conn: BoardConnection, task_id: str, kind: str, payload: dict[str, Any] | None) -> bool:
    """Whether the newest event of the task says just that: a task that waits out its guard is noted once, and not again
    in each tick."""
    sql = "SELECT kind, payload FROM task_events WHERE task_id = ? ORDER BY id DESC LIMIT 1"
    last = conn.execute(sql, (task_id,)).fetchone()
    return last is not None and last["kind"] == kind and (payload or {}).items() <= json.loads(last["payload"]).items()


def end_run(hermes: Hermes, conn: BoardConnection, task_id: str, **said: Any) -> int | None:
    """The run that the dashboard's move of the task has ended already."""
    return conn.statements.ended_run(task_id)
