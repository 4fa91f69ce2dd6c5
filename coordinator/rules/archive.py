"""Archive: tasks that are archived, reopened, or deleted."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Archive, Delete, Gc, Reopen
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.links import demote_children, promote_children, settle_children, settle_or_hold
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.rules.runs import end_run
from kanban_shards.coordinator.rules.tasks import refuse_duplicate
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.records import TERMINAL


def archive(board: BoardState, entry: Entry, body: Archive, task: TaskState) -> dict[str, Any]:
    """Out of sight; an open run ends. Whoever waited for the task waits no longer."""
    if task["status"] == "archived":
        raise Refusal("wrong_status", f"{task.id} is archived already", status="archived")
    run_id = end_run(board, task, "reclaimed", "reclaimed", error="archived")
    task["status"] = "archived"
    task["due_s"] = None
    board.add_event(task.id, "archived", None, run_id)
    board.save(task)
    promote_children(board, task.id)
    return {"status": "archived"}


def reopen(board: BoardState, entry: Entry, body: Reopen, task: TaskState) -> dict[str, Any]:
    """Back to where work can begin; tasks that relied on it being finished wait again."""
    if body.to == "ready" and board.has_open_parent(task.id):
        raise Refusal("parents_open", f"{task.id} waits for tasks that are not done; reopen it to todo instead")
    if task["status"] == body.to:
        raise Refusal("wrong_status", f"{task.id} is {body.to} already", status=body.to)
    if task["status"] == "archived":
        refuse_duplicate(board, task["idempotency_key"])  # archiving freed the key, and somebody may have taken it
    was_terminal = task["status"] in TERMINAL
    run_id = end_run(board, task, "reclaimed", "reclaimed", error=f"reopened to {body.to}")
    task["status"] = body.to
    task["completed_at"] = None
    task["due_s"] = None
    task["not_before_s"] = None
    task["forced"] = None
    board.add_event(task.id, "status", {"status": body.to, "reason": body.reason, "by": entry.change.profile}, run_id)
    answer: dict[str, Any] = {"status": body.to}
    if body.to == "todo":
        answer = settle_or_hold(board, task, body.hold_s)
    board.save(task)
    if was_terminal:
        demote_children(board, task.id)
    return answer


def delete(board: BoardState, entry: Entry, body: Delete, task: TaskState) -> dict[str, Any]:
    """Everything of the task goes; its id is never used again, and a late change to it is refused."""
    if body.archived_only and task["status"] != "archived":
        raise Refusal("wrong_status", f"{task.id} is {task['status']}; archive it before", status=task["status"])
    waiting = board.children(task.id)
    board.files_were_removed(task.id)
    attachments = board.delete_task(task.id, entry.position)
    settle_children(board, waiting)
    return {"attachments": attachments}


def gc(board: BoardState, entry: Entry, body: Gc) -> tuple[None, dict[str, int]]:
    """Old events of finished tasks go; those that a chat is still to be told of stay."""
    return None, {"events": board.forget_events(body.events_before_s)}
