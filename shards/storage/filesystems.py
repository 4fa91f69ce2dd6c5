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
import sys
from itertools import islice, takewhile
from pathlib import Path

from kanban_shards.errors import NotAFile
from kanban_shards.storage.owners import acting_for

MOUNTS = Path("/proc/self/mountinfo")
NOT_SHARED = re.compile(
    r"nfs.*|cifs|smb.*|9p|virtiofs|drvfs|afs|ceph|glusterfs|lustre|fuse\.(sshfs|s3fs|rclone|glusterfs)"
)

FOR_ITS_USER = 0o600
# What is made for other programs of other users: figures for a monitoring agent, a unit for the system.
FOR_ALL = 0o644
GROUP_READS = 0o040
GROUP_WRITES = 0o060

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


def file_mode(folder: Path | int, group: int) -> int:
    """The permissions of a file that is made in ``folder`` (or in the one of that descriptor); its group gets of
    ``group`` what it has of the folder."""
    return FOR_ITS_USER | (_group_permissions(folder) & group)


def folder_mode(folder: Path | int) -> int:
    """The permissions of a folder that is made in ``folder``: for its user, or as that one for a group as well."""
    group = _group_permissions(folder)
    return 0o700 | (stat.S_ISGID | group if group else 0)


def chmod_itself(path: Path, mode: int) -> None:
    """Give what was just made at ``path`` its permissions, and never what a link leads to that somebody put there
    meanwhile. Nothing is opened, so no lock of this process is given up (law 1). Raises NotAFile, OSError."""
    if sys.platform != "linux":
        os.chmod(path, mode, follow_symlinks=False)
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise NotAFile(path=path)
        try:
            os.chmod(f"/proc/self/fd/{descriptor}", mode)
        except FileNotFoundError:  # no /proc is mounted here
            os.chmod(path, mode)
    finally:
        os.close(descriptor)


def open_plain(path: Path, flags: int, dir_fd: int | None = None) -> int:
    """A descriptor of the file at ``path``, or of its last component in the open folder ``dir_fd``. Nothing else is
    waited for or read. Raises NotAFile, OSError."""
    try:
        place = path if dir_fd is None else path.name
        # A pipe would wait for its other end.
        descriptor = os.open(place, flags | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NotAFile(path=path) from error
        raise OSError(error.errno, error.strerror, str(path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFile(path=path)
    return descriptor


def beginning_of(path: Path, longest: int) -> str:
    """The first ``longest`` bytes of a regular file, as text; what is none is shown as such. Raises what ``open_plain``
    raises."""
    with open(open_plain(path, os.O_RDONLY), "rb") as file:
        return file.read(longest).decode(errors="replace")


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it that are missing, each like the one it lies in and durable. Raises OSError."""
    for new in reversed(list(takewhile(_may_be_new, (folder, *folder.parents)))):
        if not new.is_dir():
            with acting_for(new):
                new.mkdir(mode=0o700, exist_ok=True)
                if (mode := folder_mode(new.parent)) != 0o700:  # not by mkdir, which the umask narrows
                    chmod_itself(new, mode)
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


def _group_permissions(folder: Path | int) -> int:
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
