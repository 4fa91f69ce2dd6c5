"""Patch: which of Hermes's names are replaced, and by what. The one table of them.

Each replacement is called as Hermes calls its own; what it is given besides is the module, as it is now and as it was.
What a version of Hermes does not have is left alone. A replacement is loaded when it is called for the first time, so
that a command which only reads loads nothing that writes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from kanban_shards.errors import KanbanError, LawBroken
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.errors import as_hermes_knows
from kanban_shards.hermes.upstream import Hermes, Upstream

Replacement = Callable[..., Any]

# On no board that is open yet.
OF_BOARDS: dict[str, str] = {
    "connect": "boards.connected",
    "init_db": "boards.init_db",
    "remove_board": "boards.remove_board",
    "_new_task_id": "creating.new_task_id",
}
# On the board that the first argument has open.
OF_ONE_BOARD: dict[str, str] = {
    "write_txn": "transactions.write_txn",
    "recompute_ready": "boards.recompute_ready",
    "_append_event": "transactions.append_event",
    "_end_run": "transactions.end_run",
    "create_task": "creating.create_task",
    "assign_task": "tasks.assign_task",
    "link_tasks": "tasks.link_tasks",
    "unlink_tasks": "tasks.unlink_tasks",
    "promote_task": "tasks.promote_task",
    "edit_completed_task_result": "tasks.edit_completed_task_result",
    "set_workspace_path": "tasks.set_workspace_path",
    "set_branch_name": "tasks.set_branch_name",
    "archive_task": "tasks.archive_task",
    "delete_archived_task": "tasks.delete_archived_task",
    "delete_task": "tasks.delete_task",
    "gc_events": "tasks.gc_events",
    "specify_triage_task": "plans.specify_triage_task",
    "decompose_triage_task": "plans.decompose_triage_task",
    "add_comment": "chats.add_comment",
    "add_attachment": "chats.add_attachment",
    "delete_attachment": "chats.delete_attachment",
    "add_notify_sub": "notifying.add_notify_sub",
    "remove_notify_sub": "notifying.remove_notify_sub",
    "list_notify_subs": "notifying.list_notify_subs",
    "claim_unseen_events_for_sub": "notifying.claim_unseen_events_for_sub",
    "advance_notify_cursor": "notifying.advance_notify_cursor",
    "rewind_notify_cursor": "notifying.rewind_notify_cursor",
    "claim_task": "runs.claim_task",
    "claim_review_task": "runs.claim_review_task",
    "heartbeat_claim": "runs.heartbeat_claim",
    "heartbeat_worker": "runs.heartbeat_worker",
    "reclaim_task": "runs.reclaim_task",
    "reassign_task": "runs.reassign_task",
    "complete_task": "completing.complete_task",
    "block_task": "runs.block_task",
    "schedule_task": "runs.schedule_task",
    "unblock_task": "runs.unblock_task",
    "_set_worker_pid": "runs.set_worker_pid",
    "release_stale_claims": "supervising.release_stale_claims",
    "detect_stale_running": "dispatching.detect_stale_running",
    "detect_crashed_workers": "dispatching.detect_crashed_workers",
    "enforce_max_runtime": "dispatching.enforce_max_runtime",
    "dispatch_once": "dispatching.dispatch_once",
    "_record_task_failure": "dispatching.record_task_failure",
    "_clear_failure_counter": "dispatching.nothing",
}
# What would repair, migrate or write the file itself; nothing that is left of Hermes's own calls them.
NEVER = (
    "_validate_sqlite_header",
    "_guard_existing_db_is_healthy",
    "_backup_corrupt_db",
    "_check_file_length_invariant",
    "_migrate_add_optional_columns",
    "_rebuild_drifted_tables",
    "_synthesize_ended_run",
    "_insert_completion_attachment",
    "_defer_reclaim_for_live_worker",
    "_sqlite_connect",
)


def patch(module: ModuleType) -> None:
    """Have ``module``, which is Hermes's ``kanban_db``, write by verbs from now on."""
    released = SimpleNamespace(**vars(module))
    hermes = Hermes(now=cast(Upstream, module), released=cast(Upstream, released))
    for name, replacement in OF_BOARDS.items():
        _replace(module, name, functools.partial(_of_boards, replacement, hermes))
    for name, replacement in OF_ONE_BOARD.items():
        _replace(module, name, functools.partial(_on_board, replacement, hermes))
    for name in NEVER:
        _replace(module, name, functools.partial(_never, name))


def _replace(module: ModuleType, name: str, replacement: Replacement) -> None:
    released = getattr(module, name, None)
    if released is None:
        return

    @functools.wraps(released)
    def replaced(*said: Any, **more: Any) -> Any:
        try:
            return replacement(*said, **more)
        except KanbanError as error:
            raise as_hermes_knows(error) from error

    setattr(module, name, replaced)


@functools.cache
def loaded(where: str) -> Replacement:
    """The function at ``where``, a module of this room and its name."""
    module, _, name = where.partition(".")
    return cast(Replacement, getattr(import_module(f"kanban_shards.hermes.{module}"), name))


def _of_boards(where: str, hermes: Hermes, *said: Any, **more: Any) -> Any:
    return loaded(where)(hermes, *said, **more)


def _on_board(where: str, hermes: Hermes, conn: object, *said: Any, **more: Any) -> Any:
    if not isinstance(conn, BoardConnection):
        raise TypeError("this connection was not opened by kanban_db.connect, so it is no board that Hermes may write")
    return loaded(where)(hermes, conn, *said, **more)


def _never(name: str, *said: Any, **more: Any) -> Any:
    raise LawBroken(f"Hermes's {name} would write the file of a board, which its coordinator alone may")
