"""Journals: what lies beside a database says what SQLite deletes, so it is looked at before anything is rolled back.

The last bytes of a rollback journal may name a file, the super-journal of a transaction over several databases. Who
rolls that journal back, or undoes a transaction of its own in a file that has one, deletes the file, whichever it is.
Nothing here ever writes such a name, so one is nobody's whom this process should trust (docs/design/sqlite.md, law 8).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from kanban_shards.errors import CannotOpen, NotAFile, StrangeJournal, cannot_open
from kanban_shards.paths import printable_name
from kanban_shards.storage import second_names
from kanban_shards.storage.filesystems import FOR_ITS_USER
from kanban_shards.storage.owners import acting_user, make_like, name_of

SUFFIX = "-journal"
# Which journal it is: device and inode.
Journal = tuple[int, int]
# What SQLite ends the name of a super-journal with, and begins a journal with.
_MAGIC = bytes.fromhex("d9d505f920a163d7")
# What a database begins with.
_DATABASE = b"SQLite format 3\0"
# Behind the name: its length and its checksum, four bytes each, and the magic.
_TRAILER_BYTES = 16
# The longest name that SQLite takes, here only to be shown.
_LONGEST_NAME_BYTES = 512


def check(path: Path, of_one_user: bool = False, known: Journal | None = None) -> Journal | None:
    """Raise StrangeJournal if the journal beside the database at ``path`` must not be rolled back or written; returns
    which one it is, if there is one.

    ``of_one_user``: it is a file that one user alone writes, so the journal must be that user's, too. ``known``: the
    one that was looked at before, and is not read again while its user alone writes it; then, and where there is no
    journal, this costs two ``stat``. Raises NotAFile for a link, a pipe or a device in its place, CannotOpen.
    """
    try:
        database = os.lstat(path)
        if stat.S_ISLNK(database.st_mode):  # SQLite looks beside the file itself
            path = Path(os.path.realpath(path))
            database = os.lstat(path)
    except OSError:
        database = None
    journal = f"{path}{SUFFIX}"
    try:
        found = os.lstat(journal)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise cannot_open(journal, error) from error
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(path=journal)
    if of_one_user and database is not None and found.st_uid != database.st_uid:
        whose = f"belongs to {name_of(found.st_uid)}, and the file to {name_of(database.st_uid)}"
        raise StrangeJournal(path=path, problem=whose)
    if found.st_nlink != 1:
        other = second_names.check(Path(journal), found)
        is_its_own = other is None and _is_nobody_elses(path.parent)  # of a copy that was made of links
        if not (of_one_user and (is_its_own or is_silent(path))):
            raise StrangeJournal(path=path, problem=f"is a second name of {other or 'another file'}")
    identity = found.st_dev, found.st_ino
    if of_one_user and identity == known:
        return identity
    name = _named(journal, found)
    if name is not None:
        problem = f"ends with the name of another file ({name}), which SQLite would delete"
        raise StrangeJournal(path=path, problem=problem)
    return identity


def is_silent(path: Path) -> bool:
    """Whether the journal beside the database at ``path`` says nothing: it is empty, or was emptied at its beginning,
    so nothing is lost with it. Raises StrangeJournal, CannotOpen."""
    journal = f"{path}{SUFFIX}"
    try:
        found = os.lstat(journal)
    except FileNotFoundError:
        return False
    return not found.st_size or _ends_of(journal, found)[0] == bytes(len(_DATABASE))


def is_linked(path: Path) -> bool:
    """Whether the journal beside the database at ``path`` has another name somewhere."""
    try:
        return os.lstat(f"{path}{SUFFIX}").st_nlink != 1
    except OSError:
        return False


def _is_nobody_elses(folder: Path) -> bool:
    """Whether nobody but this user and root can give a file a name in ``folder``."""
    found = os.stat(folder)
    return found.st_uid in (acting_user(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def are_untouched(path: Path, database: tuple[int, int] | None, journal: Journal | None) -> bool:
    """Whether the database at ``path`` is the one that ``database`` names, of the user that this thread acts for, and
    the journal beside it the one that ``check`` looked at, of the same user. This costs two ``stat``."""
    try:
        found, beside = os.lstat(path), os.lstat(f"{path}{SUFFIX}")
    except OSError:
        return False
    is_plain = stat.S_ISREG(found.st_mode) and stat.S_ISREG(beside.st_mode) and beside.st_nlink == 1
    are_known = (found.st_dev, found.st_ino) == database and (beside.st_dev, beside.st_ino) == journal
    return is_plain and are_known and found.st_uid == beside.st_uid == acting_user()


def named_in(path: Path) -> str | None:
    """The name that the journal beside a private copy ends with, as it can be printed; None if with none."""
    journal = f"{path}{SUFFIX}"
    try:
        return _named(journal, os.lstat(journal))
    except FileNotFoundError:
        return None


def open_as_found(path: Path, found: os.stat_result) -> int:
    """A descriptor for reading of the file that ``found`` was at ``path``.

    Closing a descriptor takes away the locks that this process holds on the file. If another one was put there
    meanwhile, which may be a database, its descriptor stays open. Raises CannotOpen then, and the OSErrors of opening:
    BlockingIOError where somebody has a lease on it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not os.path.samestat(os.fstat(descriptor), found):
        raise CannotOpen(path=path, problem="it was replaced while it was opened")
    return descriptor


