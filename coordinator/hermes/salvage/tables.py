"""Tables: the last stage. Every row that can be read goes into a new file, made with Hermes's own schema.

Which copy of a row counts: the one that its table's tree leads to. A row elsewhere is taken only where the tree has
none, and only if it was not deleted, which one of these shows: an index names it; or the list of free pages is whole
and its page is not on it; or the tree has a gap there, and no whole index is silent about it; or, if it is a task, rows
of other tables name it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from kanban_shards.coordinator.hermes.salvage.evidence import Witnesses, task_ids
from kanban_shards.coordinator.hermes.salvage.layouts import ANYTHING, IDENTITY, KNOWN, Layout
from kanban_shards.coordinator.hermes.salvage.pages import INDEX_LEAF, Form, Mended, Page, Pages, Value, leaves, record
from kanban_shards.coordinator.hermes.salvage.report import Replaced, Salvage, TableReport
from kanban_shards.coordinator.hermes.salvage.schema import SEQUENCE, read_schema
from kanban_shards.coordinator.hermes.salvage.trees import Gaps, TableTree, VisitedPages
from kanban_shards.migrations.board import HERMES_INDEXES, HERMES_TABLES
from kanban_shards.storage import connections, copies, sqlite

# How likely a copy of a row is the newest one, by where it lies.
MISPLACED, UNREACHED, GIVEN_BACK, REPLACED = range(4)
# Values that a column must have, where its own default does not help.
_NOTHING: dict[str, Value] = {"TEXT": "", "INTEGER": 0}


def save_tables(private: Path, former: Path, form: Form, target: Path, report: Salvage) -> bool:
    """Make ``target`` of all rows that the private copy ``private`` still holds, and tell ``report``.

    ``former``: the pages that a WAL replaced, if there was one. Returns whether the tables were sound, so that no row
    is missing: only what lies beside them was not.
    """
    connection, scratch = copies.open_private(target), sqlite.open_scratch()
    try:
        with Pages(private, form) as pages, connections.transaction(connection):
            return _Tables(pages, former, connection, scratch, report).save()
    finally:
        scratch.close()
        connection.close()


@dataclass
class _Tables:
    pages: Pages
    former: Path
    connection: sqlite3.Connection
    scratch: sqlite3.Connection
    report: Salvage
    loose: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.visited = VisitedPages(self.pages)
        self.schema = read_schema(self.pages, self.visited)

    def save(self) -> bool:
        self._tell_of_the_schema()
        self.scratch.execute("CREATE TABLE elsewhere (name TEXT, key INTEGER, rank INTEGER, payload BLOB)")
        for table, layout in self.schema.layouts.items():
            self.report.tables[table] = TableReport()
            self.connection.execute(_create(table, layout))
        gaps = {table: self._save_tree(layout) for table, layout in self.schema.layouts.items()}
        sequences = self._sequences()
        self._mark_others()
        free_is_whole = self._collect_elsewhere()
        witnesses = Witnesses(self.pages, self.schema, self.connection, self.scratch, self.visited)
        whole = witnesses.hear()
        for table in sorted(self.schema.layouts, key="tasks".__eq__):  # last, for the rows of the others name tasks
            if table == "tasks":
                self._collect_mentioned()
            self._save_elsewhere(table, Gaps(gaps[table]), free_is_whole, table in whole)
            witnesses.tell(table, self.report.tables[table])
            self.report.tables[table].gaps = Gaps(gaps[table]).within(self._last(table, sequences))
        self.report.loose = dict(self.loose + witnesses.loose)
        self._finish(sequences)
        return not (any(gaps.values()) or self.schema.missing or self.schema.others or self.schema.strange)

    def _tell_of_the_schema(self) -> None:
        kept = {f"{column.name} of {table}" for table, each in self.schema.layouts.items() for column in each.unusual}
        for found, said in (
            (
                self.schema.missing,
                "the schema does not say what these tables are: {}; their rows are told by their form",
            ),
            (self.schema.others, "tables that Hermes does not have, left out: {}"),
            (self.schema.strange, "neither tables nor indexes, left out: {}"),
            (sorted(kept), "columns that this program does not know, kept: {}"),
        ):
            if found:
                self.report.notes.append(said.format(", ".join(found)))

    def _save_tree(self, layout: Layout) -> list[tuple[int, int]]:
        table, root = layout.table, self.schema.roots.get(layout.table, 0)
        others = [each for each in self.schema.layouts.values() if each is not layout]
        tree = TableTree(self.pages, root, layout, self.visited, others)
        for row in tree.rows():
            if row.in_place:
                self._insert(layout, row.key, row.values)
            else:
                self._keep(table, row.key, MISPLACED, row.payload)
        return tree.gaps

    def _sequences(self) -> list[tuple[str, int]]:
        tree = TableTree(self.pages, self.schema.roots.get(SEQUENCE.table, 0), SEQUENCE, self.visited, ())
        found = (row.values for row in tree.rows())
        return [(name, number) for name, number in found if isinstance(name, str) and isinstance(number, int)]

    def _last(self, table: str, sequences: list[tuple[str, int]]) -> int:
        (last,) = self.connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()
        return max([last or 0, *(number for name, number in sequences if name == table)])

    def _mark_others(self) -> None:
        """Keep rows of strange tables, in their own trees, from being taken for rows of Hermes's."""
        for name in self.schema.others:
            for _ in TableTree(self.pages, self.schema.roots[name], ANYTHING, self.visited, ()).rows():
                pass

    def _collect_elsewhere(self) -> bool:
        """Keep every row on a page that no tree leads to. Returns whether the list of free pages is whole."""
        free, whole = self.pages.free()
        for page in leaves(self.pages, self.visited):
            self._collect(page, GIVEN_BACK if page.number in free else UNREACHED)
        if self.former.exists():
            with Pages(self.former, Form(self.pages.page_size)) as former:
                for page in leaves(former, (), INDEX_LEAF):
                    self.loose.update(task_ids(page, self.pages.encoding))
                for page in leaves(former, ()):
                    self.loose.update(task_ids(page, self.pages.encoding))
                    # What goes on elsewhere goes on in another file.
                    here = tuple(cell for cell in page.cells if not cell.overflow)
                    self._collect(replace(page, cells=here), REPLACED)
        self.scratch.execute("CREATE INDEX elsewhere_key ON elsewhere (name, key)")
        return whole

    def _collect(self, page: Page, rank: int) -> None:
        fitting = [
            (table, cell)
            for cell in page.cells
            if (values := record(cell.payload, self.pages.encoding)) is not None
            for table, layout in self.schema.layouts.items()
            if layout.fits(values)
        ]
        if fitting:
            owner = Counter(table for table, _ in fitting).most_common(1)[0][0]
            for table, cell in fitting:
                if table == owner:
                    self._keep(table, cell.key, rank, cell.payload)

    def _keep(self, table: str, key: int, rank: int, payload: bytes) -> None:
        self.scratch.execute("INSERT INTO elsewhere VALUES (?, ?, ?, ?)", (table, key, rank, payload))

    def _save_elsewhere(self, table: str, gaps: Gaps, free_is_whole: bool, an_index_is_whole: bool) -> None:
        layout, told = self.schema.layouts[table], self.report.tables[table]
        keys = self.scratch.execute("SELECT DISTINCT key FROM elsewhere WHERE name = ? ORDER BY key", (table,))
        for (key,) in keys.fetchall():
            silent = an_index_is_whole and not self._named(table, key)
            current = free_is_whole or (key in gaps and not silent)
            for named, rank, values in self._copies(layout, key):
                if named or (current and rank < GIVEN_BACK) or self._is_mentioned(layout, values):
                    told.outside += self._insert(layout, key, values)
                    continue
                told.stale += rank < REPLACED
                # Where the tree has a gap, this may be a deleted row, or all that is left of one that was there.
                if table == "tasks" and (rank == REPLACED or (key in gaps and not silent)):
                    self._tell_of_former(layout.row(key, values))

    def _tell_of_former(self, row: dict[str, Value]) -> None:
        if not self.connection.execute("SELECT 1 FROM tasks WHERE id = ?", (row["id"],)).fetchone():
            known = {name: value for name, value in row.items() if value is not None}
            self.report.tables["tasks"].former.append(known)

    def _copies(self, layout: Layout, key: int) -> list[tuple[bool, int, list[Value]]]:
        """``(whether indexes name it, rank, values)`` of each distinct row that lies elsewhere, the newest first."""
        named = self._named(layout.table, key)
        telling = {column: named[column] for column in IDENTITY[layout.table] if column in named} or named
        found = []
        for rank, payload in self.scratch.execute(
            "SELECT min(rank), payload FROM elsewhere WHERE name = ? AND key = ? GROUP BY payload", (layout.table, key)
        ):
            values = record(payload, self.pages.encoding)
            if values is None:
                continue  # never: it could be read when it was kept
            row = layout.row(key, values)
            is_named = bool(telling) and all(row.get(column) == value for column, value in telling.items())
            confirmed = sum(row.get(column) == value for column, value in named.items())
            times = [value for column, value in row.items() if column.endswith("_at") and isinstance(value, int)]
            found.append((not is_named, -confirmed, rank, -max(times, default=0), values))
        return [(not each[0], each[2], each[4]) for each in sorted(found, key=lambda each: each[:4])]

    def _collect_mentioned(self) -> None:
        """Keep which tasks are named by rows of other tables. Hermes removes those together with a task."""
        self.scratch.execute("CREATE TABLE mentioned (task_id TEXT PRIMARY KEY) WITHOUT ROWID")
        for table in self.schema.layouts:
            if "task_id" in IDENTITY[table]:
                rows = self.connection.execute(f"SELECT task_id FROM {table} WHERE task_id IS NOT NULL")
                self.scratch.executemany("INSERT OR IGNORE INTO mentioned VALUES (?)", rows)

    def _is_mentioned(self, layout: Layout, values: list[Value]) -> bool:
        if layout.table != "tasks":
            return False
        task_id = layout.row(0, values)["id"]
        asked = "SELECT 1 FROM mentioned WHERE task_id = ?"
        return self.scratch.execute(asked, (task_id,)).fetchone() is not None

    def _named(self, table: str, key: int) -> dict[str, Value]:
        """What indexes say of a row that the tree does not have."""
        said = self.scratch.execute("SELECT column, value FROM named WHERE name = ? AND key = ?", (table, key))
        return dict(said.fetchall())

    def _insert(self, layout: Layout, key: int, values: list[Value]) -> bool:
        """Save a row. False if it is an older copy of a row that is saved, or its id is taken by another row.

        A rowid that is no id means nothing: if another row has it, this one gets a new one.
        """
        kept = {column.name for column in (*KNOWN[layout.table].columns, *layout.unusual)}
        row = {name: value for name, value in layout.row(key, values).items() if name in kept}
        row, replaced = _allowed(layout.table, key, row)
        told = self.report.tables[layout.table]
        if not self._add(layout.table, {"rowid": key, **row}):
            identity = {name: row.get(name) for name in IDENTITY[layout.table]}
            where = " AND ".join(f"{name} IS ?" for name in identity)
            asked = f"SELECT 1 FROM {layout.table} WHERE {where}" + (" AND rowid = ?" if layout.numbered else "")
            place = [*identity.values(), key] if layout.numbered else [*identity.values()]
            if self.connection.execute(asked, place).fetchone():
                told.stale += 1
                return False
            if layout.numbered:
                told.collided.append(row)
                return False
            self._add(layout.table, row)
        told.saved += 1
        self.report.replaced += replaced
        return True

    def _add(self, table: str, row: dict[str, Value]) -> bool:
        names = ", ".join(f'"{name}"' for name in row)
        done = self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))}) ON CONFLICT DO NOTHING",
            [*row.values()],
        )
        return done.rowcount == 1

    def _finish(self, sequences: list[tuple[str, int]]) -> None:
        for name, target in HERMES_INDEXES.items():
            table, _, columns = target.rstrip(")").partition("(")
            there = {row[0] for row in self.connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
            if set(columns.split(", ")) <= there:
                self.connection.execute(f"CREATE INDEX {name} ON {target}")
        for name, number in sequences:  # no id is given twice, whatever is lost
            self.connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, name))
            self.connection.execute(
                "INSERT INTO sqlite_sequence SELECT ?1, ?2 WHERE ?1 IN (SELECT name FROM sqlite_schema WHERE sql LIKE "
                "'%AUTOINCREMENT%') AND ?1 NOT IN (SELECT name FROM sqlite_sequence)",
                (name, number),
            )


