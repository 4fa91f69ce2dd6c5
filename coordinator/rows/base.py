"""How rows are read and written: the connection, and the ids that follow the ledger's order."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False).encode
COUNTED = ("task_events", "task_runs", "task_comments", "task_attachments", "merge_dead_letters")


class Rows:
    """Statements on the board inside the coordinator's transaction. ``now_s`` is the present entry's time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._next_id: dict[str, int] = {}
        self.now_s = 0

    def _execute(self, sql: str, given: tuple = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, given)

    def _value(self, sql: str, given: tuple = ()) -> Any:
        row = self._execute(sql, given).fetchone()
        return None if row is None else row[0]

    def _values(self, sql: str, given: tuple = ()) -> list[Any]:
        return [value for (value,) in self._execute(sql, given).fetchall()]

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        self._execute(insert_sql(table, tuple(columns)), tuple(columns.values()))

    def _insert_counted(self, table: str, columns: dict[str, Any]) -> int:
        given = self._next_id[table]
        self._next_id[table] = given + 1
        self._insert(table, {"id": given, **columns})
        return given

    def _update(self, table: str, key: str, value: Any, columns: dict[str, Any]) -> None:
        if columns:
            assignments = ", ".join(f"{column} = ?" for column in columns)
            self._execute(f"UPDATE {table} SET {assignments} WHERE {key} = ?", (*columns.values(), value))


def insert_sql(table: str, columns: tuple[str, ...]) -> str:
    """An INSERT of ``columns``; the same text each time, so that it is prepared once."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def json_text(value: Any) -> str | None:
    """JSON, letter for letter as Hermes writes it; None stays NULL."""
    return None if value is None else _encode(value)
