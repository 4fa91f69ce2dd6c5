"""Tasks and the limits of the board."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from coordinator.ledger import Entry
from coordinator.rows.base import Rows
from shards.vectors import decode, encode

_MERGE_COLUMNS = (
    "creator", "owner", "epoch", "vector", "run_profile", "run_claimer", "lease_s", "reviewing", "forced", "due_s",
    "not_before_s",
)  # fmt: skip
_TASK = (
    f"SELECT t.*, {', '.join('m.' + column for column in _MERGE_COLUMNS)} "
    "FROM tasks t JOIN merge_tasks m ON m.task_id = t.id WHERE t.id = ?"
)
OF_A_TASK = (
    "task_comments", "task_events", "task_runs", "task_attachments", "kanban_notify_subs", "merge_dead_letters",
    "merge_tasks",
)  # fmt: skip


class Task:
    """Where a task stands, as a rule may change it: ``task["status"] = "done"``. ``save`` writes what changed."""

    def __init__(self, row: sqlite3.Row) -> None:
        self._values: dict[str, Any] = dict(zip(row.keys(), row, strict=True))
        self._changed: dict[str, Any] = {}
        self.id: str = row["id"]
        self.vector: dict[str, int] = decode(row["vector"])

    def __getitem__(self, column: str) -> Any:
        return self._values[column]

    def __setitem__(self, column: str, value: Any) -> None:
        if self._values[column] != value:
            self._values[column] = value
            self._changed[column] = value

    def take_changes(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What changed since the last call: the columns of Hermes's table, and those of ours."""
        changed, self._changed = self._changed, {}
        ours = {column: value for column, value in changed.items() if column in _MERGE_COLUMNS}
        return {column: value for column, value in changed.items() if column not in ours}, ours


class TaskRows(Rows):
    """Reads and writes of tasks."""

    def task(self, task_id: str) -> Task | None:
        """Where the task stands; None if there is none."""
        cursor = self._execute(_TASK, (task_id,))
        cursor.row_factory = sqlite3.Row
        row = cursor.fetchone()
        return None if row is None else Task(row)

    def add_task(self, columns: dict[str, Any], creator: str, owner: str) -> None:
        """A new task, with the first epoch of its first owner."""
        self._insert("tasks", columns)
        self._insert(
            "merge_tasks",
            {"task_id": columns["id"], "creator": creator, "owner": owner, "epoch": 1, "vector": "{}"},
        )

    def save(self, task: Task) -> None:
        """Write what changed of the task, and move its ownership if the change moved it.

        A task is owned by the profile of its open run; without one, by its assignee; without one, by its creator.
        """
        owner = task["run_profile"] or task["assignee"] or task["creator"]
        if owner != task["owner"]:
            task["owner"] = owner
            task["epoch"] += 1
        theirs, ours = task.take_changes()
        self._update("tasks", "id", task.id, theirs)
        self._update("merge_tasks", "task_id", task.id, ours)

    def stamp(self, task: Task, entry: Entry) -> None:
        """Enter an applied deciding change into the task's vector."""
        task.vector[entry.profile] = entry.seq
        task["vector"] = encode(task.vector)

    def live_task_with_key(self, key: str) -> str | None:
        """The task that has this idempotency key and is not archived."""
        sql = "SELECT id FROM tasks WHERE idempotency_key = ? AND status != 'archived' ORDER BY created_at, id LIMIT 1"
        return self._value(sql, (key,))

    def best_ready(self, profile: str) -> str | None:
        """The ready task that ``profile`` takes next: assigned to it or to nobody; by priority, then age, then id."""
        choose = (
            "SELECT t.priority, t.created_at, t.id FROM tasks t INDEXED BY merge_ready "
            "CROSS JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'ready' AND {} AND coalesce(m.not_before_s, 0) <= ? "
            "ORDER BY t.priority DESC, t.created_at, t.id LIMIT 1"
        )
        mine = self._execute(choose.format("t.assignee = ?"), (profile, self.now_s)).fetchone()
        anyones = self._execute(choose.format("t.assignee IS NULL"), (self.now_s,)).fetchone()
        found = [row for row in (mine, anyones) if row]
        return min(found, key=lambda row: (-row[0], row[1], row[2]))[2] if found else None

    def due(self, now_s: int) -> list[tuple[str, int]]:
        """Scheduled tasks whose time has come: ``(task_id, due_s)``, the earliest first."""
        sql = "SELECT task_id, due_s FROM merge_tasks WHERE due_s <= ? ORDER BY due_s, task_id"
        return self._execute(sql, (now_s,)).fetchall()

    def creator(self, task_id: str) -> str | None:
        """The profile that made the task; None if there is none."""
        return self._value("SELECT creator FROM merge_tasks WHERE task_id = ?", (task_id,))

    def existing(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that the board has."""
        return {task_id for task_id in task_ids if self.creator(task_id) is not None}

    def taken(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that the board has, or had."""
        sql = (
            "SELECT 1 FROM merge_tasks WHERE task_id = :id UNION ALL "
            "SELECT 1 FROM merge_tombstones WHERE task_id = :id LIMIT 1"
        )
        return {task_id for task_id in task_ids if self._connection.execute(sql, {"id": task_id}).fetchone()}

    def is_deleted(self, task_id: str) -> bool:
        """Whether there was a task with this id."""
        return self._value("SELECT 1 FROM merge_tombstones WHERE task_id = ?", (task_id,)) is not None

    def delete_task(self, task_id: str, position: int) -> list[str]:
        """Delete the task and everything of it; returns where its attachments lie."""
        files = self._values("SELECT stored_path FROM task_attachments WHERE task_id = ? ORDER BY id", (task_id,))
        self._execute("DELETE FROM task_links WHERE parent_id = ? OR child_id = ?", (task_id, task_id))
        for table in OF_A_TASK:
            self._execute(f"DELETE FROM {table} WHERE task_id = ?", (task_id,))
        self._execute("DELETE FROM tasks WHERE id = ?", (task_id,))
        self._execute("INSERT INTO merge_tombstones VALUES (?, ?)", (task_id, position))
        return files

    def last_block_event(self, task_id: str) -> str | None:
        """Which of ``blocked``, ``gave_up`` and ``unblocked`` happened to the task last."""
        sql = (
            "SELECT kind FROM task_events WHERE task_id = ? AND kind IN ('blocked', 'gave_up', 'unblocked') "
            "ORDER BY id DESC LIMIT 1"
        )
        return self._value(sql, (task_id,))

    # --- settings ----------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, int]:
        """The limits that are set."""
        return dict(self._execute("SELECT name, value FROM merge_settings ORDER BY name").fetchall())

    def set_setting(self, name: str, value: int | None) -> None:
        """Set a limit; None lifts it."""
        if value is None:
            self._execute("DELETE FROM merge_settings WHERE name = ?", (name,))
        else:
            self._execute("INSERT OR REPLACE INTO merge_settings VALUES (?, ?)", (name, value))
