"""Runs: attempts at a task, from the claim that opens one, over its heartbeats, to giving the task back."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.homes import Alive
from kanban_shards.changes.kinds import Claim, ClaimNext, Expire, Progress, Reclaim, Release, Spawned
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.capacity import check_capacity
from kanban_shards.coordinator.rules.links import ready_or_waiting
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.coordinator.state.session import json_text

CAN_CLAIM = ("ready", "review")
# What a task has only while a run is open: Hermes's columns, then those of ``merge_tasks``.
_OF_AN_OPEN_RUN = (
    "current_run_id", "claim_lock", "claim_expires", "worker_pid", "run_profile", "run_claimer", "lease_s", "grace_s",
    "reviewing",
)  # fmt: skip


def claim(board: BoardState, entry: Entry, body: Claim, task: TaskState) -> dict[str, Any]:
    """Open a run on a task that is ready, or waits for review."""
    if task["current_run_id"]:
        raise Refusal(
            "wrong_status",
            f"{task.id} is taken: run {task['current_run_id']} by {task['run_profile']}",
            status=task["status"],
            owner=task["owner"],
            run_id=task["current_run_id"],
        )
    require(task, CAN_CLAIM, "claimed")
    if task["status"] == "ready" and not task["forced"] and board.has_open_parent(task.id):
        raise Refusal("parents_open", f"{task.id} waits for tasks that are not done")
    if (task["not_before_s"] or 0) > board.now_s:
        wait_s = task["not_before_s"] - board.now_s
        raise Refusal("cooling_down", f"{task.id} waits out a rate limit for {wait_s} s more", wait_s=wait_s)
    check_capacity(board, body.runs_as or entry.change.profile)
    return _open_run(board, entry, body, task)


def claim_next(board: BoardState, entry: Entry, body: ClaimNext) -> tuple[TaskState, dict[str, Any]]:
    """Open a run on the best ready task. The coordinator looks on the author's behalf, at this very position, so
    there is nothing the author could have missed."""
    profile = body.runs_as or entry.change.profile
    check_capacity(board, profile)
    task_id = board.best_ready(profile)
    if task_id is None:
        raise Refusal("nothing_ready", f"no ready task is assigned to {profile} or to nobody")
    task = board.known_task(task_id)
    return task, _open_run(board, entry, body, task)


def spawned(board: BoardState, entry: Entry, body: Spawned, task: TaskState) -> None:
    """The worker is started."""
    task["worker_pid"] = body.pid
    if body.workspace_path is not None:
        task["workspace_path"] = body.workspace_path
    if body.branch_name is not None:
        task["branch_name"] = body.branch_name
    board.update_run(body.run_id, {"worker_pid": body.pid})
    where = {"host": body.host, "began": body.began} if body.host is not None else {}
    board.add_event(task.id, "spawned", {"pid": body.pid, **where}, body.run_id)


def progress(board: BoardState, entry: Entry, body: Progress, task: TaskState) -> None:
    """The worker says where it is, or that it is alive, which is also a heartbeat."""
    task["last_heartbeat_at"] = board.now_s
    task["claim_expires"] = board.now_s + task["lease_s"]
    board.update_run(body.run_id, {"last_heartbeat_at": board.now_s, "claim_expires": task["claim_expires"]})
    board.add_event(task.id, "heartbeat", None if body.note is None else {"note": body.note}, body.run_id)


def alive(board: BoardState, entry: Entry, body: Alive, task: TaskState) -> dict[str, Any]:
    """A host read a sign of life that no other host reads: the lease counts from then, if it did not from later."""
    if task["current_run_id"] != body.run_id:
        raise Refusal("late", f"run {body.run_id} of {task.id} is over", status=task["status"], owner=task["owner"])
    sign_s = max(0, entry.at_ms - body.age_ms) // 1000
    renewed = {
        "last_heartbeat_at": max(sign_s, task["last_heartbeat_at"] or 0),
        "claim_expires": max(sign_s + task["lease_s"], task["claim_expires"]),
    }
    for column, value in renewed.items():
        task[column] = value
    board.update_run(body.run_id, renewed)
    return {"claim_expires": task["claim_expires"]}


def release(board: BoardState, entry: Entry, body: Release, task: TaskState) -> dict[str, Any]:
    """The worker gives the task back without a result: ready, or todo while a parent is open."""
    give_back(board, task, {"manual": True, "reason": body.reason, "by": entry.change.profile}, body.reason)
    return {"status": task["status"]}


def reclaim(board: BoardState, entry: Entry, body: Reclaim, task: TaskState) -> dict[str, Any]:
    """An operator takes the task away from its run."""
    if not task["current_run_id"]:
        raise Refusal("wrong_status", f"{task.id} is {task['status']} and has no open run", status=task["status"])
    reason = f"manual_reclaim: {body.reason or 'no reason given'}"
    payload = {**(body.facts or {}), "manual": True, "reason": body.reason, "by": entry.change.profile}
    give_back(board, task, payload, reason, body.facts)
    task["consecutive_failures"] = 0
    task["last_failure_error"] = None
    return {"status": task["status"]}


def expire(board: BoardState, entry: Entry, body: Expire, task: TaskState) -> None:
    """The lease ran out without a heartbeat: the task is ready again, or todo while a parent is open."""
    error = f"no sign of life for {task['lease_s']} s"
    if body.unheard_s is not None:
        error = f"no host that hears its worker renewed it for {body.unheard_s} s"
    elif task["grace_s"] is not None:
        silent_s = max(task["lease_s"], task["grace_s"])
        error = f"no sign of the worker, nor of a dispatcher that sees it, for {silent_s} s"
    give_back(board, task, {"reason": error, "last_heartbeat_at": body.last_sign_ms // 1000}, error)


def give_back(
    board: BoardState,
    task: TaskState,
    payload: dict[str, Any],
    error: str | None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """End the run without a result; the task is where it was before the claim."""
    payload["prev_lock"] = task["claim_lock"]
    status = before_claim(board, task)
    run_id = end_run(board, task, "reclaimed", "reclaimed", metadata=metadata, error=error)
    task["status"] = status
    board.add_event(task.id, "reclaimed", payload, run_id)


def before_claim(board: BoardState, task: TaskState) -> str:
    """The status that a running task goes back to."""
    return "review" if task["reviewing"] else ready_or_waiting(board, task)


def end_run(
    board: BoardState,
    task: TaskState,
    status: str,
    outcome: str,
    *,
    summary: str | None = None,
    metadata: dict[str, Any] | None = None,
    error: str | None = None,
    synthesize: bool = False,
) -> int | None:
    """Close the task's open run; without one, and if there is something to keep, leave a run of no length."""
    closing = {
        "status": status,
        "outcome": outcome,
        "summary": summary,
        "metadata": json_text(metadata),
        "error": error,
        "ended_at": board.now_s,
    }
    run_id: int | None = task["current_run_id"]
    if run_id:
        board.update_run(run_id, {**closing, "claim_lock": None, "claim_expires": None})
    elif synthesize:
        run_id = board.add_run({"task_id": task.id, "profile": task["assignee"], "started_at": board.now_s, **closing})
    for column in _OF_AN_OPEN_RUN:
        task[column] = None
    return run_id


