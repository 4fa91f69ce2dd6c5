"""Events: what happened to each task, in the ledger's order; chats are told of them."""

from __future__ import annotations

from typing import Any

from kanban_shards.coordinator.state.session import Rows, json_text


class EventRows(Rows):
    """Reads and writes of events."""

    def add_event(
        self, task_id: str, kind: str, payload: dict[str, Any] | None = None, run_id: int | None = None
    ) -> int:
        """An event of the task; ids follow the ledger's order."""
        event_id = self._count("task_events")
        self._events.add((event_id, task_id, run_id, kind, json_text(payload or None), self.now_s))
        return event_id

    def forget_events(self, before_s: int) -> int:
        """Remove the events before ``before_s`` of tasks that are done or archived, except those that a subscription
        has not told yet, and all of a task that has a dead letter; returns how many."""
        sql = (
            "DELETE FROM task_events WHERE created_at < ? "
            "AND task_id IN (SELECT id FROM tasks WHERE status IN ('done', 'archived')) "
            "AND NOT EXISTS (SELECT 1 FROM kanban_notify_subs s "
            "WHERE s.task_id = task_events.task_id AND s.last_event_id < task_events.id) "
            "AND task_id NOT IN (SELECT task_id FROM merge_dead_letters)"
        )
        return self._execute(sql, (before_s,)).rowcount

    def last_event_id(self) -> int:
        """The newest event id given so far."""
        return self._next_id["task_events"] - 1
