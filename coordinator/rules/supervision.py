"""Supervision: runs whose worker's process a dispatcher can see. The rule believes what a dispatcher says it saw, and
knows no process itself; so a replay decides alike, on whatever machine (docs/design/statuses.md, "Supervision")."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Supervise
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState


def supervise(board: BoardState, entry: Entry, body: Supervise, task: TaskState) -> dict[str, Any]:
    """The worker lives, as whoever looked says: the lease begins anew, and what the worker itself said last stays."""
    if task["current_run_id"] != body.run_id:
        raise Refusal("late", f"run {body.run_id} of {task.id} is over", status=task["status"], owner=task["owner"])
    if task["grace_s"] is None:
        raise Refusal("wrong_status", f"run {body.run_id} of {task.id} is not supervised", status=task["status"])
    was, expires = task["claim_expires"], board.now_s + task["lease_s"]
    task["claim_expires"] = expires
    board.update_run(body.run_id, {"claim_expires": expires})
    payload = {
        "reason": "pid_alive",
        "worker_pid": task["worker_pid"],
        "claim_lock": task["claim_lock"],
        "claim_expires_was": was,
        "claim_expires_now": expires,
        "last_heartbeat_at": task["last_heartbeat_at"],
        "by": entry.change.profile,
    }
    board.add_event(task.id, "claim_extended", payload, body.run_id)
    return {"claim_expires": expires}
