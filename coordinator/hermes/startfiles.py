"""Start files: the two by which each Python of an environment loads the bridge (``kanban_shards.hermes.startup``).

Python reads ``*.pth`` in the folders of packages when it starts; from 3.15 on it reads ``*.start`` first, and leaves
out the lines of a ``.pth`` of that name which import something (PEP 829).
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from kanban_shards.coordinator.errors import CannotBridge
from kanban_shards.errors import StorageError
from kanban_shards.storage.filesystems import FOR_ALL, beginning_of
from kanban_shards.storage.folders import Folder

STEM = "kanban-shards-hermes"
_MODULE = "kanban_shards.hermes.startup"
# By name. The one that this Python reads is written last and removed first, so that a half-done step changes nothing.
CONTENT = {
    f"{STEM}.start": f"{_MODULE}:start\n",
    f"{STEM}.pth": f"import {_MODULE}; {_MODULE}.start()\n",
}

# As ``Folder.write_whole`` calls a file before it is whole.
_HALF_WRITTEN = re.compile(rf"\.{STEM}\.(?:pth|start)\.[0-9a-f]+")

# What is in place: what this version writes, nothing or a part of it, or what another version wrote.
IN_PLACE = "in place"
MISSING = "missing"
DIFFERENT = "different"

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def look(site: Path) -> str:
    """What is in place in the folder of packages ``site``: IN_PLACE, MISSING or DIFFERENT."""
    found = {name: _content(site / name) for name in CONTENT}
    if found == CONTENT:
        return IN_PLACE
    return MISSING if any(said is None for said in found.values()) else DIFFERENT


def any_in(site: Path) -> bool:
    """Whether there is one of them, or the beginning of one, whatever it says."""
    return any(name in CONTENT or _HALF_WRITTEN.fullmatch(name) for name in os.listdir(site))


def written_s(site: Path) -> float:
    """Since when the bridge is loaded by each Python that starts, in seconds of the epoch. Raises OSError."""
    return max((site / name).lstat().st_mtime for name in CONTENT)


def check_writable(site: Path) -> None:
    """Raise CannotBridge if nothing can be written there."""
    if not os.access(site, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise CannotBridge(path=site, problem="it is read-only for this user")


def write(site: Path) -> None:
    """Put both in place, each whole or not at all, and durably; a link there is replaced. Raises CannotBridge."""
    try:
        with Folder.given(site) as folder:
            _remove_half_written(folder)
            for name, said in CONTENT.items():
                if _content(site / name) != said:
                    folder.write_whole(name, said.encode(), FOR_ALL)
    except OSError as error:
        raise _cannot(site, error) from error


def remove(site: Path) -> bool:
    """Remove both, durably; returns whether there was one. Raises CannotBridge."""
    if not any_in(site):
        return False
    try:
        with Folder.given(site) as folder:
            for name in reversed(CONTENT):
                folder.remove(name)
            _remove_half_written(folder)
            folder.sync()
    except OSError as error:
        raise _cannot(site, error) from error
    return True


def _remove_half_written(folder: Folder) -> None:
    """What a killed attempt began to write."""
    for name in folder.names():
        if _HALF_WRITTEN.fullmatch(name):
            folder.remove(name)


def _content(path: Path) -> str | None:
    """None unless it is a regular file, which Python would read."""
    try:
        return beginning_of(path, 4096)
    except (OSError, StorageError):
        return None


def _cannot(site: Path, error: OSError) -> CannotBridge:
    read_only = error.errno in _READ_ONLY
    return CannotBridge(path=site, problem="it is read-only for this user" if read_only else str(error.strerror))
