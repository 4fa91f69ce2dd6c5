"""Replay: the board is a function of the ledger, so whatever the board lacks is applied from there, entry by entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from kanban_shards.coordinator.errors import BoardBehind, LedgerBehind
from kanban_shards.coordinator.ledger import Entry, FileLedger, Ledger
from kanban_shards.coordinator.merge.snapshots import start_of
from kanban_shards.coordinator.rules.decide import Decision, decide
from kanban_shards.coordinator.state import indexes
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite
from kanban_shards.storage.locks import FileLock

# What is applied in one transaction of the board while catching up, in entries and in characters of their bodies: short
# enough to be stopped between two, and long enough that most tasks are written once, with what became of them.
CATCH_UP_ENTRIES = 5_000
CATCH_UP_LENGTH = 32 * 1024 * 1024

ProgressCallback = Callable[[int, int], None]


def replay(board: BoardState, entries: list[Entry]) -> list[Decision]:
    """Decide and apply ``entries``, in one transaction of the board. Raises StorageError if they do not continue
    what the board shows, because another process applied some meanwhile."""
    try:
        board.open(len(entries))
        shown, _ = board.position()
        if shown + 1 != entries[0].position:
            problem = f"it stands at entry {shown}, so that {entries[0].position} is not the next one"
            raise StorageError(path="the board", problem=problem)
        decisions = [decide(board, entry) for entry in entries]
        board.commit(entries[-1].position, entries[-1].digest)
    except BaseException:
        board.abandon()
        raise
    return decisions


def catch_up(
    board: BoardState,
    ledger: Ledger,
    upto: int | None = None,
    progress: ProgressCallback = lambda done, total: None,
) -> int:
    """Apply to ``board`` every entry of ``ledger`` that it does not show, ``upto`` a position if one is given.

    Returns how many; ``progress(done, total)`` is told after each batch. Raises LedgerBehind, BoardBehind,
    Damaged.
    """
    shown, digest = board.position()
    head = ledger.head()
    if (shown, digest) == head:
        return 0
    base = ledger.base()
    if shown < base[0]:
        raise BoardBehind(shown=shown, base=base[0])
    if shown >= head[0] or (base if shown == base[0] else _at(ledger, shown)) != (shown, digest):
        raise LedgerBehind(path=getattr(ledger, "path", "the ledger"), shown=shown, held=head[0])
    total = (head[0] if upto is None else min(upto, head[0])) - shown
    entries = islice(ledger.after(shown), total)
    count = 0
    for batch in _batches(entries):
        count += len(replay(board, batch))
        progress(count, total)
    return count


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    length = 0
    for entry in entries:
        batch.append(entry)
        length += len(entry.change.body)
        if len(batch) >= CATCH_UP_ENTRIES or length >= CATCH_UP_LENGTH:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _at(ledger: Ledger, position: int) -> tuple[int, str]:
    return position, next(ledger.after(position - 1)).digest


@contextmanager
def replayed(
    paths: BoardPaths,
    ledger: FileLedger,
    upto: int | None = None,
    progress: ProgressCallback = lambda done, total: None,
) -> Iterator[tuple[sqlite3.Connection, int]]:
    """A scratch board that ``ledger`` leads to from where it begins, ``upto`` a position if one is given, and how many
    entries were played. Raises what ``start_of`` and ``catch_up`` raise, and DiskFull."""
    with closing(sqlite.open_scratch(sqlite.BOARD)) as scratch:
        start_of(paths, ledger, onto=scratch)
        with connections.explained(sqlite.SCRATCH):
            left_out = indexes.leave_out(scratch)
            entries = catch_up(BoardState(scratch), ledger, upto, progress)
            indexes.make(scratch, left_out)
        yield scratch, entries


def make_first_board(paths: BoardPaths, lock: FileLock) -> None:
    """Make the board of which there is no ledger yet, and put it in place when it is whole, as ``make_board`` does."""
    making = _being_made(paths)
    try:
        files.discard(making)
        sqlite.open_writer(making, sqlite.BOARD, lock).close()
        files.put_in_place(making, paths.board, lock)
    finally:
        files.discard(making)


def make_board(paths: BoardPaths, lock: FileLock, progress: ProgressCallback = lambda done, total: None) -> Path | None:
    """Make the board from its ledger, and put it in place when it is whole: readers see the former file, or none, until
    then. ``lock``: the coordinator's, held.

    Returns where the former file lies now, if there was one. Raises FileMissing and Damaged of the ledger or of the
    snapshot that it begins with, DiskFull.
    """
    making = _being_made(paths)
    try:
        with (
            closing(FileLedger(paths.ledger)) as ledger,
            replayed(paths, ledger, progress=progress) as (scratch, _),
        ):
            files.discard(making)
            with closing(sqlite.open_writer(making, sqlite.BOARD, lock)) as board, connections.explained(making):
                copies.copy_over(scratch, board)
        return files.put_in_place(making, paths.board, lock)
    finally:
        files.discard(making)


def _being_made(paths: BoardPaths) -> Path:
    return paths.board.with_name(paths.board.name + ".making")
