"""Dispatching: what Hermes's tick finds out about its workers, said as the verbs that end their runs.

Hermes looks at processes and clocks and kills what it must, as before; how a run ended is then one change, which is
decided like any other, so that a worker's own last word and a dispatcher's judgment cannot both count.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from kanban_shards.changes.kinds import Fail, Outcome
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import writer_of
from kanban_shards.hermes.runs import open_run
from kanban_shards.hermes.supervising import (
    SILENT_S,
    age_of,
    defer,
    end_worker,
    is_alive,
    lives_on,
    open_runs,
    process_to_end,
    say_ended,
)
from kanban_shards.hermes.tick import ticking
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies
from kanban_shards.records import Run

# So many workers that end in one way in one tick are the machine's fault.
MANY_ALIKE = 3
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


def dispatch_once(hermes: Hermes, conn: BoardConnection, **settings: Any) -> Any:
    """Hermes's own tick, in which what it says of one spawn is said at once."""
    with ticking():
        return hermes.released.dispatch_once(conn, **settings)


def detect_stale_running(
    hermes: Hermes, conn: BoardConnection, *, stale_timeout_seconds: int = 0, signal_fn: Signal | None = None
) -> list[str]:
    """The tasks whose run goes on for longer than ``stale_timeout_seconds``, and was silent for an hour; 0 for none."""
    if stale_timeout_seconds <= 0:
        return []
    stale = []
    for run in open_runs(hermes, conn, everywhere=True):
        elapsed_s = int(age_of(conn, run.id, "started", run.started_at))
        heard_s = run.last_heartbeat_at
        silent_s = None if heard_s is None else int(age_of(conn, run.id, "heartbeat", heard_s))
        if elapsed_s < stale_timeout_seconds or (silent_s is not None and silent_s < SILENT_S):
            continue
        ended = end_worker(hermes, conn, run, signal_fn)
        if lives_on(ended):
            defer(conn, run, "heartbeat_stale_worker_alive", ended)
            continue
        heard = "no heartbeat ever" if silent_s is None else f"no heartbeat for {silent_s}s "
        facts = {
            "elapsed_seconds": elapsed_s,
            "last_heartbeat_at": run.last_heartbeat_at,
            "heartbeat_age_seconds": silent_s,
            "timeout_seconds": stale_timeout_seconds,
            **ended,
        }
        change = _fail(run, "stale", f"{heard} after {elapsed_s}s running", facts)
        if say_ended(conn, run, change):
            stale.append(run.task_id)
    return stale


def detect_crashed_workers(hermes: Hermes, conn: BoardConnection) -> list[str]:
    """The tasks whose worker's process is gone; those that ran into a rate limit are told apart."""
    grace_s = hermes.now._resolve_crash_grace_seconds()
    ended = [
        _how_it_ended(hermes, run)
        for run in open_runs(hermes, conn)
        if run.worker_pid
        and age_of(conn, run.id, "started", run.started_at) >= grace_s
        and not is_alive(hermes, conn, run)
    ]
    alike = Counter(_likeness(each.error) for each in ended if each.outcome != "rate_limited")
    crashed: list[str] = []
    blocked: list[str] = []
    limited: list[str] = []
    for each in ended:
        change = _counted(hermes, conn, each, alike)
        verdict = say_ended(conn, each.run, change)
        if verdict is None:
            continue  # it said something itself, at the last moment
        (limited if each.outcome == "rate_limited" else crashed).append(each.run.task_id)
        if verdict.answer["status"] == "blocked":
            blocked.append(each.run.task_id)
    # Where Hermes's tick looks for what its function cannot return.
    hermes.now.detect_crashed_workers._last_auto_blocked = blocked
    hermes.now.detect_crashed_workers._last_rate_limited = limited
    return crashed


