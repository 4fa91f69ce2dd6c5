"""Database files as files, closed ones: copied, given a name, put in place of another, set aside, discarded.

No connection is opened here (shards/storage/sqlite.py does that), and a file that may be open anywhere is only ever
renamed or replaced under its lock (docs/design/sqlite.md, law 6).
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path

from kanban_shards.errors import AlreadyThere, DiskFull, LawBroken, StillWritten, cannot_open, is_full
from kanban_shards.storage import journals, numbered, owners, second_names
from kanban_shards.storage.filesystems import open_plain, sync_folder
from kanban_shards.storage.locks import FileLock
from kanban_shards.storage.space import require_room

# What SQLite puts beside a database file.
SIDECARS = ("-wal", "-shm", "-journal")
# Of each file: how many damaged ones are kept, and of how many bytes all together; the newest always.
ASIDE_KEPT = 5
ASIDE_KEPT_BYTES = 1024**3
COPY_BLOCK_BYTES = 1024 * 1024

# What was written this recently may be written again without its time stamp moving. Filesystems that keep whole seconds
# show it in the stamp; FAT, the coarsest, keeps every other one.
STAMP_GRAIN_NS = 25_000_000
WHOLE_SECONDS_GRAIN_NS = 2_100_000_000

# Which file it is, whatever it is called: device and inode.
Identity = tuple[int, int]
# What changes when somebody writes a file: inode, bytes, time in ns.
Stamp = tuple[int, int, int]


def identity(path: Path | str) -> Identity | None:
    """Which file lies at ``path``, by ``stat`` alone; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_recent(at_ns: int) -> bool:
    """Whether a file or folder with the time stamp ``at_ns``, in ns since 1970, may be written again without that
    moving."""
    grain_ns = STAMP_GRAIN_NS if at_ns % 1_000_000_000 else WHOLE_SECONDS_GRAIN_NS
    return time.time_ns() - at_ns < grain_ns


