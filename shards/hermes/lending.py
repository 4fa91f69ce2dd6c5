"""Lending: the connections by which Hermes reads boards, kept open from one of its calls to the next.

Hermes opens the board for each call. What SQLite then has to learn of it, its schema above all, takes longer than most
of what is read. So a connection that was given back is lent again, to one borrower at a time, if the files that it has
open are those that lie there now. Whoever keeps one for long asks that again at each read: of a board that was put back
or made again meanwhile, the former file shows what is true no longer.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import NamedTuple

from kanban_shards.errors import BoardMissing, CoordinatorRunning
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.files import Identity, identity

# So many that nobody has borrowed are kept, of all boards together: each has three files open.
KEPT_AT_MOST = 8
# A board that another process is making is there within a moment.
MADE_WITHIN_S = 10.0
LOOK_EVERY_S = 0.02

# Which board lies there, and which WAL.
_Files = tuple[Identity | None, Identity | None]


class Lent(NamedTuple):
    """A connection that reads the board at ``board``. ``pid``: whose process it is; ``files``: which it has open, None
    if that is not certain; ``is_plain``: whether it is as it was lent, so that it may be lent again, or be replaced by
    another one."""

    connection: sqlite3.Connection
    board: Path
    pid: int
    files: _Files | None
    is_plain: bool = True

    @property
    def is_current(self) -> bool:
        """Whether it reads what lies there now."""
        if isinstance(self.connection, sqlite.CopyConnection):
            return self.connection.is_of(self.board)
        return self.files is not None and self.files == _files_of(self.board)


_kept: list[Lent] = []
_guard = threading.Lock()


def borrow(paths: BoardPaths) -> Lent:
    """A connection that reads the board at ``paths``, the caller's alone until it is given back; its rows are
    ``sqlite3.Row``. Raises BoardMissing, StorageError."""
    found = _files_of(paths.board)
    while (kept := _taken(paths.board)) is not None:
        if kept.files == found and _is_readable(kept.connection):
            return kept
        kept.connection.close()
    connection = sqlite.open_reader(paths.board, sqlite.BOARD)
    connection.row_factory = sqlite3.Row
    opened = _files_of(paths.board)
    # Where opening made the WAL, there was none; any other difference says that the files were replaced meanwhile.
    is_certain = found in (opened, (opened[0], None))
    return Lent(connection, paths.board, os.getpid(), opened if is_certain else None)


def borrow_made(paths: BoardPaths) -> Lent:
    """As ``borrow``; a board that is missing is made first, here or by a coordinator that runs already. Raises
    CoordinatorRunning and BoardMissing where none is there after MADE_WITHIN_S seconds, StorageError."""
    from kanban_shards import inline_merge

    until_s = time.monotonic() + MADE_WITHIN_S
    while True:
        try:
            return borrow(paths)
        except BoardMissing:
            if time.monotonic() > until_s:
                raise
        try:
            inline_merge.make_files(paths)
        except CoordinatorRunning:
            if time.monotonic() > until_s:
                raise
            time.sleep(LOOK_EVERY_S)


def give_back(lent: Lent) -> None:
    """Nobody uses the connection any more, nor what was made by it. A fork leaves its parent's alone."""
    if lent.files is None or not lent.is_plain or isinstance(lent.connection, sqlite.CopyConnection):
        discard(lent)
        return
    if lent.pid != os.getpid():
        return
    lent.connection.row_factory = sqlite3.Row
    with _guard:
        _kept.append(lent)
        too_many = _kept.pop(0) if len(_kept) > KEPT_AT_MOST else None
    if too_many is not None:
        discard(too_many)


def discard(lent: Lent) -> None:
    """As ``give_back``, of one that nobody is to borrow any more."""
    if lent.pid == os.getpid():
        lent.connection.close()


def close_kept(folder: Path | None = None) -> None:
    """Close what nobody has borrowed, of the board in ``folder``, None for all."""
    with _guard:
        meant = [each for each in _kept if each.pid == os.getpid() and folder in (None, each.board.parent)]
        for each in meant:
            _kept.remove(each)
    for each in meant:
        each.connection.close()


def _taken(board: Path) -> Lent | None:
    with _guard:
        for place in reversed(range(len(_kept))):
            if _kept[place].board == board and _kept[place].pid == os.getpid():
                return _kept.pop(place)
    return None


def _is_readable(connection: sqlite3.Connection) -> bool:
    """Whether this program can still read the file: else opening it anew says why."""
    try:
        return connections.schema_of(connection) <= sqlite.BOARD.schema
    except sqlite3.Error:
        return False


def _files_of(board: Path) -> _Files:
    return identity(board), identity(f"{board}-wal")
