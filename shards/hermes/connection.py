"""The connection that Hermes gets: it reads the board, and takes a few writing statements for the verbs that they are.

Hermes's code outside of ``kanban_db`` holds a connection and runs its own SQL on it. Reads need nothing, since the
board has Hermes's tables. Of the writes, those that are known become verbs (shards/hermes/statements.py); each other
one is refused, and named. The file itself is open ``mode=ro`` with ``query_only``, so nothing depends on that alone.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache
from typing import Any, Literal, Protocol, Self, cast
from weakref import ref

from kanban_shards.errors import KanbanError
from kanban_shards.hermes.errors import WriteRefused, as_hermes_knows
from kanban_shards.hermes.identity import settle
from kanban_shards.hermes.lending import Lent, borrow, borrow_made, discard, give_back
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections

_READS = frozenset({"SELECT", "WITH", "EXPLAIN", "VALUES"})
_PRAGMA = re.compile(r"PRAGMA\s+(\w+)\s*(\([^()]*\))?[\s;]*", re.IGNORECASE)
# Of the pragmas, those that answer and change nothing: with an argument or without, and without one alone.
_DESCRIBES = frozenset({
    "table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo", "foreign_key_list",
    "foreign_key_check", "database_list", "integrity_check", "quick_check",
})  # fmt: skip
_ASKS_FOR = frozenset({
    "application_id", "busy_timeout", "cache_size", "cell_size_check", "data_version", "encoding", "foreign_keys",
    "freelist_count", "journal_mode", "page_count", "page_size", "query_only", "schema_version", "secure_delete",
    "synchronous", "user_version", "wal_autocheckpoint",
})  # fmt: skip
_OF_THE_FILE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
# Of so many cursors that were made, those that are gone are forgotten.
CURSORS_NOTED = 64
# Of a refused statement, so much is quoted.
_QUOTED = 120


class Statements(Protocol):
    """What becomes of the statements of one connection that would write (shards/hermes/statements.py)."""

    def execute(self, sql: str, parameters: Sequence[Any]) -> int:
        """Do what the statement says, in one line of single blanks; returns how many rows that changed. Raises
        WriteRefused."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """What is written in one transaction. A create in it is sent at its end."""
        ...

    def event(self, task_id: str, kind: str) -> bool:
        """Whether a verb of this transaction wrote the event; each one counts once."""
        ...

    def ended_run(self, task_id: str) -> int | None:
        """The run that a move of this transaction ended, or else the task's last one. Raises WriteRefused where no move
        was."""
        ...


class BoardCursor(sqlite3.Cursor):
    """A cursor whose writing statements are verbs."""

    _board: BoardConnection
    _changed: int | None = None
    # There may be rows that nobody took yet: until they are taken, SQLite shows one state to the whole connection.
    reads_on = False

    def execute(self, sql: str, parameters: Any = ()) -> Self:
        """As SQLite, or as the verb that ``sql`` stands for. Raises WriteRefused."""
        self._changed = None
        if _only_reads(sql):
            settle(self._board.paths)
            self._follow()
            try:
                super().execute(sql, parameters)
            except sqlite3.DatabaseError as error:
                if _primary_code(error) == sqlite3.SQLITE_READONLY:
                    raise refusal(sql) from error
                raise self._explained(error) from error
            self._board.note_reading(self)
            return self
        try:
            self._changed = self._board.statements.execute(" ".join(sql.split()), tuple(parameters))
        except KanbanError as error:
            raise as_hermes_knows(error) from error
        return self

    def executemany(self, sql: str, parameters: Iterable[Any]) -> Self:
        """Raises WriteRefused: what is executed many times writes."""
        raise refusal(sql)

    def executescript(self, sql_script: str) -> Self:
        """Raises WriteRefused: a script makes tables."""
        raise refusal(sql_script)

    def fetchone(self) -> Any:
        """As SQLite; what is wrong with a damaged board is said with what to do."""
        try:
            row = super().fetchone()
            self.reads_on = row is not None
            return row
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def fetchall(self) -> list[Any]:
        """As ``fetchone``."""
        try:
            rows = super().fetchall()
            self.reads_on = False
            return rows
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            self.reads_on = False
            raise
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """As SQLite: what rows are left, nobody gets."""
        self.reads_on = False
        super().close()

    def _follow(self) -> None:
        """Read the board as it is now, if the connection by which this was made does not."""
        self.reads_on = False
        current = self._board.current()
        if current is not super().connection:
            row_factory = self.row_factory
            super().__init__(current)
            self.row_factory = row_factory

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        """The error as this project says it, where it is about the file."""
        if _primary_code(error) not in _OF_THE_FILE:
            return error
        return as_hermes_knows(connections.explanation(self._board.paths.board, error))

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection that made it."""
        return self._board

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        return super().rowcount if self._changed is None else self._changed


