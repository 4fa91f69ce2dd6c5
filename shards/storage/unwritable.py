"""Reading where nothing can be written: on a filesystem mounted read-only, or in a folder that this user may not write.

A reader of a WAL database needs the ``-shm`` file beside it, and makes it if it is not there. Where that cannot be
made, nothing can be shared with a writer, and ``immutable=1`` would look past the WAL and at a file that somebody may
be writing elsewhere, through another mount. So the file and its WAL are copied, and the copy is read. It counts only
if neither changed while it was made, by more than a stamp can tell.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path

from kanban_shards.errors import StillWritten
from kanban_shards.storage import files

Stamps = tuple[tuple[int, int, int] | None, ...]

# A filesystem stamps times by ticks of up to 10 ms: a file written longer ago has another stamp after the next write.
GRAIN_S = 0.05
# How often a copy is begun anew, because somebody wrote meanwhile.
ATTEMPTS = 5
# Of this process: a copy that another thread makes would be taken for a connection (files.copy_bytes).
_COPYING = threading.Lock()
_NO_SHARED_MEMORY = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def needs_copy(path: Path, error: BaseException) -> bool:
    """Whether a reader failed with ``error`` because it could not make what SQLite puts beside ``path``."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _NO_SHARED_MEMORY and not os.access(path.parent, os.W_OK)


def copy(path: Path, folder: Path) -> Stamps:
    """Copy the database at ``path``, with its WAL, into the empty ``folder``, under its own name. Returns the stamps
    of what was copied. Raises StillWritten if it was written each time, and what ``files.copy_bytes`` raises."""
    for _ in range(ATTEMPTS):
        before = stamps(path)
        newest_ns = max((stamp[2] for stamp in before if stamp), default=0)
        age_s = (time.time_ns() - newest_ns) / 1e9
        if age_s < GRAIN_S:
            time.sleep(min(GRAIN_S, GRAIN_S - age_s))
        try:
            with _COPYING:
                files.copy_bytes(path, folder, path.name)
        except StillWritten:
            pass
        else:
            files.discard(files.beside(folder / path.name, "-journal"))  # none of this program's: a WAL has none
            if stamps(path) == before:
                return before
        files.discard(folder / path.name)
    raise StillWritten(path=path, holders="a process elsewhere")


def stamps(path: Path) -> Stamps:
    """What changes when somebody writes the database at ``path``."""
    return tuple(files.stamp(each) for each in (path, files.beside(path, "-wal")))
