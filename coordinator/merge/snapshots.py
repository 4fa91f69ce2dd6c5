"""The snapshot: the board as it stood at a position, for a replay to start from once older entries were dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import msgspec

from kanban_shards.coordinator.errors import BeyondRepair, SnapshotMissing, SnapshotStrange
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.errors import Damaged
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite


class Start(msgspec.Struct, frozen=True):
    """Where a replay starts: a position, its digest, and how far each shard was merged there."""

    position: int
    digest: str
    watermarks: dict[str, tuple[int, str]]


def start_of(paths: BoardPaths, ledger: FileLedger, onto: sqlite3.Connection | None = None) -> Start:
    """Where a replay of ``ledger`` starts: at the snapshot, or at nothing while there is none and none is needed.

    ``onto``: an empty board that becomes a copy of the snapshot. Raises SnapshotMissing (BeyondRepair if there is no
    board either), SnapshotStrange, and the StorageErrors of a snapshot that cannot be read.
    """
    base, digest = ledger.base()
    if not paths.snapshot.exists():
        if base and files.is_empty(paths.board):
            problem = f"its ledger begins after entry {base}, and the snapshot with what was before is gone as well"
            raise BeyondRepair(path=paths.board, problem=problem)
        if base:
            raise SnapshotMissing(path=paths.snapshot, base=base)
        return Start(base, digest, {})
    with sound_snapshot(paths) as snapshot:
        start = read_start(snapshot)
        if not _is_in(ledger, start):
            has_board = not files.is_empty(paths.board)
            raise SnapshotStrange(path=paths.snapshot, shown=start.position, has_board=has_board)
        if onto is not None:
            copies.copy_to_scratch(snapshot, onto, sqlite.BOARD)
    return start


@contextmanager
def sound_snapshot(paths: BoardPaths) -> Iterator[sqlite3.Connection]:
    """The snapshot, for reading. Raises Damaged, and the other StorageErrors of a file that cannot be read."""
    snapshot = sqlite.open_reader(paths.snapshot, sqlite.SNAPSHOT)
    with closing(snapshot), connections.explained(paths.snapshot):
        problem = connections.integrity(snapshot, paths.snapshot)
        if problem != "ok":
            raise Damaged(path=paths.snapshot, problem=problem)
        yield snapshot


def read_start(board: sqlite3.Connection) -> Start:
    """Where an open board, or a snapshot of one, stands."""
    position, digest = board.execute("SELECT position, digest FROM merge_state").fetchone()
    rows = board.execute("SELECT profile, seq, digest FROM merge_watermarks")
    return Start(position, digest, {profile: (seq, at) for profile, seq, at in rows})


def _is_in(ledger: FileLedger, start: Start) -> bool:
    try:
        return ledger.digest_at(start.position) == start.digest
    except Damaged:
        return False
