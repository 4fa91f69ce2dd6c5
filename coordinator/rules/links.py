"""Links: which task waits for which, and what follows when the waiting is over."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Link, Unlink
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.records import TERMINAL

# From so many on, what becomes of those that wait for a task is written for all at once; a few are cheaper in memory.
MANY = 50


def link(board: BoardState, entry: Entry, body: Link, task: TaskState) -> dict[str, Any]:
    """The task waits for the parent. Linking twice is linking once."""
    parent = board.task(body.parent)
    if parent is None:
        raise Refusal("unknown_parent", f"there is no task {body.parent} to wait for", missing=[body.parent])
    if board.is_linked(body.parent, task.id):
        return {"linked": False}
    if body.parent == task.id:
        raise Refusal("cycle", f"{task.id} cannot wait for itself")
    if board.leads_to(task.id, body.parent):
        raise Refusal("cycle", f"{body.parent} already waits for {task.id}, so they would wait for each other")
    board.add_link(body.parent, task.id)
    board.add_event(task.id, "linked", {"parent": body.parent, "child": task.id})
    if parent["status"] not in TERMINAL:
        task["forced"] = None
        if task["status"] == "ready":
            task["status"] = "todo"
    return {"linked": True}


def unlink(board: BoardState, entry: Entry, body: Unlink, task: TaskState) -> dict[str, Any]:
    """The task no longer waits for the parent. Unlinking what is not linked changes nothing."""
    if not board.is_linked(body.parent, task.id):
        return {"unlinked": False}
    board.remove_link(body.parent, task.id)
    board.add_event(task.id, "unlinked", {"parent": body.parent, "child": task.id})
    settle_waiting(board, task)
    return {"unlinked": True}


def promote_children(board: BoardState, task_id: str) -> None:
    """A task became terminal: those that waited for it alone are ready, in the same entry."""
    settle_children(board, board.children(task_id))


def settle_children(board: BoardState, task_ids: list[str]) -> None:
    """Each of these is ready if it waits for nothing any more."""
    if len(task_ids) >= MANY:
        board.promote_all(task_ids)
        return
    for task_id in task_ids:
        task = board.known_task(task_id)
        settle_waiting(board, task)
        board.save(task)


def demote_children(board: BoardState, task_id: str) -> None:
    """A task is no longer terminal: those that are ready because it was wait again, unless they were forced."""
    payload = {"status": "todo", "reason": "parent_reopened", "parent": task_id}
    children = board.children(task_id)
    if len(children) >= MANY:
        board.demote_all(children, payload)
        return
    for child_id in children:
        child = board.known_task(child_id)
        if child["status"] == "ready" and not child["forced"]:
            child["status"] = "todo"
            board.add_event(child_id, "status", payload)
            board.save(child)


def settle_waiting(board: BoardState, task: TaskState) -> None:
    """A waiting task whose parents are all terminal, or that was forced, is ready."""
    if task["status"] == "todo" and ready_or_waiting(board, task) == "ready":
        task["status"] = "ready"
        task["due_s"] = None
        board.add_event(task.id, "promoted")


def settle_or_hold(board: BoardState, task: TaskState, hold_s: int | None) -> dict[str, Any]:
    """The same, but a task that waits for none is held in todo for ``hold_s`` seconds, in which it may be linked; then
    a ``due`` looks again. Returns what its author is told: the status, and until when it is held."""
    if hold_s is None or ready_or_waiting(board, task) == "todo":
        settle_waiting(board, task)
        return {"status": task["status"]}
    task["due_s"] = board.now_s + hold_s
    return {"status": task["status"], "due_s": task["due_s"]}


def ready_or_waiting(board: BoardState, task: TaskState) -> str:
    """Where a task without a run stands: a parent may have been linked to it while it was running or blocked."""
    return "todo" if not task["forced"] and board.has_open_parent(task.id) else "ready"
