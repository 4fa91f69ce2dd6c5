"""Runs: attempts at a task, from the claim that opens one to whatever ends it."""

from __future__ import annotations

import json
from typing import Any

from coordinator.ledger import Entry
from coordinator.refusal import Refusal
from coordinator.rules.links import promote_children, settle_waiting
from coordinator.state import BoardState, Task
from shards.changes import Block, Claim, ClaimNext, Complete, Expire, Progress, Release, Unblock

CAN_COMPLETE = ("running", "ready", "blocked")
CAN_BLOCK = ("running", "ready")
# A task that is blocked for the same kind of reason this often goes back to triage: a person should look.
BLOCK_RECURRENCE_LIMIT = 2
SUMMARY_SHOWN = 400


def claim(board: BoardState, entry: Entry, body: Claim, task: Task) -> dict[str, Any]:
    """Open a run on a ready task."""
    if task["current_run_id"]:
        raise Refusal(
            "wrong_status",
            f"{task.id} is taken: run {task['current_run_id']} by {task['run_profile']}",
            status=task["status"],
            owner=task["owner"],
            run_id=task["current_run_id"],
        )
    if task["status"] != "ready":
        raise Refusal("wrong_status", f"{task.id} is {task['status']}, not ready", status=task["status"])
    if board.has_open_parent(task.id):
        raise Refusal("parents_open", f"{task.id} waits for tasks that are not done")
    return _open_run(board, entry, body, task)


def claim_next(board: BoardState, entry: Entry, body: ClaimNext) -> tuple[Task, dict[str, Any]]:
    """Open a run on the best ready task. The coordinator looks on the author's behalf, at this very position, so
    there is nothing the author could have missed."""
    profile = body.runs_as or entry.profile
    task_id = board.best_ready(profile)
    if task_id is None:
        raise Refusal("nothing_ready", f"no ready task is assigned to {profile} or to nobody")
    task = board.task(task_id)
    return task, _open_run(board, entry, body, task)


def complete(board: BoardState, entry: Entry, body: Complete, task: Task) -> dict[str, Any]:
    """The task is done, and whoever waits for it may go on."""
    _require(task, CAN_COMPLETE, "completed")
    task["result"] = body.result
    task["completed_at"] = board.now_s
    task["block_kind"] = None
    task["block_recurrences"] = 0
    task["consecutive_failures"] = 0
    run_id = _end_run(
        board, task, "done", "completed", body.summary, body.metadata, synthesize=_says_something(body)
    )
    task["status"] = "done"
    first_line = (body.summary or body.result or "").split("\n", 1)[0][:SUMMARY_SHOWN]
    board.add_event(
        task.id, "completed", {"result_len": len(body.result or ""), "summary": first_line or None}, run_id
    )
    board.save(task)
    promote_children(board, task.id)
    return {"status": "done", "run_id": run_id}


def block(board: BoardState, entry: Entry, body: Block, task: Task) -> dict[str, Any]:
    """The task cannot go on: it is blocked, waits for its parents (``dependency``), or, when it was blocked for the
    same kind of reason before, goes to triage."""
    _require(task, CAN_BLOCK, "blocked")
    if body.block == "dependency":
        run_id = _end_run(board, task, "blocked", "blocked", body.reason)
        task["status"] = "todo"
        board.add_event(task.id, "dependency_wait", {"reason": body.reason, "kind": body.block}, run_id)
        board.save(task)
        settle_waiting(board, task)
        return {"status": task["status"], "run_id": run_id}
    again = task["block_recurrences"] > 0 and task["block_kind"] == body.block
    recurrences = task["block_recurrences"] + 1 if again else 1
    looping = recurrences >= BLOCK_RECURRENCE_LIMIT
    run_id = _end_run(board, task, "blocked", "blocked", body.reason, synthesize=body.reason is not None)
    task["status"] = "triage" if looping else "blocked"
    task["block_kind"] = body.block
    task["block_recurrences"] = recurrences
    payload = {"reason": body.reason, "kind": body.block, "recurrences": recurrences}
    if looping:
        board.add_event(task.id, "block_loop_detected", {**payload, "limit": BLOCK_RECURRENCE_LIMIT}, run_id)
    else:
        board.add_event(task.id, "blocked", payload, run_id)
    return {"status": task["status"], "run_id": run_id}


def unblock(board: BoardState, entry: Entry, body: Unblock, task: Task) -> dict[str, Any]:
    """A blocked or scheduled task may go on: ready, or todo while a parent is open."""
    _require(task, ("blocked", "scheduled"), "unblocked")
    task["status"] = _ready_or_waiting(board, task)
    task["consecutive_failures"] = 0
    task["last_failure_error"] = None
    payload = {key: value for key, value in (("reason", body.reason), ("by", entry.profile)) if value}
    if task["status"] == "todo":
        payload["status"] = "todo"
    board.add_event(task.id, "unblocked", payload)
    return {"status": task["status"]}


