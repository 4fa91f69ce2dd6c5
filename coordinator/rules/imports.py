"""Imports: what an import brings: the beginning of it, each task, and what belongs to the task.

The rows come as they were on the other board. Where a task cannot stand as it did there (ready while it waits for
somebody), it stands where this board would have it. Only the coordinator writes these.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kanban_shards.changes.imported import ROWS, Import, ImportRows, ImportTask
from kanban_shards.changes.kinds import LEASE_S
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.links import ready_or_waiting
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.rules.tasks import refuse_duplicate
from kanban_shards.coordinator.state.board_state import BoardState, TaskState

# A run that is open when it is imported is believed alive as long as its lease still says, if that is this long at
# least, and else for one lease.
LEAST_LEASE_S = 60


def begin(board: BoardState, entry: Entry, body: Import) -> tuple[None, dict[str, Any]]:
    """The ids that the import brings are given; nobody else gets one of them."""
    board.reserve_ids(body.ids)
    return None, {"digest": body.digest}


def bring_task(board: BoardState, entry: Entry, body: ImportTask) -> tuple[TaskState, dict[str, Any]]:
    """A task as it stands elsewhere, with its parents and its open run."""
    _check_new(board, entry, body)
    columns = msgspec.structs.asdict(body.task)
    owner = body.run_profile or body.task.assignee or body.creator
    board.add_task({"id": entry.change.task_id, **columns}, creator=body.creator, owner=owner)
    for parent in body.parents:
        board.add_link(parent, entry.change.task_id)
    task = board.known_task(entry.change.task_id)
    task["forced"] = int(body.forced) or None
    task["due_s"] = body.due_s
    if body.task.status == "running":
        _go_on_running(board, body, task)
    elif body.task.status in ("ready", "todo"):
        _settle(board, task)
    return task, {"task_id": task.id, "run_id": task["current_run_id"]}


def bring_rows(board: BoardState, entry: Entry, body: ImportRows, task: TaskState) -> None:
    """What belongs to an imported task."""
    for table in ROWS:
        rows = [{"task_id": task.id, **msgspec.structs.asdict(row)} for row in getattr(body, table)]
        if rows and "id" in rows[0]:
            _check_ids(board, table, [row["id"] for row in rows])
        board.bring(table, rows)


def lease_end(claim_expires: int | None, now_s: int) -> int:
    """Until when an imported run is believed alive."""
    if claim_expires is not None and claim_expires >= now_s + LEAST_LEASE_S:
        return claim_expires
    return now_s + LEASE_S


def _check_new(board: BoardState, entry: Entry, body: ImportTask) -> None:
    if board.taken([entry.change.task_id]):
        raise Refusal("taken_id", f"there is or was a task {entry.change.task_id} already")
    if body.task.status != "archived":
        refuse_duplicate(board, body.task.idempotency_key)
    missing = sorted(set(body.parents) - board.existing(body.parents))
    if missing:
        raise Refusal("unknown_parent", f"there is no task {', '.join(missing)} to wait for", missing=missing)


def _check_ids(board: BoardState, table: str, ids: list[int]) -> None:
    taken = board.given_before(table, ids)
    if taken:
        raise Refusal("taken_id", f"{table} has {taken[0]} already, or keeps it for somebody else", ids=taken[:10])


def _go_on_running(board: BoardState, body: ImportTask, task: TaskState) -> None:
    """The run stays open, and expires by itself if nobody goes on with it."""
    expires = lease_end(body.task.claim_expires, board.now_s)
    profile = body.run_profile or body.creator
    if body.run is not None:
        _check_ids(board, "task_runs", [body.run.id])
        run = msgspec.structs.asdict(body.run)
        board.bring("task_runs", [{"task_id": task.id, **run, "claim_expires": expires}])
        run_id = body.run.id
    else:
        run_id = board.add_run(
            {"task_id": task.id, "profile": profile, "status": "running", "claim_lock": body.task.claim_lock,
             "claim_expires": expires, "worker_pid": body.task.worker_pid,
             "started_at": body.task.started_at or board.now_s}
        )  # fmt: skip
    task["current_run_id"] = run_id
    task["claim_expires"] = expires
    task["run_profile"] = task["run_claimer"] = profile
    task["lease_s"] = LEASE_S
    task["reviewing"] = int(body.reviewing) or None


def _settle(board: BoardState, task: TaskState) -> None:
    """A task that waits for nobody is ready, and one that waits for somebody is not."""
    was, task["status"] = task["status"], ready_or_waiting(board, task)
    if was == "todo" and task["status"] == "ready":
        board.add_event(task.id, "promoted")
    elif was == "ready" and task["status"] == "todo":
        board.add_event(task.id, "status", {"status": "todo", "reason": "parents_open"})
