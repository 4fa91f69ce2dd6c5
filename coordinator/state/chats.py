"""Comments, attachments, subscriptions of chats, and dead letters: events that could not be delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kanban_shards.coordinator.state.session import CHAT, Chat, Rows, json_text
from kanban_shards.errors import LawBroken

_THIS_CHAT = "task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ?"


class ChatRows(Rows):
    """Reads and writes of comments, attachments, subscriptions and dead letters."""

    def add_comment(self, task_id: str, author: str, text: str) -> int:
        """A comment of the task; returns its id."""
        comment_id = self._count("task_comments")
        self._comments.add((comment_id, task_id, author, text, self.now_s))
        return comment_id

    def add_subscription(self, columns: dict[str, Any]) -> bool:
        """A subscription, unless this chat has one of this task; returns whether it is new."""
        chat = (columns["task_id"], columns["platform"], columns["chat_id"], columns["thread_id"])
        if columns["task_id"] not in self._untold and self._subscriptions.get(chat) is not None:
            return False
        self._untold.discard(columns["task_id"])
        self._subscriptions.add(chat, self._new_row("kanban_notify_subs", columns))
        return True

    def remove_subscription(self, chat: Chat) -> bool:
        """Remove a subscription; returns whether there was one."""
        found = self._execute(f"DELETE FROM kanban_notify_subs WHERE {_THIS_CHAT}", chat).rowcount == 1
        self._forget()
        return found

    def deliverer(self, chat: Chat) -> str | None:
        """The profile whose gateway delivers to the chat; "" if none does, None if there is no subscription."""
        row = self._subscriptions.get(chat)
        return None if row is None else row["notifier_profile"] or ""

    def set_deliverer(self, chat: Chat, profile: str) -> None:
        """From now on the gateway of ``profile`` delivers to the chat."""
        self._subscriptions.change(chat, {"notifier_profile": profile})

    def move_cursor(self, chat: Chat, upto: int) -> int:
        """Move the cursor of a chat that is subscribed forward to the event ``upto``, never back; returns where it is.
        Raises LawBroken if there is no subscription."""
        row = self._subscriptions.get(chat)
        if row is None:
            raise LawBroken(f"there is no subscription of {chat}, and its cursor is to move")
        upto = max(upto, row["last_event_id"])
        self._subscriptions.change(chat, {"last_event_id": upto})
        return upto

    def add_dead_letter(self, chat: Chat, profile: str, events: Sequence[int], error: str, attempts: int) -> int:
        """Events that could not be delivered to a chat; returns the letter's id."""
        task_id, platform, chat_id, thread_id = chat
        return self._insert_counted(
            "merge_dead_letters",
            {
                "task_id": task_id,
                "platform": platform,
                "chat_id": chat_id,
                "thread_id": thread_id,
                "profile": profile,
                "event_ids": json_text(list(events)),
                "error": error,
                "attempts": attempts,
                "created_at": self.now_s,
                "resend": 0,
            },
        )

    def letter(self, task_id: str, letter_id: int) -> tuple[Chat, str] | None:
        """The chat that a dead letter of the task is for, and the profile that gave it up; None if there is none."""
        row = self._look(
            f"SELECT {', '.join(CHAT)}, profile FROM merge_dead_letters WHERE id = ? AND task_id = ?",
            (letter_id, task_id),
        ).fetchone()
        if row is None:
            return None
        *chat, profile = row
        return (chat[0], chat[1], chat[2], chat[3]), profile

    def requeue_letter(self, letter_id: int) -> None:
        """Mark a dead letter to be sent again."""
        self._execute("UPDATE merge_dead_letters SET resend = 1 WHERE id = ?", (letter_id,))

    def keep_letter(self, chat: Chat, letter_id: int, error: str, attempts: int) -> None:
        """A dead letter of the chat could not be delivered again."""
        rest = "UPDATE merge_dead_letters SET resend = 0, error = ?, attempts = attempts + ?"
        self._execute(f"{rest} WHERE id = ? AND {_THIS_CHAT}", (error, attempts, letter_id, *chat))

    def delete_letter(self, chat: Chat, letter_id: int) -> bool:
        """Remove a dead letter of the chat that was delivered after all; returns whether there was one."""
        sql = f"DELETE FROM merge_dead_letters WHERE id = ? AND {_THIS_CHAT}"
        return self._execute(sql, (letter_id, *chat)).rowcount == 1

    def add_attachment(self, columns: dict[str, Any]) -> int:
        """A file's row; returns its id."""
        return self._insert_counted("task_attachments", columns)

    def remove_attachment(self, task_id: str, attachment_id: int) -> tuple[str, str] | None:
        """Remove a file's row; returns its ``(filename, stored_path)``, or None if there is none."""
        given = (attachment_id, task_id)
        found: tuple[str, str] | None = self._look(
            "SELECT filename, stored_path FROM task_attachments WHERE id = ? AND task_id = ?", given
        ).fetchone()
        self._execute("DELETE FROM task_attachments WHERE id = ? AND task_id = ?", given)
        return found
