"""Undecided: what this process wrote, and nobody merged in time, is not said to be missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding
from kanban_shards.errors import EarlierUndecided
from kanban_shards.hermes import completing, creating, identity, notifying, runs, tasks
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.upstream import Hermes, Upstream

CHAT = {"platform": "ntfy", "chat_id": "c"}


def get_task(conn: sqlite3.Connection, task_id: str) -> SimpleNamespace | None:
    """As Hermes reads it."""
    row = conn.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
    return None if row is None else SimpleNamespace(**dict(row))


def promote_task(conn: sqlite3.Connection, task_id: str, **said: Any) -> tuple[bool, str | None]:
    """Hermes's check of a task that it does not find, and of no other."""
    return (True, None) if get_task(conn, task_id) else (False, "not found")


HERMES = Hermes(
    now=cast(
        Upstream,
        SimpleNamespace(
            get_task=get_task,
            assign_task=lambda conn, *said: tasks.assign_task(HERMES, conn, *said),
            _canonical_assignee=lambda name: name,
            _cleanup_workspace=lambda conn, task_id: None,
            _scan_prose_for_phantom_ids=lambda conn, text: [],
            _resolve_claim_ttl_seconds=lambda seconds: 900,
            _claimer_id=lambda: "host:1",
        ),
    ),
    released=cast(Upstream, SimpleNamespace(promote_task=promote_task)),
)


def made(conn: BoardConnection, parents: tuple[str, ...] = ()) -> str:
    """A task that Hermes makes, and waits for no verdict."""
    row = {"id": creating.new_task_id(HERMES), "title": "T", "status": "ready", "workspace_kind": "scratch"}
    creating.create(conn.paths, row, parents)
    return str(row["id"])


def linked(conn: BoardConnection, task_id: str) -> bool:
    """Whether a task can be made to wait for it, and no longer."""
    tasks.link_tasks(HERMES, conn, task_id, made(conn))
    return True


@pytest.mark.parametrize(
    "verb",
    [
        lambda conn, task_id: completing.complete_task(HERMES, conn, task_id, summary="done"),
        lambda conn, task_id: tasks.assign_task(HERMES, conn, task_id, "amy"),
        lambda conn, task_id: runs.reassign_task(HERMES, conn, task_id, "amy"),
        lambda conn, task_id: runs.claim_task(HERMES, conn, task_id) is not None,
        lambda conn, task_id: notifying.remove_notify_sub(HERMES, conn, task_id=task_id, **CHAT),
        lambda conn, task_id: tasks.unlink_tasks(HERMES, conn, task_id, task_id) is False,
        lambda conn, task_id: tasks.promote_task(HERMES, conn, task_id, actor="amy")[1] != "not found",
        linked,
    ],
    ids=["complete", "assign", "reassign", "claim", "unsubscribe", "unlink", "promote", "link"],
)
def test_what_waits_for_its_verdict_is_not_said_to_be_missing(
    conn: BoardConnection, verb: Callable[[BoardConnection, str], bool]
) -> None:
    """Nothing is written then, and the call can be repeated."""
    writer = identity.writer_of(conn.paths)
    writer.patience_s = 0.01
    with holding(conn.paths, COMMAND):
        task_id = made(conn)
        notifying.add_notify_sub(HERMES, conn, task_id=task_id, **CHAT)
        assert get_task(conn, task_id) is None, "a read shows what there is"
        with pytest.raises(EarlierUndecided):
            verb(conn, task_id)
    writer.patience_s = 30.0
    assert verb(conn, task_id)


def test_what_is_not_there_is_said_to_be_missing(conn: BoardConnection) -> None:
    notifying.add_notify_sub(HERMES, conn, task_id=made(conn), **CHAT)
    missing = creating.new_task_id(HERMES)
    assert completing.complete_task(HERMES, conn, missing) is False
    assert tasks.assign_task(HERMES, conn, missing, "amy") is False
    assert notifying.remove_notify_sub(HERMES, conn, task_id=missing, **CHAT) is False
    assert runs.claim_task(HERMES, conn, missing) is None
