"""What a shard holds of its changes, and what the ledger holds of them, side by side."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.shard_reader import Quarantine, base_of, locked_shard
from kanban_shards.coordinator.merge.snapshots import start_of
from kanban_shards.errors import CannotOpen, Damaged, DiskFull, FileBusy, LegacyBoard, NewerSchema, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections

_IS_OF = "SELECT 1 FROM meta WHERE profile = ?"
_CHANGES = (
    "SELECT meta.profile, seq, task_id, kind, body, seen, at_ms, digest FROM meta CROSS JOIN changes "
    "WHERE meta.profile = ? ORDER BY seq"
)
# What is the matter with a file's surroundings, or with this program, is no damage; nor is a board of Hermes's.
NO_DAMAGE = (CannotOpen, DiskFull, FileBusy, LegacyBoard, NewerSchema)


@contextmanager
def stop_at_damage() -> Iterator[None]:
    """Reading a damaged file ends where it cannot be read."""
    try:
        yield
    except NO_DAMAGE:
        raise
    except StorageError:
        pass


@dataclass(frozen=True)
class LedgerHistory:
    """What the ledger holds of a profile where a replay starts, and behind that: seq and digest there, and changes."""

    start: tuple[int, str]
    changes: list[Change]


@dataclass
class ShardHistory:
    """What a shard holds: the seq and digest up to which changes were dropped, and the changes behind, unchecked."""

    base: tuple[int, str] = (0, "")
    changes: list[Change] = field(default_factory=list)

    def read(self, shard: sqlite3.Connection, path: Path, profile: str) -> None:
        """Read as much as can be read of an open shard; nothing if it is another profile's."""
        with connections.explained(path):
            if shard.execute(_IS_OF, (profile,)).fetchone():
                with suppress(Quarantine):
                    self.base = base_of(shard)
            self.changes.extend(Change(*row) for row in shard.execute(_CHANGES, (profile,)))

    def differs_at(self, merged: LedgerHistory) -> int | None:
        """The first change that was merged and is not here as it was; None if all are, or were dropped."""
        held = {change.seq: change for change in self.changes}
        digests = {change.seq: change.digest for change in merged.changes}
        if digests.get(self.base[0], self.base[1]) != self.base[1]:
            return self.base[0]
        behind = (change for change in merged.changes if change.seq > self.base[0])
        return next((change.seq for change in behind if held.get(change.seq) != change), None)


def history_of(paths: BoardPaths, profile: str, whole: bool = False) -> ShardHistory:
    """What the profile's shard holds. Raises FileBusy, and what a shard that cannot be read raises; Damaged, if it is
    to be ``whole``, for anything that SQLite finds fault with."""
    path, held = paths.shard(profile), ShardHistory()
    with locked_shard(paths, profile) as shard:
        held.read(shard, path, profile)
        problem = connections.integrity(shard, path) if whole else "ok"
    if problem != "ok":
        raise Damaged(path=path, problem=problem)
    return held


def merged_of(paths: BoardPaths, profile: str) -> LedgerHistory:
    """What the ledger holds of the profile. Raises SnapshotMissing, and what files that cannot be read raise."""
    with closing(FileLedger(paths.ledger)) as ledger:
        start = start_of(paths, ledger)
        changes = [entry.change for entry in ledger.after(start.position) if entry.change.profile == profile]
    return LedgerHistory(start.watermarks.get(profile, (0, "")), changes)


def differing_change(paths: BoardPaths, profile: str) -> int | None:
    """The first change of the profile that was merged and is not in its shard as it was; None if all are.

    Raises FileBusy, Damaged if SQLite finds fault with the shard, and the StorageErrors of a ledger or a shard that
    cannot be read.
    """
    return history_of(paths, profile, whole=True).differs_at(merged_of(paths, profile))
