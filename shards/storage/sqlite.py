"""The one module that opens SQLite files, and keeps the laws of docs/design/sqlite.md, "SQLite laws".

Law 1. One module calls ``sqlite3.connect``; nothing else opens, copies, hashes or reads a database file. (A damaged
board is read from the bytes of a private copy, which ``copy_bytes`` makes.)
Law 2. Every open-for-write happens under that file's lock, and so do the writes and the close that follow.
Law 3. Shards use a rollback journal (PERSIST) with ``synchronous=FULL``; ledger and board use WAL.
Law 4. Readers of the board open ``mode=ro`` with ``query_only``.
Law 7. Files are opened with ``trusted_schema=OFF`` and ``cell_size_check=ON``, and read within bounds.
Law 8. A journal that names a file is not rolled back, and a shard is opened for writing by its own user only.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import msgspec

from kanban_shards.errors import (
    BoardLost,
    BoardMissing,
    CannotOpen,
    FileMissing,
    ForeignFile,
    HistoryLost,
    LedgerMissing,
    LegacyBoard,
    NewerSchema,
    NoSharedMemory,
    NotAFile,
    SchemaMoved,
    SecondName,
    StorageError,
    StrangeJournal,
    StrangeSchema,
    cannot_open,
)
from kanban_shards.storage import connections, journals, owners, second_names, unwritable
from kanban_shards.storage.files import (
    SIDECARS,
    discard_journal,
    is_empty,
)
from kanban_shards.storage.filesystems import (
    FOR_ITS_USER,
    GROUP_READS,
    GROUP_WRITES,
    chmod_itself,
    file_mode,
    not_shared,
)
from kanban_shards.storage.locks import FileLock

# Longest string or blob that is read from a file: a change is at most 1 MiB, a task with its texts a few of them.
LONGEST_VALUE_BYTES = 16 * 1024 * 1024
# Steps of SQLite's machine in which the schema of a file that others write is read; a shard's takes some hundreds.
SCHEMA_STEPS = 10_000
# In WAL mode only the making of a file has a journal: while its first page is written. A board has far more of them.
LARGEST_IN_THE_MAKING_BYTES = 16 * 1024
STATEMENTS_KEPT = 256
CACHE_KIB = 16 * 1024
# A WAL that became longer, by a large pass or because a read held it back, is cut to this when it begins anew.
WAL_LIMIT_BYTES = 64 * 1024 * 1024
# Where SQLite keeps what has no name and becomes too large for memory.
SCRATCH = Path(os.environ.get("SQLITE_TMPDIR") or os.environ.get("TMPDIR") or "/var/tmp")


class Role(msgspec.Struct, frozen=True):
    """What a file is for, and how it is opened.

    ``application_id`` marks the file itself, ``schema`` is the newest schema this program knows (``user_version``),
    ``journal`` and ``synchronous`` are SQLite's pragmas. ``group``: what the group may do with it in a folder that is
    made for one. ``fingerprint`` is what ``schema_fingerprint`` gives for a
    file that other users' processes can write and whose schema must therefore be exactly ours; None for the others.
    """

    name: str
    application_id: int
    schema: int
    journal: str
    synchronous: str
    group: int
    fingerprint: str | None = None


SHARD = Role("shard", 0x4B425348, 1, "persist", "FULL", GROUP_READS, "9c46e21b3e3c85aaa3fd4cf60e528912")
LEDGER = Role("ledger", 0x4B424C47, 2, "wal", "FULL", GROUP_WRITES)
# A power cut may take its newest commits: they are replayed from the ledger (docs/design/shards.md, "Durability").
BOARD = Role("board", 0x4B424244, 3, "wal", "NORMAL", GROUP_WRITES)
# A board at an earlier position, never written again.
SNAPSHOT = Role("snapshot", BOARD.application_id, BOARD.schema, BOARD.journal, BOARD.synchronous, GROUP_WRITES)


def open_writer(path: Path, role: Role, lock: FileLock, wait_ms: int = connections.BUSY_MS) -> sqlite3.Connection:
    """Open ``path`` for writing, make it if it is missing, and bring its schema up to date.

    ``lock``: the lock of this file, held by the caller from before this call until after the connection is closed.
    ``wait_ms``: how long each statement waits for what others have locked in the file itself.
    Raises the StorageErrors of a file that cannot be used: CannotOpen, Damaged, DiskFull, FileBusy, ForeignFile,
    LegacyBoard, NewerSchema, NoSharedMemory, NotAFile, StrangeJournal, StrangeSchema, TooManyFiles.
    """
    lock.require(f"{path} is opened for writing")
    if check_plain(path, role) is not None:
        open_reader(path, role, wait_ms).close()  # whose it is: what is beside it is another name's, and rolled back
    with connections.explained(path, waited_ms=wait_ms), owners.acting_for(path):
        if role.journal == "wal":
            _check_place(path, role, lock, wait_ms)
        is_new = make_empty(path)
        connection = open_raw(path, "rwc", role, wait_ms)
        try:
            if is_new:
                chmod_itself(path, file_mode(path.parent, role.group))
            with _keeping_journal(connection, role):
                schema = _check_identity(connection, path, role)
                _set_journal(connection, path, role)
            if schema < role.schema:
                bring_up_to_date(connection, role)
        except BaseException:
            connection.close()
            raise
    return connection


def open_reader(
    path: Path,
    role: Role,
    wait_ms: int = connections.BUSY_MS,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    """Open ``path`` for reading only. ``wait_ms``: as in ``open_writer``. ``factory``: the class of the connection, for
    whoever answers some statements otherwise. Raises FileMissing and what ``open_writer`` raises."""
    other_name = check_plain(path, role)
    if not path.exists():
        raise _missing(path, role)
    with connections.explained(path, waited_ms=wait_ms):
        connection = open_raw(path, "ro", wait_ms=wait_ms, factory=factory)
        try:
            connection.execute("PRAGMA query_only=ON")
            if _check_identity(connection, path, role) == 0:
                raise _missing(path, role)
            if other_name is not None:
                _check_whose(connection, path, other_name)
        except BaseException as error:
            connection.close()
            if role.journal == "wal" and unwritable.needs_copy(path, error):
                return _open_copy(path, role)
            if role.journal == "wal" and connections.is_hot_journal(error):
                journals.check(path)
                if path.stat().st_size > LARGEST_IN_THE_MAKING_BYTES:
                    raise _with_a_journal(path, role) from error
                raise _missing(path, role) from error  # its making was cut short
            raise
    return connection


class CopyConnection(sqlite3.Connection):
    """A connection to a private copy, made where nothing can be written beside the original (``unwritable``)."""

    stamps: unwritable.Stamps = ()

    def is_of(self, path: Path) -> bool:
        """Whether the file at ``path`` is still what was copied."""
        return self.stamps == unwritable.stamps(path)


def _open_copy(path: Path, role: Role) -> sqlite3.Connection:
    """A copy of ``path``, open for reading, that has no name any more. Raises what ``open_reader`` does, and what
    forbids to make files in SCRATCH."""
    from tempfile import TemporaryDirectory  # which a folder that can be written does without

    try:
        with TemporaryDirectory(prefix="kanban-read-", dir=SCRATCH) as folder:
            stamps = unwritable.copy(path, Path(folder))
            connection = cast(CopyConnection, open_raw(Path(folder) / path.name, "rw", factory=CopyConnection))
            try:
                connection.execute("PRAGMA journal_mode=truncate")  # brings the WAL in: what is open needs no name
                connection.execute("PRAGMA query_only=ON")
                if _check_identity(connection, path, role) == 0:
                    raise _missing(path, role)
            except BaseException:
                connection.close()
                raise
    except OSError as error:
        raise cannot_open(SCRATCH, error) from error
    connection.stamps = stamps
    return connection


def check_schema(connection: sqlite3.Connection, path: Path, role: Role) -> None:
    """Raise SchemaMoved if a file that was kept open has been migrated by a newer program meanwhile."""
    schema = connections.schema_of(connection)
    if schema > role.schema:
        raise SchemaMoved(path=path, found=schema, known=role.schema)


def check_plain(path: Path, role: Role, suffixes: Iterable[str] = ("", *SIDECARS)) -> str | None:
    """Raise NotAFile if something else than a file lies at ``path`` or beside it: opening a pipe would wait for ever;
    and SecondName if it is another file of the board. Of files that others write, a symbolic link is refused too: it
    may lead to a file of anybody. ``suffixes``: of those to look at.

    Returns the other name of a shard that has the one of another shard, too (second_names.check)."""
    name = os.fspath(path)
    other_name = None
    for each in (name + suffix for suffix in suffixes):
        try:
            found = os.stat(each, follow_symlinks=role.fingerprint is None)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise cannot_open(each, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise NotAFile(path=each)
        as_strong = second_names.check(Path(each), found)
        if each == name:
            other_name = as_strong
    return other_name


def check_journal(
    path: Path, role: Role | None = None, known: journals.Journal | None = None
) -> journals.Journal | None:
    """Which journal lies beside ``path``, if one does; ``known``: see ``journals.check``.

    Raises what forbids to write ``path``, or to roll back what is half done in it: StrangeJournal, NotAFile; and
    CannotOpen for a file that its own user alone writes and that is another's, however wide its permissions are.
    """
    of_one_user = role is not None and role.fingerprint is not None
    if of_one_user and not owners.is_mine(path):
        raise CannotOpen(path=path, problem=f"only {owners.owner_of(path)}, whose file it is, writes it")
    if of_one_user and journals.is_linked(path) and journals.is_silent(path):
        with suppress(OSError):  # where its user may make none, nobody else may link one
            discard_journal(path)  # it shares what is written in it with a copy that was made of links, or with worse
    return journals.check(path, of_one_user, known)


def roll_back_hot_journal(path: Path, role: Role, lock: FileLock, wait_ms: int = connections.BUSY_MS) -> None:
    """Undo the transaction that a killed writer left half done in ``path``. ``lock``: the file's lock, held.
    ``wait_ms``: as in ``open_writer``.

    The journal stays: its user may not be able to make another one in that folder. Raises what ``check_journal`` does.
    """
    lock.require(f"{path} is opened for writing")
    if (other_name := check_plain(path, role)) is not None:  # whose it is cannot be read while it is half written
        raise SecondName(path=path, other=other_name)
    with connections.explained(path, waited_ms=wait_ms), owners.acting_for(path):
        connection = open_raw(path, "rw", role, wait_ms)
        try:
            with _keeping_journal(connection, role), connections.one_state(connection):
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        finally:
            connection.close()


def open_scratch(role: Role | None = None) -> sqlite3.Connection:
    """An empty database of ``role``, or without any table, that nobody else sees, in memory while it is small, and gone
    when closed. Raises DiskFull."""
    with connections.explained(SCRATCH):
        connection = sqlite3.connect(
            "", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_KEPT
        )
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE_BYTES)  # a replay ends as the board did
        try:
            connection.execute("PRAGMA synchronous=OFF")
            if role is not None:
                bring_up_to_date(connection, role)
        except BaseException:
            connection.close()
            raise
    return connection


def open_raw(
    path: Path,
    mode: str,
    role: Role | None = None,
    wait_ms: int = connections.BUSY_MS,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    """Open ``path``, which is to be a file of ``role``, if of any; ``mode``: SQLite's, of which only ``ro`` never rolls
    back what a journal says. ``factory``: the class of the connection."""
    if mode != "ro":
        check_journal(path, role)
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=wait_ms / 1000,
        check_same_thread=False,
        cached_statements=STATEMENTS_KEPT,
        factory=factory,
    )
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE_BYTES)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


@contextmanager
def _keeping_journal(connection: sqlite3.Connection, role: Role) -> Iterator[None]:
    """Where ``role`` keeps a rollback journal: the first read, in the block, rolls back what a killed writer left half
    done, and leaves the journal where it is, emptied.

    By itself SQLite removes a journal that it rolled back, as a new connection knows nothing of PERSIST, and to tell it
    takes a read. A connection that has the file for itself removes none.
    """
    if role.journal != "persist":
        yield
        return
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    yield
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
        connection.execute("PRAGMA journal_mode=PERSIST")
    connection.execute("PRAGMA locking_mode=NORMAL")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # lets go of the file


def make_empty(path: Path) -> bool:
    """Make an empty file, which is an empty database, for its user alone; what SQLite puts beside it gets the same
    permissions. ``mknod`` makes it without opening it (law 1); where only root may call that, SQLite makes the file,
    for a moment with the umask's permissions. Returns whether there was none before."""
    if os.path.lexists(path):
        return False
    if sys.platform == "linux":
        try:
            with owners.acting_for(path):
                os.mknod(path, stat.S_IFREG | FOR_ITS_USER)
        except FileExistsError:
            return False
        except OSError as error:
            raise cannot_open(path, error) from error
    return True


