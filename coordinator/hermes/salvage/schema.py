"""Schema: which tables and indexes a file says it has, where their trees begin, and how their records are laid out.

Read from the pages and never by SQLite, so that a trigger, a view or a virtual table in it is only a row of text.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from kanban_shards.coordinator.hermes.salvage.layouts import KNOWN, Layout, StoredColumn, alternatives, parsed
from kanban_shards.coordinator.hermes.salvage.pages import Pages, Value, leaves, record
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
# A schema has some forty entries; more is not read.
_MOST_ENTRIES = 10_000


@dataclass
class Schema:
    """What a file says of its tables. ``layouts`` has each table of Hermes that it has or, where a part of the schema
    is lost, may have; ``roots`` the first page of each table and index that is named; ``others`` are tables that Hermes
    has not, ``strange`` is what is neither table nor index, and ``missing`` are tables of which the schema does not say
    what they are."""

    layouts: dict[str, Layout] = field(default_factory=dict)
    roots: dict[str, int] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def indexes(self, table: str) -> list[tuple[str, tuple[str, ...], int]]:
        """``(name, columns, first page)`` of each index of ``table`` whose place is known."""
        return [
            (index.name, index.columns, self.roots[index.name])
            for index in self.layouts[table].indexes
            if index.name in self.roots
        ]


def read_schema(pages: Pages, visited: VisitedPages) -> Schema:
    """Read the schema of a private copy; ``visited`` gets its pages."""
    entries, is_whole = _entries(pages, visited)
    found = Schema()
    tables: dict[str, str] = {}
    indexes: dict[str, dict[str, str]] = {}
    for kind, name, table, root, statement in entries:
        plain = kind in ("table", "index") and root > 0 and (statement or _AUTOMATIC.fullmatch(name))
        if not plain:
            found.strange.append(f"{kind} {name}")
            continue
        found.roots.setdefault(name, root)
        if kind == "index" and statement:
            indexes.setdefault(table, {})[name] = statement
        elif kind == "table":
            tables[name] = statement
    for table in KNOWN:
        if table not in tables and is_whole:
            continue  # a board of an older release
        layout = parsed(table, tables[table], indexes.get(table, {})) if table in tables else None
        if layout is None:
            found.missing.append(table)
            layout = _likeliest(pages, visited, table)
        found.layouts[table] = layout
    found.others = [name for name in tables if name not in KNOWN and name != SEQUENCE.table]
    return found


def _entries(pages: Pages, visited: VisitedPages) -> tuple[list[tuple], bool]:
    """The rows of the schema, and whether they are all there."""
    tree = TableTree(pages, 1, _SCHEMA, visited, ())
    rows = [tuple(row.values) for row in tree.rows() if len(row.values) == 5]
    if tree.gaps:  # a part of the schema is lost: its other pages still say what they are
        for page in leaves(pages, visited):
            values = [record(cell.payload, pages.encoding) for cell in page.cells]
            fitting = [each for each in values if each is not None and len(each) == 5 and _SCHEMA.fits(each)]
            if fitting and len(fitting) == len(values) and all(_is_entry(each) for each in fitting):
                rows += map(tuple, fitting)
                visited.add(page.number)
    return list(dict.fromkeys(rows))[:_MOST_ENTRIES], not tree.gaps


def _is_entry(values: list[Value]) -> bool:
    return values[0] in ("table", "index", "view", "trigger") and 0 <= values[3] < 2**32


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
