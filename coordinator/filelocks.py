"""File locks as the system lists them: who keeps others waiting at a file. Nothing is opened or locked to find out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from kanban_shards.coordinator.errors import FileHeld
from kanban_shards.coordinator.processes import described
from kanban_shards.errors import FileBusy

LOCKS = Path("/proc/locks")
TO_THE_END = 2**63 - 1
# Bytes of a database that SQLite locks, from PENDING to the last of SHARED.
OF_A_DATABASE = (0x40000000, 0x400001FF)
# Of a ``-shm``: writing and recovery; and the five marks of those who read.
WAL_WRITE = (120, 122)
WAL_READ = (123, 127)


class SystemLock(msgspec.Struct, frozen=True):
    """A lock that a process has on a file. ``kind``: FLOCK, POSIX, OFDLCK or LEASE; ``writing``: no other process can
    have a lock there; ``first`` and ``last``: the bytes. ``pid`` is 0 or less where the system does not tell it."""

    kind: str
    writing: bool
    pid: int
    first: int
    last: int

    def overlaps(self, bounds: tuple[int, int]) -> bool:
        """Whether it covers one of the bytes."""
        return self.first <= bounds[1] and bounds[0] <= self.last


def locks_on(path: Path, table: Path = LOCKS) -> list[SystemLock]:
    """The locks that other processes have on the file at ``path``; none where the system lists none (it does on Linux).
    ``table``: where it lists them."""
    try:
        found = os.stat(path)
        lines = table.read_text().splitlines()
    except OSError:
        return []
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    parsed = (_parsed(line.split(), file) for line in lines if file in line)
    return [lock for lock in parsed if lock is not None]


def who(locks: Iterable[SystemLock]) -> str | None:
    """The processes that have ``locks``, in words; None if the system names none."""
    return named({lock.pid for lock in locks if lock.pid > 0})


def named(pids: Iterable[int]) -> str | None:
    """The processes in words: ``process 12 (sqlite3 kanban.db)``; None if there are none."""
    return " and ".join(f"process {described(pid)}" for pid in sorted(pids)) or None


def flock_pids(path: Path) -> set[int]:
    """The processes that hold the lock which the file at ``path`` stands for, this one left out; none where the system
    does not tell."""
    return {lock.pid for lock in locks_on(path) if lock.kind == "FLOCK" and lock.pid > 0}


def who_has_flock(path: Path) -> str | None:
    """Who holds the lock that the file at ``path`` stands for, in words; None if nobody does, or the system does not
    tell."""
    return who(lock for lock in locks_on(path) if lock.kind == "FLOCK")


def who_keeps_readers_out(path: Path) -> str | None:
    """Who holds a lock of SQLite's, or a lease, that keeps others from reading the shard at ``path``."""
    journal = path.with_name(f"{path.name}-journal")
    return who(
        lock
        for file in (path, journal)
        for lock in locks_on(file)
        if lock.kind == "LEASE" or (lock.kind != "FLOCK" and lock.overlaps(OF_A_DATABASE))
    )


def who_keeps_writers_out(path: Path) -> str | None:
    """Who holds a lock that keeps the coordinator from writing board or ledger, a database with a WAL."""
    return who(_against_writers(path))


def pids_against_writers(path: Path) -> set[int]:
    """The same processes by their numbers; one of them is the coordinator while it writes."""
    return {lock.pid for lock in _against_writers(path) if lock.pid > 0}


def pids_of_readers(path: Path) -> set[int]:
    """Who is inside a read of board or ledger at this moment."""
    return {lock.pid for lock in locks_on(_memory_of(path)) if lock.pid > 0 and lock.overlaps(WAL_READ)}


def _against_writers(path: Path) -> list[SystemLock]:
    on_memory = [lock for lock in locks_on(_memory_of(path)) if lock.kind != "FLOCK" and lock.overlaps(WAL_WRITE)]
    return on_memory or [lock for lock in locks_on(path) if lock.kind != "FLOCK" and lock.writing]


def _memory_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-shm")


@contextmanager
def naming_holders(*paths: Path) -> Iterator[None]:
    """Turn FileBusy of one of ``paths``, board or ledger, into FileHeld, which says who has it locked."""
    try:
        yield
    except FileBusy as error:
        if error.path not in paths:
            raise
        holder = who_keeps_writers_out(Path(error.path)) or "a process that the system does not name"
        raise FileHeld(path=error.path, lock=error.lock, waited_s=error.waited_s, holder=holder) from error


def _parsed(fields: list[str], file: str) -> SystemLock | None:
    """``1: POSIX ADVISORY WRITE 12 fe:00:345 0 EOF`` as a lock; None for who waits for one, for one of this process,
    and for a line of another file."""
    if len(fields) != 8 or fields[5] != file or not fields[4].lstrip("-").isdigit() or int(fields[4]) == os.getpid():
        return None
    last = TO_THE_END if fields[7] == "EOF" else int(fields[7])
    return SystemLock(fields[1], fields[3] == "WRITE", int(fields[4]), int(fields[6]), last)
