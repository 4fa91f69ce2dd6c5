"""Schema: which tables and indexes a file says it has, where their trees begin, and how their records are laid out.

Read from the pages and never by SQLite, so that a trigger, a view or a virtual table in it is only a row of text.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace

from kanban_shards.coordinator.hermes.salvage.layouts import ANYTHING, KNOWN, Layout, StoredColumn, alternatives, parsed
from kanban_shards.coordinator.hermes.salvage.pages import Mended, Pages, Value, as_text, leaves, record
from kanban_shards.coordinator.hermes.salvage.spelling import spelled, well_spelled
from kanban_shards.coordinator.hermes.salvage.trees import TableTree, VisitedPages

_SCHEMA = Layout(
    "sqlite_schema",
    (
        StoredColumn("type", "TEXT", not_null=True),
        StoredColumn("name", "TEXT", not_null=True),
        StoredColumn("tbl_name", "TEXT", not_null=True),
        StoredColumn("rootpage", "INTEGER", not_null=True),
        StoredColumn("sql", "TEXT"),
    ),
)
SEQUENCE = Layout(
    "sqlite_sequence", (StoredColumn("name", "TEXT", not_null=True), StoredColumn("seq", "INTEGER", not_null=True))
)
_AUTOMATIC = re.compile(r"sqlite_autoindex_(.+)_\d+")
_KINDS = ("table", "index", "view", "trigger")
# A schema has some forty entries; more is not read.
_MOST_ENTRIES = 10_000


@dataclass
class Schema:
    """What a file says of its tables. ``layouts`` has each table of Hermes that it has or, where a part of the schema
    is lost, may have; ``roots`` the first page of each table and index that is named; ``others`` are tables that Hermes
    has not, ``strange`` is what is neither table nor index, ``missing`` are tables of which the schema does not say
    what they are, and ``misread`` says what SQLite would read otherwise than it was written."""

    layouts: dict[str, Layout] = field(default_factory=dict)
    roots: dict[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    misread: list[str] = field(default_factory=list)

    def indexes(self, table: str) -> list[tuple[str, tuple[str, ...], int]]:
        """``(name, columns, first page)`` of each index of ``table`` whose place is known."""
        return [
            (index.name, index.columns, self.roots[index.name])
            for index in self.layouts[table].indexes
            if index.name in self.roots
        ]


@dataclass(frozen=True)
class _Entry:
    """A row of the schema. ``root`` is 0 where it names no page, ``statement`` is empty where there is none."""

    kind: str
    name: str
    table: str
    root: int
    statement: str

    @property
    def is_plain(self) -> bool:
        """Whether it is a table or an index."""
        return self.kind in ("table", "index") and bool(self.statement or _AUTOMATIC.fullmatch(self.name))

    @property
    def is_text(self) -> bool:
        """Whether each text in it is one."""
        return not any(isinstance(each, Mended) for each in (self.kind, self.name, self.table, self.statement))


def read_schema(pages: Pages, visited: VisitedPages) -> Schema:
    """Read the schema of a private copy; ``visited`` gets its pages."""
    entries, is_whole = _entries(pages, visited)
    found = Schema()
    if not all(entry.is_text for entry in entries):
        found.misread.append("the schema holds bytes that are no text")
    tables: dict[str, str] = {}
    indexes: dict[str, dict[str, str]] = {}
    for entry in _well_spelled(entries, found):
        is_known = entry.kind == "table" and entry.name in KNOWN  # whose rows are found without its first page, too
        if not entry.is_plain or not (entry.root or is_known):
            found.strange.append(f"{entry.kind} {entry.name}")
            continue
        if entry.root:
            found.roots.setdefault(entry.name, entry.root)
        if entry.kind == "index" and entry.statement:
            indexes.setdefault(entry.table, {})[entry.name] = entry.statement
        elif entry.kind == "table":
            tables[entry.name] = entry.statement
    for table in KNOWN:
        if table not in tables and is_whole:
            continue  # a board of an older release
        layout = _layout(pages, found, table, tables[table], indexes.get(table, {})) if table in tables else None
        if layout is None:
            found.missing.append(table)
            layout = _likeliest(pages, visited, table)
        found.layouts[table] = layout
    found.others = [name for name in tables if name not in KNOWN and name != SEQUENCE.table]
    return found


def _well_spelled(entries: list[_Entry], found: Schema) -> list[_Entry]:
    """``entries`` with the names of Hermes's tables where they have them with a flipped bit; ``found`` is told."""
    entries = [replace(entry, kind=spelled(entry.kind, () if entry.kind in _KINDS else _KINDS)) for entry in entries]
    there = {entry.name for entry in entries if entry.kind == "table"}
    missing = {*KNOWN, SEQUENCE.table} - there
    right = {name: spelled(name, missing) for name in there - KNOWN.keys()}
    renamed = {was: name for was, name in right.items() if was != name}
    found.misread += [f"a table is called {was!r} there, and read as {name}" for was, name in renamed.items()]
    return [
        replace(
            entry,
            name=right.get(entry.name, entry.name) if entry.kind == "table" else entry.name,
            table=right.get(entry.table, entry.table),
        )
        for entry in entries
    ]


