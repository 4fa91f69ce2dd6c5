"""Links between tasks."""

from __future__ import annotations

from kanban_shards.coordinator.state.session import Rows
from kanban_shards.records import TERMINAL

_PARENTS = "SELECT l.parent_id, p.status FROM task_links l LEFT JOIN tasks p ON p.id = l.parent_id WHERE l.child_id = ?"


class LinkRows(Rows):
    """Reads and writes of links."""

    def has_open_parent(self, task_id: str) -> bool:
        """Whether the task waits for one that is neither done nor archived."""
        for parent, status in self._look(_PARENTS, (task_id,)):
            held = self._tasks.held(parent)
            if (status if held is None else held["status"]) not in TERMINAL:
                return True
        return False

    def children(self, task_id: str) -> list[str]:
        """The tasks that wait for this one."""
        return self._values("SELECT child_id FROM task_links WHERE parent_id = ? ORDER BY child_id", (task_id,))

    def count_children(self, task_id: str, most: int) -> int:
        """How many tasks wait for this one; not counted beyond ``most``."""
        sql = "SELECT count(*) FROM (SELECT 1 FROM task_links WHERE parent_id = ? LIMIT ?)"
        return self._value(sql, (task_id, most))

    def is_linked(self, parent: str, child: str) -> bool:
        """Whether ``child`` waits for ``parent`` directly."""
        return bool(self._value("SELECT 1 FROM task_links WHERE parent_id = ? AND child_id = ?", (parent, child)))

    def leads_to(self, start: str, goal: str) -> bool:
        """Whether ``goal`` waits, over any number of links, for ``start``."""
        sql = (
            "WITH RECURSIVE below(id) AS "
            "(SELECT ? UNION SELECT child_id FROM task_links JOIN below ON parent_id = id) "
            "SELECT 1 FROM below WHERE id = ? LIMIT 1"
        )
        return self._value(sql, (start, goal)) is not None

    def add_link(self, parent: str, child: str) -> None:
        """``child`` waits for ``parent``; they are not linked yet."""
        self._execute("INSERT INTO task_links (parent_id, child_id) VALUES (?, ?)", (parent, child))

    def remove_link(self, parent: str, child: str) -> None:
        """``child`` no longer waits for ``parent``."""
        self._execute("DELETE FROM task_links WHERE parent_id = ? AND child_id = ?", (parent, child))
