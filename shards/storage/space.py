"""Space: whether a copy of a database may be made, before a byte of it is written.

A file says by itself how long it is, and who writes it may say anything: a sparse file of some bytes claims terabytes,
and SQLite's copy of it would have them all. So a copy is bounded by what the original holds of the disk, and by what
has to stay free where the copy is made.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from kanban_shards.errors import FileHollow, NoRoom, cannot_open

# A disk that compresses holds a database in a part of its size; in a smaller part than this, none.
MOST_TIMES = 16
# What a copy may have in any case: small files may be held in no block of their own.
ALWAYS_BYTES = 64 * 1024 * 1024
# What stays free when a copy is made: this, or a twentieth of a small disk.
SPARE_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 512
_LOGS = ("", "-wal", "-journal")


def require_room(path: Path, size_bytes: int, folder: Path) -> None:
    """Whether a copy of ``path`` with ``size_bytes`` may be made in ``folder``. Raises FileHollow if the file, with
    what belongs to it, holds far less than that; NoRoom if the disk would not have enough left; CannotOpen."""
    held_bytes = _held_bytes(path)
    if size_bytes > ALWAYS_BYTES + MOST_TIMES * held_bytes:
        raise FileHollow(path=path, size_bytes=size_bytes, held_bytes=held_bytes)
    try:
        free_bytes, spare_bytes = _free_and_spare(folder)
    except OSError as error:
        raise cannot_open(folder, error) from error
    if size_bytes > free_bytes - spare_bytes:
        raise NoRoom(path=path, folder=folder, size_bytes=size_bytes, free_bytes=free_bytes, spare_bytes=spare_bytes)


def has_room(folder: Path, size_bytes: int) -> bool:
    """Whether ``size_bytes`` more in ``folder`` would leave enough of the disk; for what may as well not be written."""
    try:
        free_bytes, spare_bytes = _free_and_spare(folder)
    except OSError:
        return False
    return size_bytes <= free_bytes - spare_bytes


def require_room_for(source: sqlite3.Connection, folder: Path) -> None:
    """The same of the database that ``source`` has open; of one that lies in no file, there is nothing to ask."""
    path = next((file for _, name, file in source.execute("PRAGMA database_list") if name == "main"), None)
    if path:
        (pages,) = source.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = source.execute("PRAGMA page_size").fetchone()
        require_room(Path(path), pages * page_bytes, folder)


def _free_and_spare(folder: Path) -> tuple[int, int]:
    """What is free on the disk, and what has to stay so, in bytes. Raises OSError."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize, min(SPARE_BYTES, disk.f_blocks * disk.f_frsize // 20)


def _held_bytes(path: Path) -> int:
    """What the file, and its WAL or journal, take of the disk."""
    held = 0
    for suffix in _LOGS:
        try:
            held += os.stat(f"{path}{suffix}").st_blocks * _BLOCK_BYTES
        except OSError:
            continue
    return held