def make_empty(path: Path, like: os.stat_result) -> None:
    """Make an empty journal, which says nothing, beside the database at ``path``, with the user, group and permissions
    of ``like``; leave one that is there. Raises CannotOpen."""
    journal = Path(f"{path}{SUFFIX}")
    try:
        os.close(os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FOR_ITS_USER))
    except FileExistsError:
        return
    except OSError as error:
        raise cannot_open(journal, error) from error
    make_like(journal, like)


def _named(journal: str, found: os.stat_result) -> str | None:
    """The name at the end of ``journal``, which ``found`` describes. What SQLite would not take for a name, because its
    length or checksum is wrong, counts as one all the same."""
    if found.st_size < _TRAILER_BYTES:
        return None
    end = _ends_of(journal, found)[1]
    if not end.endswith(_MAGIC):
        return None
    length = int.from_bytes(end[-_TRAILER_BYTES:][:4])
    name = end[:-_TRAILER_BYTES][-length:] if 0 < length <= _LONGEST_NAME_BYTES else b""
    return printable_name(os.fsdecode(name))


def _ends_of(journal: str, found: os.stat_result) -> tuple[bytes, bytes]:
    """The first and the last bytes of the journal, which ``found`` describes.

    SQLite takes no locks on a journal, so closing a descriptor of one takes none away; but it would on a database that
    somebody gave the journal's name. So one that this process has open is read through a descriptor that is there.
    Raises StrangeJournal, CannotOpen.
    """
    strange = StrangeJournal(path=journal.removesuffix(SUFFIX), problem="is another file, which this process has open")
    try:
        for descriptor in second_names.open_here(found):
            with suppress(OSError):  # closed at this moment, or not for reading
                head, end = _head_and_end(descriptor, found)
                if os.path.samestat(os.fstat(descriptor), found):
                    if head == _DATABASE:  # SQLite would open and close it, as it does a journal
                        raise strange
                    return head, end
        if second_names.is_open_here(found):
            raise strange
        descriptor = open_as_found(Path(journal), found)
    except OSError as error:
        raise cannot_open(journal, error) from error
    try:
        return _head_and_end(descriptor, found)
    finally:
        os.close(descriptor)


def _head_and_end(descriptor: int, found: os.stat_result) -> tuple[bytes, bytes]:
    begin = max(0, found.st_size - _TRAILER_BYTES - _LONGEST_NAME_BYTES)
    return os.pread(descriptor, len(_DATABASE), 0), os.pread(descriptor, found.st_size - begin, begin)
