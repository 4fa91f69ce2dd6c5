"""Folders outside of pytest's own: that one is long for a socket's path, and only its user can come there."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALL, PREFIX = Path("/tmp"), "kanban-tests-"


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder whose path has room for a socket's name, and that every user can reach. It is removed at the end, or, if
    this process is killed, by who makes the next one."""
    _remove_left()
    folder, held = _made()
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(held)


def _remove_left() -> None:
    for folder in ALL.glob(f"{PREFIX}*"):
        if (held := _hold(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _made() -> tuple[Path, int]:
    """A new folder, held; another process may have removed one before it was."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=ALL))
        if (held := _hold(folder)) is not None:
            return folder, held


def _hold(folder: Path) -> int | None:
    """A descriptor that holds ``folder`` until it is closed; None if another one does, or it is gone, or it is another
    user's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
