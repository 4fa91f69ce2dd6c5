"""Strangers: what others do to board and ledger that cannot be prevented, because whoever may read a file may lock it.

It can be noticed: a process that keeps the coordinator from writing, and a read that never ends, because of which the
WAL grows and grows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kanban_shards.coordinator.filelocks import named, pids_against_writers, pids_of_readers
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files, sqlite

# A WAL that nobody holds back is cut to its limit when it begins anew.
SWOLLEN_BYTES = 2 * sqlite.WAL_LIMIT_BYTES
# A read takes milliseconds, and so does a write of a reader that recovers a WAL: who is there at two looks, stays.
SECOND_LOOK_S = 0.05


@dataclass(frozen=True)
class Stranger:
    """What is done to ``path``, board or ledger. ``wal_bytes``: how large its WAL is, if it has grown beyond measure;
    ``by``: by whom, if the system tells; ``keeps_out``: nothing can be written meanwhile."""

    path: Path
    by: str | None
    keeps_out: bool = False
    wal_bytes: int = 0

    def __str__(self) -> str:
        if self.keeps_out:
            return f"{self.path} is locked by {self.by}, which is not the coordinator, so nothing is merged; end it"
        return f"{self.path}-wal has grown to {self.wal_bytes // 2**20} MiB, and grows with each change: {self.why}"

    @property
    def why(self) -> str:
        """Why the WAL grows, and what ends that."""
        if self.by:
            return f"a read of {self.by} does not end; end that process, and the WAL begins anew by itself"
        return f"a read does not end; `fuser {self.path}` names who has the file open"


def strangers(paths: BoardPaths, coordinator: int | None = None) -> list[Stranger]:
    """Who keeps the coordinator from writing, and whose read does not end. ``coordinator``: its pid, if another process
    than this one is it."""
    found = []
    for path in (paths.board, paths.ledger):
        pids = _staying(pids_against_writers, path) - {coordinator}
        if pids:
            found.append(Stranger(path, named(pids), keeps_out=True))
    return found + swollen(paths)


def swollen(paths: BoardPaths) -> list[Stranger]:
    """Of board and ledger, each whose WAL has grown beyond measure. Costs two calls of ``stat`` if none has."""
    found = []
    for path in (paths.board, paths.ledger):
        seen = files.stamp(files.beside(path, "-wal"))
        if seen is not None and seen[1] > SWOLLEN_BYTES:
            found.append(Stranger(path, named(_staying(pids_of_readers, path)), wal_bytes=seen[1]))
    return found


def _staying(pids: Callable[[Path], set[int]], path: Path) -> set[int]:
    found = pids(path)
    if found:
        time.sleep(SECOND_LOOK_S)
        found &= pids(path)
    return found
