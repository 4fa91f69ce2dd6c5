"""Diagnostics: what on the board needs a person, with a name for each kind and what to do about it.

The kinds are Hermes's, where the board alone can tell, and ``refused_late_result``. Each is a function of a task, its
events and its runs; none remembers anything, so a diagnostic ends when its cause does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.changes.kinds import FAILURE_LIMIT
from kanban_shards.errors import UnknownTask
from kanban_shards.records import TERMINAL, Event, Run, Task
from kanban_shards.suspects import Limits, Suspect, suspect_of, suspects

SEVERITIES = ("warning", "error", "critical")

CRASH_LIMIT = 2
BLOCKED_S = 24 * 3600
CYCLES = 3
CYCLE_WINDOW_S = 24 * 3600
STRANDED_S = 30 * 60

_FAILED = ("crashed", "timed_out", "spawn_failed")
_BECOMES_READY = frozenset(
    {"created", "promoted", "promoted_manual", "unblocked", "reclaimed", "status", "assigned", "rate_limited", "stale"}
    | set(_FAILED)
)
_BLOCKS = ("blocked", "gave_up", "created")
_CLEARS = frozenset({"completed", "edited"})
_KINDS_READ = _BECOMES_READY | _CLEARS | {
    "blocked", "gave_up", "commented", "completion_blocked_hallucination", "late_refused",
}  # fmt: skip


@dataclass
class Diagnostic:
    """One thing that needs a person. ``actions``: what may help, each ``{kind, label, payload, suggested}``."""

    kind: str
    severity: str
    title: str
    detail: str
    actions: list[dict[str, Any]] = field(default_factory=list)
    first_seen_at: int | None = 0
    last_seen_at: int | None = 0
    count: int = 1
    run_id: int | None = None
    data: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The keys of ``hermes kanban diagnostics --json``."""
        return asdict(self)


@dataclass(frozen=True)
class Case:
    """A task as the functions below judge it. ``phantoms``: ids that its latest result names and that never were."""

    task: Task
    events: list[Event]
    runs: list[Run]
    phantoms: list[str]
    failure_limit: int
    now_s: int


def diagnose(
    board: Board, now_s: int, *, task_id: str | None = None, severity: str | None = None
) -> Iterator[tuple[Task, list[Diagnostic]]]:
    """What needs a person, of every task that is not archived, or of one; the most severe first within a task. Tasks
    come in the usual order, and each is read when it is its turn.

    ``now_s``: seconds since 1970. ``severity``: this one and worse. Raises InvalidTaskId, UnknownTask.
    """
    failure_limit = board.settings().get("failure_limit", FAILURE_LIMIT)
    if task_id is not None:
        found = iter([_known(board, task_id)])
    else:
        limits = Limits(
            failures=failure_limit,
            crashes=CRASH_LIMIT,
            cycles=CYCLES,
            cycling_since=now_s - CYCLE_WINDOW_S,
            blocked_before=now_s - BLOCKED_S,
            ready_before=now_s - STRANDED_S,
            blocks=_BLOCKS,
            readies=tuple(sorted(_BECOMES_READY)),
        )
        found = suspects(board, limits, _KINDS_READ)
    wanted = SEVERITIES[SEVERITIES.index(severity) if severity else 0 :]
    return _judged(found, failure_limit, now_s, wanted)


def _judged(
    suspected: Iterator[Suspect], failure_limit: int, now_s: int, wanted: Collection[str]
) -> Iterator[tuple[Task, list[Diagnostic]]]:
    for suspect in suspected:
        case = Case(suspect.task, suspect.events, suspect.runs, suspect.phantoms, failure_limit, now_s)
        diagnostics = [each for check in CHECKS for each in check(case) if each.severity in wanted]
        if diagnostics:
            yield suspect.task, sorted(diagnostics, key=lambda each: -SEVERITIES.index(each.severity))


def _known(board: Board, task_id: str) -> Suspect:
    found = suspect_of(board, board.known_task(task_id).id, _KINDS_READ)
    if found is None:  # it went meanwhile
        raise UnknownTask(task_id=task_id, board=board.paths)
    return found


