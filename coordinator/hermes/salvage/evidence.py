"""Evidence: what indexes and other tables still say of rows that their own table lost."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kanban_shards.coordinator.hermes.salvage.layouts import IDENTITY, KNOWN
from kanban_shards.coordinator.hermes.salvage.pages import INDEX_LEAF, Page, Pages, Value, leaves, record
from kanban_shards.coordinator.hermes.salvage.report import LostTask, Salvage, TableReport
from kanban_shards.coordinator.hermes.salvage.schema import Schema
from kanban_shards.coordinator.hermes.salvage.trees import IndexTree, VisitedPages, entries_of

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
_SAID = {table: said for said, (table, _) in _NAMING.items()}
_TASK_ID = re.compile(r"t_[0-9a-f]{8,}")
# At most so many rows of a table are reported as contradicted by an index.
_MOST_CONTRADICTIONS = 1_000


@dataclass
class Witnesses:
    """The indexes of a private copy, heard about the rows in ``connection``; what they say of others is kept in the
    table ``named`` of ``scratch``. ``loose``: task ids in index pages of which nobody can tell the index."""

    pages: Pages
    schema: Schema
    connection: sqlite3.Connection
    scratch: sqlite3.Connection
    visited: VisitedPages
    loose: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.scratch.execute(
            "CREATE TABLE named (name TEXT, key INTEGER, column TEXT, value, PRIMARY KEY (name, key, column)) "
            "WITHOUT ROWID"
        )
        self._contradicted: dict[str, dict[int, dict[str, Value]]] = {}
        self._there = {
            table: {name for (name,) in self.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
            for table in self.schema.layouts
        }

    def hear(self) -> set[str]:
        """Read each index. Returns the tables of which one is whole: it could be read throughout, and names every row
        there is."""
        whole = set()
        for table, layout in self.schema.layouts.items():
            if not self._there[table]:
                continue
            (rows,) = self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            for _, columns, root in self.schema.indexes(table):
                tree = IndexTree(self.pages, root, columns, layout, self.visited)
                hits = sum(self._hear(table, key, said) for key, said in tree.entries())
                if hits == rows and not tree.faulty:
                    whole.add(table)
        self._hear_strays()
        return whole

    def _hear(self, table: str, key: int, said: dict[str, Value]) -> bool:
        """Whether the row that an index entry names is there; if not, remember what the entry says."""
        has = self._row(table, key, said)
        if has is None or any(has.get(name, value) != value for name, value in said.items() if name in IDENTITY[table]):
            self.scratch.executemany(
                "INSERT OR IGNORE INTO named VALUES (?, ?, ?, ?)",
                [(table, key, column, value) for column, value in said.items()],
            )
            return False
        otherwise = {column: value for column, value in said.items() if has.get(column, value) != value}
        known = self._contradicted.setdefault(table, {})
        if otherwise and (key in known or len(known) < _MOST_CONTRADICTIONS):
            known.setdefault(key, {}).update(otherwise)
        return True

    def _row(self, table: str, key: int, said: dict[str, Value]) -> dict[str, Value] | None:
        names = ["rowid", *(name for name in said if name in self._there[table])]
        row = self.connection.execute(f"SELECT {', '.join(names)} FROM {table} WHERE rowid = ?", (key,)).fetchone()
        return None if row is None else dict(zip(names, row, strict=True))

    def _hear_strays(self) -> None:
        """Index pages that no tree leads to: they belong to the index whose rows they name best."""
        free, _ = self.pages.free()
        for page in leaves(self.pages, self.visited, INDEX_LEAF):
            if page.number in free:
                continue
            best, table, entries = 0, "", []
            for name in self._tables():
                for columns in {index.columns for index in self.schema.layouts[name].indexes}:
                    found = list(entries_of(page, self.pages.encoding, columns, self.schema.layouts[name]))
                    hits = sum(self._matches(name, key, said) for key, said in found)
                    if hits > best:
                        best, table, entries = hits, name, found
            for key, said in entries:
                self._hear(table, key, said)
            if not best:
                self.loose.update(task_ids(page, self.pages.encoding))

    def _matches(self, table: str, key: int, said: dict[str, Value]) -> bool:
        has = self._row(table, key, said)
        return has is not None and bool(said) and all(has.get(name) == value for name, value in said.items())

    def _tables(self) -> list[str]:
        return [table for table, columns in self._there.items() if columns]

    def tell(self, table: str, told: TableReport) -> None:
        """Put into ``told`` which rows are named and in none of the pages, and which are said to be otherwise."""
        lost: dict[int, dict[str, Value]] = {}
        for key, column, value in self.scratch.execute(
            "SELECT key, column, value FROM named WHERE name = ? ORDER BY key", (table,)
        ):
            lost.setdefault(key, {})[column] = value
        contradicted = self._contradicted.get(table, {})
        for key, said in lost.items():
            if not self._is_there(table, key, said):
                told.lost.append({"row": key, **said, **contradicted.pop(key, {})})
        for key, said in contradicted.items():
            names = self._row(table, key, dict.fromkeys(IDENTITY[table])) or {}
            told.contradicted.append({"row": key, **names, "index": said})

    def _is_there(self, table: str, key: int, said: dict[str, Value]) -> bool:
        telling = {name: value for name, value in said.items() if name in IDENTITY[table]}
        if telling and not self.schema.layouts[table].numbered:
            where = " AND ".join(f"{name} IS ?" for name in telling)
            return (
                self.connection.execute(f"SELECT 1 FROM {table} WHERE {where}", [*telling.values()]).fetchone()
                is not None
            )
        has = self._row(table, key, said)
        return has is not None and all(has.get(name, value) == value for name, value in telling.items())


def task_ids(page: Page, encoding: str) -> Iterator[str]:
    """Each task id in the records of ``page``, of whatever table or index it is."""
    for cell in page.cells:
        for value in record(cell.payload, encoding) or ():
            if isinstance(value, str) and _TASK_ID.fullmatch(value):
                yield value


def lost_tasks(connection: sqlite3.Connection, report: Salvage) -> list[LostTask]:
    """The tasks that have no row in the copy: those that indexes named, and those that other tables name."""
    found: dict[str, LostTask] = {}
    for row in report.tables["tasks"].lost:
        task_id = row.get("id") or f"row {row['row']} of tasks"
        known = {name: value for name, value in row.items() if name not in ("id", "row")}
        found[task_id] = LostTask(task_id, known, {})
    for row in report.tables["tasks"].former:
        if connection.execute("SELECT 1 FROM tasks WHERE id = ?", (row["id"],)).fetchone() is None:
            found.setdefault(row["id"], LostTask(row["id"], {}, {})).known.update(
                {name: value for name, value in row.items() if name != "id"}
            )
    for said, (table, column) in _NAMING.items():
        if table not in report.tables:
            continue  # a board of an older release
        for task_id, count in connection.execute(
            f"SELECT {column}, count(*) FROM {table} WHERE {column} NOT IN (SELECT id FROM tasks) GROUP BY 1"
        ):
            found.setdefault(task_id, LostTask(task_id, {}, {})).named_by[said] = count
    for task_id, count in report.loose.items():
        if connection.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)).fetchone() is None:
            found.setdefault(task_id, LostTask(task_id, {}, {})).named_by["stray entries"] = count
    for table, told in report.tables.items():
        _count_named(found, table, told, connection)
    return list(found.values())


def _count_named(found: dict[str, LostTask], table: str, told: TableReport, connection: sqlite3.Connection) -> None:
    """Rows that are left out or lost themselves may name a task that is lost, too."""
    if "task_id" not in {column.name for column in KNOWN[table].columns}:
        return
    named = Counter(row.get("task_id") for row in (*told.lost, *told.collided))
    for task_id, count in named.items():
        there = connection.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)).fetchone()
        if task_id is not None and there is None:
            found.setdefault(task_id, LostTask(task_id, {}, {})).named_by[f"lost {_SAID[table]}"] = count
