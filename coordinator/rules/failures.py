"""Failures: runs that ended without a result, and the breaker that blocks a task after too many in a row."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import FAILURE_LIMIT, Fail, Outcome, Recover
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.links import settle_waiting
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.rules.runs import before_claim, end_run
from kanban_shards.coordinator.state.board_state import BoardState, TaskState

# A worker that ends cleanly without saying what came of its task is given this many tries, whatever the limit.
PROTOCOL_VIOLATION_LIMIT = 3
RATE_LIMIT_COOLDOWN_S = 300


def fail(board: BoardState, entry: Entry, body: Fail, task: TaskState) -> dict[str, Any]:
    """End the run with its outcome; the task is ready again, or blocked if the breaker trips."""
    violated = body.outcome == "protocol_violation"
    outcome = "crashed" if violated else body.outcome
    payload = {**(body.facts or {}), "error": body.error, "pid": task["worker_pid"], "claimer": task["claim_lock"]}
    if body.exit_code is not None:
        payload["exit_code"] = body.exit_code
    status = before_claim(board, task)
    metadata = body.facts
    if violated:
        metadata = {**(metadata or {}), "protocol_violation": True}
    run_id = end_run(board, task, outcome, outcome, metadata=metadata, error=body.error)
    task["status"] = status
    if body.outcome == "rate_limited":
        task["not_before_s"] = board.now_s + (body.cooldown_s or RATE_LIMIT_COOLDOWN_S)
        board.add_event(task.id, "rate_limited", payload, run_id)
    elif body.outcome == "stale":
        board.add_event(task.id, "stale", payload, run_id)
    else:
        failures = task["consecutive_failures"] + int(body.counts or body.trips)
        task["consecutive_failures"] = failures
        task["last_failure_error"] = body.error
        payload["failures"] = failures
        if violated:
            payload["protocol_violation"] = True
        board.add_event(task.id, body.outcome, payload, run_id)
        if body.counts or body.trips:
            _trip_breaker(board, task, body, run_id)
    return {"status": task["status"], "failures": task["consecutive_failures"]}


def recover(board: BoardState, entry: Entry, body: Recover, task: TaskState) -> dict[str, Any]:
    """A task that the breaker blocked goes on, because by now it takes more failures; what it had stays counted."""
    if task["status"] != "blocked" or board.last_block_event(task.id) != "gave_up":
        raise Refusal("wrong_status", f"{task.id} is {task['status']}, and not blocked by failures", **_stands(task))
    limit, _ = _limit(board, task, None, body.limit)
    if task["consecutive_failures"] >= limit:
        sentence = f"{task.id} had {task['consecutive_failures']} failures in a row, and {limit} block it"
        raise Refusal("wrong_status", sentence, **_stands(task))
    task["status"] = "todo"
    settle_waiting(board, task)
    return {"status": task["status"]}


def _stands(task: TaskState) -> dict[str, Any]:
    return {"status": task["status"], "failures": task["consecutive_failures"]}


def _trip_breaker(board: BoardState, task: TaskState, body: Fail, run_id: int | None) -> None:
    limit, source = _limit(board, task, body.outcome, body.limit)
    if task["consecutive_failures"] < limit and not body.trips:
        return
    task["status"] = "blocked"
    if body.outcome == "spawn_failed":
        board.update_run(body.run_id, {"status": "gave_up", "outcome": "gave_up"})  # as Hermes closes it
    board.add_event(
        task.id,
        "gave_up",
        {
            **(body.facts or {}),
            "failures": task["consecutive_failures"],
            "effective_limit": limit,
            "limit_source": source,
            "error": body.error,
            "trigger_outcome": body.outcome,
        },
        run_id,
    )


def _limit(board: BoardState, task: TaskState, outcome: Outcome | None, said: int | None) -> tuple[int, str]:
    """How many failures in a row block the task, and who says so."""
    if task["max_retries"] is not None:
        return max(1, task["max_retries"]), "task"
    if said is not None:
        return said, "dispatcher"
    if outcome == "protocol_violation":
        return PROTOCOL_VIOLATION_LIMIT, "protocol"
    configured = board.settings().get("failure_limit")
    return (configured, "board") if configured else (FAILURE_LIMIT, "default")
