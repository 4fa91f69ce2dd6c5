"""Compaction: what was merged long ago leaves ledger and shards, up to a verified snapshot of the board.

In this order, so that a kill anywhere leaves files that fit together: the snapshot is made by replaying the ledger,
which must also give the board row for row; then the ledger drops its entries up to the snapshot, then each shard its
changes. Behind the snapshot everything is still there twice, as it is on a board that was never compacted: ledger and
shards hold the changes, board and shards can make the ledger again.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kanban_shards.coordinator.backup.manifest import backups_in
from kanban_shards.coordinator.errors import NotVerified
from kanban_shards.coordinator.filelocks import who_keeps_readers_out
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.replay import ProgressCallback, replayed
from kanban_shards.coordinator.merge.shard_reader import FOREIGN_WAIT_MS, Quarantine, base_of, opened_shard
from kanban_shards.coordinator.merge.snapshots import Start, read_start, start_of
from kanban_shards.coordinator.recovery.verify import Verification, compare_with_replay
from kanban_shards.errors import FileBusy, InvalidName, StorageError
from kanban_shards.paths import BoardPaths, check_profile
from kanban_shards.storage import connections, copies, files, owners, sqlite
from kanban_shards.storage.locks import FileLock
from kanban_shards.storage.space import require_room

# How long a shard that is being written is waited for; after that it is compacted the next time.
SHARD_WAIT_S = 2.0


@dataclass(frozen=True)
class Shortened:
    """What became of one file: rows dropped, bytes before and after. ``problem``: why it was left as it is."""

    path: Path
    rows: int
    bytes_before: int
    bytes_after: int
    problem: str | None = None


@dataclass
class Compacted:
    """What a compaction did. ``position``: up to which entry everything is in the snapshot alone."""

    position: int
    files: list[Shortened] = field(default_factory=list)


def compact(
    paths: BoardPaths,
    lock: FileLock,
    before_ms: int,
    dry_run: bool = False,
    progress: ProgressCallback = lambda done, total: None,
) -> Compacted:
    """Drop what was merged before ``before_ms`` (milliseconds since 1970) and what no backup of the board needs.

    ``lock``: the coordinator's, held. ``dry_run``: only count. ``progress(done, total)`` is told of replayed entries.
    Raises NotVerified if the board is not what its ledger gives; then nothing is dropped.
    """
    files.discard(_making(paths))  # of a compaction that was killed
    Coordinator(paths, lock).close()  # catches up, or says what must be repaired first
    with closing(FileLedger(paths.ledger, lock)) as ledger:
        start = start_of(paths, ledger)
        target = _target(paths, ledger, before_ms)
        if target < start.position:
            return Compacted(start.position)
        if target > start.position:
            start = _snapshot_at(paths, ledger, target, lock, dry_run, progress)
        rows, before = start.position - ledger.base()[0], _size(paths.ledger)
        if not dry_run:
            ledger.drop(start.position)
    done = Compacted(start.position, [Shortened(paths.ledger, rows, before, _size(paths.ledger))])
    for profile, path in paths.shards():
        if profile in start.watermarks:
            done.files.append(_shorten_shard(paths, profile, path, start, dry_run))
    return done


def latest_ms(paths: BoardPaths, now_ms: int) -> int:
    """From when ages count: ``now_ms``, but not from long after the last entry, for the clock may be years ahead, and
    what is dropped then does not come back when it is set right. Raises the StorageErrors of a ledger."""
    with closing(FileLedger(paths.ledger)) as ledger:
        newest_ms = ledger.newest_ms()
    return now_ms if newest_ms is None else min(now_ms, newest_ms + 1)


def _target(paths: BoardPaths, ledger: FileLedger, before_ms: int) -> int:
    """The last entry that may be dropped: a backup is continued by what comes after its own last one."""
    needed = (backup.manifest.position for backup in backups_in(paths.backups))
    return min(ledger.first_since(before_ms) - 1, *needed, ledger.head()[0])


def _snapshot_at(
    paths: BoardPaths, ledger: FileLedger, target: int, lock: FileLock, dry_run: bool, progress: ProgressCallback
) -> Start:
    """Make the snapshot at ``target`` and put it in place, once replaying on from it gave the board row for row."""
    making = _making(paths)
    found = Verification()
    board = sqlite.open_reader(paths.board, sqlite.BOARD)
    try:
        with replayed(paths, ledger, target, progress) as (scratch, _):
            with connections.explained(sqlite.SCRATCH):
                start = read_start(scratch)
            if not dry_run:
                copies.write_copy(scratch, making, sqlite.SNAPSHOT)
                with connections.explained(paths.board):
                    compare_with_replay(found, board, ledger, scratch, progress)
                for finding in found.findings:
                    raise NotVerified(path=paths.board, problem=f"{finding.where}: {finding.problem}")
                files.replace(making, paths.snapshot, lock)
            return start
    finally:
        board.close()
        files.discard(making)


def _shorten_shard(paths: BoardPaths, profile: str, path: Path, start: Start, dry_run: bool) -> Shortened:
    """Drop the changes that the snapshot covers, if the shard holds the very ones that were merged."""
    before = _size(path)
    rows, problem = 0, None
    try:
        with closing(FileLock(paths.shard_lock(check_profile(profile)))) as lock:
            lock.acquire(SHARD_WAIT_S)
            rows, problem = _drop_changes(path, lock, *start.watermarks[profile], dry_run)
    except FileBusy:
        problem = f"{who_keeps_readers_out(path) or 'its profile'} is using it"
    except Quarantine as trouble:
        problem = trouble.why
    except (StorageError, InvalidName) as error:
        problem = error.happened
    return Shortened(path, rows, before, _size(path), problem)


def _drop_changes(path: Path, lock: FileLock, seq: int, digest: str, dry_run: bool) -> tuple[int, str | None]:
    with opened_shard(path, lock) as shard, connections.explained(path):
        base_seq, _ = base_of(shard)
        at_seq = shard.execute("SELECT digest FROM changes WHERE seq = ?", (seq,)).fetchone()
    if base_seq < seq and (at_seq is None or at_seq[0] != digest):
        return 0, f"its change {seq} is not the one that was merged"
    if not dry_run:
        require_room(path, path.stat().st_size, path.parent)  # for the journal of shrinking it
        with (
            owners.acting_for(path),
            closing(sqlite.open_writer(path, sqlite.SHARD, lock, FOREIGN_WAIT_MS)) as shard,
            connections.explained(path, waited_ms=FOREIGN_WAIT_MS),
        ):
            if base_seq < seq:
                with connections.transaction(shard):
                    shard.execute("DELETE FROM changes WHERE seq <= ?", (seq,))
                    shard.execute("UPDATE meta SET base_seq = ?, base_digest = ?", (seq, digest))
            connections.shrink(shard)  # also what a compaction that was killed here left
    return max(0, seq - base_seq), None


def _making(paths: BoardPaths) -> Path:
    return paths.snapshot.with_name(paths.snapshot.name + ".compact")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, files.beside(path, "-wal")) if file.exists())
