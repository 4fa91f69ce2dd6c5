"""Supervising: the workers of a dispatcher's runs, as Hermes looks after them: by their processes.

A run that a dispatcher claims is supervised (docs/design/statuses.md, "Supervision"): while a dispatcher of its host
sees its worker's process, the run goes on, whatever the worker says or does not say for less than an hour; and nobody
starts a second worker beside one that lives. A number that was given to another process meanwhile is no worker.
"""

from __future__ import annotations

import logging
from typing import Any

from kanban_shards import supervision
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import Note, Reclaim, Supervise
from kanban_shards.clocks import DRIFT_S, age_s
from kanban_shards.errors import StorageError
from kanban_shards.heard import ledger_now_s
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import write_soon, writer_of
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies
from kanban_shards.processes import began_with, can_be_signaled, is_above, shows_environments
from kanban_shards.records import Run, Verdict, Worker
from kanban_shards.writer import Writer

_log = logging.getLogger(__name__)
_OPEN_RUNS = "SELECT current_run_id FROM tasks WHERE status = 'running' AND current_run_id IS NOT NULL ORDER BY rowid"
# A worker that is alive, and has said nothing for so long, is stuck: Hermes's own figure. Without a sign of dispatcher
# and worker, a run is over after as long.
SILENT_S = 3600
GRACE_S = SILENT_S
# A worker whose run has ended is given so long to end by itself.
ENDING_S = 60
# Hermes tells each worker that it starts its task by this variable.
TASK_OF_A_WORKER = "HERMES_KANBAN_TASK"


def release_stale_claims(hermes: Hermes, conn: BoardConnection, *, signal_fn: Any = None) -> int:
    """How many runs ended because nothing was heard of them. One whose worker lives on this host goes on, as long as
    that says something once an hour; else its worker is ended first."""
    runs = open_runs(hermes, conn, everywhere=True)
    for run in runs:
        if _is_of_here(hermes, run) and _is_to_be_looked_after(conn, run):
            _look_after(hermes, conn, run, signal_fn)
    writer_of(conn.paths).merge_now()
    return len({run.id for run in runs}.difference(_ids_of_open_runs(conn)))


def age_of(conn: BoardConnection, run_id: int, what: str, stamped_s: int | None) -> float:
    """How many seconds ago the board says that ``what`` became of the run, as ``clocks.age_s`` has it; 0 if never."""
    if stamped_s is None:
        return 0.0
    return age_s(ledger_now_s(conn.paths), (conn.paths.board, run_id, what), stamped_s)


def open_runs(hermes: Hermes, conn: BoardConnection, *, everywhere: bool = False) -> list[Run]:
    """The open runs whose workers this host can see, or those of every host, in Hermes's order."""
    found = filter(None, map(writer_of(conn.paths).board.run, _ids_of_open_runs(conn)))
    return [run for run in found if everywhere or _is_of_here(hermes, run)]


def is_alive(hermes: Hermes, conn: BoardConnection, run: Run) -> bool:
    """Whether the run's worker is there: its process, and no other that has its number by now."""
    if not run.worker_pid or not hermes.now._pid_alive(run.worker_pid):
        return False
    worker = _worker_of(conn, run)
    return worker is None or supervision.lives(worker) is not False


def end_worker(hermes: Hermes, conn: BoardConnection, run: Run, signal_fn: Any = None) -> dict[str, Any]:
    """End the run's worker, if it is a process of this host; returns what Hermes tells of that."""
    pid = process_to_end(hermes, conn, run)
    return {
        **hermes.now._terminate_reclaimed_worker(pid, run.claim_lock, signal_fn=signal_fn),
        "prev_pid": run.worker_pid,
    }


def process_to_end(hermes: Hermes, conn: BoardConnection, run: Run) -> int | None:
    """The process of the run's worker, if it lives on this host and may be ended."""
    pid = run.worker_pid
    if pid is None or not is_alive(hermes, conn, run) or not _may_end(pid, run.task_id, run.id):
        return None
    return pid


def lives_on(ended: dict[str, Any]) -> bool:
    """Whether a worker on this host was told to end, and did not: no second one is started beside it."""
    return bool(ended["termination_attempted"] and ended["host_local"] and not ended["terminated"])


def defer(conn: BoardConnection, run: Run, reason: str, ended: dict[str, Any]) -> None:
    """The run stays open, and the next tick tries again."""
    facts = {"reason": reason, "claim_lock": run.claim_lock, **ended}
    write_soon(conn.paths, run.task_id, Note(event="reclaim_deferred", facts=facts, about_run=run.id))
    _extend(conn, run)


