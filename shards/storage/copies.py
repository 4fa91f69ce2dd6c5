"""Copies of databases, and files of a name that nobody else knows yet: made whole, then put in place.

``shards/storage/sqlite.py`` opens what lies at a board's own names; here is what is made beside them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kanban_shards.errors import FileMissing, NotAFile
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.files import discard, discard_sidecars, forget_oldest, name_aside, put_in_place
from kanban_shards.storage.filesystems import chmod_itself, file_mode, sync_folder
from kanban_shards.storage.locks import FileLock
from kanban_shards.storage.space import require_room_for


def open_foreign(path: Path) -> sqlite3.Connection:
    """Open a database that is not one of ours for reading only, whatever is in it. Raises FileMissing, NotAFile,
    CannotOpen."""
    if not path.exists():
        raise FileMissing(path=path, role="database")
    if not path.is_file():
        raise NotAFile(path=path)
    with connections.explained(path):
        connection = sqlite.open_raw(path, "ro")
        try:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


def copy_foreign(source: Path, target: Path) -> None:
    """Copy a database that is not one of ours, WAL and all, into the new file ``target``, which nobody else knows.
    Raises what ``open_foreign`` raises, and DiskFull of ``target``."""
    with closing(open_foreign(source)) as original, connections.explained(source, target):
        require_room_for(original, target.parent)
        sqlite.make_empty(target)
        with closing(sqlite.open_raw(target, "rwc")) as copy:
            original.backup(copy)


def make_foreign(path: Path) -> sqlite3.Connection:
    """A new database that is not one of ours, for a name that nobody else knows yet. Close it to make it durable."""
    _make_new(path)
    with connections.explained(path):
        connection = sqlite.open_raw(path, "rwc")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_mode=WAL")
    return connection


def open_private(path: Path) -> sqlite3.Connection:
    """Open a copy that this process made and nobody else knows of, of whatever origin, for reading and writing; make
    it if it is missing. Such a copy needs no lock, and no durability: it is made again if the process dies."""
    sqlite.make_empty(path)
    connection = sqlite.open_raw(path, "rwc")
    try:
        connection.execute("PRAGMA synchronous=OFF")
    except BaseException:
        connection.close()
        raise
    return connection


def copy_over(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Replace the whole content of ``target`` by that of ``source`` in one transaction of SQLite's own."""
    source.backup(target)


def copy_to_scratch(source: sqlite3.Connection, scratch: sqlite3.Connection, role: sqlite.Role) -> None:
    """Replace the whole content of ``scratch`` by that of ``source``, a file of ``role`` that may be of an older
    version, and bring its schema up to date."""
    copy_over(source, scratch)
    if connections.schema_of(scratch) < role.schema:
        sqlite.bring_up_to_date(scratch, role)


def write_copy(source: sqlite3.Connection, path: Path, role: sqlite.Role) -> None:
    """Make the new file ``path``, of ``role``, of what ``source`` shows now: durable, and readable with nothing beside
    it, by those who may read such a file in that folder.

    The copy shows one state, however long it takes to make. A source in WAL mode may be written meanwhile; of one with
    a rollback journal the caller holds the lock. Nobody else knows ``path`` yet. Raises the StorageErrors of ``path``,
    FileHollow, and NoRoom.
    """
    discard(path)
    with connections.explained(path):
        require_room_for(source, path.parent)
        _make_new(path)
        target = sqlite.open_raw(path, "rwc")
        try:
            chmod_itself(path, file_mode(path.parent, role.group))
            target.execute("PRAGMA synchronous=FULL")
            source.backup(target)
            target.execute("PRAGMA journal_mode=truncate")  # a copy of a WAL database is one, too
        finally:
            target.close()
    discard_sidecars(path)  # an emptied journal
    sync_folder(path.parent)


def put_copy(source: sqlite3.Connection, path: Path, role: sqlite.Role, lock: FileLock) -> Path | None:
    """Put a copy of what ``source`` shows now in the place of what lies at ``path``, if anything does; returns where
    that lies then. ``lock``: the lock of ``path``, held. Raises what ``write_copy`` raises."""
    making = path.with_name(f"{path.name}.making")
    try:
        write_copy(source, making, role)
        if role in (
            sqlite.BOARD,
            sqlite.LEDGER,
        ):  # in its place, a kill in the middle would leave a journal that a WAL never has
            sqlite.open_writer(making, role, lock).close()
        return put_in_place(making, path, lock, with_journal=role.journal == "persist")
    finally:
        discard(making)


def overwrite(source: sqlite3.Connection, path: Path, role: sqlite.Role, lock: FileLock) -> Path:
    """Replace the content of ``path`` by that of ``source`` in one transaction of SQLite's own, for whoever has the
    file open to see; returns where a copy of the former content lies.

    ``lock``: the file's lock, held. Raises what ``open_writer`` raises, and FileBusy if a foreign program is writing.
    """
    aside = name_aside(path, lock)
    with connections.explained(path):
        require_room_for(source, path.parent)
        target = sqlite.open_writer(path, role, lock)
        try:
            write_copy(target, aside, role)
            source.backup(target)
        except BaseException:
            discard(aside)  # half a copy, or one of what is still in place
            raise
        finally:
            target.close()
    forget_oldest(path)
    return aside


def _make_new(path: Path) -> None:
    """``sqlite.make_empty`` for a name that is free, unless somebody put a link there meanwhile. Raises NotAFile."""
    if not sqlite.make_empty(path):
        raise NotAFile(path=path)