def progress(board: BoardState, entry: Entry, body: Progress, task: Task) -> None:
    """The worker says where it is, which is also a sign of life."""
    _live_until(board, task, board.now_s)
    board.add_event(task.id, "heartbeat", {"note": body.note}, body.run_id)


def release(board: BoardState, entry: Entry, body: Release, task: Task) -> dict[str, Any]:
    """The worker gives the task back without a result: ready, or todo while a parent is open."""
    _end_run(board, task, "reclaimed", "reclaimed", error=body.reason)
    task["status"] = _ready_or_waiting(board, task)
    board.add_event(
        task.id, "reclaimed", {"manual": True, "reason": body.reason, "by": entry.profile}, body.run_id
    )
    return {"status": task["status"]}


def expire(board: BoardState, entry: Entry, body: Expire, task: Task) -> None:
    """The lease ran out without a sign of life: the task is ready again, or todo while a parent is open."""
    error = f"no sign of life for {task['lease_s']} s"
    _end_run(board, task, "reclaimed", "reclaimed", error=error)
    task["status"] = _ready_or_waiting(board, task)
    board.add_event(
        task.id, "reclaimed", {"reason": error, "last_heartbeat_at": body.last_sign_ms // 1000}, body.run_id
    )


def _ready_or_waiting(board: BoardState, task: Task) -> str:
    """Where a task without a run stands: a parent may have been linked to it while it was running or blocked."""
    return "todo" if board.has_open_parent(task.id) else "ready"


def _open_run(board: BoardState, entry: Entry, body: Claim, task: Task) -> dict[str, Any]:
    runs_as = body.runs_as or entry.profile
    claim_lock = body.claimer or entry.profile
    expires = board.now_s + body.lease_s
    run_id = board.add_run(
        {
            "task_id": task.id,
            "profile": runs_as,
            "step_key": task["current_step_key"],
            "status": "running",
            "claim_lock": claim_lock,
            "claim_expires": expires,
            "max_runtime_seconds": task["max_runtime_seconds"],
            "started_at": board.now_s,
        }
    )
    task["status"] = "running"
    task["claim_lock"] = claim_lock
    task["claim_expires"] = expires
    task["last_heartbeat_at"] = None
    task["started_at"] = task["started_at"] or board.now_s
    task["current_run_id"] = run_id
    task["run_profile"] = runs_as
    task["run_claimer"] = entry.profile
    task["lease_s"] = body.lease_s
    board.add_event(
        task.id,
        "claimed",
        {"lock": claim_lock, "expires": expires, "run_id": run_id, "profile": runs_as, "by": entry.profile},
        run_id,
    )
    return {"task_id": task.id, "run_id": run_id}


def _end_run(
    board: BoardState,
    task: Task,
    status: str,
    outcome: str,
    summary: str | None = None,
    metadata: dict | None = None,
    error: str | None = None,
    synthesize: bool = False,
) -> int | None:
    """Close the task's open run; without one, and if there is something to keep, leave a run of no length."""
    closing = {
        "status": status,
        "outcome": outcome,
        "summary": summary,
        "metadata": None if metadata is None else json.dumps(metadata, ensure_ascii=False),
        "error": error,
        "ended_at": board.now_s,
    }
    run_id = task["current_run_id"]
    if run_id:
        board.update_run(run_id, {**closing, "claim_lock": None, "claim_expires": None})
    elif synthesize:
        run_id = board.add_run(
            {"task_id": task.id, "profile": task["assignee"], "started_at": board.now_s, **closing}
        )
    for column in ("current_run_id", "run_profile", "run_claimer", "lease_s"):
        task[column] = None
    for column in ("claim_lock", "claim_expires", "worker_pid"):
        task[column] = None
    return run_id


def _live_until(board: BoardState, task: Task, sign_s: int) -> None:
    task["last_heartbeat_at"] = sign_s
    task["claim_expires"] = sign_s + task["lease_s"]
    board.update_run(
        task["current_run_id"], {"last_heartbeat_at": sign_s, "claim_expires": task["claim_expires"]}
    )


def _require(task: Task, statuses: tuple[str, ...], verb: str) -> None:
    if task["status"] not in statuses:
        raise Refusal(
            "wrong_status",
            f"{task.id} is {task['status']} and cannot be {verb}; that takes one that is {' or '.join(statuses)}",
            status=task["status"],
        )


def _says_something(body: Complete) -> bool:
    return any(value is not None for value in (body.summary, body.metadata, body.result))
