"""Trimming: what is in a backup's shards, and was written after its board and ledger were copied.

Shards are copied one after the other, while profiles write into each other's tasks. So a copied shard may hold a change
whose author had seen what was merged after the ledger was copied, and what the copied shards need not hold. It was
written after the backup began, so it is left out of it, and so is what its shard holds after it. What remains is a set
from which everything goes on.
"""

from __future__ import annotations

from contextlib import closing

from kanban_shards.board import Board
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.collector import Skipped, look
from kanban_shards.coordinator.merge.shard_reader import WatermarkOf
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.locks import FileLock


def leave_out_what_came_later(copy: BoardPaths, reached: WatermarkOf) -> None:
    """Cut from each copied shard what had seen more than the copies hold, if it can have been seen.

    ``reached``: how far that profile's shard is merged now, which is later. A change that claims to have seen more than
    that is a forged one, and stays for the proof to find. Raises the StorageErrors of the copies.
    """
    watermarks = _marks(copy)
    while later := [skipped for skipped in look(copy, lambda: watermarks).skipped if _came_later(skipped, reached)]:
        for skipped in later:
            _cut(copy, skipped)


def _marks(copy: BoardPaths) -> dict[str, tuple[int, str]]:
    """How far each shard is merged by the copied ledger, which holds at least what the copied board shows."""
    with Board(copy) as board, closing(FileLedger(copy.ledger)) as ledger:
        watermarks = board.watermarks()
        for entry in ledger.after(board.position()):
            watermarks[entry.change.profile] = entry.change.seq, entry.change.digest
    return watermarks


def _came_later(skipped: Skipped, reached: WatermarkOf) -> bool:
    return skipped.saw is not None and skipped.seq is not None and skipped.saw[1] <= reached(skipped.saw[0])[0]


def _cut(copy: BoardPaths, skipped: Skipped) -> None:
    with closing(FileLock(copy.shard_lock(skipped.profile))) as lock:
        lock.acquire(0)
        with (
            closing(sqlite.open_writer(skipped.path, sqlite.SHARD, lock)) as shard,
            connections.explained(skipped.path),
            connections.transaction(shard),
        ):
            shard.execute("DELETE FROM changes WHERE seq >= ?", (skipped.seq,))
        files.discard_sidecars(skipped.path)
