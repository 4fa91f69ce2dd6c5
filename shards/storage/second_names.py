"""Second names: a hard link gives a file of a board the name of another one, and what is opened by that name is closed.

Whoever closes any descriptor of a file gives up all POSIX locks that the process has on it (docs/design/sqlite.md, law
1), so a shard that is really the board, or a lock that is really a shard, must be known for what it is before it is
opened. That a file has several names says nothing: copies by ``cp -l`` are made of links, in folders of their own. What
counts is whether another name in the same folder is one of a board's files, and which of the two gives way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from kanban_shards.errors import SecondName

# What a database begins with, and how SQLite's shared memory grows.
_DATABASE = b"SQLite format 3\0"
_SHARED_MEMORY_BYTES = 32 * 1024
# Which of two names of one file is believed, the strongest first: the files that a board has one of, which this process
# keeps open; the shards; and what lies beside a shard, or says something of the board.
_ONE_OF_A_BOARD, _SHARD, _OTHER, _NONE = 3, 2, 1, 0
_RANKS = (
    (_ONE_OF_A_BOARD, re.compile(r"kanban(-ledger|-snapshot)?\.db(-wal|-shm|-journal)?")),
    (_ONE_OF_A_BOARD, re.compile(r"kanban-[a-z-]+\.lock")),
    (_SHARD, re.compile(r"kanban\.[^.]+\.db")),
    (_OTHER, re.compile(r"kanban\.[^.]+\.(db-(wal|shm|journal)|lock)|(shared|kanban-heard|board)\.json")),
)


def check(path: Path, found: os.stat_result) -> str | None:
    """Raise SecondName if the file ``found`` at ``path`` is another file of that folder, whose name is the stronger
    one. Neither is believed where both are files that a board has one of.

    Returns its other name if that is as strong, as the one of another shard is: then what is written in it says whose
    it is. Costs nothing for a file of one name; else the names of the folder are read, and nothing is opened.
    """
    if found.st_nlink == 1:
        return None
    own, as_strong = _rank(path.name), None
    for name in _others(path, found):
        rank = _rank(name)
        if rank > own or rank == own == _ONE_OF_A_BOARD:
            raise SecondName(path=path, other=name)
        if rank == own:
            as_strong = name
    return as_strong


def check_apart(path: Path, found: os.stat_result) -> None:
    """Raise SecondName if the file ``found`` at ``path``, which is to be read by a descriptor, is a file of that folder
    with a stronger name, or a database that this process has open by whichever name."""
    if found.st_nlink == 1:
        return
    check(path, found)
    if any(_is_database(descriptor, found) for descriptor in open_here(found)):
        raise SecondName(path=path, other="a database that is open here")


def is_open_here(wanted: os.stat_result) -> bool:
    """Whether a descriptor of this process is open on the file ``wanted``."""
    return next(open_here(wanted), None) is not None


def open_here(wanted: os.stat_result) -> Iterator[int]:
    """The descriptors of this process that are open on the file ``wanted``."""
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the descriptor of this very listing is closed by now
            if os.path.samestat(os.fstat(number), wanted):
                yield number


def _is_database(descriptor: int, found: os.stat_result) -> bool:
    """Whether the open file has locks of SQLite's: a database, or what its processes share of one."""
    if found.st_size and found.st_size % _SHARED_MEMORY_BYTES == 0:
        return True
    try:
        return os.pread(descriptor, len(_DATABASE), 0) == _DATABASE
    except OSError:  # closed at this moment, or not for reading
        return True


def _others(path: Path, found: os.stat_result) -> Iterator[str]:
    """The other names that the file ``found`` at ``path`` has in its folder, and that say something there."""
    with suppress(OSError), os.scandir(path.parent) as inside:
        for entry in inside:
            is_meant = entry.inode() == found.st_ino and entry.name != path.name and _rank(entry.name)
            if is_meant and os.path.samestat(entry.stat(follow_symlinks=False), found):
                yield entry.name


def _rank(name: str) -> int:
    return next((rank for rank, pattern in _RANKS if pattern.fullmatch(name)), _NONE)
