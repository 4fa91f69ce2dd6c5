"""Decide: the rule of docs/design/rule.md, "The rule", for one entry, on the board as it stands at its position.

    A change applies if its author owns the task, or had seen everything that was done to it.
    Otherwise it is refused, and the refusal keeps the whole change.

``decide`` depends on the board and the entry alone: no clock, no randomness, no environment. So the board is a
function of the ledger, and the running coordinator, the catch-up after a crash, ``rebuild`` and ``verify`` agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from kanban_shards.changes import vectors
from kanban_shards.changes.fields import DECIDING, Body, run_id_of
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules import RULES, TASKLESS_RULES, Answer
from kanban_shards.coordinator.rules.reading import read_body, read_seen
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.paths import COORDINATOR

# What a worker may have to say; kept where a person finds it when it comes too late.
_CARRIED = ("result", "summary", "metadata", "reason", "note", "error")


class Decision(NamedTuple):
    """What became of an entry. ``answer``: what it was given, or the facts of the refusal."""

    entry: Entry
    reason: str | None = None
    sentence: str | None = None
    answer: Answer = None

    @property
    def applied(self) -> bool:
        """Whether the entry was applied, and not refused."""
        return self.reason is None


def decide(board: BoardState, entry: Entry) -> Decision:
    """Apply ``entry`` to ``board`` or refuse it, and record the verdict. Inside the board's transaction."""
    board.begin_entry(entry)
    body: Body | None = None
    try:
        body = read_body(entry)
        decision = Decision(entry, answer=_apply(board, entry, body))
    except Refusal as refusal:
        board.undo_entry()
        if body is not None:
            _keep_what_it_leaves(board, entry, body, refusal)
        decision = Decision(entry, refusal.reason, refusal.sentence, dict(refusal.facts) or None)
    verdict = "applied" if decision.applied else "refused"
    board.end_entry(entry, verdict, decision.reason, decision.sentence, decision.answer)
    return decision


def _apply(board: BoardState, entry: Entry, body: Body) -> Answer:
    task: TaskState | None
    if entry.change.kind in TASKLESS_RULES:
        task, answer = TASKLESS_RULES[entry.change.kind](board, entry, body)
    else:
        task = _task(board, entry.change.task_id)
        if body.rule == DECIDING:
            _check_may_decide(entry, body, task)
        answer = RULES[entry.change.kind](board, entry, body, task)
    if task is not None:
        if body.rule == DECIDING:
            board.stamp(task, entry)
        board.save(task)
    return answer


def _task(board: BoardState, task_id: str) -> TaskState:
    task = board.task(task_id)
    if task is None and board.is_deleted(task_id):
        raise Refusal("gone", f"task {task_id} was deleted")
    if task is None:
        raise Refusal("unknown_task", f"there is no task {task_id}")
    return task


def _check_may_decide(entry: Entry, body: Body, task: TaskState) -> None:
    """Rules 2 and 3 of "The rule"."""
    run_id = run_id_of(body)
    if run_id is not None:
        _check_run(entry, run_id, task)
    elif entry.change.profile not in (
        task["owner"],
        COORDINATOR,
    ):  # whose changes say what they rely on: rules check it
        missed = vectors.unseen(read_seen(entry), task.vector)
        if missed:
            raise Refusal("stale", _stale_sentence(task, missed), missed=missed, **_standing(task))


def _check_run(entry: Entry, run_id: int, task: TaskState) -> None:
    """Rule 3: only while that run is open, and only from the profile it runs as or the one that claimed it."""
    if task["current_run_id"] != run_id:
        raise Refusal("late", f"run {run_id} of {task.id} is over; {_whereabouts(task)}", **_standing(task))
    if entry.change.profile not in (task["run_profile"], task["run_claimer"], COORDINATOR):
        raise Refusal(
            "not_your_run",
            f"run {run_id} of {task.id} belongs to {task['run_profile']}, claimed by {task['run_claimer']}",
            **_standing(task),
        )


def _keep_what_it_leaves(board: BoardState, entry: Entry, body: Body, refusal: Refusal) -> None:
    """What a refused change leaves beside its verdict. What a worker had to say is shown on the task as an event, where
    a person finds it (rule 3); and whoever asked for a run in vain has its turn next."""
    carried = {name: getattr(body, name) for name in _CARRIED if getattr(body, name, None) is not None}
    if refusal.reason == "phantom_cards":
        board.add_event(
            entry.change.task_id, "completion_blocked_hallucination", {**refusal.facts, **carried}, run_id_of(body)
        )
    elif refusal.reason == "late" and carried:
        payload = {"kind": entry.change.kind, "by": entry.change.profile, "refused": refusal.sentence, **carried}
        board.add_event(entry.change.task_id, "late_refused", payload, run_id_of(body))
    elif isinstance(waiting := refusal.facts.get("waiting"), str):
        board.wait_for_room(waiting)


def _stale_sentence(task: TaskState, missed: dict[str, int]) -> str:
    who = ", ".join(f"{profile} (change {seq})" for profile, seq in sorted(missed.items()))
    return f"{task.id} was changed meanwhile by {who}; {_whereabouts(task)}"


def _whereabouts(task: TaskState) -> str:
    if task["current_run_id"]:
        return f"it is running, run {task['current_run_id']} by {task['run_profile']}"
    return f"it is {task['status']}, owned by {task['owner']}"


def _standing(task: TaskState) -> dict[str, Any]:
    return {"status": task["status"], "owner": task["owner"], "run_id": task["current_run_id"]}
