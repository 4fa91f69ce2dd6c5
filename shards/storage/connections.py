"""Connections: what is done with a database once it is open, whichever it is, and what SQLite's errors mean.

Opening is the business of shards/storage/sqlite.py alone (docs/design/sqlite.md, law 1).
"""

from __future__ import annotations

import hashlib
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kanban_shards.errors import (
    CannotOpen,
    Damaged,
    DiskFull,
    FileBusy,
    FileSizeLimit,
    Forked,
    KanbanError,
    MountedReadOnly,
    StorageError,
    TooManyFiles,
)
from kanban_shards.storage.locks import descriptors_left

# What reading a damaged file may raise: SQLite's errors, and one of the sqlite3 module for an error whose message, or a
# statement whose column, has a name that is no text.
FAULTS = (sqlite3.Error, UnicodeDecodeError)
# How long a writer waits for a foreign reader (the sqlite3 shell, say) that is inside a read of the same file.
BUSY_MS = 5_000
# How the sqlite3 module begins to say that a text in a file is none, for which SQLite has no error.
_NO_TEXT = "Could not decode to UTF-8"
# A database, its -wal and its -shm, and its folder while it is made durable.
FILES_OF_A_DATABASE = 4
# How SQLite says that a write failed, and no disk was full: of a limit on a file's size it has no error of its own.
_NOT_WRITTEN = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE)
# By which SQLite makes shared memory longer.
_SHM_STEP_BYTES = 32 * 1024
# Of a WAL, where SQLite itself brings it into its file; without being told, it does so at a quarter of that.
SAFETY_NET_PAGES = 4_000
# A file is rewritten when more than one in so many of its pages is free.
WORTH_SHRINKING = 10


@contextmanager
def explained(path: Path, written: Path | None = None, waited_ms: int = BUSY_MS) -> Iterator[None]:
    """Turn SQLite's errors on ``path`` into sentences (shards/errors.py). ``written``: the file that is made of
    ``path``, if it is only read: a full disk is that one's. ``waited_ms``: with which patience it was opened."""
    try:
        yield
    except sqlite3.Error as error:
        raise explanation(path, error, written, waited_ms) from error
    except UnicodeDecodeError as error:
        raise Damaged(path=path, problem=told(error)) from error


def told(error: Exception) -> str:
    """What is wrong, as one of FAULTS says it; of a message that is no text, what can be read."""
    if isinstance(error, UnicodeDecodeError):
        return error.object.decode("utf-8", "replace")
    return str(error)


def explanation(path: Path, error: sqlite3.Error, written: Path | None = None, waited_ms: int = BUSY_MS) -> KanbanError:
    """What SQLite's ``error`` on ``path`` means, as one of shards/errors.py. ``written``, ``waited_ms``: see
    ``explained``."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if (limit_bytes := _size_limit(path, code)) is not None:
        return FileSizeLimit(path=written or path, limit_bytes=limit_bytes)
    if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return DiskFull(path=written or path)
    if code is None and str(error).startswith(_NO_TEXT):
        return Damaged(path=path, problem=str(error))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return Damaged(path=path, problem=str(error))
    if primary == sqlite3.SQLITE_CANTOPEN and descriptors_left() < FILES_OF_A_DATABASE:
        return TooManyFiles(path=path)
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        is_mounted_so = _is_mounted_read_only(written or path)
        return (MountedReadOnly if is_mounted_so else CannotOpen)(path=written or path, problem=str(error))
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return FileBusy(path=path, lock=path, waited_s=waited_ms / 1000)
    return StorageError(path=path, problem=str(error))


def _size_limit(path: Path, code: int | None) -> int | None:
    """The limit on the size of a file that this process has, if that is what kept SQLite from writing."""
    limit_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit_bytes == resource.RLIM_INFINITY:
        return None
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # or the disk is full
        with suppress(OSError):
            return limit_bytes if os.stat(f"{path}-shm").st_size + _SHM_STEP_BYTES > limit_bytes else None
    return limit_bytes if code in _NOT_WRITTEN else None


def _is_mounted_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def is_hot_journal(error: BaseException | None) -> bool:
    """Whether a read failed because a killed writer's journal must be rolled back first."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end of the block, rolled back if the block or the commit fails."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def one_state(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Several reads of one state of the database. Keep it short: a reader holds back the WAL's reuse."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def check_same_process(path: Path, opened_by: int) -> None:
    """Law 6: no connection crosses a fork. Raises Forked."""
    if opened_by != os.getpid():
        raise Forked(path=path, opened_by=opened_by, pid=os.getpid())


def schema_of(connection: sqlite3.Connection) -> int:
    """The number of the schema of an open file (``user_version``)."""
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    return int(schema)


def schema_fingerprint(connection: sqlite3.Connection) -> str:
    """A digest of every table, index, trigger and view of a file, except the record of its migrations."""
    made = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema "
        "WHERE NOT (type IN ('table', 'index') AND tbl_name = '_sqlite_migrations') ORDER BY type, name"
    ).fetchall()
    return hashlib.blake2b(repr(made).encode(), digest_size=16).hexdigest()


def durability(connection: sqlite3.Connection) -> tuple[str, str]:
    """The journal and the ``synchronous`` setting of an open file, as SQLite says them: ``("wal", "NORMAL")``."""
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    (number,) = connection.execute("PRAGMA synchronous").fetchone()
    return journal, ("OFF", "NORMAL", "FULL", "EXTRA")[number]


def quick_check(connection: sqlite3.Connection) -> str:
    """SQLite's ``quick_check``: ``ok``, or the first thing that is wrong; reads the whole file."""
    return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])


def shrink(connection: sqlite3.Connection) -> None:
    """Give the disk back what deleted rows took, if it is worth rewriting the file. A kill leaves it as it was."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free * WORTH_SHRINKING > pages:
        connection.execute("PRAGMA temp_store=FILE")  # the new content may be larger than the memory
        connection.execute("VACUUM")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nothing in a file with a rollback journal


def checkpoint_late(connection: sqlite3.Connection) -> None:
    """Leave it to ``checkpoint`` to keep the WAL of an open file short; SQLite does it by itself where it became long
    all the same."""
    connection.execute(f"PRAGMA wal_autocheckpoint={SAFETY_NET_PAGES}")


def checkpoint_never(connection: sqlite3.Connection) -> None:
    """Leave it to ``checkpoint`` alone, however long the WAL of an open file becomes: a commit does not change the file
    then."""
    connection.execute("PRAGMA wal_autocheckpoint=0")


def checkpoint(connection: sqlite3.Connection, shorten: bool = False) -> None:
    """Bring the WAL of an open file into it, as far as nobody reads what is before it; waits for nobody. ``shorten``:
    and cut it, unless somebody reads it now."""
    if not shorten:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return
    (wait_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout=0").fetchone()
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(wait_ms)}").fetchone()


def integrity(connection: sqlite3.Connection, path: Path) -> str:
    """SQLite's ``integrity_check`` of an open file: ``ok``, or the first thing that is wrong."""
    with explained(path):
        return str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