def _check_place(path: Path, role: Role, lock: FileLock, wait_ms: int) -> None:
    """Refuse a filesystem without shared memory, and a file that is not of ``role``, before it is opened for writing:
    closing a writer may checkpoint and unlink the WAL of somebody else's file."""
    kind = not_shared(path.parent)
    if kind:
        raise NoSharedMemory(path=path, found=kind)
    if not path.is_file():
        return
    try:
        _check_unwritten(path, role, wait_ms)
    except sqlite3.OperationalError as error:
        if not connections.is_hot_journal(error):
            raise
        if path.stat().st_size > LARGEST_IN_THE_MAKING_BYTES:
            raise _with_a_journal(path, role) from error
        roll_back_hot_journal(path, role, lock, wait_ms)
        _check_unwritten(path, role, wait_ms)


def _with_a_journal(path: Path, role: Role) -> StorageError:
    """What to say of a file with a hot journal where this program keeps a WAL: it is of another program, or somebody
    put it there."""
    if role is BOARD and is_empty(path.with_name("kanban-ledger.db")):
        return LegacyBoard(path=path)
    return StrangeJournal(path=path, problem=f"is none of this program's, which keeps a WAL for a {role.name}")


def _check_unwritten(path: Path, role: Role, wait_ms: int) -> None:
    connection = open_raw(path, "ro", wait_ms=wait_ms)
    try:
        _check_identity(connection, path, role)
    finally:
        connection.close()


