"""Owners: with whose rights root writes a file: those of the file's own user, and no others.

What SQLite does with a file is said by what lies beside it, and who owns the file can write that. Root would do it with
root's rights (docs/security.md). So a thread of root's goes about each file as that file's user, for as long as it
takes. Linux keeps those rights for each thread (``setfsuid``); elsewhere root stays root.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kanban_shards.errors import CannotOpen, cannot_open

if TYPE_CHECKING or os.geteuid() == 0:  # not when it is needed: there may be no descriptor left to load it with
    import ctypes

# What asks for the present one and changes nothing: no user or group has this number.
_NOBODY = -1
_PERMISSIONS = 0o777


@contextmanager
def acting_for(path: Path) -> Iterator[None]:
    """Within the block, what this thread of root's opens, makes and removes is as if the user did it to whom the file
    at ``path`` belongs, or where there is none, its folder. Nobody else than root changes. Raises CannotOpen."""
    owner = _owner(path) if _may_change() else None
    if owner is None or (owner.st_uid, owner.st_gid) == (acting_user(), os.getegid()):
        yield
        return
    former = _set_group(owner.st_gid), _set_user(owner.st_uid)
    try:
        if _set_user(_NOBODY) != owner.st_uid:
            raise CannotOpen(path=path, problem=f"root may not act for {name_of(owner.st_uid)} here, whose file it is")
        yield
    finally:
        _set_user(former[1])
        _set_group(former[0])


def is_mine(path: Path) -> bool:
    """Whether the file at ``path`` belongs to the user that this thread acts for; also, if there is none."""
    try:
        return os.lstat(path).st_uid == acting_user()
    except OSError:
        return True


def acting_user() -> int:
    """The number of the user that this thread acts for."""
    return _set_user(_NOBODY) if _may_change() else os.geteuid()


def owner_of(path: Path) -> str:
    """The name of the user to whom the file at ``path`` belongs."""
    return name_of(os.lstat(path).st_uid)


def name_of(uid: int) -> str:
    """The user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def to_be_like(*paths: Path) -> os.stat_result | None:
    """The first of ``paths`` that is a file, for what takes its place to be like; None if there is none. Raises
    CannotOpen if this process may not give a file to that user, who alone writes it."""
    for path in paths:
        try:
            found = os.lstat(path)
        except OSError:
            continue
        if not stat.S_ISREG(found.st_mode):
            continue
        if found.st_uid != os.geteuid() != 0 and not found.st_mode & stat.S_IWGRP:
            whose = f"only {name_of(found.st_uid)}, whose file it is, or root may make it again"
            raise CannotOpen(path=paths[0], problem=whose)
        return found
    return None


def make_like(path: Path, like: os.stat_result) -> None:
    """Give the file at ``path``, which this process just made, the user, group and permissions of ``like``.

    What a group writes may stay its maker's. The file is opened as a name only, which takes no lock away when it is
    closed (docs/design/sqlite.md, law 1). A link, or a second name of another file, in its place is left alone. Raises
    CannotOpen.
    """
    mode = like.st_mode & _PERMISSIONS
    uid = like.st_uid if os.geteuid() == 0 else os.geteuid()
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise CannotOpen(path=path, problem="another file was put in the place of the one just made")
        with _name_only(path, found) as itself:
            if (found.st_uid, found.st_gid) != (uid, like.st_gid):
                _give(itself, uid, like.st_gid)
            os.chmod(itself, mode)
    except OSError as error:
        raise cannot_open(path, error) from error


def _give(path: str, uid: int, gid: int) -> None:
    """Who is not root may not give a file to a group that is not their own, and keeps it."""
    try:
        os.chown(path, uid, gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise


@contextmanager
def _name_only(path: Path, found: os.stat_result) -> Iterator[str]:
    """A name for the very file ``found`` at ``path``, whatever else gets that name meanwhile."""
    if sys.platform != "linux":
        yield os.fspath(path)
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not os.path.samestat(os.fstat(descriptor), found):
            raise CannotOpen(path=path, problem="another file was put in the place of the one just made")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _owner(path: Path) -> os.stat_result | None:
    for each in (path, path.parent):
        try:
            return os.stat(each)
        except OSError:
            continue
    return None


def _may_change() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


def _set_user(uid: int) -> int:
    """Act for ``uid`` if that is allowed; returns whom this thread acted for until now."""
    return int(_libc().setfsuid(uid))


def _set_group(gid: int) -> int:
    return int(_libc().setfsgid(gid))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