def is_empty(path: Path) -> bool:
    """Whether there is no file at ``path``, or one without anything in it."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return True


def copy_bytes(source: Path, folder: Path, name: str) -> str:
    """Copy a database that no SQLite can read any more, and its WAL and journal, byte by byte into ``folder`` as
    ``name``; returns the SHA-256 of the database itself.

    The one exception to law 1. Closing a file takes away the locks that this very process holds on it, and those of
    no other; so it is safe where this process has no connection to it, which is checked here. Bytes that somebody
    writes meanwhile are worthless, so the caller has seen that nobody has the file open for writing, and this sees
    that neither size nor time changed. Raises StillWritten, NotAFile, CannotOpen, DiskFull, FileHollow.
    """
    digest = hashlib.sha256()
    for suffix in ("", "-journal", "-wal"):
        original, copy = beside(source, suffix), beside(folder / name, suffix)
        if is_open_here(original):
            raise LawBroken(f"{original} is open in this process; closing a copy would drop its locks")
        before = stamp(original)
        if before is None:
            continue
        require_room(original, before[1], folder)
        try:
            descriptor = open_plain(original, os.O_RDONLY | os.O_NOFOLLOW)
            with open(descriptor, "rb") as reading, copy.open("xb") as writing:
                while block := reading.read(COPY_BLOCK_BYTES):
                    writing.write(block)
                    if not suffix:
                        digest.update(block)
        except OSError as error:
            raise cannot_open(copy if is_full(error) else original, error) from error
        if stamp(original) != before:
            raise StillWritten(path=original, holders="another process")
    return digest.hexdigest()


def require_whole(made: Path) -> None:
    """Raise DiskFull if closing the database that was just made could not bring its WAL into it: without the WAL, which
    no rename takes along, the file is damaged."""
    if beside(made, "-wal").exists():
        raise DiskFull(path=made)


def give_name(made: Path, path: Path) -> None:
    """Give a closed file that was just made the free name ``path``, on the same filesystem, durably. Raises
    AlreadyThere, DiskFull."""
    require_whole(made)
    with made.open("r+b") as file:
        os.fsync(file.fileno())
    try:
        os.link(made, path)  # unlike a rename, this replaces nothing
    except FileExistsError as error:
        raise AlreadyThere(path=path) from error
    except OSError:  # a filesystem without links
        if path.exists():
            raise AlreadyThere(path=path) from None
        made.rename(path)
    discard(made)
    sync_folder(path.parent)


def put_in_place(made: Path, path: Path, lock: FileLock, with_journal: bool = False) -> Path | None:
    """Give a closed database that was just made the name ``path``, durably, and set aside what lay there.

    It gets the former file's user, group and permissions; where that is gone, those of what lies beside it.
    ``with_journal``: and so does an empty journal, which its user may not be able to make in that folder. ``lock``: the
    lock of ``path``, held. Returns the former file's new name, if there was one. A kill on the way leaves the former
    file at ``path`` or the new one, never none. Raises DiskFull, and CannotOpen where only another user may make it.
    """
    aside = name_aside(path, lock)
    require_whole(made)
    like = owners.to_be_like(path, beside(path, journals.SUFFIX))
    if like is not None:
        owners.make_like(made, like)
    had_one = path.exists()
    if had_one:
        try:
            os.link(path, aside)
        except OSError:  # a filesystem without links: here alone, a kill leaves no file at ``path``
            path.rename(aside)
    move_sidecars(path, aside)
    if with_journal:
        journals.make_empty(path, os.stat(made))
    made.replace(path)
    discard(made)  # the emptied journal that it leaves
    sync_folder(path.parent)
    forget_oldest(path)
    return aside if had_one else None


def replace(made: Path, path: Path, lock: FileLock) -> None:
    """Give a closed database that was just made the name ``path``, durably, in place of what lay there.

    ``lock``: the lock of ``path``, held. For a file that is made anew each time; ``put_in_place`` keeps the former.
    """
    lock.require(f"{path} is moved")
    like = owners.to_be_like(path)
    if like is not None:
        owners.make_like(made, like)
    for suffix in SIDECARS:
        beside(path, suffix).unlink(missing_ok=True)
    made.replace(path)
    sync_folder(path.parent)


def set_aside(path: Path, lock: FileLock) -> Path:
    """Rename a file that is too damaged to be opened, with what belongs to it, and return its new name.

    ``lock``: the file's lock, held. Whoever still reads the old file keeps reading it.
    """
    aside = name_aside(path, lock)
    move_sidecars(path, aside)
    path.rename(aside)
    sync_folder(path.parent)
    forget_oldest(path)
    return aside


def discard(path: Path) -> None:
    """Remove a database that was being made when its maker was killed; nobody else knows its name."""
    for suffix in ("", *SIDECARS):
        beside(path, suffix).unlink(missing_ok=True)


def discard_sidecars(path: Path) -> None:
    """Remove what lies beside a private database whose content has been brought into it."""
    for suffix in SIDECARS:
        beside(path, suffix).unlink(missing_ok=True)


def discard_journal(path: Path) -> None:
    """Remove the journal beside a private database, and leave the WAL."""
    beside(path, journals.SUFFIX).unlink(missing_ok=True)


def stamp(path: Path) -> Stamp | None:
    """What changes when somebody writes the file; None if it is not there to be seen."""
    try:
        return stamp_of(os.stat(path))
    except OSError:
        return None


def stamp_of(found: os.stat_result) -> Stamp:
    """The same, of a file that was looked at."""
    return found.st_ino, found.st_size, found.st_mtime_ns


def is_open_here(path: Path) -> bool:
    """Whether a descriptor of this process is open on the file at ``path``."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return second_names.is_open_here(found)


def name_aside(path: Path, lock: FileLock) -> Path:
    """A new name that sorts after the earlier ones, whatever the clock says."""
    lock.require(f"{path} is moved")
    return path.with_name(numbered.next_name(f"{path.name}.damaged-", os.listdir(path.parent)))


def move_sidecars(path: Path, target: Path) -> None:
    """Rename what lies beside ``path`` to what would lie beside ``target``: a journal fits no other database. An empty
    one says nothing, and is removed."""
    for suffix in SIDECARS:
        if not beside(path, suffix).exists():
            continue
        if is_empty(beside(path, suffix)):
            beside(path, suffix).unlink()
        else:
            beside(path, suffix).rename(beside(target, suffix))


def forget_oldest(path: Path) -> None:
    """Keep the newest of the files that were set aside from ``path``, within ASIDE_KEPT and ASIDE_KEPT_BYTES."""
    beginning = f"{path.name}.damaged-"
    families: dict[str, int] = {}
    for file in os.scandir(path.parent):
        if file.name.startswith(beginning):
            name = re.sub("-(wal|shm|journal)$", "", file.name)
            families[name] = families.get(name, 0) + file.stat().st_size
    size = 0
    newest_first = sorted(families, key=lambda name: numbered.order(beginning, name), reverse=True)
    for number, name in enumerate(newest_first):
        size += families[name]
        if number and (number >= ASIDE_KEPT or size > ASIDE_KEPT_BYTES):
            discard(path.with_name(name))


def beside(path: Path, suffix: str) -> Path:
    """The file of SQLite's with that ``suffix`` which belongs to the database ``path``."""
    return path.with_name(path.name + suffix)
