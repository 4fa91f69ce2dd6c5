"""Shard reader: reads the new changes of one open shard, each checked before anything is done with it.

Nothing here trusts the file: its user's processes write it, and not only this program may be among them. The first
change that breaks a law ends the reading, and the shard is quarantined at it (docs/design/shards.md, "Shards").
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from kanban_shards.changes import vectors
from kanban_shards.changes.codec import LATEST_MS, Change, decode_body, is_beginning
from kanban_shards.changes.fields import LIMIT_BYTES, TEXT_LIMIT
from kanban_shards.changes.identities import makes_only_its_own, names_as_its_kind
from kanban_shards.changes.kinds import COORDINATOR_KINDS, KINDS
from kanban_shards.errors import (
    InvalidChange,
    StorageError,
)
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, leases, sqlite
from kanban_shards.storage.locks import FileLock

# Of all shards in one pass, in equal shares; the rest comes in the next pass, so that no shard delays the others.
CHANGES_PER_PASS = 5_000
LEAST_SHARE = 50
BYTES_PER_PASS = 32 * 1024 * 1024
LEAST_BYTES = 64 * 1024

# Whose shard it is, where it begins, and its changes; without any, one row that has none.
_READ = (
    "SELECT m.profile, m.base_seq, m.base_digest, c.seq, c.task_id, c.kind, c.body, c.seen, c.at_ms, c.digest "
    "FROM meta m LEFT JOIN changes c ON c.seq >= ? WHERE m.one = 1 ORDER BY c.seq LIMIT ?"
)
_OF_META = 3
_TYPES = (int, str, str, str, str, int, str)

OTHER_BOARD = (
    "its board or ledger is not the one that it belongs to: put those back, from a backup if need be "
    "(`kanban-merge backups`); without one, `kanban-merge repair {profile}` makes the shard again from what was "
    "merged, and keeps this file beside it"
)
REPAIR = "`kanban-merge repair {profile}` makes the shard again from what was merged, and keeps this file beside it"

WatermarkOf = Callable[[str], tuple[int, str]]


class Quarantine(Exception):
    """Why nothing more is taken of a shard, at which change, and what cures that. ``saw``: the profile and seq of a
    change that its author claims to have seen, and that was not merged."""

    def __init__(
        self, why: str, seq: int | None = None, cure: str = REPAIR, saw: tuple[str, int] | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.seq = seq
        self.cure = cure
        self.saw = saw


class Budget(msgspec.Struct, frozen=True):
    """How much of one shard a pass takes: plain changes, or what costs as much, and bytes. At least one change."""

    changes: int
    size_bytes: int

    @classmethod
    def of_each(cls, shards: int, most: int | None = None) -> Budget:
        """The share of each of so many shards. ``most``: of all together, if that is less than CHANGES_PER_PASS."""
        changes = min(CHANGES_PER_PASS, most or CHANGES_PER_PASS)
        return cls(max(LEAST_SHARE, changes // shards), max(LEAST_BYTES, BYTES_PER_PASS // shards))


class NewChanges(msgspec.Struct):
    """What was taken of one shard; kept even if a later change breaks a law. ``unfinished``: there is more."""

    changes: list[Change] = msgspec.field(default_factory=list)
    size_bytes: int = 0
    unfinished: bool = False


def read_all(shard: sqlite3.Connection, profile: str, watermark: WatermarkOf, changes: list[Change]) -> str | None:
    """Append to ``changes`` all that passes would take of an open shard; returns why they would stop, or None."""

    def reached(other: str) -> tuple[int, str]:
        return (changes[-1].seq, changes[-1].digest) if other == profile and changes else watermark(other)

    while True:
        taken = NewChanges()
        try:
            read_new(shard, profile, reached, Budget.of_each(1), taken)
        except Quarantine as trouble:
            return trouble.why
        finally:
            changes.extend(taken.changes)
        if not taken.unfinished:
            return None


def read_new(shard: sqlite3.Connection, profile: str, watermark: WatermarkOf, share: Budget, into: NewChanges) -> None:
    """Take at most the ``share`` of what is new in an open shard. ``watermark``: how far that profile's shard, or
    another one, is merged, and its digest there. Raises Quarantine at the first change that breaks a law."""
    seq, digest = watermark(profile)
    rows = shard.execute(_READ, (seq, share.changes + 2))
    row = rows.fetchone()
    if row is None:
        return
    author, base_seq, base_digest = row[:_OF_META]
    if author != profile:
        raise Quarantine(f"it is the shard of {author!r}, copied or renamed to this profile's name")
    _check_beginning(base_seq, base_digest)
    if base_seq > seq:
        why = f"its changes up to {base_seq} were dropped, and only {seq} of it were merged"
        raise Quarantine(why, cure=OTHER_BOARD)
    changes = _changes(row, rows)
    if not seq:
        digest = base_digest
    elif seq > base_seq:
        _check_continues(next(changes, None), seq, digest)
    elif digest != base_digest:
        raise Quarantine(f"it is another shard: its change {seq} was not the one that was merged")
    weight = 0
    while into.size_bytes < share.size_bytes and weight < share.changes:
        row = next(changes, None)
        if row is None:
            return
        seq += 1
        size_bytes = _check_shape(seq, row)
        change = Change(profile, *row)
        weight += _check_content(change, digest, watermark)
        into.changes.append(change)
        into.size_bytes += size_bytes
        digest = change.digest
    into.unfinished = next(changes, None) is not None


def _changes(first: tuple[Any, ...], others: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    """The changes in rows of _READ."""
    if first[_OF_META] is not None:
        yield first[_OF_META:]
        for row in others:
            yield row[_OF_META:]


def base_of(shard: sqlite3.Connection) -> tuple[int, str]:
    """Where an open shard begins: seq and digest up to which its changes were dropped; ``(0, "")`` if nothing was
    written to it yet. Raises Quarantine if it holds something else there."""
    seq, digest = shard.execute("SELECT base_seq, base_digest FROM meta").fetchone() or (0, "")
    _check_beginning(seq, digest)
    return seq, digest


def _check_beginning(seq: object, digest: object) -> None:
    if not is_beginning(seq, digest):
        raise Quarantine("it does not say where it begins")


def head_of(shard: sqlite3.Connection) -> tuple[Any, Any] | None:
    """Seq and digest of an open shard's last change, unchecked; None if it holds none."""
    head: tuple[Any, Any] | None = shard.execute("SELECT seq, digest FROM changes ORDER BY seq DESC LIMIT 1").fetchone()
    return head


