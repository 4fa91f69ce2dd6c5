"""Layouts: which columns a table's records hold, in which order, and whether a record can be one of its rows.

The file's own schema says so where it can be read; it is parsed by SQLite in memory under an authorizer that allows
a CREATE and nothing else. Where it is lost, what the releases of Hermes are known to make is tried.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass, field

from kanban_shards.coordinator.hermes.salvage.pages import Value
from kanban_shards.migrations.board import HERMES_INDEXES, HERMES_TABLES
from kanban_shards.storage import sqlite

# The columns that boards begun with Hermes 0.14.0 got later stand at the end of their records.
_ADDED_LATER = (
    *("branch_name", "project_id", "model_override", "goal_mode", "goal_max_turns", "session_id", "block_kind"),
    *("block_recurrences", "provider_override", "reasoning_effort"),
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PLAIN_TYPE = re.compile(r"[A-Za-z ]{0,40}")


# Which columns say whose row it is. Where the rowid is an id that was given out, two rows may share it in a board that
# several wrote at once, and then these tell them apart.
IDENTITY = {
    "tasks": ("id",),
    "task_links": ("parent_id", "child_id"),
    "kanban_notify_subs": ("task_id", "platform", "chat_id", "thread_id"),
    "task_comments": ("task_id",),
    "task_events": ("task_id",),
    "task_runs": ("task_id",),
    "task_attachments": ("task_id",),
}


@dataclass(frozen=True)
class StoredColumn:
    """A column that records hold. ``required``: never NULL and without a default; ``default``: what NULL cannot be."""

    name: str
    type: str = ""
    not_null: bool = False
    default: Value = None
    rowid: bool = False

    @property
    def required(self) -> bool:
        """Whether every record has a value here."""
        return self.not_null and self.default is None

    def accepts(self, value: Value) -> bool:
        """Whether ``value`` can stand in this column. SQLite keeps no number in a TEXT column."""
        if self.rowid:
            return value is None
        if value is None:
            return not self.not_null
        if self.type == "TEXT":
            return isinstance(value, str)
        if self.type == "INTEGER":
            return isinstance(value, int)
        return True


@dataclass(frozen=True)
class Index:
    """An index: its name, and the columns whose values its entries hold before the rowid."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """How the records of ``table`` are laid out."""

    table: str
    columns: tuple[StoredColumn, ...]
    indexes: tuple[Index, ...] = ()
    least: int = field(init=False)

    def __post_init__(self) -> None:
        required = [place for place, column in enumerate(self.columns, 1) if column.required or column.rowid]
        object.__setattr__(self, "least", max(required, default=1))

    def fits(self, values: list[Value]) -> bool:
        """Whether a record can be a row of this table. Rows from before a column was added are shorter."""
        return self.least <= len(values) <= len(self.columns) and all(
            column.accepts(value) for column, value in zip(self.columns, values, strict=False)
        )

    def may_be(self, values: list[Value]) -> bool:
        """As ``fits``, but values may be of other types than their columns say."""
        return self.least <= len(values) <= len(self.columns) and all(
            value is None if column.rowid else value is not None or not column.not_null
            for column, value in zip(self.columns, values, strict=False)
        )

    def row(self, key: int, values: list[Value]) -> dict[str, Value]:
        """The named values of a record."""
        named = {column.name: value for column, value in zip(self.columns, values, strict=False)}
        return {**named, **{column.name: key for column in self.columns if column.rowid}}

    @property
    def numbered(self) -> bool:
        """Whether the rowid is an id that others refer to."""
        return any(column.rowid for column in self.columns)

    @property
    def unusual(self) -> tuple[StoredColumn, ...]:
        """Columns that no release known to this program makes, with names that can be kept."""
        known = {column.name for column in KNOWN[self.table].columns}
        return tuple(
            column
            for column in self.columns
            if column.name not in known and _PLAIN_NAME.fullmatch(column.name) and _PLAIN_TYPE.fullmatch(column.type)
        )


def parsed(table: str, create: str, indexes: dict[str, str]) -> Layout | None:
    """The layout that the statement ``create`` of the file's schema gives; None if it is no plain table's.

    ``indexes``: the CREATE INDEX statements of that table, by name. Those that are not plain are left out.
    """
    connection = sqlite.open_scratch()
    try:
        connection.set_authorizer(_only_create)
        connection.execute(create)
        for statement in indexes.values():
            with contextlib.suppress(sqlite3.Error, sqlite3.Warning, ValueError):
                connection.execute(statement)
        connection.set_authorizer(None)
        return _layout(connection, table)
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None
    finally:
        connection.close()


def alternatives(table: str) -> list[Layout]:
    """The layouts that releases of Hermes give to ``table``, for a file whose schema is lost."""
    known = KNOWN[table]
    if table != "tasks":
        return [known]
    later = [column for name in _ADDED_LATER for column in known.columns if column.name == name]
    grown = tuple(column for column in known.columns if column not in later) + tuple(later)
    return [known, Layout(table, grown)]


def _known() -> dict[str, Layout]:
    connection = sqlite.open_scratch()
    try:
        for table, columns in HERMES_TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
        for name, target in HERMES_INDEXES.items():
            connection.execute(f"CREATE INDEX {name} ON {target}")
        return {table: layout for table in HERMES_TABLES if (layout := _layout(connection, table)) is not None}
    finally:
        connection.close()


def _layout(connection: sqlite3.Connection, table: str) -> Layout | None:
    columns = [
        StoredColumn(name, kind.upper(), bool(not_null or key), _literal(default))
        for _, name, kind, not_null, default, key, hidden in connection.execute(
            'SELECT cid, name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)', (table,)
        )
        if hidden != 2  # a virtual generated column is in no record
    ]
    if not columns:
        return None
    keys = connection.execute("SELECT name, upper(type) FROM pragma_table_info(?) WHERE pk", (table,)).fetchall()
    if len(keys) == 1 and keys[0][1] == "INTEGER":
        columns = [
            StoredColumn(each.name, each.type, rowid=True) if each.name == keys[0][0] else each for each in columns
        ]
    indexes = [
        Index(name, tuple(column for (column,) in found))
        for (name,) in connection.execute("SELECT name FROM pragma_index_list(?) WHERE NOT partial", (table,))
        if (found := connection.execute("SELECT name FROM pragma_index_info(?) ORDER BY seqno", (name,)).fetchall())
    ]
    plain = tuple(index for index in indexes if None not in index.columns)
    return Layout(table, tuple(columns), plain)


def _only_create(action: int, *details: str | None) -> int:
    allowed = {
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_REINDEX,
    }
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _literal(default: str | None) -> Value:
    """The value of a DEFAULT that is a whole number or a text; None for any other."""
    if default is None:
        return None
    if re.fullmatch(r"-?\d{1,18}", default):
        return int(default)
    return default[1:-1].replace("''", "'") if re.fullmatch(r"'[^']*'", default) else None


KNOWN = _known()


class _Anything(Layout):
    """The layout of a table that is not Hermes's, or of which nothing is known yet."""

    def fits(self, values: list[Value]) -> bool:
        """Every record is a row of it."""
        return True


ANYTHING = _Anything("", ())
