"""Collecting: what is new in the shards, read under each shard's lock, and checked before anything takes it in.

A shard whose next change breaks a law is quarantined at that seq: what is before it is taken, nothing of it is
skipped, the other shards go on, and whoever asks is told which shard, which seq and why. A shard whose lock is busy is
left for the next pass; nobody waits for it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards import sqlite, vectors
from shards.bodies import COORDINATOR_KINDS, KINDS, LIMIT_BYTES, TASKLESS_KINDS
from shards.changes import Change, chain, decode_body
from shards.errors import FileMissing, InvalidChange, InvalidName, KanbanError, StorageError
from shards.locks import FileLock
from shards.names import BoardPaths, check_profile, is_task_id

BUSY = "busy"
QUARANTINED = "quarantined"

# Of all shards in one pass, in equal shares; the rest comes in the next pass, so that no shard delays the others.
CHANGES_PER_PASS = 5_000
LEAST_SHARE = 50
BYTES_PER_SHARD = 8 * 1024 * 1024
# How long a pass keeps trying shards that were busy, all together: about three commits of a disk.
PATIENCE_MS = 4
# A file that was written this recently may be written again without its time stamp moving.
STAMP_GRAIN_MS = 100
# Shards that stay open between passes; the others are opened when they changed.
READERS_KEPT = 64
LATEST_MS = 2**53

_READ = "SELECT seq, task_id, kind, body, seen, at_ms, digest FROM changes WHERE seq >= ? ORDER BY seq LIMIT ?"
_TYPES = (int, str, str, str, str, int, str)

Watermark = Callable[[str], tuple[int, str]]


@dataclass(frozen=True)
class Left:
    """A shard that was not read to its end. ``state`` is BUSY or QUARANTINED; ``seq``: the change it stands at."""

    profile: str
    path: Path
    state: str
    why: str
    seq: int | None = None


@dataclass
class Collected:
    """What one collecting found: the new changes of each shard, the shards left, and whether there is more."""

    changes: dict[str, list[Change]] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    more: bool = False


class _Quarantine(Exception):
    def __init__(self, why: str, seq: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.seq = seq


class Collector:
    """Reads the shards of one board. Kept between passes, it opens only those that changed since."""

    def __init__(self, paths: BoardPaths) -> None:
        self._paths = paths
        self._locks: dict[str, FileLock] = {}
        self._readers: OrderedDict[str, tuple[tuple, sqlite3.Connection]] = OrderedDict()
        self._known: dict[str, tuple] = {}
        self._quarantined: dict[str, Left] = {}

    def collect(self, watermark: Watermark) -> Collected:
        """Everything new. ``watermark(profile)``: how far that shard is merged, and its digest there."""
        collected = Collected()
        present = dict(self._paths.shards())
        for profile in self._quarantined.keys() - present.keys():
            del self._quarantined[profile]
        waiting = [(profile, path) for profile, path in present.items() if self._may_be_new(profile, path)]
        share = max(LEAST_SHARE, CHANGES_PER_PASS // max(1, len(waiting)))
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while waiting:
            waiting = [shard for shard in waiting if not self._read_if_free(*shard, watermark, share, collected)]
            if not waiting or time.monotonic() > deadline:
                break
            time.sleep(0.0002)
        for profile, path in waiting:
            collected.left.append(Left(profile, path, BUSY, "another process is writing it; it is read next time"))
        collected.left.extend(self._quarantined.values())
        return collected

    def last_sign_ms(self, profile: str, run_id: int) -> int | None:
        """When the run last gave a sign of life in that profile's shard; 0 if never, None if it cannot be read now."""
        if not self.is_there(profile):
            return 0
        path = self._paths.shard(profile)
        lock = self._lock(profile)
        if not lock.try_acquire():
            return None
        try:
            return self._read(path, profile, lambda connection: _sign_ms(connection, run_id))
        except FileMissing:
            return 0
        except KanbanError:  # the shard's own trouble, never the pass's
            return None
        finally:
            lock.release()

    def is_there(self, profile: str) -> bool:
        """Whether the profile has a shard."""
        return self._paths.shard(profile).exists()

    def close(self) -> None:
        """Close the shards and their lock files."""
        for profile in list(self._readers):
            self._drop_reader(profile)
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()

    def _lock(self, profile: str) -> FileLock:
        if profile not in self._locks:
            self._locks[profile] = FileLock(self._paths.shard_lock(profile))
        return self._locks[profile]

    def _may_be_new(self, profile: str, path: Path) -> bool:
        return profile not in self._known or self._known[profile] != _stamp(path)

    def _read_if_free(self, profile: str, path: Path, watermark: Watermark, share: int, into: Collected) -> bool:
        """Read at most ``share`` changes of the shard into ``into``, unless it is busy; returns whether it was not."""
        self._quarantined.pop(profile, None)
        self._known.pop(profile, None)
        stamp = _stamp(path)
        changes: list[Change] = []
        try:
            check_profile(profile)
            lock = self._lock(profile)
            if not lock.try_acquire():
                return False
            try:
                complete = self._read(path, profile, lambda shard: _take(shard, profile, watermark, share, changes))
            except FileMissing:  # made, but its first transaction is not committed yet
                if watermark(profile)[0]:
                    raise _Quarantine(f"it is empty, but {watermark(profile)[0]} changes of it were merged") from None
                complete = True
            finally:
                lock.release()
        except (_Quarantine, KanbanError) as trouble:
            complete = True
            self._quarantined[profile] = _left(profile, path, trouble)
        if changes:
            into.changes[profile] = changes
        if not complete:
            into.more = True
        elif not changes and profile not in self._quarantined and not _is_recent(stamp):
            self._known[profile] = stamp
        return True

    def _read(self, path: Path, profile: str, read: Callable[[sqlite3.Connection], Any]) -> Any:
        """``read`` the shard in one snapshot, under its lock; a killed writer's journal is rolled back first."""
        try:
            return self._read_once(path, profile, read)
        except StorageError as error:
            if not sqlite.is_hot_journal(error.__cause__):
                raise
        self._drop_reader(profile)
        sqlite.roll_back_hot_journal(path, self._lock(profile))
        return self._read_once(path, profile, read)

    def _read_once(self, path: Path, profile: str, read: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            with sqlite.explained(path), sqlite.snapshot(self._reader(path, profile)) as connection:
                return read(connection)
        except (StorageError, sqlite3.Error):
            self._drop_reader(profile)
            raise

    def _reader(self, path: Path, profile: str) -> sqlite3.Connection:
        identity, connection = self._readers.get(profile, (None, None))
        if connection is not None and identity == sqlite.identity(path):
            self._readers.move_to_end(profile)
            return connection
        self._drop_reader(profile)
        connection = sqlite.open_reader(path, sqlite.SHARD)
        self._readers[profile] = (sqlite.identity(path), connection)
        if len(self._readers) > READERS_KEPT:
            self._drop_reader(next(iter(self._readers)))
        return connection

    def _drop_reader(self, profile: str) -> None:
        _, connection = self._readers.pop(profile, (None, None))
        if connection is not None:
            connection.close()


def look(paths: BoardPaths, watermarks: Callable[[], dict[str, tuple[int, str]]]) -> Collected:
    """What the next passes would find, for whoever makes none. ``watermarks``: reads them from the board.

    Beside a working coordinator they are old the moment they are read: a shard may hold a change whose author had
    seen more. Such a change is in order when both are read again, so a shard counts as quarantined only if it stands
    at the same change then.
    """
    found = _look_once(paths, watermarks())
    suspected = {(left.profile, left.seq) for left in found.left if left.state == QUARANTINED}
    if suspected:
        found = _look_once(paths, watermarks())
        found.left = [
            left for left in found.left if left.state != QUARANTINED or (left.profile, left.seq) in suspected
        ]
    return found


def _look_once(paths: BoardPaths, marks: dict[str, tuple[int, str]]) -> Collected:
    """Every change behind ``marks``, in as many parts as passes would take."""
    collector, reached, whole = Collector(paths), dict(marks), Collected(more=True)
    try:
        while whole.more:
            part = collector.collect(lambda profile: reached.get(profile, (0, "")))
            for profile, changes in part.changes.items():
                whole.changes.setdefault(profile, []).extend(changes)
                reached[profile] = (changes[-1].seq, changes[-1].digest)
            whole.left, whole.more = part.left, part.more
        return whole
    finally:
        collector.close()


def take_all(shard: sqlite3.Connection, profile: str, watermark: Watermark, changes: list[Change]) -> str | None:
    """Append to ``changes`` all that passes would take of an open shard; returns why they would stop, or None."""

    def reached(other: str) -> tuple[int, str]:
        return (changes[-1].seq, changes[-1].digest) if other == profile and changes else watermark(other)

    complete = False
    while not complete:
        part: list[Change] = []
        try:
            complete = _take(shard, profile, reached, CHANGES_PER_PASS, part)
        except _Quarantine as trouble:
            return trouble.why
        finally:
            changes.extend(part)
    return None


def _take(
    shard: sqlite3.Connection, profile: str, watermark: Watermark, share: int, changes: list[Change]
) -> bool:
    """Append at most ``share`` new changes of the shard to ``changes``; returns whether these were all."""
    meta = shard.execute("SELECT profile, base_seq, base_digest FROM meta").fetchone()
    if meta is None:
        return True
    if meta[0] != profile:
        raise _Quarantine(f"it is the shard of {meta[0]!r}, copied or renamed to this profile's name")
    seq, digest = watermark(profile)
    _, base_seq, base_digest = meta
    if type(base_seq) is not int or base_seq > seq:
        raise _Quarantine(f"its changes up to {base_seq} were dropped, and only {seq} of it were merged")
    rows = shard.execute(_READ, (seq, share + 2))
    if not seq:
        digest = base_digest
    elif seq > base_seq:
        _check_continues(rows.fetchone(), seq, digest)
    elif digest != base_digest:
        raise _Quarantine(f"it is another shard: its change {seq} was not the one that was merged")
    size = 0
    while size < BYTES_PER_SHARD and len(changes) < share:
        row = rows.fetchone()
        if row is None:
            return True
        seq += 1
        change = _checked(profile, seq, digest, row, watermark)
        changes.append(change)
        digest = change.digest
        size += len(change.body) + len(change.seen)
    return rows.fetchone() is None


def _sign_ms(shard: sqlite3.Connection, run_id: int) -> int | None:
    row = shard.execute("SELECT at_ms FROM liveness WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return 0
    return row[0] if type(row[0]) is int and 0 <= row[0] <= LATEST_MS else None


def _checked(profile: str, seq: int, digest: str, row: tuple, watermark: Watermark) -> Change:
    """The change of a row, or why the shard is quarantined at it. Nothing here trusts the file."""
    change = Change(profile, *row)
    if tuple(map(type, row)) != _TYPES:  # a STRICT table is no promise: a flipped bit turns a text into a blob
        raise _Quarantine(f"change {seq} holds values of the wrong type", seq)
    if change.seq != seq:
        raise _Quarantine(f"change {seq} is missing", seq)
    if change.kind not in KINDS:
        raise _Quarantine(f"change {seq} is of the unknown kind {change.kind!r}; a newer program wrote it", seq)
    if change.kind in COORDINATOR_KINDS:
        raise _Quarantine(f"change {seq} is of the kind {change.kind!r}, which only the coordinator writes", seq)
    if not 0 <= change.at_ms <= LATEST_MS:
        raise _Quarantine(f"change {seq} has an impossible time", seq)
    if change.task_id != "" if change.kind in TASKLESS_KINDS else not is_task_id(change.task_id):
        raise _Quarantine(f"change {seq} names no task", seq)
    if max(len(change.body.encode()), len(change.seen.encode())) > LIMIT_BYTES:
        raise _Quarantine(f"change {seq} is larger than a change may be", seq)
    try:
        decode_body(change.kind, change.body)
        seen = vectors.decode(change.seen)
    except (InvalidChange, ValueError) as error:
        raise _Quarantine(f"change {seq} cannot be read: {error}", seq) from error
    for other, other_seq in seen.items():
        if other_seq > (seq - 1 if other == profile else watermark(other)[0]):
            raise _Quarantine(f"change {seq} claims to have seen {other}'s change {other_seq}; there is none", seq)
    if change.digest != chain(digest, *change[:7]):
        raise _Quarantine(f"change {seq} was rewritten, or one before it was", seq)
    return change


def _check_continues(row: tuple | None, merged_seq: int, digest: str) -> None:
    if row is None or row[0] != merged_seq:
        raise _Quarantine(f"it is an older copy: change {merged_seq} was merged, and it does not hold it", merged_seq)
    if row[6] != digest:
        raise _Quarantine(
            f"it is an older copy that was written again: its change {merged_seq} is not the one that was merged",
            merged_seq,
        )


def _left(profile: str, path: Path, trouble: Exception) -> Left:
    if isinstance(trouble, _Quarantine):
        return Left(profile, path, QUARANTINED, trouble.why, trouble.seq)
    if isinstance(trouble, InvalidName):
        return Left(profile, path, QUARANTINED, f"{profile!r} is not a profile's name")
    return Left(profile, path, QUARANTINED, str(trouble))


def _stamp(path: Path) -> tuple:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_recent(stamp: tuple) -> bool:
    return bool(stamp) and time.time_ns() - stamp[2] < STAMP_GRAIN_MS * 1_000_000
