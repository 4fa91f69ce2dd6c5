"""Links: which task waits for which, and what follows when the waiting is over."""

from __future__ import annotations

from typing import Any

from coordinator.ledger import Entry
from coordinator.refusal import Refusal
from coordinator.state import BoardState, Task, is_terminal
from shards.changes import Link, Unlink


def link(board: BoardState, entry: Entry, body: Link, task: Task) -> dict[str, Any]:
    """The task waits for the parent. Linking twice is linking once."""
    parent = board.task(body.parent)
    if parent is None:
        raise Refusal("unknown_parent", f"there is no task {body.parent} to wait for", missing=[body.parent])
    if board.is_linked(body.parent, task.id):
        return {"linked": False}
    if board.leads_to(task.id, body.parent):
        raise Refusal("cycle", f"{body.parent} already waits for {task.id}, so they would wait for each other")
    board.add_link(body.parent, task.id)
    board.add_event(task.id, "linked", {"parent": body.parent, "child": task.id})
    if task["status"] == "ready" and not is_terminal(parent["status"]):
        task["status"] = "todo"
    return {"linked": True}


def unlink(board: BoardState, entry: Entry, body: Unlink, task: Task) -> dict[str, Any]:
    """The task no longer waits for the parent. Unlinking what is not linked changes nothing."""
    if not board.is_linked(body.parent, task.id):
        return {"unlinked": False}
    board.remove_link(body.parent, task.id)
    board.add_event(task.id, "unlinked", {"parent": body.parent, "child": task.id})
    settle_waiting(board, task)
    return {"unlinked": True}


def promote_children(board: BoardState, task_id: str) -> None:
    """A task became terminal: those that waited for it alone are ready, in the same entry."""
    for child_id in board.children(task_id):
        child = board.task(child_id)
        settle_waiting(board, child)
        board.save(child)


def settle_waiting(board: BoardState, task: Task) -> None:
    """A waiting task whose parents are all terminal is ready."""
    if task["status"] == "todo" and not board.has_open_parent(task.id):
        task["status"] = "ready"
        board.add_event(task.id, "promoted")
