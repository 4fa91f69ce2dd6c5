"""Runs: claimed, kept alive, and ended without a result, by Hermes's functions of these names."""

from __future__ import annotations

from typing import Any

from kanban_shards import supervision
from kanban_shards.changes.kinds import Block, Claim, Progress, Promote, Reclaim, Recover, Schedule, Unblock
from kanban_shards.errors import InvalidTaskId, Refused, UnknownTask
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import can_name_a_profile, made_just_now, write_soon, writer_of
from kanban_shards.hermes.supervising import GRACE_S, end_worker, is_free_of_workers
from kanban_shards.hermes.tick import current_tick
from kanban_shards.hermes.upstream import Hermes, UpstreamTask
from kanban_shards.hermes.verbs import applies, named_run, shown
from kanban_shards.records import Run
from kanban_shards.writer import Writer

# A task that waits for others, of which none is linked yet, does so for a tick of Hermes's dispatcher.
HOLD_S = 60
# Who is shown to have ended that.
DISPATCHER = "dispatcher"


def claim_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    ttl_seconds: int | None = None,
    claimer: str | None = None,
) -> UpstreamTask | None:
    """The task with its new run; None if it is not ready, or somebody else was faster."""
    run_id = _claimed(hermes, conn, task_id, "ready", ttl_seconds, claimer)
    if run_id is None:
        return None
    claimed = hermes.now.get_task(conn, task_id)
    hermes.tell_plugins("kanban_task_claimed", conn, task_id, run_id=run_id)
    return claimed


def claim_review_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    ttl_seconds: int | None = None,
    claimer: str | None = None,
) -> UpstreamTask | None:
    """As ``claim_task``, of a task that waits for review."""
    if _claimed(hermes, conn, task_id, "review", ttl_seconds, claimer) is None:
        return None
    return hermes.now.get_task(conn, task_id)


def heartbeat_claim(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    ttl_seconds: int | None = None,
    claimer: str | None = None,
) -> bool:
    """Whether the claim is still the caller's; then its lease begins anew."""
    run = open_run(writer_of(conn.paths), task_id)
    if run is None or run.claim_lock != (claimer or hermes.now._claimer_id()):
        return False
    writer_of(conn.paths).heartbeat(run.id)
    return True


def heartbeat_worker(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    note: str | None = None,
    expected_run_id: int | None = None,
) -> bool:
    """Whether the run is open, and its worker's or its dispatcher's profile says so. The board shows when it last did,
    as Hermes's own checks and its dashboard expect, so each is a change; Hermes calls this once a minute."""
    writer = writer_of(conn.paths)
    task = writer.board.task(task_id)
    run = open_run(writer, task_id)
    if task is None or run is None or named_run(expected_run_id) not in (None, run.id):
        return False
    if writer.profile not in (run.profile, task.run_claimer):
        return False
    write_soon(conn.paths, task_id, Progress(run_id=run.id, note=note or None))
    return True


def reclaim_task(
    hermes: Hermes, conn: BoardConnection, task_id: str, *, reason: str | None = None, signal_fn: Any = None
) -> bool:
    """Whether there was a run to end; its worker is ended first, if it runs on this host."""
    writer = writer_of(conn.paths)
    run = open_run(writer, task_id)
    if run is None:
        return False
    ended = end_worker(hermes, conn, run, signal_fn)
    return applies(writer, task_id, Reclaim(reason=reason, facts=ended)) is not None


def reassign_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    profile: str | None,
    *,
    reclaim_first: bool = False,
    reason: str | None = None,
) -> bool:
    """Whether the task has the new assignee; not if it is running, and ``reclaim_first`` was not said."""
    if reclaim_first:
        hermes.now.reclaim_task(conn, task_id, reason=reason or "reassign")
    task = hermes.now.get_task(conn, task_id)
    if task is not None and task.status == "running" and task.claim_lock is not None:
        return False
    return hermes.now.assign_task(conn, task_id, profile)


def block_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    reason: str | None = None,
    kind: Any = None,
    expected_run_id: int | None = None,
) -> bool:
    """Whether the task was running or ready. Raises ValueError for another kind than Hermes's."""
    if kind is not None and kind not in hermes.now.VALID_BLOCK_KINDS:
        raise ValueError(f"block kind must be one of {sorted(hermes.now.VALID_BLOCK_KINDS)} or None")
    run_id = named_run(expected_run_id)
    hold_s = HOLD_S if kind == "dependency" else None
    change = Block(run_id=run_id, reason=reason, block=kind, hold_s=hold_s)
    verdict = applies(writer_of(conn.paths), task_id, change)
    if verdict is None:
        return False
    hermes.tell_plugins("kanban_task_blocked", conn, task_id, run_id=verdict.answer["run_id"], reason=reason)
    return True


def schedule_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    reason: str | None = None,
    expected_run_id: int | None = None,
) -> bool:
    """Whether the task may wait for a time where it stands."""
    run_id = named_run(expected_run_id)
    return applies(writer_of(conn.paths), task_id, Schedule(run_id=run_id, reason=reason)) is not None


def unblock_task(hermes: Hermes, conn: BoardConnection, task_id: str) -> bool:
    """Whether the task was blocked or scheduled."""
    return applies(writer_of(conn.paths), task_id, Unblock()) is not None


def set_worker_pid(hermes: Hermes, conn: BoardConnection, task_id: str, pid: int) -> None:
    """The run's worker is started. One that has ended meanwhile has said all there was to say."""
    writer = writer_of(conn.paths)
    run = open_run(writer, task_id)
    tick = current_tick()
    place: dict[str, Any] = tick.places.pop(task_id, {}) if tick else {}
    if run is not None:
        applies(writer, task_id, supervision.spawned(run.id, int(pid), **place))


def recovered(conn: BoardConnection, task_id: str, limit: int) -> bool:
    """Whether a task that its failures had blocked goes on, because it may have ``limit`` of them."""
    return applies(writer_of(conn.paths), task_id, Recover(limit=max(1, limit))) is not None


def let_go(conn: BoardConnection, task_id: str) -> bool:
    """Whether a task goes on that was held in todo for a dispatcher's next tick, which is now."""
    return applies(writer_of(conn.paths), task_id, Promote(actor=DISPATCHER)) is not None


def open_run(writer: Writer, task_id: str) -> Run | None:
    """The task's open run; None if there is none, or no such task."""
    task = writer.board.task(task_id)
    return None if task is None or task.current_run_id is None else writer.board.run(task.current_run_id)


def _claimed(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    status: str,
    ttl_seconds: int | None,
    claimer: str | None,
) -> int | None:
    """The run that was opened on a task of ``status``; None if it was refused. What a dispatcher's tick claims is
    supervised, and is not claimed beside a worker that lives."""
    dispatches = current_tick() is not None
    made = None if dispatches or status != "ready" else made_just_now(conn.paths, task_id)
    if made is not None:
        writer, assignee = made
    else:
        writer = writer_of(conn.paths)
        task = shown(conn.paths, lambda: writer.board.task(task_id))
        if task is None or task.status != status:
            return None
        if dispatches and not is_free_of_workers(hermes, conn, task_id):
            return None
        assignee = task.assignee
    change = Claim(
        grace_s=GRACE_S if dispatches else None,
        lease_s=hermes.now._resolve_claim_ttl_seconds(ttl_seconds),
        runs_as=assignee if can_name_a_profile(assignee) else None,
        claimer=claimer or hermes.now._claimer_id(),
    )
    try:
        return int(writer.ask(task_id, change).answer["run_id"])
    except (Refused, UnknownTask, InvalidTaskId):
        return None