def heartbeat_ms(shard: sqlite3.Connection, run_id: int) -> int | None:
    """When the run last gave a heartbeat in an open shard; 0 if never, None if what it says is no time."""
    row = shard.execute("SELECT at_ms FROM liveness WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        return 0
    return row[0] if type(row[0]) is int and 0 <= row[0] <= LATEST_MS else None


def _check_shape(seq: int, row: tuple[Any, ...]) -> int:
    """Raise Quarantine unless the row is the change ``seq``, of a known kind, with values of the right types and sizes;
    returns how many bytes of text it has."""
    if tuple(map(type, row)) != _TYPES:  # a STRICT table is no promise: a flipped bit turns a text into a blob
        raise Quarantine(f"change {seq} holds values of the wrong type", seq)
    found_seq, task_id, kind, body, seen, at_ms, _ = row
    if found_seq != seq:
        raise Quarantine(f"change {seq} is missing", seq)
    if kind not in KINDS:
        why = f"change {seq} is of the unknown kind {kind[:40]!r}"
        raise Quarantine(why, seq, cure="if a newer program wrote it, update this one; otherwise " + REPAIR)
    if kind in COORDINATOR_KINDS:
        raise Quarantine(f"change {seq} is of the kind {kind!r}, which only the coordinator writes", seq)
    if not 0 <= at_ms <= LATEST_MS:
        raise Quarantine(f"change {seq} has an impossible time", seq)
    if not names_as_its_kind(kind, task_id):
        raise Quarantine(f"change {seq} names no task", seq)
    body_bytes, seen_bytes = len(body.encode()), len(seen.encode())
    if body_bytes > LIMIT_BYTES or seen_bytes > TEXT_LIMIT:
        raise Quarantine(f"change {seq} is larger than a change may be", seq)
    return body_bytes + seen_bytes


def _check_content(change: Change, digest: str, watermark: WatermarkOf) -> int:
    """Raise Quarantine unless the change says what one of its kind may say, its author can have seen what it claims,
    and it continues ``digest``; returns how many plain changes it costs."""
    seq, profile = change.seq, change.profile
    try:
        body = decode_body(change.kind, change.body)
        seen = vectors.decode(change.seen)
    except (InvalidChange, ValueError) as error:
        problem = error.problem if isinstance(error, InvalidChange) else error
        raise Quarantine(f"change {seq} cannot be read: {problem}", seq) from error
    if not makes_only_its_own(profile, change.task_id, body):
        raise Quarantine(f"change {seq} makes a task whose id {profile} did not draw", seq)
    for other, other_seq in seen.items():
        if other_seq > (seq - 1 if other == profile else watermark(other)[0]):
            why = f"change {seq} claims to have seen {other}'s change {other_seq}; there is none"
            raise Quarantine(why, seq, saw=(other, other_seq))
    if not change.continues(digest):
        raise Quarantine(f"change {seq} was rewritten, or one before it was", seq)
    return body.weight()


def _check_continues(row: tuple[Any, ...] | None, merged_seq: int, digest: str) -> None:
    found_seq, *_, found_digest = row or (None, None)
    if found_seq != merged_seq:
        raise Quarantine(f"it is an older copy: change {merged_seq} was merged, and it does not hold it", merged_seq)
    if found_digest != digest:
        raise Quarantine(
            f"it is an older copy that was written again: its change {merged_seq} is not the one that was merged",
            merged_seq,
        )


SHARD_LOCK_WAIT_S = 10.0
# A look at a shard without its lock (`kanban-merge status`) takes less than a millisecond.
FOREIGN_WAIT_MS = 50


@contextmanager
def opened_shard(path: Path, lock: FileLock) -> Iterator[sqlite3.Connection]:
    """The shard for reading, once a killed writer's journal is rolled back. ``lock``: the shard's, held; so what is
    locked in the file itself is no business of this program's, and is waited for no longer than a read by one takes.
    Raises StrangeJournal if that is not to be done, CannotOpen if another user has to do it."""
    with leases.held_open(path, lock):
        try:
            shard = sqlite.open_reader(path, sqlite.SHARD, FOREIGN_WAIT_MS)
        except StorageError as error:
            if not connections.is_hot_journal(error.__cause__):
                raise
            sqlite.roll_back_hot_journal(path, sqlite.SHARD, lock, FOREIGN_WAIT_MS)
            shard = sqlite.open_reader(path, sqlite.SHARD, FOREIGN_WAIT_MS)
        with closing(shard):
            yield shard


@contextmanager
def locked_shard(paths: BoardPaths, profile: str, wait_s: float = SHARD_LOCK_WAIT_S) -> Iterator[sqlite3.Connection]:
    """The profile's shard for reading, under its lock. Raises InvalidName, FileBusy, and the StorageErrors of a shard
    that cannot be read."""
    path = paths.shard(profile)
    with closing(FileLock(paths.shard_lock(profile))) as lock:
        lock.acquire(wait_s)
        with opened_shard(path, lock) as shard, connections.explained(path, waited_ms=FOREIGN_WAIT_MS):
            yield shard


def shard_id_of(shard: sqlite3.Connection, profile: str) -> str | None:
    """Which shard of the profile an open one is; None if it does not say, or is another profile's."""
    row = shard.execute("SELECT shard_id FROM meta WHERE profile = ?", (profile,)).fetchone()
    return row[0] if row and isinstance(row[0], str) else None
