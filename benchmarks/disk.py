"""What a change takes on the disk, once everything is at rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import FIGURES
from benchmarks.peers import PEERS, find
from benchmarks.together import Crew, run_round


def measure(tasks: int, new_folder: Callable[[], Path]) -> None:
    """The bytes of all files of a board, for each write of ``tasks`` tasks: create, subscribe, claim, complete."""
    FIGURES.begin("Bytes on disk for each change")
    rows = []
    for name in PEERS:
        if why := find(name).missing():
            FIGURES.note(f"skipped: {name} ({why})")
            continue
        folder = new_folder()
        done = run_round(name, folder, [Crew("amount", 1, tasks)], 3600.0)
        writes = sum(map(len, done.crews[0][0].spent_s.values()))
        rows.append((name, writes, f"{_bytes(folder) / writes:,.0f}", _listed(folder)))
    FIGURES.table(("peer", "writes", "bytes for each", "files"), rows)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _listed(folder: Path) -> str:
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    largest = sorted(sizes, key=sizes.get, reverse=True)[:4]
    return ", ".join(f"{name} {sizes[name] / 2**10:,.0f} KiB" for name in largest if sizes[name])