def require(task: TaskState, statuses: tuple[str, ...], verb: str) -> None:
    """Refuse unless the task has one of ``statuses``."""
    if task["status"] not in statuses:
        raise Refusal(
            "wrong_status",
            f"{task.id} is {task['status']} and cannot be {verb}; that takes one that is {' or '.join(statuses)}",
            status=task["status"],
        )


def _open_run(board: BoardState, entry: Entry, body: Claim, task: TaskState) -> dict[str, Any]:
    runs_as = body.runs_as or entry.change.profile
    claim_lock = body.claimer or entry.change.profile
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
    payload = {"lock": claim_lock, "expires": expires, "run_id": run_id, "profile": runs_as, "by": entry.change.profile}
    if task["status"] == "review":
        payload["source_status"] = "review"
        task["reviewing"] = 1
    task["status"] = "running"
    task["claim_lock"] = claim_lock
    task["claim_expires"] = expires
    task["last_heartbeat_at"] = None
    task["started_at"] = task["started_at"] or board.now_s
    task["current_run_id"] = run_id
    task["run_profile"] = runs_as
    task["run_claimer"] = entry.change.profile
    task["lease_s"] = body.lease_s
    task["grace_s"] = body.grace_s
    task["not_before_s"] = None
    board.no_longer_waits(runs_as)
    board.add_event(task.id, "claimed", payload, run_id)
    return {"task_id": task.id, "run_id": run_id}