def _layout(pages: Pages, found: Schema, table: str, create: str, indexes: dict[str, str]) -> Layout | None:
    """How the records of ``table`` are laid out, as its statement says; None if that cannot be. ``found`` is told."""
    layout = parsed(table, create, indexes)
    if layout is None:
        return None
    layout, said = well_spelled(layout)
    if not _is_wide_enough(pages, found.roots.get(table, 0), layout):
        # A comment that swallows the next line, or a comma that is none any more, takes away a column.
        found.misread.append(f"the schema gives {table} fewer columns than its rows have values")
        return None
    found.misread += said
    return layout


def _is_wide_enough(pages: Pages, root: int, layout: Layout) -> bool:
    """Whether ``layout`` has a column for each value of each record of its table. None is ever taken away."""
    if {column.name for column in KNOWN[layout.table].columns} <= {column.name for column in layout.columns}:
        return True
    rows = TableTree(pages, root, ANYTHING, VisitedPages(pages), ()).rows()
    return all(len(row.values) <= len(layout.columns) for row in rows)


def _entries(pages: Pages, visited: VisitedPages) -> tuple[list[_Entry], bool]:
    """The rows of the schema, and whether they are all there."""
    tree = TableTree(pages, 1, _SCHEMA, visited, ())
    read = [_entry(row.values) for row in tree.rows()]
    rows = [entry for entry in read if entry is not None]
    is_whole = len(rows) == len(read) and not tree.gaps
    if tree.gaps:  # a part of the schema is lost: its other pages still say what they are
        for page in leaves(pages, visited):
            values = [record(cell.payload, pages.encoding) for cell in page.cells]
            fitting = [_entry(each) for each in values if each is not None and len(each) == 5 and _SCHEMA.fits(each)]
            if fitting and len(fitting) == len(values) and all(each and each.kind in _KINDS for each in fitting):
                rows += [each for each in fitting if each is not None]
                visited.add(page.number)
    return list(dict.fromkeys(rows))[:_MOST_ENTRIES], is_whole


def _entry(values: list[Value]) -> _Entry | None:
    """A record of the schema as an entry of it; None where it cannot be one."""
    if len(values) != 5:
        return None
    kind, name, table, statement = (
        as_text(value) if isinstance(value, bytes) else value for value in (*values[:3], values[4] or "")
    )
    root = values[3] if isinstance(values[3], int) and 0 < values[3] < 2**32 else 0
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(table, str) and isinstance(statement, str)):
        return None
    return _Entry(kind, name, table, root, statement)


def _likeliest(pages: Pages, visited: VisitedPages, table: str) -> Layout:
    """Of the known layouts of ``table``, the one that most of the file's records fit."""
    layouts = alternatives(table)
    if len(layouts) == 1:
        return layouts[0]
    fitting: Counter[int] = Counter()
    for page in leaves(pages, visited):
        for cell in page.cells:
            values = record(cell.payload, pages.encoding)
            fitting.update(place for place, each in enumerate(layouts) if values is not None and each.fits(values))
    return max(enumerate(layouts), key=lambda each: (fitting[each[0]], -each[0]))[1]
