"""Session: statements, savepoints and ids of the coordinator's transaction; rows are held back and written late."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from kanban_shards.coordinator.state.write_buffer import HeldLog, HeldTable, RowValues

_encode = msgspec.json.Encoder().encode
# Hermes's tables whose rows are numbered, and with them our own.
COUNTED = ("task_comments", "task_events", "task_runs", "task_attachments")
ALL_COUNTED = (*COUNTED, "merge_dead_letters")
CHAT = ("task_id", "platform", "chat_id", "thread_id")
# So much of what was asked of one table is remembered.
REMEMBERED = 10_000
# The values of CHAT.
Chat = tuple[str, str, str, str]


class Rows:
    """Statements on the board inside the coordinator's transaction. ``now_s`` is the present entry's time.

    Rows of tasks, runs, subscriptions, events, comments and verdicts are held back (coordinator/state/write_buffer.py).
    So ``_look`` reads only tables of which nothing is; everything else goes through ``_execute``, which writes what is
    held first.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._open_parents: dict[str, int] = {}
        self._next_id: dict[str, int] = {}
        self.now_s = 0
        self._limits: dict[str, int] | None = None
        self._waiting: set[str] | None = None
        self._unlinked: set[str] = set()
        self._untold: set[str] = set()
        self._is_settled = self._in_entry = self._in_savepoint = False
        self._hold_nothing()
        self._defaults = {
            table: self._empty_row(table) for table in ("tasks", "merge_tasks", "task_runs", "kanban_notify_subs")
        }

    # --- entries ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """From here, what is written is one entry's."""
        self._in_entry = True
        self._ids_before = dict(self._next_id)

    def _undo(self) -> None:
        """The entry wrote nothing, so far."""
        self._next_id = self._ids_before
        for held in self._held:
            held.undo()
        if self._in_savepoint:
            self._connection.execute("ROLLBACK TO entry")
            self._forget()

    def _end(self) -> None:
        """What the entry wrote stays."""
        self._settle()
        if self._in_savepoint:
            self._connection.execute("RELEASE entry")
        self._in_entry = self._in_savepoint = False

    def _forget(self) -> None:
        """Tables are not what they were: read rows anew."""
        self._forget_answers()
        for table in self._tables:
            table.forget()

    def _forget_answers(self) -> None:
        """What was found by asking a table is to be asked anew."""
        self._limits = self._waiting = None
        self._unlinked.clear()
        self._untold.clear()

    # --- statements ------------------------------------------------------------------------------------------------

    def _execute(self, sql: str, given: Sequence[object] = ()) -> sqlite3.Cursor:
        """Any statement, on what is there including all that is held; undone if the entry is refused."""
        self._write_through()
        return self._connection.execute(sql, given)

    def _insert_many(self, table: str, rows: list[RowValues]) -> None:
        """Insert rows that all have the same columns; undone if the entry is refused."""
        self._write_through()
        self._connection.executemany(insert_sql(table, rows[0]), [tuple(row.values()) for row in rows])

    def _write_through(self) -> None:
        self._write_held()  # of earlier entries, which stay whatever becomes of this one
        if self._in_entry:
            if not self._in_savepoint:
                self._connection.execute("SAVEPOINT entry")
                self._in_savepoint = True
            self._settle()
            self._write_held()

    def _look(self, sql: str, given: Sequence[object] = ()) -> sqlite3.Cursor:
        """A read of tables of which nothing is held."""
        return self._connection.execute(sql, given)

    def _finds(self, sql: str, given: Sequence[object]) -> bool:
        """Whether ``_look`` finds a row."""
        return self._look(sql, given).fetchone() is not None

    def _number(self, sql: str, given: Sequence[object]) -> int:
        """The number in the one row that ``_look`` finds."""
        (number,) = self._look(sql, given).fetchone()
        return int(number)

    def _texts(self, sql: str, given: Sequence[object]) -> list[str]:
        """The one column of the rows that ``_look`` finds."""
        return [value for (value,) in self._look(sql, given).fetchall()]

    def _insert_counted(self, table: str, columns: RowValues) -> int:
        given = self._count(table)
        columns = {"id": given, **columns}
        self._execute(insert_sql(table, columns), tuple(columns.values()))
        return given

    def _count(self, table: str) -> int:
        """The next id of ``table``."""
        given = self._next_id[table]
        self._next_id[table] = given + 1
        return given

    def _new_row(self, table: str, columns: RowValues) -> RowValues:
        """A row of ``table`` with every column, as SQLite would fill it."""
        return {**self._defaults[table], **columns}

    # --- what is held ----------------------------------------------------------------------------------------------

    def _hold_nothing(self) -> None:
        """Begin anew, whatever was held."""
        self._tasks: HeldTable[str] = HeldTable(self._stored_task)
        self._runs: HeldTable[int] = HeldTable()
        self._subscriptions: HeldTable[Chat] = HeldTable(self._stored_subscription)
        self._events = HeldLog("INSERT INTO task_events VALUES (?, ?, ?, ?, ?, ?)")
        self._comments = HeldLog("INSERT INTO task_comments VALUES (?, ?, ?, ?, ?)")
        self._verdicts = HeldLog("INSERT INTO merge_verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        self._kept = HeldLog("INSERT INTO merge_kept VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        self._tables = (self._tasks, self._runs, self._subscriptions)
        self._logs = (self._events, self._comments, self._verdicts, self._kept)
        self._held = (*self._tables, *self._logs)
        self._forget_answers()
        self._next_id = {}
        self._is_settled = self._in_entry = self._in_savepoint = False

    def _settle(self) -> None:
        self._is_settled = True
        for held in self._held:
            held.settle()

    def _write_held(self) -> None:
        """Write what is settled."""
        if not self._is_settled:
            return
        self._is_settled = False
        new, changed = self._tasks.take()
        self._insert_rows("tasks", new)
        self._insert_rows("merge_tasks", new)
        for task_id, columns in changed.items():
            for table, key in (("tasks", "id"), ("merge_tasks", "task_id")):
                mine = {name: value for name, value in columns.items() if name in self._defaults[table]}
                self._update(table, (key,), (task_id,), mine)
        new, changed_runs = self._runs.take()
        self._insert_rows("task_runs", new)
        for run_id, columns in changed_runs.items():
            self._update("task_runs", ("id",), (run_id,), columns)
        new, changed_chats = self._subscriptions.take()
        self._insert_rows("kanban_notify_subs", new)
        for chat, columns in changed_chats.items():
            self._update("kanban_notify_subs", CHAT, chat, columns)
        for log in self._logs:
            rows = log.take()
            if rows:
                self._connection.executemany(log.insert, rows)

    def _insert_rows(self, table: str, rows: Collection[RowValues]) -> None:
        if rows:
            columns = self._defaults[table]
            sql = f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})"
            self._connection.executemany(sql, map(itemgetter(*columns), rows))

    def _update(self, table: str, key: Sequence[str], values: Sequence[object], columns: RowValues) -> None:
        if columns:
            assignments = ", ".join(f"{column} = ?" for column in columns)
            where = " AND ".join(f"{column} = ?" for column in key)
            self._connection.execute(f"UPDATE {table} SET {assignments} WHERE {where}", (*columns.values(), *values))

    def _empty_row(self, table: str) -> RowValues:
        """Every column of ``table`` in order, with its default."""
        columns = self._look(f"PRAGMA table_info({table})").fetchall()
        defaults = self._look(f"SELECT {', '.join(column[4] or 'NULL' for column in columns)}").fetchone()
        return {column[1]: value for column, value in zip(columns, defaults, strict=True)}

    def _stored_task(self, task_id: str) -> RowValues | None:
        return self._stored("tasks t JOIN merge_tasks m ON m.task_id = t.id WHERE t.id = ?", (task_id,))

    def _stored_subscription(self, chat: Chat) -> RowValues | None:
        return self._stored(f"kanban_notify_subs WHERE {' AND '.join(f'{column} = ?' for column in CHAT)}", chat)

    def _stored(self, where: str, given: Sequence[object]) -> RowValues | None:
        cursor = self._look(f"SELECT * FROM {where}", given)
        row = cursor.fetchone()
        return None if row is None else dict(zip([column[0] for column in cursor.description], row, strict=True))


def remember(answers: set[str], answer: str) -> None:
    """Add to what is remembered of the board, which is begun anew before it takes much memory."""
    if len(answers) >= REMEMBERED:
        answers.clear()
    answers.add(answer)


def insert_sql(table: str, columns: Iterable[str]) -> str:
    """An INSERT of ``columns``; the same text each time, so that it is prepared once."""
    columns = tuple(columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def json_text(value: Any) -> str | None:
    """JSON with the blanks that Hermes writes; None stays NULL."""
    return None if value is None else msgspec.json.format(_encode(value), indent=0).decode()