def _check_identity(connection: sqlite3.Connection, path: Path, role: Role) -> int:
    """The schema number of the file; 0 if it is new and empty. Raises if it is not a file of ``role``."""
    with connections.one_state(connection):  # one state of it: another process may be making the file at this moment
        if not role.fingerprint:
            return _identify(connection, path, role)
        connection.set_progress_handler(lambda: 1, SCHEMA_STEPS)
        try:
            return _identify(connection, path, role)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise StrangeSchema(path=path) from error
        finally:
            connection.set_progress_handler(None, 0)


def _check_whose(connection: sqlite3.Connection, path: Path, other_name: str) -> None:
    """Raise SecondName unless the shard, which is called ``other_name`` as well, says that it is the one of this
    name. One that says nothing yet is nobody's."""
    row = connection.execute("SELECT profile FROM meta").fetchone()
    if row is None or path.name != f"kanban.{row[0]}.db":
        raise SecondName(path=path, other=other_name)


def _identify(connection: sqlite3.Connection, path: Path, role: Role) -> int:
    marked = connection.execute("PRAGMA application_id").fetchone()[0]
    if marked == role.application_id:
        schema = connections.schema_of(connection)
        if schema > role.schema:
            raise NewerSchema(path=path, found=schema, known=role.schema)
        if role.fingerprint and connections.schema_fingerprint(connection) != role.fingerprint:
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
    if role.journal == "wal":
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
    if role is BOARD:  # whoever checkpoints it notes that first (coordinator/merge/left_files.py)
        connections.checkpoint_never(connection)
    connection.execute("PRAGMA temp_store=MEMORY")  # savepoints keep what they may undo in memory
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync=ON")
        connection.execute("PRAGMA checkpoint_fullfsync=ON")
    (journal,) = connection.execute(f"PRAGMA journal_mode={role.journal}").fetchone()
    if journal != role.journal:
        raise NoSharedMemory(path=path, found=f"SQLite chose the {journal} journal instead of WAL")


def _missing(path: Path, role: Role) -> FileMissing:
    if role is BOARD:
        if not is_empty(path.with_name("kanban-ledger.db")):
            return BoardLost(path=path)
        if path.with_name("kanban-snapshot.db").exists():
            return HistoryLost(path=path, has_snapshot=True)
        return BoardMissing(path=path)
    return LedgerMissing(path=path) if role is LEDGER else FileMissing(path=path, role=role.name)


def bring_up_to_date(connection: sqlite3.Connection, role: Role) -> None:
    """Give a file of ``role`` its newest schema: all steps that it lacks, or none."""
    from kanban_shards.migrations import migrate  # imports sqlite-utils, 0.1 s that only a new or old file should cost

    with connections.transaction(connection):  # all or nothing: a kill leaves no half-made file behind
        migrate(connection, role.name)
        connection.execute(f"PRAGMA application_id={role.application_id}")
        connection.execute(f"PRAGMA user_version={role.schema}")
