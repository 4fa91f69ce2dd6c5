"""Dispatching: what Hermes's tick finds out about its workers, said as the verbs that end their runs.

Hermes looks at processes and clocks and kills what it must, as before; how a run ended is then one change, which is
decided like any other, so that a worker's own last word and a dispatcher's judgment cannot both count.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from kanban_shards.changes.kinds import Fail, Outcome
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import writer_of
from kanban_shards.hermes.runs import open_run
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies
from kanban_shards.records import Run, Verdict
from kanban_shards.writer import Writer

# A worker that is alive, and has said nothing for so long, is stuck: Hermes's own figures.
SILENT_S = 3600
ENDED_WITHIN_S = 5.0
LOOK_EVERY_S = 0.5
VIOLATION = (
    "worker exited cleanly (rc=0) without calling kanban_complete or kanban_block — protocol violation. If the prior "
    "run already did the work, verify it and report the result via kanban_complete; a run that ends without a terminal "
    "kanban call counts as failed no matter what it did."
)
# How Hermes keeps what it read of a failure.
LONGEST_ERROR = 500

Signal = Callable[[int, int], None]


def release_stale_claims(hermes: Hermes, conn: BoardConnection, *, signal_fn: Signal | None = None) -> int:
    """How many runs ended because nothing was heard of them. Those whose worker lives on this host are kept alive, as
    long as it says something once an hour."""
    writer = writer_of(conn.paths)
    before = {run.id for run in _open_runs(hermes, conn, everywhere=True)}
    for run in _open_runs(hermes, conn):
        silent_s = time.time() - (run.last_heartbeat_at or time.time())
        if run.worker_pid and hermes.now._pid_alive(run.worker_pid) and silent_s <= SILENT_S:
            writer.heartbeat(run.id)
    writer.merge_now()
    return len(before - {run.id for run in _open_runs(hermes, conn, everywhere=True)})


def detect_stale_running(
    hermes: Hermes, conn: BoardConnection, *, stale_timeout_seconds: int = 0, signal_fn: Signal | None = None
) -> list[str]:
    """The tasks whose run goes on for longer than ``stale_timeout_seconds``, and was silent for an hour; 0 for none."""
    if stale_timeout_seconds <= 0:
        return []
    writer = writer_of(conn.paths)
    stale = []
    for run in _open_runs(hermes, conn, everywhere=True):
        now = int(time.time())
        silent_s = None if run.last_heartbeat_at is None else now - run.last_heartbeat_at
        if now - run.started_at < stale_timeout_seconds or (silent_s is not None and silent_s < SILENT_S):
            continue
        ended = hermes.now._terminate_reclaimed_worker(run.worker_pid, run.claim_lock, signal_fn=signal_fn)
        if ended["termination_attempted"] and ended["host_local"] and not ended["terminated"]:
            continue  # it lives; the next tick tries again
        heard = "no heartbeat ever" if silent_s is None else f"no heartbeat for {silent_s}s "
        if _failed(writer, run, "stale", f"{heard} after {now - run.started_at}s running"):
            stale.append(run.task_id)
    return stale


def detect_crashed_workers(hermes: Hermes, conn: BoardConnection) -> list[str]:
    """The tasks whose worker's process is gone; those that ran into a rate limit are told apart."""
    crashed: list[str] = []
    blocked: list[str] = []
    limited: list[str] = []
    writer = writer_of(conn.paths)
    for run in _open_runs(hermes, conn):
        is_young = time.time() - run.started_at < hermes.now._resolve_crash_grace_seconds()
        if not run.worker_pid or is_young or hermes.now._pid_alive(run.worker_pid):
            continue
        outcome, error, exit_code = _how_it_ended(hermes, run.worker_pid)
        verdict = _failed(writer, run, outcome, error, exit_code)
        if verdict is None:
            continue
        (limited if outcome == "rate_limited" else crashed).append(run.task_id)
        if verdict.answer["status"] == "blocked":
            blocked.append(run.task_id)
    # Where Hermes's tick looks for what its function cannot return.
    hermes.now.detect_crashed_workers._last_auto_blocked = blocked
    hermes.now.detect_crashed_workers._last_rate_limited = limited
    return crashed


