"""Verify: the board is a function of the ledger, so replaying the ledger must give the board, row for row."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from kanban_shards.board import Board
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.coordinator.merge.collector import QUARANTINED, look
from kanban_shards.coordinator.merge.replay import ProgressCallback, catch_up
from kanban_shards.coordinator.merge.snapshots import read_start, start_of
from kanban_shards.coordinator.recovery.former import tables
from kanban_shards.coordinator.recovery.lineage import differing_change, stop_at_damage
from kanban_shards.coordinator.state import indexes
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import DiskFull, FileBusy, KanbanError
from kanban_shards.homes import homes_beside
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import read_sharing
from kanban_shards.storage import connections, sqlite

# Enough differences of one table to see what is wrong.
DIFFERENCES_SHOWN = 5


@dataclass(frozen=True)
class Discrepancy:
    """Something that is not as it must be. ``where``: a file's name or a table's. ``cure``: what to do about it, where
    that is known, as a sentence of its own: who quotes the problem leaves it out."""

    where: str
    problem: str
    cure: str = ""

    @classmethod
    def of(cls, where: str, error: KanbanError) -> Discrepancy:
        """What ``error`` says of the file ``where``."""
        return cls(where, error.happened, error.advice)

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" + (f". {self.cure}" if self.cure else "")


@dataclass
class Verification:
    """What was verified: the ledger entries replayed, the rows compared, the shards read, and what was found."""

    entries: int = 0
    rows: int = 0
    shards: int = 0
    seconds: float = 0.0
    findings: list[Discrepancy] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything is as it must be."""
        return not self.findings


def verify(paths: BoardPaths, progress: ProgressCallback = lambda done, total: None) -> Verification:
    """Check every file by itself, every shard against what was merged of it, and the board against its ledger.

    Reads only; works beside a running daemon. ``progress(done, total)`` is told of replayed entries. Raises
    FileMissing if there is no board or no ledger, and the StorageErrors of files that cannot be read at all.
    """
    started = time.monotonic()
    found = Verification()
    board = sqlite.open_reader(paths.board, sqlite.BOARD)
    ledger = None
    try:
        ledger = FileLedger(paths.ledger)
        with connections.explained(paths.board):
            with connections.one_state(board):
                _check_file(found, paths.board, connections.integrity(board, paths.board))
                _check_file(found, paths.ledger, ledger.integrity())
                _check_replay(found, board, ledger, paths, progress)
            _check_shards(found, board, paths, _elsewhere(paths, ledger))
    finally:
        board.close()
        if ledger is not None:
            ledger.close()
    found.seconds = time.monotonic() - started
    return found


def _check_file(found: Verification, path: Path, answer: str) -> None:
    if answer != "ok":
        found.findings.append(Discrepancy(path.name, answer))


def _check_replay(
    found: Verification, board: sqlite3.Connection, ledger: FileLedger, paths: BoardPaths, progress: ProgressCallback
) -> None:
    """Replay the ledger as far as the board shows it, and compare every table."""
    scratch = sqlite.open_scratch(sqlite.BOARD)
    try:
        start_of(paths, ledger, onto=scratch)
        indexes.leave_out(scratch)  # for good: rows are compared in the order of their keys
        compare_with_replay(found, board, ledger, scratch, progress)
    except DiskFull:  # of the scratch, and no finding about any file
        raise
    except KanbanError as error:
        file = paths.snapshot if _is_of_snapshot(error, paths) else paths.ledger
        found.findings.append(Discrepancy.of(file.name, error))
    finally:
        scratch.close()


def compare_with_replay(
    found: Verification,
    board: sqlite3.Connection,
    ledger: FileLedger,
    scratch: sqlite3.Connection,
    progress: ProgressCallback,
) -> None:
    """Replay on from where ``scratch`` stands to where the board does, and compare every table.

    Raises the StorageErrors of a ledger that cannot be replayed.
    """
    shown, digest = board.execute("SELECT position, digest FROM merge_state").fetchone()
    state = BoardState(scratch)
    if state.position()[0] < shown:
        with connections.explained(sqlite.SCRATCH):
            found.entries += catch_up(state, ledger, shown, progress)
    if state.position() != (shown, digest):
        end = state.position()[0]
        problem = f"replayed, it ends at position {end} with another digest than the board's, {shown}"
        found.findings.append(Discrepancy(ledger.path.name, problem))
    for table, key in tables(scratch):
        _compare(found, table, key, scratch, board)


def _compare(
    found: Verification, table: str, key: str, expected: sqlite3.Connection, actual: sqlite3.Connection
) -> None:
    sql = f"SELECT * FROM {table} ORDER BY {key}"
    differences = 0
    try:
        for want, have in zip_longest(expected.execute(sql), actual.execute(sql)):
            found.rows += 1
            if want != have:
                differences += 1
                if differences <= DIFFERENCES_SHOWN:
                    found.findings.append(Discrepancy(table, f"the ledger gives {want}, the board shows {have}"))
    except connections.FAULTS as error:
        found.findings.append(Discrepancy(table, f"cannot be read: {connections.told(error)}"))
    if differences > DIFFERENCES_SHOWN:
        found.findings.append(Discrepancy(table, f"and {differences - DIFFERENCES_SHOWN} more rows differ"))


def _elsewhere(paths: BoardPaths, ledger: FileLedger) -> Collection[str]:
    """The profiles whose shards are not to be here, because they live on other hosts. A copy of the board, as in a
    backup, has no ``shared.json``, and a ledger that knows of which it is a copy."""
    with stop_at_damage():
        sharing = sharing_mark.marked(ledger) or read_sharing(paths)
        if sharing is not None:
            with Board(paths) as board:
                return homes_beside(board, sharing)
    return ()


def _check_shards(
    found: Verification, board: sqlite3.Connection, paths: BoardPaths, elsewhere: Collection[str]
) -> None:
    def watermarks() -> dict[str, tuple[int, str]]:
        return read_start(board).watermarks

    collected = look(paths, watermarks)
    present = {profile for profile, _ in paths.shards()}
    found.shards = len(present)
    quarantined = {skipped.profile for skipped in collected.skipped if skipped.state == QUARANTINED}
    for skipped in collected.skipped:
        if skipped.state == QUARANTINED:
            found.findings.append(Discrepancy(skipped.file, skipped.why))
    for profile, (seq, _) in watermarks().items():
        if profile in quarantined or profile.startswith("@") or profile in elsewhere:
            continue
        problem: str | None = f"it is missing; its changes up to {seq} were merged"
        if profile in present:
            problem = _what_differs(paths, profile)
        if problem:
            found.findings.append(Discrepancy(paths.shard(profile).name, problem))


def _what_differs(paths: BoardPaths, profile: str) -> str | None:
    """What of the merged part is not as it was: passes do not read it again, but the ledger may be made from it."""
    try:
        seq = differing_change(paths, profile)
    except FileBusy:
        return None  # its profile is writing it
    except KanbanError as error:
        return None if _is_of_snapshot(error, paths) else str(error)  # which is a finding of its own
    return None if seq is None else f"its change {seq} is not the one that was merged"


def _is_of_snapshot(error: KanbanError, paths: BoardPaths) -> bool:
    return getattr(error, "path", None) == paths.snapshot