def is_free_of_workers(hermes: Hermes, conn: BoardConnection, task_id: str) -> bool:
    """Whether no worker of a run that has ended lives on this host. One that goes on although its run ended is given a
    minute, and then ended."""
    for worker in supervision.living(writer_of(conn.paths).board, task_id):
        if age_of(conn, worker.run_id, "ended", worker.ended_at) < ENDING_S:
            _log.warning(
                "kanban: %s is not claimed yet, because process %d of its run %d, which is over, still lives",
                task_id,
                worker.pid,
                worker.run_id,
            )
            return False
        if not _may_end(worker.pid, task_id, worker.run_id):
            if can_be_signaled(worker.pid):
                continue  # it is no worker
            return False  # another user's, whose dispatcher ends it
        ended = hermes.now._terminate_reclaimed_worker(worker.pid, hermes.now._claimer_id(), signal_fn=None)
        if not ended["terminated"]:
            return False
    return True


def in_whose_name(conn: BoardConnection, run: Run) -> Writer:
    """Who may say how the run ended: its worker's profile, or its claimer. A dispatcher that took over from another one
    says it in that one's name."""
    writer = writer_of(conn.paths)
    task = writer.board.task(run.task_id)
    claimer = None if task is None else task.run_claimer
    if claimer is None or writer.profile in (claimer, run.profile):
        return writer
    return writer_of(conn.paths, claimer)


def say_ended(conn: BoardConnection, run: Run, change: Body) -> Verdict | None:
    """The verdict on how the run ended; None if it was over already, or this user may not write in the name of whoever
    has it. That one's own dispatcher says it then, and the others of this tick are seen to all the same."""
    try:
        return applies(in_whose_name(conn, run), run.task_id, change)
    except StorageError as error:
        _log.warning("kanban: how run %d of %s ended cannot be said here: %s", run.id, run.task_id, error)
        return None


def _may_end(pid: int, task_id: str, run_id: int) -> bool:
    """Whether the process is what Hermes starts for the task. Which process a worker is, is said by whoever claimed,
    which may be a profile that wants another process of this user to end."""
    if not is_above(pid) and (not shows_environments() or began_with(pid, TASK_OF_A_WORKER) == task_id):
        return True
    _log.warning("kanban: run %d calls process %d its worker, which was not started for %s", run_id, pid, task_id)
    return False


def _is_to_be_looked_after(conn: BoardConnection, run: Run) -> bool:
    """Whether the run's lease is over, or began at a time that has not come yet."""
    now_s, expires_s = ledger_now_s(conn.paths), run.claim_expires or 0
    begun_s = max(run.started_at, run.last_heartbeat_at or 0)
    return now_s is not None and (expires_s < now_s or expires_s >= begun_s > now_s + DRIFT_S)


def _look_after(hermes: Hermes, conn: BoardConnection, run: Run, signal_fn: Any) -> None:
    """What becomes of a run whose lease is over."""
    silent_s = age_of(conn, run.id, "heartbeat", run.last_heartbeat_at)
    is_there = is_alive(hermes, conn, run)
    if is_there and silent_s <= SILENT_S:
        _extend(conn, run)
        return
    if not is_there and run.worker_pid:
        return  # it crashed, which the next look finds
    ended = end_worker(hermes, conn, run, signal_fn)
    if lives_on(ended):
        defer(conn, run, "ttl_expired_worker_alive", ended)
        return
    reason = f"stale_lock={run.claim_lock}"
    applies(writer_of(conn.paths), run.task_id, Reclaim(reason=reason, facts=ended))


def _ids_of_open_runs(conn: BoardConnection) -> list[int]:
    return [row["current_run_id"] for row in conn.execute(_OPEN_RUNS).fetchall()]


def _is_of_here(hermes: Hermes, run: Run) -> bool:
    """Whether the run was claimed on this host, as Hermes writes that into its lock."""
    return (run.claim_lock or "").startswith(f"{hermes.now._claimer_id().split(':', 1)[0]}:")


def _extend(conn: BoardConnection, run: Run) -> None:
    """The lease begins anew; of a run that no dispatcher claimed, by a heartbeat of whoever may send one."""
    if applies(writer_of(conn.paths), run.task_id, Supervise(run_id=run.id)) is None:
        try:
            in_whose_name(conn, run).heartbeat(run.id)
        except StorageError as error:  # another user's run, which that one's dispatcher looks after
            _log.warning("kanban: run %d of %s cannot be kept alive from here: %s", run.id, run.task_id, error)


def _worker_of(conn: BoardConnection, run: Run) -> Worker | None:
    """What was said of the run's worker when it started."""
    workers = writer_of(conn.paths).board.workers(run.task_id)
    return next((worker for worker in workers if worker.run_id == run.id), None)