def _create(table: str, layout: Layout) -> str:
    """The statement that makes ``table`` in the copy: Hermes's own, with what columns the file has besides.

    Where the file gives a column another type (ids were TEXT once), the file's types are kept, without constraints.
    """
    known = {column.name: column for column in KNOWN[table].columns}
    drifted = [each for each in layout.columns if each.name in known and each.type != known[each.name].type]
    unusual = "".join(f', "{column.name}" {column.type}' for column in layout.unusual)
    if drifted:
        kept = [f'"{column.name}" {column.type}' for column in layout.columns if column.name in known]
        return f"CREATE TABLE {table} ({', '.join(kept)}{unusual})"
    columns, separator, constraint = HERMES_TABLES[table].partition(", PRIMARY KEY (")
    if not separator:
        columns, separator, constraint = HERMES_TABLES[table].rstrip().partition(",\n        PRIMARY KEY (")
    return f"CREATE TABLE {table} ({columns}{unusual}{separator}{constraint})"


def _allowed(table: str, key: int, row: dict[str, Value]) -> tuple[dict[str, Value], list[Replaced]]:
    """``row`` as the copy's schema allows it, and what had to be replaced for that."""
    columns = {column.name: column for column in KNOWN[table].columns}
    replaced = []
    for name, value in row.items():
        column = columns.get(name)
        if isinstance(value, Mended):
            row[name] = str(value)
            replaced.append(Replaced(table, key, name, "no text", str(value)))
        elif value is None and column is not None and column.not_null:
            row[name] = column.default if column.default is not None else _NOTHING[column.type]
            replaced.append(Replaced(table, key, name, "NULL", row[name]))
    return row, replaced
