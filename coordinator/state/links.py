"""Links: which task waits for which, and what is above and below it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kanban_shards.coordinator.state.events import EventRows
from kanban_shards.coordinator.state.session import REMEMBERED, json_text, remember
from kanban_shards.records import TERMINAL

_PARENTS = (
    "SELECT l.rowid, l.parent_id, p.status FROM task_links l LEFT JOIN tasks p ON p.id = l.parent_id "
    "WHERE l.child_id = ? AND l.rowid >= ? AND l.rowid < ? ORDER BY l.rowid"
)
_LAST = 2**63 - 1
_NO_HOLD = "UPDATE merge_tasks SET due_s = NULL WHERE task_id IN (SELECT value FROM json_each(?)) AND due_s IS NOT NULL"
# Parents that are passed over before it is worth remembering where an open one was found.
WORTH_REMEMBERING = 16
# So many tasks are looked through for a circle on one side of a link before the other side is tried.
SEARCHED_FIRST = 64
_BELOW = "SELECT child_id FROM task_links JOIN found ON parent_id = id"
_ABOVE = "SELECT parent_id FROM task_links JOIN found ON child_id = id"
_REACHED = "WITH RECURSIVE found(id) AS (SELECT ? UNION {} LIMIT ?) SELECT count(*), max(id = ?) FROM found"
_AMONG = (
    "SELECT t.id FROM json_each(?) a CROSS JOIN tasks t ON t.id = a.value CROSS JOIN merge_tasks m ON m.task_id = t.id "
    "WHERE {} ORDER BY a.key"
)
# Of given tasks, those that may begin, and those that began only because what they waited for was finished.
_FREE = _AMONG.format(
    "t.status = 'todo' AND (coalesce(m.forced, 0) OR NOT EXISTS ("
    "SELECT 1 FROM task_links o LEFT JOIN tasks p ON p.id = o.parent_id "
    f"WHERE o.child_id = t.id AND coalesce(p.status, '') NOT IN {TERMINAL}))"
)
_UNFORCED = _AMONG.format("t.status = 'ready' AND NOT coalesce(m.forced, 0)")
_NOT_LINKED = (
    "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM task_links WHERE parent_id = value) "
    "AND NOT EXISTS (SELECT 1 FROM task_links WHERE child_id = value)"
)
# Ids in one parameter, as JSON, far below the longest text that a statement may be given.
AT_ONCE = 10_000


class LinkRows(EventRows):
    """Reads and writes of links."""

    def look_for_links(self, task_ids: Iterable[str]) -> None:
        """Ask at once what is asked of each of ``task_ids`` otherwise, and remember those that no link names."""
        asked = [each for each in dict.fromkeys(task_ids) if each not in self._unlinked]
        for begin in range(0, len(asked), AT_ONCE):
            for found in self._texts(_NOT_LINKED, (json_text(asked[begin : begin + AT_ONCE]),)):
                remember(self._unlinked, found)

    def has_open_parent(self, task_id: str) -> bool:
        """Whether the task waits for one that is neither done nor archived.

        Where an open one was found is remembered, and the next look begins there: parents are often finished in the
        order in which they were linked, and each of many would be passed over each time.
        """
        if task_id in self._unlinked:
            return False
        begin = self._open_parents.get(task_id, 0)
        return self._finds_open_parent(task_id, begin, _LAST) or (
            begin > 0 and self._finds_open_parent(task_id, 0, begin)
        )

    def _finds_open_parent(self, task_id: str, first: int, end: int) -> bool:
        for number, (link, parent, status) in enumerate(self._look(_PARENTS, (task_id, first, end))):
            held = self._tasks.held(parent)
            if (status if held is None else held["status"]) not in TERMINAL:
                if number > WORTH_REMEMBERING:
                    if len(self._open_parents) >= REMEMBERED:
                        self._open_parents.clear()
                    self._open_parents[task_id] = link
                return True
        return False

    def promote_all(self, task_ids: list[str]) -> None:
        """What ``settle_waiting`` does to one task, done to many at once."""
        self._move_all(task_ids, _FREE, "ready", "promoted", None)

    def demote_all(self, task_ids: list[str], payload: dict[str, Any]) -> None:
        """Those of many tasks that are ready, and were not forced, wait again."""
        self._move_all(task_ids, _UNFORCED, "todo", "status", payload)

    def _move_all(
        self, task_ids: list[str], which: str, status: str, kind: str, payload: dict[str, Any] | None
    ) -> None:
        moved: list[str] = []
        for begin in range(0, len(task_ids), AT_ONCE):
            several = json_text(task_ids[begin : begin + AT_ONCE])
            found = [task_id for (task_id,) in self._execute(which, (several,)).fetchall()]
            update = "UPDATE tasks SET status = ? WHERE id IN (SELECT value FROM json_each(?))"
            self._execute(update, (status, json_text(found)))
            self._execute(_NO_HOLD, (json_text(found),))
            moved += found
        self._forget()
        for task_id in moved:  # held back, and written when the entry is decided: in a savepoint each costs much more
            self.add_event(task_id, kind, payload)

    def children(self, task_id: str) -> list[str]:
        """The tasks that wait for this one."""
        if task_id in self._unlinked:
            return []
        return self._texts("SELECT child_id FROM task_links WHERE parent_id = ? ORDER BY child_id", (task_id,))

    def count_children(self, task_id: str, most: int) -> int:
        """How many tasks wait for this one; not counted beyond ``most``."""
        if task_id in self._unlinked:
            return 0
        sql = "SELECT count(*) FROM (SELECT 1 FROM task_links WHERE parent_id = ? LIMIT ?)"
        return self._number(sql, (task_id, most))

    def count_parents(self, task_id: str, most: int) -> int:
        """How many tasks this one was made to wait for; not counted beyond ``most``."""
        if task_id in self._unlinked:
            return 0
        sql = "SELECT count(*) FROM (SELECT 1 FROM task_links WHERE child_id = ? LIMIT ?)"
        return self._number(sql, (task_id, most))

    def count_beside(self, task_id: str, most: int) -> int:
        """How many links lead to the tasks that wait for this one, those from it among them; not counted beyond
        ``most``."""
        if task_id in self._unlinked:
            return 0
        sql = (
            "SELECT count(*) FROM (SELECT 1 FROM task_links c JOIN task_links o ON o.child_id = c.child_id "
            "WHERE c.parent_id = ? LIMIT ?)"
        )
        return self._number(sql, (task_id, most))

    def is_linked(self, parent: str, child: str) -> bool:
        """Whether ``child`` waits for ``parent`` directly."""
        return self._finds("SELECT 1 FROM task_links WHERE parent_id = ? AND child_id = ?", (parent, child))

    def leads_to(self, start: str, goal: str) -> bool:
        """Whether ``goal`` waits, over any number of links, for ``start``. Costs what the shorter side costs: below
        ``start`` or above ``goal``, which are looked through by turns, each time further."""
        most = SEARCHED_FIRST
        while True:
            for begin, step, end in ((goal, _ABOVE, start), (start, _BELOW, goal)):
                count, is_found = self._look(_REACHED.format(step), (begin, most, end)).fetchone()
                if is_found or count < most:
                    return bool(is_found)
            most *= 8

    def is_long_way(self, start: str, goal: str) -> bool:
        """Whether it takes a while to say if ``start`` leads to ``goal``, because there is much on either side."""
        return all(
            self._look(_REACHED.format(step), (begin, SEARCHED_FIRST, end)).fetchone() == (SEARCHED_FIRST, 0)
            for begin, step, end in ((goal, _ABOVE, start), (start, _BELOW, goal))
        )

    def add_link(self, parent: str, child: str) -> None:
        """``child`` waits for ``parent``; they are not linked yet."""
        self._unlinked.difference_update((parent, child))
        self._execute("INSERT INTO task_links (parent_id, child_id) VALUES (?, ?)", (parent, child))

    def remove_link(self, parent: str, child: str) -> None:
        """``child`` no longer waits for ``parent``."""
        self._execute("DELETE FROM task_links WHERE parent_id = ? AND child_id = ?", (parent, child))
