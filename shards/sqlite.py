"""The one module that opens SQLite files, and keeps the laws of docs/design.md, "SQLite laws".

Law 1. One module calls ``sqlite3.connect``; nothing else opens, copies, hashes or reads a database file.
Law 2. Every open-for-write happens under that file's lock, and so do the writes and the close that follow.
Law 3. Shards use a rollback journal (PERSIST) with ``synchronous=FULL``; ledger and board use WAL.
Law 4. Readers of the board open ``mode=ro`` with ``query_only``.
Law 7. Files are opened with ``trusted_schema=OFF`` and ``cell_size_check=ON``, and read within bounds.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from shards.errors import (
    BoardMissing,
    CannotOpen,
    Damaged,
    DiskFull,
    FileBusy,
    FileMissing,
    FileThere,
    ForeignFile,
    Forked,
    KanbanError,
    LegacyBoard,
    NewerSchema,
    NoSharedMemory,
    StorageError,
    StrangeSchema,
)
from shards.filesystems import not_shared, sync_folder
from shards.locks import FileLock

# Longest string or blob that is read from a file: a change is at most 1 MiB, a task with its texts a few of them.
LONGEST_VALUE_BYTES = 16 * 1024 * 1024
# How long a writer waits for a foreign reader (the sqlite3 shell, say) that is inside a read of the same file.
BUSY_MS = 5_000
STATEMENTS_KEPT = 256
# What SQLite puts beside a database file.
SIDECARS = ("-wal", "-shm", "-journal")
# Of each file: how many damaged ones are kept.
ASIDE_KEPT = 5
CACHE_KIB = 16 * 1024


@dataclass(frozen=True)
class Role:
    """What a file is for, and how it is opened.

    ``application_id`` marks the file itself, ``schema`` is the newest schema this program knows (``user_version``),
    ``journal`` and ``synchronous`` are SQLite's pragmas. ``fingerprint`` is what ``schema_fingerprint`` gives for a
    file that other users' processes can write and whose schema must therefore be exactly ours; None for the others.
    """

    name: str
    application_id: int
    schema: int
    journal: str
    synchronous: str
    fingerprint: str | None = None


SHARD = Role("shard", 0x4B425348, 1, "persist", "FULL", "893fbc60ef979b680b7c5338bc2c9af5")
LEDGER = Role("ledger", 0x4B424C47, 1, "wal", "FULL")
# The board may lose its newest commits to a power cut: the ledger plays them again (docs/design.md, "Durability").
BOARD = Role("board", 0x4B424244, 1, "wal", "NORMAL")


def open_writer(path: Path, role: Role, lock: FileLock) -> sqlite3.Connection:
    """Open ``path`` for writing, make it if it is missing, and bring its schema up to date.

    ``lock``: the lock of this file, held by the caller from before this call until after the connection is closed.
    Raises CannotOpen, Damaged, DiskFull, ForeignFile, LegacyBoard, NewerSchema, NoSharedMemory.
    """
    assert lock.held, f"{path} is opened for writing only under its lock"
    with explained(path):
        if role.journal == "wal":
            _check_place(path, role)
        connection = _connect(path, "rwc")
        try:
            schema = _check_identity(connection, path, role)
            _set_journal(connection, path, role)
            if schema < role.schema:
                _migrate(connection, role)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(path: Path, role: Role) -> sqlite3.Connection:
    """Open ``path`` for reading only. Raises FileMissing and what ``open_writer`` raises."""
    if not path.exists():
        raise _missing(path, role)
    if not path.is_file():  # opening a pipe would wait for ever
        raise CannotOpen(path=path, problem="it is not a regular file")
    with explained(path):
        connection = _connect(path, "ro")
        try:
            connection.execute("PRAGMA query_only=ON")
            if _check_identity(connection, path, role) == 0:
                raise _missing(path, role)
        except BaseException:
            connection.close()
            raise
    return connection


def open_foreign(path: Path) -> sqlite3.Connection:
    """Open a database that is not one of ours for reading only, whatever is in it. Raises FileMissing, CannotOpen."""
    if not path.exists():
        raise FileMissing(path=path, role="database")
    if not path.is_file():
        raise CannotOpen(path=path, problem="it is not a regular file")
    with explained(path):
        connection = _connect(path, "ro")
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def copy_foreign(source: Path, target: Path) -> None:
    """Copy a database that is not one of ours, WAL and all, into the new file ``target``, which nobody else knows."""
    with closing(open_foreign(source)) as original, closing(_connect(target, "rwc")) as copy, explained(source):
        original.backup(copy)


def make_foreign(path: Path) -> sqlite3.Connection:
    """A new database that is not one of ours, for a name that nobody else knows yet. Close it to make it durable."""
    with explained(path):
        connection = _connect(path, "rwc")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_mode=WAL")
    return connection


def give_name(made: Path, path: Path) -> None:
    """Give a closed file that was just made the name ``path``, durably and never in place of another file.

    Raises FileThere, DiskFull.
    """
    if _beside(made, "-wal").exists():  # closing could not bring its content into the file
        raise DiskFull(path=made)
    try:
        os.link(made, path)
    except FileExistsError as error:
        raise FileThere(path=path) from error
    except OSError:  # a filesystem without links
        if path.exists():
            raise FileThere(path=path) from None
        made.rename(path)
    discard(made)
    sync_folder(path.parent)


def roll_back_hot_journal(path: Path, lock: FileLock) -> None:
    """Undo the transaction that a killed writer left half done in ``path``. ``lock``: the file's lock, held."""
    assert lock.held, f"{path} is opened for writing only under its lock"
    with explained(path):
        connection = _connect(path, "rw")
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        finally:
            connection.close()


