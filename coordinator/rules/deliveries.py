"""Deliveries: what the profile that tells a chat says about it. Cursors only ever move forward."""

from __future__ import annotations

from typing import Any

from kanban_shards.changes.kinds import Adopt, Delivered, Resend
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState, TaskState
from kanban_shards.coordinator.state.session import Chat


def adopt(board: BoardState, entry: Entry, body: Adopt, task: TaskState) -> dict[str, Any]:
    """A subscription without a profile that delivers it gets its first and only one."""
    chat = (task.id, body.platform, body.chat_id, body.thread_id)
    deliverer = board.deliverer(chat)
    if deliverer:
        raise Refusal("not_your_chat", f"{deliverer} delivers to that chat already", notifier_profile=deliverer)
    if deliverer is None:
        raise Refusal("no_subscription", f"that chat is not subscribed to {task.id}")
    board.set_deliverer(chat, entry.change.profile)
    return {"notifier_profile": entry.change.profile}


def delivered(board: BoardState, entry: Entry, body: Delivered, task: TaskState) -> dict[str, Any]:
    """The chat was told, or telling it was given up; either way its cursor moves."""
    chat = (task.id, body.platform, body.chat_id, body.thread_id)
    deliverer = board.deliverer(chat)
    if deliverer is None:
        return {"last_event_id": None}  # unsubscribed meanwhile
    if deliverer != entry.change.profile:
        sentence = f"{deliverer or 'nobody yet'} delivers to that chat"
        raise Refusal("not_your_chat", sentence, notifier_profile=deliverer)
    if body.letter_id is not None:
        return _letter_again(board, body, chat, body.letter_id)
    upto = min(body.upto, board.last_event_id())
    answer: dict[str, Any] = {"last_event_id": board.move_cursor(chat, upto)}
    if body.error is not None:
        answer["letter_id"] = board.add_dead_letter(
            chat, entry.change.profile, body.events or (upto,), body.error, body.attempts
        )
    return answer


def resend(board: BoardState, entry: Entry, body: Resend, task: TaskState) -> dict[str, Any]:
    """A dead letter is to be delivered again, by the profile that delivers to its chat."""
    found = board.letter(task.id, body.letter_id)
    if found is None:
        raise Refusal("no_subscription", f"{task.id} has no dead letter {body.letter_id}")
    chat, profile = found
    deliverer = board.deliverer(chat)
    if deliverer is None:
        raise Refusal("no_subscription", f"that chat is no longer subscribed to {task.id}")
    if deliverer != profile:
        sentence = f"{deliverer or 'nobody yet'} delivers to that chat by now, and the letter is {profile}'s"
        raise Refusal("not_your_chat", sentence, notifier_profile=deliverer)
    board.requeue_letter(body.letter_id)
    return {"letter_id": body.letter_id}


def _letter_again(board: BoardState, body: Delivered, chat: Chat, letter_id: int) -> dict[str, Any]:
    """A dead letter that was sent again is deleted, or, if that failed too, kept until somebody asks once more."""
    if body.error is None:
        return {"buried": board.delete_letter(chat, letter_id)}
    board.keep_letter(chat, letter_id, body.error, body.attempts)
    return {"buried": False}
