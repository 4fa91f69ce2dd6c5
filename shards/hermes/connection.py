"""The connection that Hermes gets: it reads the board, and takes a few writing statements for the verbs that they are.

Hermes's code outside of ``kanban_db`` holds a connection and runs its own SQL on it. Reads need nothing, since the
board has Hermes's tables. Of the writes, those that are known become verbs (shards/hermes/statements.py); each other
one is refused, and named. The file itself is open ``mode=ro`` with ``query_only``, so nothing depends on that alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, cast

from kanban_shards.hermes.errors import WriteRefused, as_hermes_catches
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite

Parameters = Sequence[Any] | Mapping[str, Any]

_READS = frozenset({"SELECT", "WITH", "EXPLAIN", "VALUES"})
# Of a refused statement, so much is quoted.
_QUOTED = 120


class Statements(Protocol):
    """What becomes of the statements that do not merely read."""

    def before_read(self) -> None:
        """The next statement reads: what was written before must be seen by it."""

    def execute(self, sql: str, parameters: Sequence[Any]) -> int:
        """Do what the statement says, in one line of single blanks; returns how many rows it changed. Raises
        WriteRefused."""
        ...


class BoardCursor(sqlite3.Cursor):
    """A cursor whose writing statements are verbs."""

    _changed: int | None = None

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        """As SQLite, or as the verb that ``sql`` stands for. Raises WriteRefused."""
        self._changed = None
        statements = cast(BoardConnection, self.connection).statements
        if statements is None:
            return super().execute(sql, parameters)
        words = sql.split(None, 1)
        first = words[0].upper() if words else ""
        if first in _READS or (first == "PRAGMA" and "=" not in sql):
            statements.before_read()
            try:
                return super().execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
                    raise refusal(sql) from error
                raise
        with as_hermes_catches():
            self._changed = statements.execute(" ".join(sql.split()), tuple(parameters))
        return self

    def executemany(self, sql: str, parameters: Iterable[Any]) -> Self:
        """Raises WriteRefused: what is executed many times writes."""
        raise refusal(sql)

    def executescript(self, sql_script: str) -> Self:
        """Raises WriteRefused: a script makes tables."""
        raise refusal(sql_script)

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        return super().rowcount if self._changed is None else self._changed


class BoardConnection(sqlite3.Connection):
    """A board open for reading. ``statements`` takes what would write; ``paths``: which board."""

    paths: BoardPaths
    statements: Statements | None = None

    def cursor(self, factory: Any = BoardCursor) -> Any:
        """A cursor of this connection; ``factory`` is one of BoardCursor, whatever is asked for."""
        return super().cursor(BoardCursor)

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """As BoardCursor.execute."""
        return cast(BoardCursor, self.cursor()).execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        """As BoardCursor.executemany."""
        return cast(BoardCursor, self.cursor()).executemany(sql, parameters)

    def executescript(self, sql_script: str) -> sqlite3.Cursor:
        """As BoardCursor.executescript."""
        return cast(BoardCursor, self.cursor()).executescript(sql_script)


def open_board(paths: BoardPaths) -> BoardConnection:
    """The board at ``paths``; its ``statements`` are the caller's to set. Raises BoardMissing, StorageError."""
    opened = cast(BoardConnection, sqlite.open_reader(paths.board, sqlite.BOARD, factory=BoardConnection))
    opened.paths = paths
    opened.row_factory = sqlite3.Row
    return opened


def refusal(sql: str) -> WriteRefused:
    """What is said of a statement that is none of those that are known."""
    said = " ".join(sql.split())
    if len(said) > _QUOTED:
        said = f"{said[:_QUOTED]}…"
    return WriteRefused(
        "this board is written by its coordinator, and Hermes's functions do that here; there is no verb for the "
        f"statement {said!r}, so nothing was written"
    )
