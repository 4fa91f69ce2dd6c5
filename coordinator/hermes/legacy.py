"""Legacy: reads the boards that Hermes wrote, of 0.13 to 0.19 and of later versions.

The board's own tables are those of Hermes (migrations/board.py), so they say which columns there may be. A column that
an old version did not have yet gets Hermes's default; one that this program does not know is counted, so that nobody
takes it for imported.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from kanban_shards.migrations.board import HERMES_INDEXES, HERMES_TABLES

# Columns that were called otherwise until 0.13, and are copied by Hermes itself.
_FORMER_NAMES = {"consecutive_failures": "spawn_failures", "last_failure_error": "last_spawn_error"}
# Hermes renames these events in place.
FORMER_EVENTS = {"ready": "promoted", "priority": "reprioritized", "spawn_auto_blocked": "gave_up"}
# What is not in 0.19.0 yet.
LATER_COLUMNS = {
    "tasks": ("provider_override", "reasoning_effort"),
    "kanban_notify_subs": ("chat_type", "delivery_mode", "delivery_metadata"),
}
_OWN = ("sqlite_sequence", "sqlite_stat1", "sqlite_stat4")

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Column:
    """A column as Hermes 0.19.0 declares it, or a later one. ``is_moment``: it holds seconds since 1970."""

    name: str
    is_integer: bool
    is_moment: bool
    required: bool
    default: Any


@dataclass
class Legacy:
    """The rows of a board that Hermes wrote, as they are in the file.

    ``unknown_columns``: how many values there are in columns that this program does not know; ``unknown_tables``: how
    many rows in such tables; ``missing``: tables and columns that the file does not have.
    """

    digest: str
    tables: dict[str, Rows] = field(default_factory=dict)
    unknown_columns: dict[str, int] = field(default_factory=dict)
    unknown_tables: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    sequence: dict[str, int] = field(default_factory=dict)


def columns_of(table: str) -> list[Column]:
    """The columns of one of Hermes's tables, later ones included."""
    return _COLUMNS[table]


def is_legacy(connection: sqlite3.Connection) -> bool:
    """Whether the open file is a board that Hermes wrote, by its tables."""
    return "tasks" in _tables(connection) and "merge_state" not in _tables(connection)


def read(connection: sqlite3.Connection) -> Legacy:
    """Every row of Hermes's tables. Texts that are no UTF-8 keep their bytes as surrogates.

    Raises sqlite3.Error where the file cannot be read.
    """
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    there = _tables(connection)
    legacy = Legacy(digest(connection))
    for table in HERMES_TABLES:
        if table in there:
            legacy.tables[table] = _read_table(connection, table, legacy)
        else:
            legacy.tables[table] = []
            legacy.missing.append(table)
    for table in sorted(there - HERMES_TABLES.keys() - set(_OWN)):
        legacy.unknown_tables[table] = connection.execute(f"SELECT count(*) FROM {_quoted(table)}").fetchone()[0]
    if "sqlite_sequence" in there:
        found = connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
        legacy.sequence = {name: seq for name, seq in found if isinstance(seq, int)}
    return legacy


def digest(connection: sqlite3.Connection) -> str:
    """A digest of every value of every row of the file, in hexadecimal, whatever the order in which they lie."""
    found = hashlib.blake2b(digest_size=16)
    for table in sorted(_tables(connection)):
        names = [name for name, _ in _declared(connection, table)]
        found.update(repr((table, names)).encode())
        told = " || ',' || ".join(f"typeof({_quoted(name)}) || ':' || hex({_quoted(name)})" for name in names)
        for (row,) in connection.execute(f"SELECT {told} FROM {_quoted(table)} ORDER BY 1"):
            found.update(row.encode() + b"\n")
    return found.hexdigest()


def stock_schema(with_later: Collection[tuple[str, str]] = ()) -> Iterator[str]:
    """The statements that make the tables and indexes of Hermes 0.19.0.

    ``with_later``: the columns of later versions, ``(table, column)`` each, that shall be there, too.
    """
    for table, declared in HERMES_TABLES.items():
        left_out = [name for name in LATER_COLUMNS.get(table, ()) if (table, name) not in with_later]
        parts = [part for part in _parts(declared) if part.split()[0] not in left_out]
        yield f"CREATE TABLE {table} (\n    {', '.join(parts)}\n)"
    for name, target in HERMES_INDEXES.items():
        yield f"CREATE INDEX {name} ON {target}"


def _read_table(connection: sqlite3.Connection, table: str, legacy: Legacy) -> Rows:
    there = {name for name, _ in _declared(connection, table)}
    known = [column.name for column in columns_of(table)]
    source = {name: name if name in there else _FORMER_NAMES.get(name) for name in known}
    chosen = {name: former for name, former in source.items() if former in there}
    legacy.missing += [f"{table}.{name}" for name in known if name not in chosen]
    for name in sorted(there - set(chosen.values())):
        sql = f"SELECT count({_quoted(name)}) FROM {_quoted(table)}"
        legacy.unknown_columns[f"{table}.{name}"] = connection.execute(sql).fetchone()[0]
    wanted = ", ".join(_quoted(former) for former in chosen.values())
    return [
        dict(zip(chosen, row, strict=True))
        for row in connection.execute(f"SELECT {wanted} FROM {table} ORDER BY rowid")
    ]


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _declared(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _parts(declared: str) -> list[str]:
    """The columns, and the key, of a table's declaration."""
    columns, key, rest = " ".join(declared.split()).partition(", PRIMARY KEY (")
    return columns.split(", ") + ([f"PRIMARY KEY ({rest}"] if key else [])


def _column(part: str) -> Column:
    name, kind, *words = part.split()
    default = words[words.index("DEFAULT") + 1] if "DEFAULT" in words else None
    value: Any = default
    if default is not None:
        value = default.strip("'") if default.startswith("'") else int(default)
    is_moment = name.endswith("_at") or name == "claim_expires"
    return Column(name, kind == "INTEGER", is_moment, "NOT" in words, value)


_COLUMNS = {
    table: [_column(part) for part in _parts(declared) if not part.startswith("PRIMARY KEY")]
    for table, declared in HERMES_TABLES.items()
}
