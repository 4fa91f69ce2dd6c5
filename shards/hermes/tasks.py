"""Tasks: assigned, linked, edited, promoted, archived and deleted, by Hermes's functions of these names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kanban_shards import attachments
from kanban_shards.changes.kinds import Archive, Assign, Delete, Edit, Gc, Link, Promote, Unlink
from kanban_shards.clocks import latest_s
from kanban_shards.errors import InvalidTaskId, Refused, UnknownTask
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import settle_surely, writer_of
from kanban_shards.hermes.tick import current_tick
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies, shown


def assign_task(hermes: Hermes, conn: BoardConnection, task_id: str, profile: str | None) -> bool:
    """Raises RuntimeError for a task that is running."""
    assignee = hermes.now._canonical_assignee(profile)
    task = shown(conn.paths, lambda: hermes.now.get_task(conn, task_id))
    if task is None:
        return False
    if task.status == "running" and task.claim_lock is not None:
        raise _running(task_id)
    try:
        writer_of(conn.paths).ask(task_id, Assign(assignee=assignee))
    except (UnknownTask, InvalidTaskId):
        return False
    except Refused as refused:
        if refused.reason == "wrong_status":
            raise _running(task_id) from refused
        raise
    return True


def link_tasks(hermes: Hermes, conn: BoardConnection, parent_id: str, child_id: str) -> None:
    """Raises ValueError for an unknown task and for a circle."""
    if parent_id == child_id:
        raise ValueError("a task cannot depend on itself")
    missing = [each for each in (parent_id, child_id) if not _is_there(hermes, conn, each)]
    if missing:
        raise ValueError(f"unknown task(s): {', '.join(missing)}")
    try:
        writer_of(conn.paths).ask(child_id, Link(parent=parent_id))
    except Refused as refused:
        if refused.reason == "cycle":
            raise ValueError(f"linking {parent_id} -> {child_id} would create a cycle") from refused
        raise


def unlink_tasks(hermes: Hermes, conn: BoardConnection, parent_id: str, child_id: str) -> bool:
    """Whether they were linked."""
    if not _is_there(hermes, conn, parent_id):
        return False
    verdict = applies(writer_of(conn.paths), child_id, Unlink(parent=parent_id))
    return verdict is not None and bool(verdict.answer["unlinked"])


def promote_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    actor: str,
    reason: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> tuple[bool, str | None]:
    """Hermes's own checks and sentences, and then the verb."""

    def checked() -> tuple[bool, str | None]:
        return hermes.released.promote_task(conn, task_id, actor=actor, reason=reason, force=force, dry_run=True)

    able, why = checked()
    if not able and settle_surely(conn.paths):
        able, why = checked()
    if dry_run or not able:
        return able, why
    try:
        writer_of(conn.paths).ask(task_id, Promote(reason=reason, force=force, actor=actor or None))
    except (Refused, UnknownTask):
        return False, f"task {task_id} status changed during promotion"
    return True, None


def edit_completed_task_result(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    result: str,
    summary: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> bool:
    """Whether the task is done, and has another result now."""
    fields: dict[str, Any] = {"result": result, "summary": result if summary is None else summary}
    if metadata is not None:
        fields["metadata"] = metadata
    return applies(writer_of(conn.paths), task_id, Edit(**fields)) is not None


def set_workspace_path(hermes: Hermes, conn: BoardConnection, task_id: str, path: Path | str) -> None:
    """Nothing where it is that already; in a dispatcher's tick it is said with the worker's process."""
    _set(conn, task_id, "workspace_path", str(path))


def set_branch_name(hermes: Hermes, conn: BoardConnection, task_id: str, branch_name: str) -> None:
    """As ``set_workspace_path``."""
    _set(conn, task_id, "branch_name", str(branch_name))


def archive_task(hermes: Hermes, conn: BoardConnection, task_id: str) -> bool:
    """Whether it is archived by this."""
    return applies(writer_of(conn.paths), task_id, Archive()) is not None


def delete_archived_task(hermes: Hermes, conn: BoardConnection, task_id: str) -> bool:
    """Whether it was archived, and is deleted now."""
    return _deleted(conn, task_id, archived_only=True)


def delete_task(hermes: Hermes, conn: BoardConnection, task_id: str) -> bool:
    """Whether there was such a task."""
    return _deleted(conn, task_id, archived_only=False)


def gc_events(hermes: Hermes, conn: BoardConnection, *, older_than_seconds: int = 30 * 24 * 3600) -> int:
    """How many events of finished tasks are gone. Those that a chat is still to be told of stay."""
    writer = writer_of(conn.paths)
    newest = writer.board.event(writer.board.last_event_id())
    now_s = latest_s(newest.created_at if newest else None)
    change = Gc(events_before_s=max(0, int(now_s) - int(older_than_seconds)))
    return int(writer.ask_unseen("", change).answer["events"])


def _deleted(conn: BoardConnection, task_id: str, *, archived_only: bool) -> bool:
    if applies(writer_of(conn.paths), task_id, Delete(archived_only=archived_only)) is None:
        return False
    attachments.remove_all(conn.paths, task_id)
    return True


def _set(conn: BoardConnection, task_id: str, name: str, value: str) -> None:
    if tick := current_tick():
        tick.places.setdefault(task_id, {})[name] = value
        return
    writer = writer_of(conn.paths)
    task = shown(conn.paths, lambda: writer.board.task(task_id))
    if task is not None and getattr(task, name) != value:
        fields: dict[str, Any] = {name: value}
        writer.ask(task_id, Edit(**fields))


def _is_there(hermes: Hermes, conn: BoardConnection, task_id: str) -> bool:
    return shown(conn.paths, lambda: hermes.now.get_task(conn, task_id)) is not None


def _running(task_id: str) -> RuntimeError:
    return RuntimeError(
        f"cannot reassign {task_id}: currently running (claimed). Wait for completion or reclaim the stale lock first."
    )