def enforce_max_runtime(hermes: Hermes, conn: BoardConnection, *, signal_fn: Signal | None = None) -> list[str]:
    """The tasks whose worker was ended because its run took longer than it may."""
    writer = writer_of(conn.paths)
    timed_out = []
    for run in _open_runs(hermes, conn):
        task = writer.board.task(run.task_id)
        limit_s = None if task is None else task.max_runtime_seconds
        elapsed_s = int(time.time()) - run.started_at
        if limit_s is None or run.worker_pid is None or elapsed_s < limit_s:
            continue
        _end(hermes, run.worker_pid, signal_fn or os.kill)
        if _failed(writer, run, "timed_out", f"elapsed {elapsed_s}s > limit {limit_s}s"):
            timed_out.append(run.task_id)
    return timed_out


def record_task_failure(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    error: str,
    *,
    outcome: Outcome,
    failure_limit: int | None = None,
    force_trip: bool = False,
    release_claim: bool = False,
    end_run: bool = False,
    event_payload_extra: dict[str, Any] | None = None,
) -> bool:
    """Whether the failure blocked the task. One whose run has ended already is counted already."""
    writer = writer_of(conn.paths)
    run = open_run(writer, task_id)
    if run is None or not release_claim:
        return False
    verdict = _failed(writer, run, outcome, error)
    return verdict is not None and verdict.answer["status"] == "blocked"


def nothing(hermes: Hermes, conn: BoardConnection, *said: Any, **more: Any) -> None:
    """A verb has done it already."""


def _open_runs(hermes: Hermes, conn: BoardConnection, *, everywhere: bool = False) -> Iterator[Run]:
    """The open runs whose workers this host can see, or those of every host, in Hermes's order."""
    host = hermes.now._claimer_id().split(":", 1)[0]
    writer = writer_of(conn.paths)
    for row in conn.execute("SELECT id FROM tasks WHERE status = 'running' ORDER BY rowid").fetchall():
        run = open_run(writer, row["id"])
        if run is not None and (everywhere or (run.claim_lock or "").startswith(f"{host}:")):
            yield run


def _how_it_ended(hermes: Hermes, pid: int) -> tuple[Outcome, str, int | None]:
    """As what the end of process ``pid`` counts, the sentence for it, and what it ended with."""
    kind, code = hermes.now._classify_worker_exit(pid)
    if kind == "clean_exit":
        return "protocol_violation", VIOLATION, code
    if kind == "rate_limited":
        return "rate_limited", f"pid {pid} exited rate-limited (quota wall) — requeued without counting a failure", code
    if kind == "nonzero_exit":
        return "crashed", f"pid {pid} exited with code {code}", code
    if kind == "signaled":
        return "crashed", f"pid {pid} killed by signal {code}", code
    return "crashed", f"pid {pid} not alive", None


def _end(hermes: Hermes, pid: int, kill: Signal) -> None:
    """End process ``pid``, first politely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            kill(pid, number)
        except OSError:
            return
        until_s = time.monotonic() + ENDED_WITHIN_S
        while hermes.now._pid_alive(pid) and number == signal.SIGTERM and time.monotonic() < until_s:
            time.sleep(LOOK_EVERY_S)
        if not hermes.now._pid_alive(pid):
            return


def _failed(writer: Writer, run: Run, outcome: Outcome, error: str, exit_code: int | None = None) -> Verdict | None:
    """The verdict that the run failed; None if it has ended otherwise meanwhile."""
    change = Fail(run_id=run.id, outcome=outcome, error=error[:LONGEST_ERROR], exit_code=exit_code)
    return applies(writer, run.task_id, change)
