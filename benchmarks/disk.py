"""What a change takes on the disk, once everything is at rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.figures import FIGURES
from benchmarks.peers import PEERS, find
from benchmarks.together import Crew, run_round
from kanban_shards.storage import sqlite

# Of this project, with a daemon.
OURS = "shards"
# What takes less of a change than this is not listed by itself.
LEAST_BYTES = 5.0


def measure(tasks: int, new_folder: Callable[[], Path]) -> None:
    """The bytes of all files of a board, for each write of ``tasks`` tasks: create, subscribe, claim, complete."""
    FIGURES.begin("Bytes on disk for each change")
    rows, parts = [], []
    for name in PEERS:
        if why := find(name).missing():
            FIGURES.note(f"skipped: {name} ({why})")
            continue
        folder = new_folder()
        done = run_round(name, folder, [Crew("amount", 1, tasks)], 3600.0)
        writes = sum(map(len, done.crews[0][0].spent_s.values()))
        rows.append((name, writes, f"{_bytes(folder) / writes:,.0f}", _listed(folder)))
        if name == OURS:
            parts = [(file, what, f"{size / writes:,.1f}") for file, what, size in _parts(folder, LEAST_BYTES * writes)]
    FIGURES.table(("peer", "writes", "bytes for each", "files"), rows)
    FIGURES.begin("Where the bytes of a change are")
    FIGURES.table(("file", "table or index", "bytes for each"), parts)


def _parts(folder: Path, least: float) -> Iterator[tuple[str, str, int]]:
    """The pages of each table and index of this project's files, in bytes, the largest first; what takes less than
    ``least`` together. A SQLite without ``dbstat`` tells nothing."""
    roles = {"kanban.db": sqlite.BOARD, "kanban-ledger.db": sqlite.LEDGER}
    for path in sorted(folder.rglob("kanban*.db")):
        with closing(sqlite.open_reader(path, roles.get(path.name, sqlite.SHARD))) as connection:
            try:
                found = connection.execute(
                    "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"
                ).fetchall()
            except sqlite3.OperationalError:
                FIGURES.note(f"skipped: tables and indexes of {path.name} (this SQLite has no dbstat)")
                continue
        yield from ((path.name, name, size) for name, size in found if size >= least)
        rest = [size for _, size in found if size < least]
        yield path.name, f"{len(rest)} that take less", sum(rest)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _listed(folder: Path) -> str:
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = sorted(sizes, key=sizes.get, reverse=True)[:4]
    return ", ".join(f"{name} {sizes[name] / 2**10:,.0f} KiB" for name in largest if sizes[name])
