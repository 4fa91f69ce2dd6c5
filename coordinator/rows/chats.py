"""What is said and shown: events, comments, attachments, subscriptions, and what could not be delivered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordinator.rows.base import Rows, insert_sql, json_text

# (task_id, platform, chat_id, thread_id)
Chat = tuple[str, str, str, str]
_THIS_CHAT = "task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ?"


class ChatRows(Rows):
    """Reads and writes of what is said and shown."""

    def add_event(self, task_id: str, kind: str, payload: dict | None = None, run_id: int | None = None) -> int:
        """An event of the task; ids follow the ledger's order."""
        return self._insert_counted(
            "task_events",
            {"task_id": task_id, "run_id": run_id, "kind": kind, "payload": json_text(payload or None),
             "created_at": self.now_s},
        )  # fmt: skip

    def forget_events(self, before_s: int) -> int:
        """Remove the events before ``before_s`` of tasks that are done or archived, except those that a subscription
        has not told yet or a dead letter names; returns how many."""
        sql = (
            "DELETE FROM task_events WHERE created_at < ? "
            "AND task_id IN (SELECT id FROM tasks WHERE status IN ('done', 'archived')) "
            "AND NOT EXISTS (SELECT 1 FROM kanban_notify_subs s "
            "WHERE s.task_id = task_events.task_id AND s.last_event_id < task_events.id) "
            "AND task_id NOT IN (SELECT task_id FROM merge_dead_letters)"
        )
        return self._execute(sql, (before_s,)).rowcount

    def add_comment(self, task_id: str, author: str, text: str) -> int:
        """A comment of the task; returns its id."""
        return self._insert_counted(
            "task_comments", {"task_id": task_id, "author": author, "body": text, "created_at": self.now_s}
        )

    def last_event_id(self) -> int:
        """The newest event id given so far."""
        return self._next_id["task_events"] - 1

    def add_subscription(self, columns: dict[str, Any]) -> bool:
        """A subscription, unless this chat has one of this task; returns whether it is new."""
        sql = insert_sql("kanban_notify_subs", tuple(columns)).replace("INSERT", "INSERT OR IGNORE", 1)
        return self._execute(sql, tuple(columns.values())).rowcount == 1

    def remove_subscription(self, chat: Chat) -> bool:
        """Remove a subscription; returns whether there was one."""
        return self._execute(f"DELETE FROM kanban_notify_subs WHERE {_THIS_CHAT}", chat).rowcount == 1

    def deliverer(self, chat: Chat) -> str | None:
        """The profile whose gateway delivers to the chat; "" if none does, None if there is no subscription."""
        sql = f"SELECT coalesce(notifier_profile, '') FROM kanban_notify_subs WHERE {_THIS_CHAT}"
        return self._value(sql, chat)

    def set_deliverer(self, chat: Chat, profile: str) -> None:
        """From now on the gateway of ``profile`` delivers to the chat."""
        self._execute(f"UPDATE kanban_notify_subs SET notifier_profile = ? WHERE {_THIS_CHAT}", (profile, *chat))

    def move_cursor(self, chat: Chat, upto: int) -> int:
        """Move the chat's cursor forward to the event ``upto``, never back; returns where it is."""
        sql = f"UPDATE kanban_notify_subs SET last_event_id = max(last_event_id, ?) WHERE {_THIS_CHAT}"
        self._execute(sql, (upto, *chat))
        return self._value(f"SELECT last_event_id FROM kanban_notify_subs WHERE {_THIS_CHAT}", chat)

    def add_dead_letter(
        self, chat: Chat, profile: str, events: Sequence[int], error: str, attempts: int
    ) -> int:
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

    def revive_letter(self, task_id: str, letter_id: int) -> bool:
        """Mark a dead letter to be sent again; returns whether there is one."""
        sql = "UPDATE merge_dead_letters SET resend = 1 WHERE id = ? AND task_id = ?"
        return self._execute(sql, (letter_id, task_id)).rowcount == 1

    def rest_letter(self, chat: Chat, letter_id: int, error: str, attempts: int) -> None:
        """A dead letter of the chat could not be delivered again."""
        rest = "UPDATE merge_dead_letters SET resend = 0, error = ?, attempts = attempts + ?"
        self._execute(f"{rest} WHERE id = ? AND {_THIS_CHAT}", (error, attempts, letter_id, *chat))

    def bury_letter(self, chat: Chat, letter_id: int) -> bool:
        """Remove a dead letter of the chat that was delivered after all; returns whether there was one."""
        sql = f"DELETE FROM merge_dead_letters WHERE id = ? AND {_THIS_CHAT}"
        return self._execute(sql, (letter_id, *chat)).rowcount == 1

    def add_attachment(self, columns: dict[str, Any]) -> int:
        """A file's row; returns its id."""
        return self._insert_counted("task_attachments", columns)

    def remove_attachment(self, task_id: str, attachment_id: int) -> tuple[str, str] | None:
        """Remove a file's row; returns its ``(filename, stored_path)``, or None if there is none."""
        given = (attachment_id, task_id)
        found = self._execute(
            "SELECT filename, stored_path FROM task_attachments WHERE id = ? AND task_id = ?", given
        ).fetchone()
        self._execute("DELETE FROM task_attachments WHERE id = ? AND task_id = ?", given)
        return found
