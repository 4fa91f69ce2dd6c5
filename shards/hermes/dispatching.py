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
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from kanban_shards.changes.kinds import Fail, Note, Outcome
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import write_soon, writer_of
from kanban_shards.hermes.runs import open_run
from kanban_shards.hermes.tick import ticking
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies
from kanban_shards.records import Run

# A worker that is alive, and has said nothing for so long, is stuck: Hermes's own figures.
SILENT_S = 3600
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
        elapsed_s = now - run.started_at
        silent_s = None if run.last_heartbeat_at is None else now - run.last_heartbeat_at
        if elapsed_s < stale_timeout_seconds or (silent_s is not None and silent_s < SILENT_S):
            continue
        ended = hermes.now._terminate_reclaimed_worker(run.worker_pid, run.claim_lock, signal_fn=signal_fn)
        if _lives_on(ended):
            _defer(conn, run, "heartbeat_stale_worker_alive", ended)
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
        if applies(writer, run.task_id, change):
            stale.append(run.task_id)
    return stale


def detect_crashed_workers(hermes: Hermes, conn: BoardConnection) -> list[str]:
    """The tasks whose worker's process is gone; those that ran into a rate limit are told apart."""
    grace_s = hermes.now._resolve_crash_grace_seconds()
    ended = [
        _how_it_ended(hermes, run)
        for run in _open_runs(hermes, conn)
        if run.worker_pid and time.time() - run.started_at >= grace_s and not hermes.now._pid_alive(run.worker_pid)
    ]
    alike = Counter(_likeness(each.error) for each in ended if each.outcome != "rate_limited")
    crashed: list[str] = []
    blocked: list[str] = []
    limited: list[str] = []
    for each in ended:
        verdict = applies(writer_of(conn.paths), each.run.task_id, _counted(hermes, conn, each, alike))
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
    for run in _open_runs(hermes, conn):
        task = writer.board.task(run.task_id)
        limit_s = None if task is None else task.max_runtime_seconds
        elapsed_s = int(time.time()) - run.started_at
        if limit_s is None or run.worker_pid is None or elapsed_s < limit_s:
            continue
        killed = _end(hermes, run.worker_pid, signal_fn or os.kill)
        facts = {"elapsed_seconds": elapsed_s, "limit_seconds": limit_s, "sigkill": killed}
        if applies(writer, run.task_id, _fail(run, "timed_out", f"elapsed {elapsed_s}s > limit {limit_s}s", facts)):
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


def _open_runs(hermes: Hermes, conn: BoardConnection, *, everywhere: bool = False) -> Iterator[Run]:
    """The open runs whose workers this host can see, or those of every host, in Hermes's order."""
    host = hermes.now._claimer_id().split(":", 1)[0]
    writer = writer_of(conn.paths)
    for row in conn.execute("SELECT id FROM tasks WHERE status = 'running' ORDER BY rowid").fetchall():
        run = open_run(writer, row["id"])
        if run is not None and (everywhere or (run.claim_lock or "").startswith(f"{host}:")):
            yield run


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


def _lives_on(ended: dict[str, Any]) -> bool:
    """Whether a worker on this host was told to end, and did not: no second one is started beside it."""
    return bool(ended["termination_attempted"] and ended["host_local"] and not ended["terminated"])


def _defer(conn: BoardConnection, run: Run, reason: str, ended: dict[str, Any]) -> None:
    """The run stays open, and the next tick tries again."""
    writer_of(conn.paths).heartbeat(run.id)
    facts = {"reason": reason, "claim_lock": run.claim_lock, **ended}
    write_soon(conn.paths, run.task_id, Note(event="reclaim_deferred", facts=facts, about_run=run.id))


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