def open_scratch(role: Role) -> sqlite3.Connection:
    """An empty database of ``role`` that nobody else sees, in memory while it is small, and gone when closed."""
    connection = sqlite3.connect("", isolation_level=None, cached_statements=STATEMENTS_KEPT)
    connection.execute("PRAGMA synchronous=OFF")
    _migrate(connection, role)
    return connection


def copy_over(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Replace the whole content of ``target`` by that of ``source`` in one transaction of SQLite's own."""
    source.backup(target)


def set_aside(path: Path, lock: FileLock) -> Path:
    """Rename a file that is too damaged to be opened, with what belongs to it, and return its new name.

    ``lock``: the file's lock, held. Whoever still reads the old file keeps reading it.
    """
    aside = _name_aside(path, lock)
    _move(path, aside, ("", *SIDECARS))
    _forget_oldest(path)
    return aside


def discard(path: Path) -> None:
    """Remove a database that was being made when its maker was killed; nobody else knows its name."""
    for suffix in ("", *SIDECARS):
        _beside(path, suffix).unlink(missing_ok=True)


def put_in_place(made: Path, path: Path, lock: FileLock) -> Path | None:
    """Give a closed database that was just made the name ``path``, durably, and set aside what lay there.

    ``lock``: the lock of ``path``, held. Returns the former file's new name, if there was one. A kill on the way
    leaves the former file at ``path`` or the new one, never none. Raises DiskFull.
    """
    aside = _name_aside(path, lock)
    if _beside(made, "-wal").exists():  # closing could not bring its content into the file
        raise DiskFull(path=made)
    had_one = path.exists()
    if had_one:
        try:
            os.link(path, aside)
        except OSError:  # a filesystem without links: here alone, a kill leaves no file at ``path``
            path.rename(aside)
    _move(path, aside, SIDECARS)  # a journal fits no other database
    made.replace(path)
    discard(made)  # the emptied journal that it leaves
    sync_folder(path.parent)
    _forget_oldest(path)
    return aside if had_one else None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end of the block, rolled back if the block or the commit fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Several reads of one state of the database. Keep it short: a reader holds back the WAL's reuse."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors on ``path`` into sentences (shards.errors)."""
    try:
        yield
    except sqlite3.Error as error:
        raise explanation(path, error) from error
    except UnicodeDecodeError as error:  # the sqlite3 module's own for some texts, where a page is damaged
        raise Damaged(path=path, problem=str(error)) from error


def explanation(path: Path, error: sqlite3.Error) -> KanbanError:
    """What SQLite's ``error`` on ``path`` means, as one of shards.errors."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return DiskFull(path=path)
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return Damaged(path=path, problem=str(error))
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return CannotOpen(path=path, problem=str(error))
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return FileBusy(path=path, lock=path, waited_s=BUSY_MS / 1000)
    return StorageError(path=path, problem=str(error))


def is_hot_journal(error: BaseException | None) -> bool:
    """Whether a read failed because a killed writer's journal must be rolled back first."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK


def schema_fingerprint(connection: sqlite3.Connection) -> str:
    """A digest of every table, index, trigger and view of a file, except the record of its migrations."""
    made = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema "
        "WHERE NOT (type IN ('table', 'index') AND tbl_name = '_sqlite_migrations') ORDER BY type, name"
    ).fetchall()
    return hashlib.blake2b(repr(made).encode(), digest_size=16).hexdigest()


