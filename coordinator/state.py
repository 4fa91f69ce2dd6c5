"""The board as the rules see it: where a task stands, and the writes that are a change's effects.

A rule reads and writes through this and nothing else. It knows one time, the entry's; it opens no file; and a rule
that refuses leaves nothing behind, because every entry is one savepoint.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from coordinator.ledger import Entry
from shards.names import COORDINATOR
from shards.records import TERMINAL
from shards.vectors import decode, encode

_COUNTED = ("task_events", "task_runs", "task_comments", "task_attachments")
_MERGE_COLUMNS = ("creator", "owner", "epoch", "vector", "run_profile", "run_claimer", "lease_s")
_TASK = (
    f"SELECT t.*, {', '.join('m.' + column for column in _MERGE_COLUMNS)} "
    "FROM tasks t JOIN merge_tasks m ON m.task_id = t.id WHERE t.id = ?"
)
_OPEN_PARENT = (
    "SELECT 1 FROM task_links l JOIN tasks p ON p.id = l.parent_id "
    "WHERE l.child_id = ? AND p.status NOT IN ('done', 'archived') LIMIT 1"
)


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


class BoardState:
    """The board inside the coordinator's transaction. ``now_s`` is the present entry's time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.row_factory = None
        self._next_id: dict[str, int] = {}
        self._reached: dict[str, tuple[str, int, str]] = {}
        self.now_s = 0

    # --- the transaction ---------------------------------------------------------------------------------------

    def position(self) -> tuple[int, str]:
        """The last ledger position that the board shows, and its digest."""
        return self._execute("SELECT position, digest FROM merge_state").fetchone()

    def watermark(self, profile: str) -> tuple[int, str]:
        """How far the profile's shard is merged, and its digest there; ``(0, "")`` if not at all."""
        row = self._execute("SELECT seq, digest FROM merge_watermarks WHERE profile = ?", (profile,)).fetchone()
        return row or (0, "")

    def open(self) -> None:
        """Begin a transaction that may write (migrations/board.py, ``keep_out``)."""
        self._reached = {}
        self._execute("BEGIN IMMEDIATE")
        self._execute("UPDATE merge_state SET writing = 1")
        given = dict(self._execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        self._next_id = {table: given.get(table, 0) + 1 for table in _COUNTED}

    def commit(self, position: int, digest: str) -> None:
        """End the transaction: the board shows the ledger up to ``position``."""
        self._connection.executemany(
            "INSERT INTO merge_watermarks VALUES (?, ?, ?) "
            "ON CONFLICT (profile) DO UPDATE SET seq = excluded.seq, digest = excluded.digest",
            self._reached.values(),
        )
        self._execute("UPDATE merge_state SET writing = 0, position = ?, digest = ?", (position, digest))
        self._execute("COMMIT")

    def abandon(self) -> None:
        """Undo the transaction, if one is open."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def begin_entry(self, entry: Entry) -> None:
        """From here, effects are this entry's, at its time."""
        self.now_s = entry.at_ms // 1000
        self._ids_before = dict(self._next_id)
        self._execute("SAVEPOINT entry")

    def undo_entry(self) -> None:
        """Take back what the entry's rule wrote before it refused."""
        self._execute("ROLLBACK TO entry")
        self._next_id = self._ids_before

    def end_entry(
        self, entry: Entry, verdict: str, reason: str | None, sentence: str | None, answer: dict | None
    ) -> None:
        """Record the verdict, and move the shard's watermark to this change."""
        self._execute(
            "INSERT INTO merge_verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (entry.profile, entry.seq, entry.position, entry.at_ms, verdict, reason, sentence, _json(answer)),
        )
        if verdict == "refused" or entry.profile == COORDINATOR:
            self._execute("INSERT INTO merge_kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", entry[:9])
        self._reached[entry.profile] = (entry.profile, entry.seq, entry.change_digest)
        self._execute("RELEASE entry")

    # --- tasks -------------------------------------------------------------------------------------------------

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
            "SELECT priority, created_at, id FROM tasks INDEXED BY merge_ready WHERE status = 'ready' AND {} "
            "ORDER BY priority DESC, created_at, id LIMIT 1"
        )
        mine = self._execute(choose.format("assignee = ?"), (profile,)).fetchone()
        anyones = self._execute(choose.format("assignee IS NULL")).fetchone()
        found = [row for row in (mine, anyones) if row]
        return min(found, key=lambda row: (-row[0], row[1], row[2]))[2] if found else None

    # --- links -------------------------------------------------------------------------------------------------

    def has_open_parent(self, task_id: str) -> bool:
        """Whether the task waits for one that is neither done nor archived."""
        return self._value(_OPEN_PARENT, (task_id,)) is not None

    def children(self, task_id: str) -> list[str]:
        """The tasks that wait for this one."""
        rows = self._execute("SELECT child_id FROM task_links WHERE parent_id = ? ORDER BY child_id", (task_id,))
        return [child for (child,) in rows.fetchall()]

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
        self._execute("INSERT INTO task_links (parent_id, child_id) VALUES (?, ?)", (parent, child))

    def remove_link(self, parent: str, child: str) -> None:
        self._execute("DELETE FROM task_links WHERE parent_id = ? AND child_id = ?", (parent, child))

    def existing(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that the board has."""
        return {task_id for task_id in task_ids if self._value("SELECT 1 FROM tasks WHERE id = ?", (task_id,))}

    # --- runs --------------------------------------------------------------------------------------------------

    def add_run(self, columns: dict[str, Any]) -> int:
        """A new run; returns its id."""
        return self._insert_counted("task_runs", columns)

    def update_run(self, run_id: int, columns: dict[str, Any]) -> None:
        self._update("task_runs", "id", run_id, columns)

    def latest_completed_run(self, task_id: str) -> int | None:
        """The id of the newest run of the task that completed."""
        sql = "SELECT id FROM task_runs WHERE task_id = ? AND outcome = 'completed' ORDER BY id DESC LIMIT 1"
        return self._value(sql, (task_id,))

    def running_out(self, before_s: int) -> Iterator[tuple[str, int, str, str, int]]:
        """Open runs whose lease ends before ``before_s``: ``(task_id, run_id, run_profile, run_claimer, lease_s)``."""
        return self._execute(
            "SELECT t.id, t.current_run_id, m.run_profile, m.run_claimer, m.lease_s "
            "FROM tasks t JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'running' AND t.claim_expires < ? ORDER BY t.claim_expires",
            (before_s,),
        )

    # --- what is said ------------------------------------------------------------------------------------------

    def add_event(self, task_id: str, kind: str, payload: dict | None = None, run_id: int | None = None) -> int:
        """An event of the task; ids follow the ledger's order."""
        return self._insert_counted(
            "task_events",
            {"task_id": task_id, "run_id": run_id, "kind": kind, "payload": _json(payload or None),
             "created_at": self.now_s},
        )  # fmt: skip

    def add_comment(self, task_id: str, author: str, text: str) -> int:
        return self._insert_counted(
            "task_comments", {"task_id": task_id, "author": author, "body": text, "created_at": self.now_s}
        )

    def last_event_id(self) -> int:
        """The newest event id given so far."""
        return self._next_id["task_events"] - 1

    def add_subscription(self, columns: dict[str, Any]) -> bool:
        """A subscription, unless this chat has one of this task; returns whether it is new."""
        sql = _insert_sql("kanban_notify_subs", tuple(columns)).replace("INSERT", "INSERT OR IGNORE", 1)
        return self._execute(sql, tuple(columns.values())).rowcount == 1

    def remove_subscription(self, task_id: str, platform: str, chat_id: str, thread_id: str) -> bool:
        """Remove a subscription; returns whether there was one."""
        sql = "DELETE FROM kanban_notify_subs WHERE task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ?"
        return self._execute(sql, (task_id, platform, chat_id, thread_id)).rowcount == 1

    # --- how ---------------------------------------------------------------------------------------------------

    def _execute(self, sql: str, given: tuple = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, given)

    def _value(self, sql: str, given: tuple) -> Any:
        row = self._execute(sql, given).fetchone()
        return None if row is None else row[0]

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        self._execute(_insert_sql(table, tuple(columns)), tuple(columns.values()))

    def _insert_counted(self, table: str, columns: dict[str, Any]) -> int:
        given = self._next_id[table]
        self._next_id[table] = given + 1
        self._insert(table, {"id": given, **columns})
        return given

    def _update(self, table: str, key: str, value: Any, columns: dict[str, Any]) -> None:
        if columns:
            assignments = ", ".join(f"{column} = ?" for column in columns)
            self._execute(f"UPDATE {table} SET {assignments} WHERE {key} = ?", (*columns.values(), value))


def is_terminal(status: str) -> bool:
    """Whether a task with this status is finished, for those who wait for it."""
    return status in TERMINAL


def _insert_sql(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
