"""This machine: its SQLite, its filesystem, its locks, its disk. Tried out, beside the board's files, not assumed."""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from kanban_shards.coordinator.health.checks.workbench import Rival, workbench
from kanban_shards.coordinator.health.read import read_sizes
from kanban_shards.errors import KanbanError
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.filesystems import not_shared
from kanban_shards.storage.locks import FileLock

MIB = 2**20
# What a rebuild and the WAL of a busy board need beside another copy of board and ledger.
SPARE_BYTES = 64 * MIB
SYNCS = 8
# A disk, or an SSD with its own memory, takes longer than this to promise anything.
QUICKEST_SYNC_S = 20e-6

FIRST_WITH_FAULT, FIRST_WITHOUT = (3, 7, 0), (3, 51, 3)
# Older versions that have the fix as well: from this patch on.
BACKPORTS = {(3, 44): 6, (3, 50): 7}
_LIBRARY = re.compile(r"/[^/\s]*(?:libsqlite3|pysqlite3|sqlean|apsw)[^/]*\.(?:so|dylib)[^/\s]*$", re.MULTILINE)


def has_wal_fault(version: tuple[int, int, int]) -> bool:
    """Whether SQLite ``version`` can lose commits when one connection checkpoints a WAL that another starts anew."""
    major, minor, patch = version
    if (major, minor) in BACKPORTS:
        return patch < BACKPORTS[major, minor]
    return FIRST_WITH_FAULT <= version < FIRST_WITHOUT


def sqlite_version(paths: BoardPaths) -> Iterator[Finding]:
    """The SQLite of this process, and its known fault."""
    if has_wal_fault(sqlite3.sqlite_version_info):
        yield Finding(
            "sqlite",
            NOTE,
            f"SQLite {sqlite3.sqlite_version} can lose commits where several connections write and checkpoint one WAL "
            "(fixed in 3.51.3, 3.50.7 and 3.44.6). This board is safe on it: a file has one writer at a time, from "
            "opening to closing, under a lock; other programs that share a WAL on this machine are not.",
        )
    else:
        yield Finding("sqlite", OK, f"SQLite {sqlite3.sqlite_version} has no fault that is known to lose commits.")


def libraries_in(pid: int | str, processes: Path = Path("/proc")) -> set[str]:
    """The SQLite libraries that process ``pid`` has loaded; nothing where the system does not tell."""
    try:
        maps = (processes / str(pid) / "maps").read_text(errors="surrogateescape")
    except OSError:
        return set()
    return {match[0].rpartition("/")[2] for match in _LIBRARY.finditer(maps)}


def sqlite_libraries(paths: BoardPaths) -> Iterator[Finding]:
    """Two SQLite libraries in one process do not know of each other's locks."""
    found = libraries_in("self")
    if len(found) > 1:
        yield Finding(
            "libraries",
            FAULT,
            f"This process has loaded several SQLite libraries ({', '.join(sorted(found))}); they do not see each "
            "other's locks. Take the package that brings the second one out of this environment.",
        )
    else:
        yield Finding("libraries", OK, "This process uses one SQLite library.")


def filesystem(paths: BoardPaths) -> Iterator[Finding]:
    """Whether two processes see the same memory of a file here."""
    kind = not_shared(paths.folder)
    if kind:
        yield Finding(
            "filesystem",
            FAULT,
            f"{paths.folder} lies on {kind}, where each host keeps a view of its own; move the home to a local disk.",
        )
        return
    with workbench(paths.folder) as bench, Rival() as rival:
        file = bench / "memory"
        file.write_bytes(b"\1" * mmap.PAGESIZE)
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), mmap.PAGESIZE) as shared:
            rival.ask("memory", file)
            seen = shared[0]
    if seen != 2:
        yield Finding(
            "filesystem", FAULT, f"Processes do not share memory on the filesystem of {paths.folder}; use a local disk."
        )
    else:
        yield Finding("filesystem", OK, f"Two processes share memory on the filesystem of {paths.folder}.")


