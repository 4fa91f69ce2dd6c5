"""What a shard holds of its changes, and what the ledger holds of them, side by side."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from coordinator.ledger import FileLedger
from shards import sqlite
from shards.changes import Change
from shards.errors import CannotOpen, DiskFull, FileBusy, NewerSchema, StorageError
from shards.locks import FileLock
from shards.names import BoardPaths

SHARD_LOCK_WAIT_S = 10.0

_CHANGES = (
    "SELECT meta.profile, seq, task_id, kind, body, seen, at_ms, digest FROM meta CROSS JOIN changes "
    "WHERE meta.profile = ? ORDER BY seq"
)
# What is the matter with a file's surroundings, or with this program, is no damage.
NO_DAMAGE = (CannotOpen, DiskFull, FileBusy, NewerSchema)


@contextmanager
def opened_shard(path: Path, lock: FileLock) -> Iterator[sqlite3.Connection]:
    """The shard for reading, once a killed writer's journal is rolled back. ``lock``: the shard's, held."""
    try:
        shard = sqlite.open_reader(path, sqlite.SHARD)
    except StorageError as error:
        if not sqlite.is_hot_journal(error.__cause__):
            raise
        sqlite.roll_back_hot_journal(path, lock)
        shard = sqlite.open_reader(path, sqlite.SHARD)
    with closing(shard):
        yield shard


@contextmanager
def until_damage() -> Iterator[None]:
    """Reading a damaged file ends where it cannot be read."""
    try:
        yield
    except NO_DAMAGE:
        raise
    except StorageError:
        pass


def changes_in(shard: sqlite3.Connection, path: Path, profile: str) -> Iterator[Change]:
    """The changes of an open shard, unchecked; none if it is another profile's."""
    with sqlite.explained(path):
        for row in shard.execute(_CHANGES, (profile,)):
            yield Change(*row)


def changes_of(paths: BoardPaths, profile: str) -> list[Change]:
    """The changes of the profile's shard, unchecked. Raises FileBusy, and what a shard that cannot be read raises."""
    path = paths.shard(profile)
    with closing(FileLock(paths.shard_lock(profile))) as lock:
        lock.acquire(SHARD_LOCK_WAIT_S)
        with opened_shard(path, lock) as shard:
            return list(changes_in(shard, path, profile))


def merged_of(paths: BoardPaths, profile: str) -> list[Change]:
    """The changes of the profile that the ledger holds."""
    with closing(FileLedger(paths.ledger)) as ledger:
        return [Change(*entry[1:8], entry.change_digest) for entry in ledger.after(0) if entry.profile == profile]


def differing_change(paths: BoardPaths, profile: str) -> int | None:
    """The first change of the profile that was merged and is not in its shard as it was; None if all are.

    Raises FileBusy, and the StorageErrors of a ledger or a shard that cannot be read.
    """
    held = {change.seq: change for change in changes_of(paths, profile)}
    merged = merged_of(paths, profile)
    return next((change.seq for change in merged if held.get(change.seq) != change), None)
