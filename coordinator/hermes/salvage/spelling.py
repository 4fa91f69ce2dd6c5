"""Spelling: words of a damaged schema, read as the words that they were.

SQLite takes each text of a schema as it finds it. A flipped bit in the name of a column makes it another column, in
the name of a table another table, and its rows are somebody else's then. A word that is one flipped bit away from a
word of Hermes, which is missing, is that word.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from kanban_shards.coordinator.hermes.salvage.layouts import KNOWN, Index, Layout, StoredColumn

# What stands in a text for bytes that are none of its encoding.
UNREADABLE = "\ufffd"


def spelled(word: str, missing: Collection[str]) -> str:
    """``word``, or the one of ``missing`` that it is but for one flipped bit."""
    near = [each for each in missing if _is_near(word, each)]
    return near[0] if len(near) == 1 else word


def well_spelled(layout: Layout) -> tuple[Layout, list[str]]:
    """``layout`` with the names and types of Hermes's columns where it has them with a flipped bit, and what was read
    otherwise than it stands there, in words."""
    known = {column.name: column for column in KNOWN[layout.table].columns}
    missing = known.keys() - {column.name for column in layout.columns}
    columns, names, said = [], {}, []
    for column in layout.columns:
        right = _right(column, known, missing)
        columns.append(right)
        names[column.name] = right.name
        if right != column:
            was = f"{column.name} {column.type}" if right.name == column.name else column.name
            said.append(f"a column of {layout.table} is called {was!r} there, and read as {right.name} {right.type}")
    indexes = [Index(each.name, tuple(names.get(name, name) for name in each.columns)) for each in layout.indexes]
    return Layout(layout.table, tuple(columns), tuple(indexes)), said


def _right(column: StoredColumn, known: dict[str, StoredColumn], missing: Collection[str]) -> StoredColumn:
    name = column.name if column.name in known else spelled(column.name, missing)
    if name not in known:
        return column
    return replace(column, name=name, type=spelled(column.type, {known[name].type}))


def _is_near(word: str, known: str) -> bool:
    """Whether one flipped bit makes ``known`` into ``word``."""
    if len(word) != len(known):
        return False
    wrong = [(was, right) for was, right in zip(word, known, strict=True) if was != right]
    if len(wrong) != 1:
        return False
    was, right = wrong[0]
    return was == UNREADABLE or (ord(was) ^ ord(right)).bit_count() == 1