def hallucinated_cards(case: Case) -> Iterator[Diagnostic]:
    """A worker said that it made tasks which it did not make, so its result was refused."""
    hits = _unresolved(case, "completion_blocked_hallucination")
    if hits:
        phantom = _merged(hits, "phantom_cards")
        yield _diagnostic(
            case, "hallucinated_cards", "error",
            "A result names tasks that its worker did not make",
            f"{', '.join(phantom)}: such a task does not exist or is somebody else's. The result was refused and is "
            "kept as an event; the task stands where it stood.",
            hits, data={"phantom_ids": phantom}, hint=f"kanban show {case.task.id}",
        )  # fmt: skip


def prose_phantom_refs(case: Case) -> Iterator[Diagnostic]:
    """The result of a finished task speaks of tasks that never were."""
    if case.phantoms:
        done = [event for event in case.events if event.kind in _CLEARS][-1:]
        yield _diagnostic(
            case, "prose_phantom_refs", "warning",
            "The summary speaks of tasks that do not exist",
            f"{', '.join(case.phantoms)} never were on this board; whoever goes on from this summary looks in vain.",
            done, data={"phantom_refs": case.phantoms}, hint=f"kanban edit {case.task.id} --summary TEXT",
        )  # fmt: skip


def repeated_failures(case: Case) -> Iterator[Diagnostic]:
    """The task fails again and again. A task that is being tried now is given the benefit of the doubt."""
    failures, limit = case.task.consecutive_failures, case.failure_limit
    if failures >= limit and case.task.status not in (*TERMINAL, "running"):
        outcome = next((run.outcome for run in reversed(case.runs) if run.outcome in _FAILED), None)
        error = case.task.last_failure_error
        hits = [event for event in case.events if event.kind in (*_FAILED, "gave_up")]
        yield _diagnostic(
            case, "repeated_failures", "critical" if failures >= 2 * limit else "error",
            f"{wording.many(failures, 'failure')} in a row: {wording.clip(error, 160) or 'no error was reported'}",
            f"The last one: {outcome or 'unknown'}. After {limit} in a row a task is blocked. Repair the cause, then "
            "unblock or reassign the task.",
            hits, count=failures, hint=f"kanban log {case.task.id}",
            data={"consecutive_failures": failures, "most_recent_outcome": outcome, "last_error": error,
                  "failure_threshold": limit, "failure_limit": limit},
        )  # fmt: skip


def repeated_crashes(case: Case) -> Iterator[Diagnostic]:
    """The newest attempts crashed, although the row of failures is shorter (an unblock begins a new one)."""
    if case.task.status in (*TERMINAL, "running") or case.task.consecutive_failures >= case.failure_limit:
        return
    crashes: list[Run] = []
    for run in reversed(case.runs):
        if run.outcome in ("completed", "reclaimed"):
            break
        if run.outcome == "crashed":
            crashes.append(run)
    if len(crashes) >= CRASH_LIMIT:
        yield Diagnostic(
            "repeated_crashes",
            "critical" if len(crashes) >= 2 * CRASH_LIMIT else "error",
            f"{wording.many(len(crashes), 'crash')}: {wording.clip(crashes[0].error, 160) or 'no error was reported'}",
            "The newest attempts ended with a crash. The worker's log may say why.",
            _actions(case, f"kanban log {case.task.id}"),
            crashes[-1].ended_at,
            crashes[0].ended_at,
            len(crashes),
            crashes[0].id,
            {"consecutive_crashes": len(crashes), "last_error": crashes[0].error},
        )


def stuck_in_blocked(case: Case) -> Iterator[Diagnostic]:
    """The task is blocked for a day, and nobody said anything since."""
    if case.task.status != "blocked":
        return
    blocked = [event for event in case.events if event.kind in _BLOCKS][-1:]
    since = blocked[0].created_at if blocked else case.task.created_at
    answered = any(event.kind == "commented" and event.id > blocked[0].id for event in case.events if blocked)
    if case.now_s - since >= BLOCKED_S and not answered:
        age_s = case.now_s - since
        yield _diagnostic(
            case, "stuck_in_blocked", "warning", f"Blocked for {wording.age(age_s)}",
            "Nobody has answered since it was blocked. Comment on it, or unblock it.",
            blocked, data={"blocked_at": since, "age_hours": round(age_s / 3600, 1)},
            hint=f"kanban unblock {case.task.id} --reason TEXT",
        )  # fmt: skip