def check_same_process(path: Path, opened_by: int) -> None:
    """Law 6: no connection crosses a fork. Raises Forked."""
    if opened_by != os.getpid():
        raise Forked(path=path, opened_by=opened_by, pid=os.getpid())


def identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at ``path`` (device, inode), by ``stat`` alone; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _name_aside(path: Path, lock: FileLock) -> Path:
    """A new name that sorts behind the earlier ones."""
    assert lock.held, f"{path} is moved only under its lock"
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{rest:09}")


def _move(path: Path, target: Path, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        if _beside(path, suffix).exists():
            _beside(path, suffix).rename(_beside(target, suffix))


def _forget_oldest(path: Path) -> None:
    """Keep the newest ASIDE_KEPT of the files that were set aside from ``path``."""
    beginning = f"{path.name}.damaged-"
    names = [name for name in os.listdir(path.parent) if name.startswith(beginning)]
    asides = sorted({re.sub("-(wal|shm|journal)$", "", name) for name in names})
    for name in asides[:-ASIDE_KEPT]:
        discard(path.with_name(name))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=BUSY_MS / 1000,
        check_same_thread=False,
        cached_statements=STATEMENTS_KEPT,
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE_BYTES)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def _check_place(path: Path, role: Role) -> None:
    """Refuse a filesystem without shared memory, and a file that is not of ``role``, before it is opened for writing:
    closing a writer may checkpoint and unlink the WAL of somebody else's file."""
    kind = not_shared(path.parent)
    if kind:
        raise NoSharedMemory(path=path, found=kind)
    if path.is_file():
        connection = _connect(path, "ro")
        try:
            _check_identity(connection, path, role)
        finally:
            connection.close()


def _check_identity(connection: sqlite3.Connection, path: Path, role: Role) -> int:
    """The schema number of the file; 0 if it is new and empty. Raises if it is not a file of ``role``."""
    with snapshot(connection):  # one state of it: another process may be making the file at this moment
        return _identify(connection, path, role)


def _identify(connection: sqlite3.Connection, path: Path, role: Role) -> int:
    marked = connection.execute("PRAGMA application_id").fetchone()[0]
    if marked == role.application_id:
        schema = connection.execute("PRAGMA user_version").fetchone()[0]
        if schema > role.schema:
            raise NewerSchema(path=path, found=schema, known=role.schema)
        if role.fingerprint and schema_fingerprint(connection) != role.fingerprint:
            raise StrangeSchema(path=path)
        return schema
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema LIMIT 100")}
    if marked == 0 and not tables:
        return 0
    if marked == 0 and role is BOARD and {"tasks", "task_events"} <= tables:
        raise LegacyBoard(path=path)
    raise ForeignFile(path=path, role=role.name)


def _set_journal(connection: sqlite3.Connection, path: Path, role: Role) -> None:
    connection.execute(f"PRAGMA synchronous={role.synchronous}")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute("PRAGMA temp_store=MEMORY")  # savepoints keep what they may undo in memory
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync=ON")
        connection.execute("PRAGMA checkpoint_fullfsync=ON")
    (journal,) = connection.execute(f"PRAGMA journal_mode={role.journal}").fetchone()
    if journal != role.journal:
        raise NoSharedMemory(path=path, found=f"SQLite chose the {journal} journal instead of WAL")


def _missing(path: Path, role: Role) -> FileMissing:
    return BoardMissing(path=path) if role is BOARD else FileMissing(path=path, role=role.name)


def _migrate(connection: sqlite3.Connection, role: Role) -> None:
    from migrations import migrate  # imports sqlite-utils, 0.1 s that only a new or old file should cost

    with transaction(connection):  # all or nothing: a kill leaves no half-made file behind
        migrate(connection, role.name)
        connection.execute(f"PRAGMA application_id={role.application_id}")
        connection.execute(f"PRAGMA user_version={role.schema}")
