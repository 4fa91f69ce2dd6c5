"""Tasks: where each stands, and the limits of the board."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kanban_shards.changes.vectors import decode, encode
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.state.session import Rows, remember
from kanban_shards.coordinator.state.write_buffer import RowValues
from kanban_shards.errors import LawBroken

OF_A_TASK = (
    "task_comments", "task_events", "task_runs", "task_attachments", "kanban_notify_subs", "merge_dead_letters",
    "merge_tasks",
)  # fmt: skip
_WHO_NAMES = (
    "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1), EXISTS (SELECT 1 FROM merge_tombstones WHERE task_id = ?1), "
    "EXISTS (SELECT 1 FROM task_links WHERE parent_id = ?1) OR EXISTS (SELECT 1 FROM task_links WHERE child_id = ?1), "
    "EXISTS (SELECT 1 FROM kanban_notify_subs WHERE task_id = ?1)"
)


class TaskState:
    """Where a task stands, as a rule may change it: ``task["status"] = "done"``. ``save`` keeps what changed."""

    def __init__(self, row: RowValues) -> None:
        self._row = row
        self._changed: RowValues = {}
        self.id: str = row["id"]

    def __getitem__(self, column: str) -> Any:
        return self._changed[column] if column in self._changed else self._row[column]

    def __setitem__(self, column: str, value: Any) -> None:
        if self[column] != value:
            self._changed[column] = value

    @property
    def vector(self) -> dict[str, int]:
        """Whose deciding changes were applied to the task, up to which seq."""
        return decode(self["vector"])

    def take_changes(self) -> RowValues:
        """What changed since the last call, by column."""
        changed, self._changed = self._changed, {}
        self._row = {**self._row, **changed}
        return changed


class TaskRows(Rows):
    """Reads and writes of tasks."""

    def task(self, task_id: str) -> TaskState | None:
        """Where the task stands; None if there is none."""
        row = self._tasks.get(task_id)
        return None if row is None else TaskState(row)

    def known_task(self, task_id: str) -> TaskState:
        """Where a task stands that is known to be there. Raises LawBroken if it is not."""
        task = self.task(task_id)
        if task is None:
            raise LawBroken(f"task {task_id} is named by a row of the board, and is not there")
        return task

    def add_task(self, columns: RowValues, creator: str, owner: str) -> None:
        """A new task, with the first epoch of its first owner."""
        ours = {"task_id": columns["id"], "creator": creator, "owner": owner, "epoch": 1, "vector": "{}"}
        row = {**self._new_row("tasks", columns), **self._new_row("merge_tasks", ours)}
        self._tasks.add(columns["id"], row)

    def save(self, task: TaskState) -> None:
        """Keep what changed of the task, and move its ownership if the change moved it.

        A task is owned by the profile of its open run; without one, by its assignee; without one, by its creator.
        """
        owner = task["run_profile"] or task["assignee"] or task["creator"]
        if owner != task["owner"]:
            task["owner"] = owner
            task["epoch"] += 1
        self._tasks.change(task.id, task.take_changes())

    def stamp(self, task: TaskState, entry: Entry) -> None:
        """Enter an applied deciding change into the task's vector."""
        task["vector"] = encode({**task.vector, entry.change.profile: entry.change.seq})

    def live_task_with_key(self, key: str) -> str | None:
        """The task that has this idempotency key and is not archived."""
        sql = "SELECT id FROM tasks WHERE idempotency_key = ? AND status != 'archived' ORDER BY created_at, id LIMIT 1"
        row = self._execute(sql, (key,)).fetchone()
        return row[0] if row else None

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

    def due(self, now_s: int, most: int) -> list[tuple[str, int]]:
        """Scheduled tasks whose time has come, ``most`` of them: ``(task_id, due_s)``, the earliest first."""
        sql = "SELECT task_id, due_s FROM merge_tasks WHERE due_s <= ? ORDER BY due_s, task_id LIMIT ?"
        return self._execute(sql, (now_s, most)).fetchall()

    def creator(self, task_id: str) -> str | None:
        """The profile that made the task; None if there is none."""
        row = self._tasks.get(task_id)
        return None if row is None else row["creator"]

    def shown_creator(self, task_id: str) -> str | None:
        """Who is shown as the task's maker; None if there is no such task, or nobody is shown."""
        row = self._tasks.get(task_id)
        return None if row is None else row["created_by"]

    def existing(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that the board has."""
        return {task_id for task_id in task_ids if self.creator(task_id) is not None}

    def taken(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that the board has, or had."""
        return {each for each in task_ids if self._tasks.held(each) is not None or not self._is_free(each)}

    def _is_free(self, task_id: str) -> bool:
        """Whether no task has this id, or had. What else of the board names it is remembered for the task that will:
        most are never linked, and none is asked about more often than one that was just made."""
        has, had, is_linked, is_told = self._look(_WHO_NAMES, (task_id,)).fetchone()
        if not is_linked:
            remember(self._unlinked, task_id)
        if not is_told:
            remember(self._untold, task_id)
        return not has and not had

    def is_deleted(self, task_id: str) -> bool:
        """Whether there was a task with this id."""
        return self._finds("SELECT 1 FROM merge_tombstones WHERE task_id = ?", (task_id,))

    def delete_task(self, task_id: str, position: int) -> int:
        """Delete the task and everything of it; returns how many attachments it had."""
        attachments = self._number("SELECT count(*) FROM task_attachments WHERE task_id = ?", (task_id,))
        self._execute("DELETE FROM task_links WHERE parent_id = ? OR child_id = ?", (task_id, task_id))
        for table in OF_A_TASK:
            self._execute(f"DELETE FROM {table} WHERE task_id = ?", (task_id,))
        self._execute("DELETE FROM tasks WHERE id = ?", (task_id,))
        self._execute("INSERT INTO merge_tombstones VALUES (?, ?)", (task_id, position))
        self._forget()
        return attachments

    def last_block_event(self, task_id: str) -> str | None:
        """Which of ``blocked``, ``gave_up`` and ``unblocked`` happened to the task last."""
        sql = (
            "SELECT kind FROM task_events WHERE task_id = ? AND kind IN ('blocked', 'gave_up', 'unblocked') "
            "ORDER BY id DESC LIMIT 1"
        )
        row = self._execute(sql, (task_id,)).fetchone()
        return row[0] if row else None

    # --- settings ----------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, int]:
        """The limits that are set."""
        if self._limits is None:
            limits: dict[str, int] = dict(self._look("SELECT name, value FROM merge_settings ORDER BY name").fetchall())
            self._limits = limits
        return dict(self._limits)

    def set_setting(self, name: str, value: int | None) -> None:
        """Set a limit; None lifts it."""
        self._limits = None
        if value is None:
            self._execute("DELETE FROM merge_settings WHERE name = ?", (name,))
        else:
            self._execute("INSERT OR REPLACE INTO merge_settings VALUES (?, ?)", (name, value))
