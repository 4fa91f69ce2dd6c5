"""Tasks: created, assigned, edited."""

from __future__ import annotations

from typing import Any

import msgspec

from kanban_shards.changes.kinds import Assign, Create, Edit
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.links import settle_waiting
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.coordinator.state.session import json_text

_RESULT_FIELDS = ("result", "summary", "metadata")


def create(board: BoardState, entry: Entry, body: Create) -> tuple[TaskState, dict[str, Any]]:
    """A new task: where it was told to start, else ready, or todo while a parent is open."""
    _check_new(board, entry, body)
    parents = sorted(set(body.parents))
    missing = sorted(set(parents) - board.existing(parents))
    if missing:
        raise Refusal("unknown_parent", f"there is no task {', '.join(missing)} to wait for", missing=missing)
    assignee = body.assignee
    board.add_task(
        {
            "id": entry.change.task_id,
            "title": body.title,
            "body": body.body,
            "assignee": assignee,
            "status": body.starts or "ready",
            "priority": body.priority,
            "created_by": body.created_by or entry.change.profile,
            "created_at": board.now_s,
            "workspace_kind": body.workspace_kind,
            "workspace_path": body.workspace_path,
            "branch_name": body.branch_name,
            "project_id": body.project_id,
            "tenant": body.tenant,
            "idempotency_key": body.idempotency_key,
            "max_runtime_seconds": body.max_runtime_seconds,
            "skills": json_text(body.skills),
            "max_retries": body.max_retries,
            "goal_mode": int(body.goal_mode),
            "goal_max_turns": body.goal_max_turns,
            "session_id": body.session_id,
            "model_override": body.model_override,
            "provider_override": body.provider_override,
            "reasoning_effort": body.reasoning_effort,
        },
        creator=entry.change.profile,
        owner=assignee or entry.change.profile,
    )
    for parent in parents:
        board.add_link(parent, entry.change.task_id)
    task = board.known_task(entry.change.task_id)
    if body.starts is None and board.has_open_parent(task.id):
        task["status"] = "todo"
    board.add_event(
        task.id,
        "created",
        {
            "assignee": assignee,
            "status": task["status"],
            "parents": parents,
            "tenant": body.tenant,
            "branch_name": body.branch_name,
            "skills": body.skills,
            "goal_mode": body.goal_mode,
        },
    )
    if body.starts == "blocked":
        # Readers of Hermes's events tell a lasting block from a passing one by this event.
        board.add_event(task.id, "blocked", {"reason": "created blocked"})
    return task, {"task_id": task.id}


def assign(board: BoardState, entry: Entry, body: Assign, task: TaskState) -> None:
    """Hand the task to somebody else. A running one stays with its run."""
    if task["current_run_id"]:
        raise Refusal(
            "wrong_status",
            f"{task.id} is running, run {task['current_run_id']} by {task['run_profile']}; let it end first",
        )
    board.add_event(task.id, "assigned", {"assignee": body.assignee})
    if task["assignee"] == body.assignee:
        return
    task["assignee"] = body.assignee
    # Failures, a breaker that they tripped and a rate limit were somebody else's; the new assignee starts afresh.
    task["consecutive_failures"] = 0
    task["last_failure_error"] = None
    task["not_before_s"] = None
    if task["status"] == "blocked" and board.last_block_event(task.id) == "gave_up":
        task["status"] = "todo"
        settle_waiting(board, task)


def edit(board: BoardState, entry: Entry, body: Edit, task: TaskState) -> None:
    """New values for some fields; those of the result only on a task that is done."""
    given = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
    if task["status"] != "done" and any(name in given for name in _RESULT_FIELDS):
        raise Refusal("wrong_status", f"{task.id} is {task['status']}; a result is edited when the task is done")
    _edit_run(board, given, task)
    for name, value in given.items():
        if name not in ("summary", "metadata"):
            task[name] = value
    payload: dict[str, Any] = {"fields": sorted(given)}
    if "result" in given:
        payload["result_len"] = len(given["result"] or "")
    if "summary" in given:
        payload["summary"] = given["summary"]
    board.add_event(task.id, "edited", payload)
    if "priority" in given:
        board.add_event(task.id, "reprioritized", {"priority": given["priority"]})


def refuse_duplicate(board: BoardState, key: str | None) -> None:
    """Refuse a second live task with one idempotency key."""
    holder = None if key is None else board.live_task_with_key(key)
    if holder:
        raise Refusal("duplicate", f"{holder} has the idempotency key {key!r} already", task_id=holder)


def _check_new(board: BoardState, entry: Entry, body: Create) -> None:
    if board.taken([entry.change.task_id]):
        raise Refusal("taken_id", f"there is a task {entry.change.task_id} already")
    refuse_duplicate(board, body.idempotency_key)


def _edit_run(board: BoardState, given: dict[str, Any], task: TaskState) -> None:
    columns: dict[str, Any] = {name: given[name] for name in ("summary", "metadata") if name in given}
    run_id = board.latest_completed_run(task.id) if columns else None
    if run_id is None:
        return
    if "metadata" in columns:
        columns["metadata"] = json_text(columns["metadata"])
    board.update_run(run_id, columns)