def enforce_max_runtime(hermes: Hermes, conn: BoardConnection, *, signal_fn: Signal | None = None) -> list[str]:
    """The tasks whose worker was ended because its run took longer than it may."""
    writer = writer_of(conn.paths)
    timed_out = []
    for run in open_runs(hermes, conn):
        task = writer.board.task(run.task_id)
        limit_s = None if task is None else task.max_runtime_seconds
        elapsed_s = int(age_of(conn, run.id, "started", run.started_at))
        if limit_s is None or run.worker_pid is None or elapsed_s < limit_s:
            continue
        pid = process_to_end(hermes, conn, run)
        killed = pid is not None and _end(hermes, pid, signal_fn or os.kill)
        facts = {"pid": run.worker_pid, "elapsed_seconds": elapsed_s, "limit_seconds": limit_s, "sigkill": killed}
        change = _fail(run, "timed_out", f"elapsed {elapsed_s}s > limit {limit_s}s", facts)
        if say_ended(conn, run, change):
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
    change = _fail(run, outcome, error, event_payload_extra, limit=failure_limit, trips=force_trip)
    verdict = applies(writer, task_id, change)
    return verdict is not None and bool(verdict.answer["status"] == "blocked")


def nothing(hermes: Hermes, conn: BoardConnection, *said: Any, **more: Any) -> None:
    """A verb has done it already."""


class _Ended(NamedTuple):
    """A run whose worker's process is gone: as what that counts, in a sentence, and what was seen of it."""

    run: Run
    outcome: Outcome
    error: str
    facts: dict[str, Any]
    exit_code: int | None


def _how_it_ended(hermes: Hermes, run: Run) -> _Ended:
    pid = run.worker_pid or 0
    kind, code = hermes.now._classify_worker_exit(pid)
    facts: dict[str, Any] = {"pid": pid, "claimer": run.claim_lock}
    if code is not None:
        facts["exit_code"] = code
    if kind == "clean_exit":
        return _Ended(run, "protocol_violation", VIOLATION, facts, code)
    if kind == "rate_limited":
        error = f"pid {pid} exited rate-limited (quota wall) — requeued without counting a failure"
        return _Ended(run, "rate_limited", error, facts, code)
    if kind == "unknown":
        return _Ended(run, "crashed", f"pid {pid} not alive", facts, None)
    how = f"killed by signal {code}" if kind == "signaled" else f"exited with code {code}"
    return _Ended(run, "crashed", f"pid {pid} {how}", {**facts, "exit_kind": kind}, code)


def _counted(hermes: Hermes, conn: BoardConnection, ended: _Ended, alike: Counter[str]) -> Fail:
    """The failure, counted as Hermes counts: those of one kind in one tick are the machine's fault, and block at once;
    workers that ended well without a word are counted by themselves."""
    limit, counts, trips = None, True, False
    if ended.outcome == "protocol_violation":
        if not hasattr(hermes.now, "_protocol_violation_streak"):  # up to 0.18
            limit = 1
        else:
            streak = 1 + hermes.now._protocol_violation_streak(conn, ended.run.task_id)
            task = writer_of(conn.paths).board.task(ended.run.task_id)
            own = None if task is None else task.max_retries
            trips = streak >= (hermes.now._PROTOCOL_VIOLATION_FAILURE_LIMIT if own is None else own)
            counts = trips
    elif alike[_likeness(ended.error)] >= MANY_ALIKE:
        limit = 1
    return _fail(ended.run, ended.outcome, ended.error, ended.facts, ended.exit_code, limit, counts, trips)


def _likeness(error: str) -> str:
    """What two errors have in common that differ in numbers of processes and in times alone, as Hermes sees it."""
    return re.sub(r"\b\d{10,}\b", "<TS>", re.sub(r"\bpid \d+\b", "pid N", error[:80])).lower().strip()


def _end(hermes: Hermes, pid: int, kill: Signal) -> bool:
    """End process ``pid``, first politely; returns whether it took more than that."""
    with suppress(OSError):
        kill(pid, signal.SIGTERM)
    until_s = time.monotonic() + ENDED_WITHIN_S
    while hermes.now._pid_alive(pid) and time.monotonic() < until_s:
        time.sleep(LOOK_EVERY_S)
    if not hermes.now._pid_alive(pid):
        return False
    with suppress(OSError):
        kill(pid, signal.SIGKILL)
        return True
    return False


def _fail(
    run: Run,
    outcome: Outcome,
    error: str,
    facts: dict[str, Any] | None = None,
    exit_code: int | None = None,
    limit: int | None = None,
    counts: bool = True,
    trips: bool = False,
) -> Fail:
    return Fail(
        run_id=run.id,
        outcome=outcome,
        error=error[:LONGEST_ERROR],
        exit_code=exit_code,
        limit=None if limit is None else max(1, int(limit)),
        counts=counts,
        trips=trips,
        facts=facts or None,
    )
