"""History: what a task's events say of where it stands, beyond Hermes's columns. ``events``: in their order."""

from __future__ import annotations

import json
from typing import Any

from kanban_shards.changes.imported import EventRow
from kanban_shards.coordinator.hermes.moments import moment_s

# After these, a task that was once forced waits for its parents again.
_ENDS_FORCE = {"linked", "dependency_wait", "block_loop_detected", "claim_rejected", "status", "completed"}


def payload_of(payload: str | None) -> dict[str, Any]:
    """What an event says, as a dict."""
    found: dict[str, Any] = json.loads(payload) if payload else {}
    return found


def was_forced(events: list[EventRow]) -> bool:
    """Whether a ready task was promoted although it waits for others, and nothing took that back."""
    last = next((each for each in reversed(events) if each.kind == "promoted_manual" or each.kind in _ENDS_FORCE), None)
    return last is not None and last.kind == "promoted_manual" and bool(payload_of(last.payload).get("forced"))


def was_in_review(events: list[EventRow], run_id: int) -> bool:
    """Whether the run was opened to review the task."""
    claims = [each for each in events if each.kind == "claimed" and each.run_id == run_id]
    return any(payload_of(each.payload).get("source_status") == "review" for each in claims)


def due(events: list[EventRow]) -> int | None:
    """Until when a scheduled task waits, in seconds since 1970; None for somebody to unblock it."""
    last = next((each for each in reversed(events) if each.kind == "scheduled"), None)
    return moment_s(payload_of(last.payload).get("due")) if last is not None else None