def locks(paths: BoardPaths) -> Iterator[Finding]:
    """The lock that everything stands on, tried out with a second process."""
    with workbench(paths.folder) as bench:
        file = bench / "lock"
        file.touch()
        with Rival() as rival, closing(FileLock(file)) as lock:
            lock.acquire(0)
            excludes = rival.ask("flock", file) == "taken"
            file.open("rb").close()
            survives = rival.ask("flock", file) == "taken"
        with Rival() as rival, closing(FileLock(file)) as lock:
            rival.ask("flock", file)
            excluded = not lock.try_acquire()
            rival.kill()
            freed = lock.try_acquire()
    local = "move the home to a local disk"
    if not (excludes and excluded):
        yield Finding("locks", FAULT, f"Locks exclude nobody on the filesystem of {paths.folder}; {local}.")
    elif not survives:
        yield Finding("locks", FAULT, f"Closing a file takes its flock away on {paths.folder}, as on NFS; {local}.")
    elif not freed:
        yield Finding("locks", FAULT, f"The lock of a killed process stays on {paths.folder}; {local}.")
    else:
        said = "A lock excludes a second process, survives a stray close of its file, and goes with its holder."
        yield Finding("locks", OK, said)


def record_locks(paths: BoardPaths) -> Iterator[Finding]:
    """Whether a raw open and close drops the locks that SQLite itself uses."""
    with workbench(paths.folder) as bench, Rival() as rival:
        file = bench / "records"
        file.touch()
        with file.open("r+b") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            excludes = rival.ask("record", file) == "taken"
            file.open("rb").close()
            dropped = rival.ask("record", file) == "got"
    if not excludes:
        said = f"Record locks, which SQLite uses, exclude nobody on {paths.folder}; move the home to a local disk."
        yield Finding("record-locks", FAULT, said)
    elif dropped:
        yield Finding(
            "record-locks",
            NOTE,
            "A raw open and close of a file drops SQLite's own locks on it in that process, as POSIX has it; this "
            "board does not rest on them, but never open or copy its files other than with SQLite.",
        )
    else:
        yield Finding("record-locks", OK, "A raw open and close of a file leaves SQLite's own locks in place here.")


def journals(paths: BoardPaths) -> Iterator[Finding]:
    """Which journal and which syncing a file gets here, as this program makes it."""
    got = []
    with workbench(paths.folder) as bench:
        for role in (sqlite.SHARD, sqlite.LEDGER, sqlite.BOARD):
            path = bench / f"{role.name}.db"
            with closing(FileLock(bench / f"{role.name}.lock")) as lock:
                lock.acquire(0)
                try:
                    with closing(sqlite.open_writer(path, role, lock)) as connection:
                        found = connections.durability(connection)
                except KanbanError as error:
                    yield Finding("journals", FAULT, f"A new {role.name} cannot be made here: {error.happened}.")
                    return
            got.append(f"{role.name} {found[0]} and {found[1]}")
            if found != (role.journal, role.synchronous):
                wanted = f"{role.journal} and {role.synchronous}"
                said = f"SQLite gives a {role.name} {found[0]} and {found[1]}, not {wanted}; use another SQLite."
                yield Finding("journals", FAULT, said)
                return
    yield Finding("journals", OK, f"Files are opened with the journal and syncing they need: {', '.join(got)}.")


def syncing(paths: BoardPaths) -> Iterator[Finding]:
    """What it takes here to make a write durable."""
    with workbench(paths.folder) as bench, (bench / "sync").open("wb", buffering=0) as file:
        took = []
        for _ in range(SYNCS):
            file.write(b"\0" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    middle_s = statistics.median(took)
    said = f"Making a write durable (fsync) takes {middle_s * 1_000:.2f} ms here"
    if middle_s < QUICKEST_SYNC_S:
        said += ", quicker than a disk can; on memory, or where syncing is switched off, a power cut loses commits"
    yield Finding("fsync", NOTE if middle_s < QUICKEST_SYNC_S else OK, f"{said}.")


def disk_space(paths: BoardPaths) -> Iterator[Finding]:
    """Whether there is room to make board and ledger again beside what is there."""
    sizes, disk = read_sizes(paths), os.statvfs(paths.folder)
    free = disk.f_bavail * disk.f_frsize
    needed = sizes.board + sizes.ledger + SPARE_BYTES
    said = f"{_mib(free)} are free, and making board ({_mib(sizes.board)}) and ledger ({_mib(sizes.ledger)}) again " \
           f"takes up to {_mib(needed)}"  # fmt: skip
    if free < needed:
        yield Finding("disk", WARNING, f"{said}; free some space before it is needed.")
    else:
        yield Finding("disk", OK, f"{said}.")


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.1f} MiB"
