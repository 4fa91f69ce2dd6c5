"""Filesystems: who may use what is made in a folder, how a name in it is made durable, and where processes cannot share
memory or locks.

What is made is for its user alone, whatever the umask. Only a folder that somebody made setgid is meant for a group:
there the group may do with the files what it may do with the folder (docs/security.md).

Where memory is not shared, a WAL is not safe. SQLite notices some such places by itself (it falls back to another
journal), but not all: a network filesystem may map memory and still keep each host's view apart. So they are told by
name, where the system says the name.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path

from kanban_shards.errors import NotAFile, StorageError
from kanban_shards.owners import acting_for

MOUNTS = Path("/proc/self/mountinfo")
NOT_SHARED = re.compile(
    r"nfs.*|cifs|smb.*|9p|virtiofs|drvfs|afs|ceph|glusterfs|lustre|fuse\.(sshfs|s3fs|rclone|glusterfs)"
)

FOR_ITS_USER = 0o600
GROUP_READS = 0o040
GROUP_WRITES = 0o060

# Far more than a slug, or how a board is shown.
SMALL_BYTES = 1024 * 1024
# What opening something else than a file fails with: a link that is not to be followed, a folder, a socket.
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)
_OCTAL = re.compile(r"\\([0-7]{3})")


def not_shared(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the filesystem that ``path`` lies on, if it is one that cannot be trusted with a WAL; else None.

    ``mounts``: the system's list of mounts; where there is none (macOS), nothing is known, and None is the answer.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = os.path.realpath(path)
    longest, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            longest, kind = len(point), after.split(" ")[0]
    return kind if NOT_SHARED.fullmatch(kind) else None


def file_mode(folder: Path, group: int) -> int:
    """The permissions of a file that is made in ``folder``; its group gets of ``group`` what it has of the folder."""
    return FOR_ITS_USER | (_group_permissions(folder) & group)


def open_plain(path: Path, flags: int) -> int:
    """A descriptor of the file at ``path``. Nothing else is waited for or read. Raises NotAFile, OSError."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for its other end
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NotAFile(path=path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFile(path=path)
    return descriptor


def read_small(path: Path) -> str | None:
    """The text of the file at ``path``, which is meant to be small; None if there is none. Raises NotAFile and
    StorageError for what is larger than SMALL_BYTES, no UTF-8, or cannot be read."""
    try:
        with open(open_plain(path, os.O_RDONLY), "rb") as file:
            content = file.read(SMALL_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(path=path, problem=f"it cannot be read: {error.strerror}") from error
    if len(content) > SMALL_BYTES:
        raise StorageError(path=path, problem=f"it is larger than {SMALL_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StorageError(path=path, problem="it is no UTF-8") from error


def write_whole(path: Path, text: str) -> None:
    """Give ``path`` this content, whole or not at all, whatever stops the process or the machine. Raises StorageError.

    Not for a database, which only SQLite writes.
    """
    if not path.name:
        raise StorageError(path=path, problem="that names no file")
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with acting_for(path.parent):
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise StorageError(path=path, problem=f"it cannot be written: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it that are missing, each like the one it lies in and durable. Raises OSError."""
    for new in reversed(list(takewhile(_may_be_new, (folder, *folder.parents)))):
        if not new.is_dir():
            with acting_for(new):
                new.mkdir(mode=0o700, exist_ok=True)
                group = _group_permissions(new.parent)
                if group:  # not by mkdir, which the umask narrows
                    new.chmod(stat.S_ISGID | 0o700 | group)
        sync_folder(new.parent)


def _may_be_new(folder: Path) -> bool:
    """Whether the folder is missing, or so empty that whoever made it may not have come to sync its name yet."""
    try:
        with os.scandir(folder) as inside:
            return len(list(islice(inside, 2))) < 2
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # it can be passed through, and not looked into
        return False


def _group_permissions(folder: Path) -> int:
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return 0
    return mode & stat.S_IRWXG if mode & stat.S_ISGID else 0


def sync_folder(folder: Path) -> None:
    """Make durable which names ``folder`` holds: syncing a file alone keeps its content, not its name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