def block_unblock_cycling(case: Case) -> Iterator[Diagnostic]:
    """The task is unblocked and blocked again and again: unblocking does not help."""
    again: list[Event] = []
    unblocked = False
    for event in case.events:
        if event.created_at < case.now_s - CYCLE_WINDOW_S:
            continue
        if event.kind == "unblocked":
            unblocked = True
        elif event.kind == "blocked" and unblocked:
            again.append(event)
            unblocked = False
    if len(again) >= CYCLES:
        yield _diagnostic(
            case, "block_unblock_cycling", "warning", f"Blocked again {wording.many(len(again), 'time')} within a day",
            "Each time it was unblocked it came back. Reassign it, change what it asks for, or archive it.",
            again, data={"cycles": len(again), "window_seconds": CYCLE_WINDOW_S}, hint=f"kanban show {case.task.id}",
        )  # fmt: skip


def stranded_in_ready(case: Case) -> Iterator[Diagnostic]:
    """The task is ready and assigned, and no worker takes it."""
    if case.task.status != "ready" or not case.task.assignee:
        return
    ready = [event for event in case.events if event.kind in _BECOMES_READY][-1:]
    since = ready[0].created_at if ready else case.task.created_at
    age_s = case.now_s - since
    if age_s >= STRANDED_S:
        severity = "critical" if age_s >= 6 * STRANDED_S else "error" if age_s >= 2 * STRANDED_S else "warning"
        yield _diagnostic(
            case, "stranded_in_ready", severity, f"Ready for {wording.age(age_s)}, and nobody takes it",
            f"Is {case.task.assignee} the right name, and does its gateway run?",
            ready, data={"ready_since": since, "age_seconds": age_s, "assignee": case.task.assignee,
                         "threshold_seconds": STRANDED_S},
            hint="kanban assignees",
        )  # fmt: skip


def refused_late_result(case: Case) -> Iterator[Diagnostic]:
    """A worker's words came after its run was over. They are kept in the event; a person may want to take them up."""
    hits = _unresolved(case, "late_refused")
    if hits:
        by = _merged([event for event in hits if event.payload], "by")
        yield _diagnostic(
            case, "refused_late_result", "warning", f"What {', '.join(by)} reported came too late",
            "The run was over by then, so it was refused; the event holds all that was said.",
            hits, data={"events": [event.id for event in hits]}, hint=f"kanban show {case.task.id}",
        )  # fmt: skip


CHECKS: tuple[Callable[[Case], Iterator[Diagnostic]], ...] = (
    hallucinated_cards,
    prose_phantom_refs,
    repeated_failures,
    repeated_crashes,
    stuck_in_blocked,
    block_unblock_cycling,
    stranded_in_ready,
    refused_late_result,
)


def _diagnostic(
    case: Case,
    kind: str,
    severity: str,
    title: str,
    detail: str,
    hits: list[Event],
    *,
    hint: str,
    data: dict[str, Any],
    count: int | None = None,
) -> Diagnostic:
    first = hits[0].created_at if hits else case.now_s
    last = hits[-1].created_at if hits else case.now_s
    count = max(1, len(hits)) if count is None else count
    run_id = hits[-1].run_id if hits else None
    return Diagnostic(kind, severity, title, detail, _actions(case, hint), first, last, count, run_id, data)


def _actions(case: Case, hint: str) -> list[dict[str, Any]]:
    """The command that shows or ends the cause, then what always may help."""
    running = case.task.status == "running"
    return [
        {"kind": "cli_hint", "label": hint, "payload": {"command": hint}, "suggested": True},
        *([{"kind": "reclaim", "label": "Take it from its worker", "payload": {}, "suggested": False}] * running),
        {"kind": "reassign", "label": "Give it to another profile", "payload": {"reclaim_first": running},
         "suggested": False},
    ]  # fmt: skip


def _unresolved(case: Case, kind: str) -> list[Event]:
    """The events of ``kind`` since the task was last completed or its result edited."""
    since = max((event.id for event in case.events if event.kind in _CLEARS), default=0)
    return [event for event in case.events if event.kind == kind and event.id > since]


def _merged(hits: list[Event], key: str) -> list[str]:
    found: dict[str, None] = {}
    for event in hits:
        value = (event.payload or {}).get(key) or []
        found.update(dict.fromkeys([value] if isinstance(value, str) else value))
    return list(found)
