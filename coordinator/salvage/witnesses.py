"""Witnesses: what indexes and other tables still say of rows that their own table lost."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from coordinator.salvage.layouts import KNOWN
from coordinator.salvage.pages import Pages
from coordinator.salvage.report import LostTask, Salvage, TableReport
from coordinator.salvage.schema import Schema
from coordinator.salvage.trees import IndexTree

# Where other tables name a task.
_NAMING = {
    "events": ("task_events", "task_id"),
    "comments": ("task_comments", "task_id"),
    "runs": ("task_runs", "task_id"),
    "attachments": ("task_attachments", "task_id"),
    "subscriptions": ("kanban_notify_subs", "task_id"),
    "children": ("task_links", "parent_id"),
    "parents": ("task_links", "child_id"),
}
# What an index says otherwise than a row is told of so many rows of a table.
_MOST_CONTRADICTIONS = 1_000


@dataclass
class Witnesses:
    """The indexes of a private copy, heard about the rows in ``connection``; what they say of others is kept in the
    table ``named`` of ``scratch``."""

    pages: Pages
    schema: Schema
    connection: sqlite3.Connection
    scratch: sqlite3.Connection

    def __post_init__(self) -> None:
        self.scratch.execute(
            "CREATE TABLE named (name TEXT, key INTEGER, column TEXT, value, PRIMARY KEY (name, key, column)) "
            "WITHOUT ROWID"
        )
        self._contradicted: dict[str, dict[int, dict]] = {}

    def hear(self, table: str) -> bool:
        """Read each index of ``table``. Returns whether one of them is whole: it could be read throughout, and names
        every row there is."""
        (rows,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        there = {row[0] for row in self.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        found = [self._hear_one(table, name, columns, root, there, rows)
                 for name, columns, root in self.schema.indexes(table)]  # fmt: skip
        return any(found)

    def _hear_one(self, table: str, name: str, columns: tuple[str, ...], root: int, there: set[str], rows: int) -> bool:
        tree = IndexTree(self.pages, root, columns, self.schema.layouts[table])
        shown = [column for column in columns if column in there]
        asked = f"SELECT {', '.join(['rowid', *shown])} FROM {table} WHERE rowid = ?"
        hits = 0
        for key, said in tree.entries():
            row = self.connection.execute(asked, (key,)).fetchone()
            if row is None:
                self.scratch.executemany(
                    "INSERT OR IGNORE INTO named VALUES (?, ?, ?, ?)",
                    [(table, key, column, value) for column, value in said.items()],
                )
                continue
            hits += 1
            has = dict(zip(shown, row[1:], strict=True))
            otherwise = {column: value for column, value in said.items() if column in has and has[column] != value}
            known = self._contradicted.setdefault(table, {})
            if otherwise and (key in known or len(known) < _MOST_CONTRADICTIONS):
                known.setdefault(key, {}).update(otherwise)
        return not tree.faulty and hits == rows

    def tell(self, table: str, told: TableReport) -> None:
        """Put into ``told`` which rows are named and in none of the pages, and which are said to be otherwise."""
        lost: dict[int, dict] = {}
        for key, column, value in self.scratch.execute(
            "SELECT key, column, value FROM named WHERE name = ? ORDER BY key", (table,)
        ):
            if key not in lost:
                there = self.connection.execute(f"SELECT 1 FROM {table} WHERE rowid = ?", (key,)).fetchone()
                lost[key] = {} if there is None else None
            if lost[key] is not None:
                lost[key][column] = value
        told.lost = [{"row": key, **known} for key, known in lost.items() if known is not None]
        told.contradicted = [
            {"row": key, **self._names(table, key), "index": said}
            for key, said in self._contradicted.get(table, {}).items()
        ]

    def _names(self, table: str, key: int) -> dict:
        column = "id" if table == "tasks" else "task_id" if table != "task_links" else "child_id"
        row = self.connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (key,)).fetchone()
        return {column: row[0]}


def lost_tasks(connection: sqlite3.Connection, report: Salvage) -> list[LostTask]:
    """The tasks that have no row in the copy: those that indexes named, and those that other tables name."""
    found: dict[str, LostTask] = {}
    for row in report.tables["tasks"].lost:
        task_id = row.get("id") or f"row {row['row']} of tasks"
        known = {name: value for name, value in row.items() if name not in ("id", "row")}
        found[task_id] = LostTask(task_id, known, {})
    for said, (table, column) in _NAMING.items():
        if table not in report.tables:
            continue  # a board of an older release
        for task_id, count in connection.execute(
            f"SELECT {column}, count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM tasks) GROUP BY 1"
        ):
            found.setdefault(task_id, LostTask(task_id, {}, {})).named_by[said] = count
    for table, told in report.tables.items():
        _count_named(found, table, told, connection)
    return list(found.values())


def _count_named(found: dict[str, LostTask], table: str, told: TableReport, connection: sqlite3.Connection) -> None:
    """Rows that are lost themselves may name a task that is lost, too."""
    if "task_id" not in {column.name for column in KNOWN[table].columns}:
        return
    for row in told.lost:
        task_id = row.get("task_id")
        there = connection.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)).fetchone()
        if task_id is not None and there is None:
            named_by = found.setdefault(task_id, LostTask(task_id, {}, {})).named_by
            named_by[f"lost {table}"] = named_by.get(f"lost {table}", 0) + 1
