"""Outcomes: what becomes of a task: done, to be reviewed, blocked, scheduled, and going on after that."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Block, Complete, Due, Promote, Review, Schedule, Unblock
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.links import promote_children, ready_or_waiting, settle_or_hold, settle_waiting
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.rules.runs import end_run, require
from kanban_shards.coordinator.state.board_state import BoardState, TaskState

CAN_COMPLETE = ("running", "ready", "blocked", "review")
CAN_REVIEW = ("running", "ready")
CAN_BLOCK = ("running", "ready")
CAN_SCHEDULE = ("todo", "ready", "running", "blocked")
CAN_UNBLOCK = ("blocked", "scheduled")
# A task that is blocked for the same kind of reason this often goes back to triage: a person should look.
BLOCK_RECURRENCE_LIMIT = 2
SUMMARY_SHOWN = 400


def complete(board: BoardState, entry: Entry, body: Complete, task: TaskState) -> dict[str, Any]:
    """The task is done, and whoever waits for it may go on."""
    require(task, CAN_COMPLETE, "completed")
    _check_cards(board, entry, body, task)
    owner = task["owner"]
    said = any(value is not None for value in (body.summary, body.metadata, body.result))
    summary = body.result if body.summary is None else body.summary
    run_id = end_run(board, task, "done", "completed", summary=summary, metadata=body.metadata, synthesize=said)
    task["status"] = "done"
    task["result"] = body.result
    task["completed_at"] = board.now_s
    task["forced"] = None
    task["block_kind"] = None
    task["block_recurrences"] = 0
    task["consecutive_failures"] = 0
    task["last_failure_error"] = None
    first_line = (summary or "").split("\n", 1)[0][:SUMMARY_SHOWN]
    payload: dict[str, Any] = {"result_len": len(body.result or ""), "summary": first_line or None}
    if entry.change.profile != owner:
        payload["by"] = entry.change.profile  # the run and the task are somebody else's
    if body.created_cards:
        payload["verified_cards"] = list(body.created_cards)
    if body.artifacts:
        payload["artifacts"] = list(body.artifacts)
    board.add_event(task.id, "completed", payload, run_id)
    board.save(task)
    promote_children(board, task.id)
    return {"status": "done", "run_id": run_id}


def review(board: BoardState, entry: Entry, body: Review, task: TaskState) -> dict[str, Any]:
    """The work is finished; somebody should look at it."""
    require(task, CAN_REVIEW, "handed in for review")
    run_id = end_run(board, task, "done", "review", summary=body.summary, metadata=body.metadata)
    task["status"] = "review"
    board.add_event(task.id, "status", {"status": "review", "summary": body.summary}, run_id)
    return {"status": "review", "run_id": run_id}


def block(board: BoardState, entry: Entry, body: Block, task: TaskState) -> dict[str, Any]:
    """The task cannot go on: it is blocked, waits for its parents (``dependency``), or, when it was blocked for the
    same kind of reason before, goes to triage."""
    require(task, CAN_BLOCK, "blocked")
    synthesize = body.reason is not None
    if body.block == "dependency":
        run_id = end_run(board, task, "blocked", "blocked", summary=body.reason, synthesize=synthesize)
        task["status"] = "todo"
        task["block_kind"] = body.block
        task["forced"] = None
        board.add_event(task.id, "dependency_wait", {"reason": body.reason, "kind": body.block}, run_id)
        return {**settle_or_hold(board, task, body.hold_s), "run_id": run_id}
    again = task["block_recurrences"] > 0 and task["block_kind"] == body.block
    recurrences = task["block_recurrences"] + 1 if again else 1
    looping = recurrences >= BLOCK_RECURRENCE_LIMIT
    run_id = end_run(board, task, "blocked", "blocked", summary=body.reason, synthesize=synthesize)
    task["status"] = "triage" if looping else "blocked"
    task["block_kind"] = body.block
    task["block_recurrences"] = recurrences
    payload = {"reason": body.reason, "kind": body.block, "recurrences": recurrences}
    if looping:
        task["forced"] = None
        board.add_event(task.id, "block_loop_detected", {**payload, "limit": BLOCK_RECURRENCE_LIMIT}, run_id)
    else:
        board.add_event(task.id, "blocked", payload, run_id)
    return {"status": task["status"], "run_id": run_id}


def schedule(board: BoardState, entry: Entry, body: Schedule, task: TaskState) -> dict[str, Any]:
    """The task waits for a time, or for somebody to unblock it."""
    require(task, CAN_SCHEDULE, "scheduled")
    synthesize = body.reason is not None
    run_id = end_run(board, task, "scheduled", "scheduled", summary=body.reason, synthesize=synthesize)
    task["status"] = "scheduled"
    task["due_s"] = body.due_s
    board.add_event(task.id, "scheduled", {"reason": body.reason, "due": body.due_s}, run_id)
    return {"status": "scheduled", "run_id": run_id}


def due(board: BoardState, entry: Entry, body: Due, task: TaskState) -> None:
    """The time has come. A task in todo was held there, and is ready unless it waits for others by now."""
    if task["status"] not in ("scheduled", "todo") or task["due_s"] != body.due_s:
        raise Refusal("wrong_status", f"{task.id} does not wait for that time any more", status=task["status"])
    if task["status"] == "todo":
        task["due_s"] = None
        settle_waiting(board, task)
    else:
        _go_on(board, task, {"reason": "due"})


def unblock(board: BoardState, entry: Entry, body: Unblock, task: TaskState) -> dict[str, Any]:
    """A blocked or scheduled task may go on: ready, or todo while a parent is open."""
    require(task, CAN_UNBLOCK, "unblocked")
    task["consecutive_failures"] = 0
    task["last_failure_error"] = None
    _go_on(board, task, {"reason": body.reason, "by": entry.change.profile})
    return {"status": task["status"]}


def promote(board: BoardState, entry: Entry, body: Promote, task: TaskState) -> dict[str, Any]:
    """A waiting or blocked task is ready now. A forced gate stays open: the task can be claimed."""
    require(task, Promote.statuses, "promoted")
    waits = board.has_open_parent(task.id)
    if waits and not body.force:
        raise Refusal("parents_open", f"{task.id} waits for tasks that are not done; force it, or complete them")
    task["status"] = "ready"
    task["forced"] = 1 if waits else None
    task["due_s"] = None
    payload = {"actor": body.actor or entry.change.profile, "reason": body.reason, "forced": waits}
    if body.actor is not None:
        payload["by"] = entry.change.profile
    board.add_event(task.id, "promoted_manual", payload)
    return {"status": "ready", "forced": waits}


def _go_on(board: BoardState, task: TaskState, payload: dict[str, Any]) -> None:
    task["status"] = ready_or_waiting(board, task)
    task["due_s"] = None
    payload = {key: value for key, value in payload.items() if value}
    if task["status"] == "todo":
        payload["status"] = "todo"
    board.add_event(task.id, "unblocked", payload)


def _check_cards(board: BoardState, entry: Entry, body: Complete, task: TaskState) -> None:
    """The tasks that a worker says it made must exist, and be made by the run's profile or its claimer; or, where the
    author says so, what readers see must say that they are the task's own."""
    authors = {entry.change.profile, task["run_profile"], task["run_claimer"]}
    if body.card_check is not None:
        authors.discard(None)  # nobody's run has made no task, and a task that is not there has no maker
    own = {card for card in body.created_cards if board.creator(card) in authors}
    if body.card_check == "shown":
        own |= {card for card in body.created_cards if _is_shown_as_made_by(board, task, card)}
    phantom = [card for card in body.created_cards if card not in own]
    if phantom:
        sentence = f"{task.id} was not completed: {', '.join(phantom)} was not made by {entry.change.profile}"
        raise Refusal("phantom_cards", sentence, phantom_cards=phantom)


def _is_shown_as_made_by(board: BoardState, task: TaskState, card: str) -> bool:
    """As Hermes judges it, whose workers say who they are themselves."""
    shown = board.shown_creator(card)
    return shown is not None and (shown in (task["assignee"], task.id) or board.is_linked(task.id, card))
