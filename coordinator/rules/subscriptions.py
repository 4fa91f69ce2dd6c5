"""Subscriptions: which chats are told what becomes of a task."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Subscribe, Unsubscribe
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.coordinator.state.session import json_text


def subscribe(board: BoardState, entry: Entry, body: Subscribe, task: TaskState) -> dict[str, Any]:
    """A chat hears of the task from now on, or ``from_start``. Subscribing twice is subscribing once."""
    is_new = board.add_subscription(
        {
            "task_id": task.id,
            "platform": body.platform,
            "chat_id": body.chat_id,
            "thread_id": body.thread_id,
            "user_id": body.user_id,
            "notifier_profile": None if body.unadopted else body.notifier_profile or entry.change.profile,
            "created_at": board.now_s,
            "last_event_id": 0 if body.from_start else board.last_event_id(),
            "chat_type": body.chat_type,
            "delivery_metadata": None if body.kinds is None else json_text({"kinds": body.kinds}),
        }
    )
    return {"subscribed": is_new}


def unsubscribe(board: BoardState, entry: Entry, body: Unsubscribe, task: TaskState) -> dict[str, Any]:
    """The chat no longer hears of the task. Unsubscribing twice changes nothing."""
    return {"unsubscribed": board.remove_subscription((task.id, body.platform, body.chat_id, body.thread_id))}