class BoardConnection(sqlite3.Connection):
    """The board at ``paths``, as Hermes reads and writes it. ``taker`` makes its ``statements``, when the first of
    them comes; ``lend``: borrows the first connection. Raises what that raises.

    It has no file of its own, but borrows a connection until it is closed (shards/hermes/lending.py), and another one
    when the board was put back or made again meanwhile, or while a read of it goes on: that it is a
    ``sqlite3.Connection`` is for those who ask.
    """

    _lent: Lent | None = None

    def __init__(
        self,
        paths: BoardPaths,
        taker: Callable[[BoardConnection], Statements],
        lend: Callable[[BoardPaths], Lent] = borrow,
    ) -> None:
        self.paths = paths
        self._taker = taker
        self._lent = lend(paths)
        self._former: list[tuple[Lent, list[ref[BoardCursor]]]] = []
        self._cursors: list[ref[BoardCursor]] = []
        self._reading: list[ref[BoardCursor]] = []

    @cached_property
    def statements(self) -> Statements:
        """What takes the statements that would write; most connections have none."""
        return self._taker(self)

    def cursor(self, factory: Any = BoardCursor) -> Any:
        """A cursor of this connection; ``factory`` is one of BoardCursor, whatever is asked for."""
        made = self._open().cursor(BoardCursor)
        made._board = self
        self._cursors.append(ref(made))
        if len(self._cursors) > CURSORS_NOTED:
            self._cursors = [each for each in self._cursors if each() is not None]
        return made

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """As BoardCursor.execute."""
        return cast(BoardCursor, self.cursor()).execute(sql, parameters)

    def glance(self, sql: str, parameters: Sequence[Any]) -> sqlite3.Row | None:
        """The first row of a read, of the board as it is: what this process wrote just now may not be merged yet."""
        found: sqlite3.Row | None = self.current().execute(sql, parameters).fetchone()
        return found

    def current(self) -> sqlite3.Connection:
        """What reads the board that lies there, as it is now, unless somebody changed how it reads. Raises
        BoardUnavailable and BoardDamaged where none can be read."""
        lent = self._taken()
        if not lent.is_plain or (lent.is_current and not self._is_read_on()):
            return lent.connection
        self._give_back_former()
        try:
            again = borrow_made(self.paths)
        except KanbanError as error:
            raise as_hermes_knows(error) from error
        again.connection.row_factory = lent.connection.row_factory
        if self._lent is lent:
            self._former.append((lent, self._reading))
            self._lent = again
            self._reading = []
        else:  # another thread was first, or closed it
            give_back(again)
        return self._open()

    def note_reading(self, cursor: BoardCursor) -> None:
        """The cursor has executed a read."""
        cursor.reads_on = True
        self._reading.append(ref(cursor))

    def _is_read_on(self) -> bool:
        """Whether rows are left of a read by the connection that is lent now."""
        self._reading = _reading_on(self._reading)
        return bool(self._reading)

    def _give_back_former(self) -> None:
        """Those in which no read goes on any more: whoever keeps this for long borrows no more than it reads by."""
        former, self._former = self._former, []
        for lent, reading in former:
            if still := _reading_on(reading):
                self._former.append((lent, still))
            else:
                (give_back if lent.is_current else discard)(lent)

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        """As BoardCursor.executemany."""
        return cast(BoardCursor, self.cursor()).executemany(sql, parameters)

    def executescript(self, sql_script: str) -> sqlite3.Cursor:
        """As BoardCursor.executescript."""
        return cast(BoardCursor, self.cursor()).executescript(sql_script)

    def commit(self) -> None:
        """Nothing: what a verb wrote is durable."""
        self._open()

    def rollback(self) -> None:
        """Nothing: what a verb wrote stays."""
        self._open()

    def close(self) -> None:
        """Give the connection back, with no read of it open: one that is would hold up the board's checkpoints."""
        lent: Lent | None = vars(self).pop("_lent", None)  # in one step: it is given back once
        if lent is None:
            return
        for each in self._cursors:
            if (cursor := each()) is not None:
                cursor.close()
        give_back(lent)
        self._give_back_former()

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *exc_info: object) -> Literal[False]:
        return False

    def _open(self) -> sqlite3.Connection:
        return self._taken().connection

    def _taken(self) -> Lent:
        lent = self._lent
        if lent is None:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
        return lent

    def _alone(self) -> sqlite3.Connection:
        """For what may leave the connection other than it was: nobody borrows it after that."""
        self._lent = lent = self._taken()._replace(is_plain=False)
        return lent.connection


def _reading_on(cursors: list[ref[BoardCursor]]) -> list[ref[BoardCursor]]:
    """Those that may have rows left."""
    return [each for each in cursors if (cursor := each()) is not None and cursor.reads_on]


def _of_the_lent(name: str, reach: Callable[[BoardConnection], sqlite3.Connection]) -> property:
    """The attribute ``name`` of what was lent, by way of ``reach``."""
    return property(
        lambda board: getattr(reach(board), name),
        lambda board, value: setattr(reach(board), name, value),
    )


for _name, _value in vars(sqlite3.Connection).items():
    if not _name.startswith("__") and not isinstance(_value, type) and _name not in vars(BoardConnection):
        setattr(BoardConnection, _name, _of_the_lent(_name, BoardConnection._alone))
setattr(BoardConnection, "row_factory", _of_the_lent("row_factory", BoardConnection._open))  # noqa: B010


@lru_cache(maxsize=512)  # Hermes's statements, again and again
def _only_reads(sql: str) -> bool:
    """Whether the statement is one that SQLite may execute as it is. The file is open for reading all the same."""
    words = sql.split(None, 1)
    if words and words[0].upper() in _READS:
        return True
    pragma = _PRAGMA.fullmatch(sql.strip())
    if pragma is None:
        return False
    name = pragma[1].lower()
    return name in _DESCRIBES or (name in _ASKS_FOR and pragma[2] is None)


def _primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's code of the error; None for one of the module's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else int(code) & 0xFF


def refusal(sql: str) -> WriteRefused:
    """What is said of a statement that is none of those that are known."""
    said = " ".join(sql.split())
    if len(said) > _QUOTED:
        said = f"{said[:_QUOTED]}…"
    return WriteRefused(
        "this board is written by its coordinator, and Hermes's functions do that here; there is no verb for the "
        f"statement {said!r}, so nothing was written"
    )
