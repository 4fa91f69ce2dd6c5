"""Collector: which shards hold something new, read under each shard's lock, and checked before anything takes it in.

A shard whose next change is invalid is quarantined at that seq: what is before it is merged, nothing of it is
skipped, the other shards go on, and `status` names the shard, the seq and why. A shard whose lock is busy is
left for the next pass if others hold something new, so that nobody waits for it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

import msgspec

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.filelocks import who_has_flock, who_keeps_readers_out
from kanban_shards.coordinator.merge import shard_reader
from kanban_shards.coordinator.merge.shard_reader import (
    Budget,
    NewChanges,
    Quarantine,
    WatermarkOf,
    heartbeat_ms,
    read_new,
)
from kanban_shards.errors import DiskFull, FileBusy, FileMissing, InvalidName, KanbanError, StorageError, TooManyFiles
from kanban_shards.paths import BoardPaths, check_profile, printable_name
from kanban_shards.storage import connections, files, leases, owners, sqlite
from kanban_shards.storage.locks import FileLock

if TYPE_CHECKING:
    from kanban_shards.coordinator.merge.residents import Newcomer, Residents

Read = TypeVar("Read")

BUSY = "busy"
QUARANTINED = "quarantined"
MISSING = "missing"

# How long SQLite waits for what is locked in a shard itself; under the shard's lock that is a stranger's doing.
WAITED_MS = 0
# How long a patient pass keeps trying shards that are busy, all together: about three commits of a disk.
PATIENCE_MS = 4
# A busy shard is skipped for at most this long. Its writer rings when done, but by then another may hold the lock.
MAX_SKIP_MS = 20
# A shard that was busy each time for so long, and did not change, is held by somebody who is stopped: it is not waited
# for. One that changes has a writer that gets the lock again before anybody else does.
STUCK_MS = 1_000
# A pass that reads shards for so long leaves the others for the next one.
COLLECTING_S = 0.25
# Of the quarantined shards that nobody touched since, so many are looked at in each pass, by turns: what is the matter
# may not be in the file. Somebody may put thousands of files there that are no shards at all.
LOOKED_AT_AGAIN = 16
# Shards that stay open between passes; the others are opened when they changed.
SHARDS_KEPT_OPEN = 64
LOST_SHARD = "{changes} of it merged; put it back, or make it again with `kanban-merge repair {profile}`"
NO_PROFILE = "'{profile}' is not a profile's name; rename {path} or move it away"
WRITTEN = "another process is writing it; it is read next time"
HELD = (
    "{who} has locked the file itself, without the shard's lock, so nothing of it is merged; end what does that, and "
    "it is read in the next pass"
)
STUCK = "{who} keeps its lock, {lock}, for longer than any write takes; if that process hangs, end it"
HALF_WRITTEN = (
    "a process of {profile} was killed while it wrote, and this user may not write the file; the next change of "
    "{profile} undoes what is half done, and then it is read"
)


class Skipped(msgspec.Struct, frozen=True):
    """A shard that was not read to its end. ``state`` is BUSY or QUARANTINED; ``seq``: the change it stands at;
    ``saw``: whose change, and which, its author claims to have seen, and nobody merged. ``stuck``: it is busy longer
    than a commit takes, or in a way that no commit is."""

    profile: str
    path: Path
    state: str
    why: str
    seq: int | None = None
    saw: tuple[str, int] | None = None
    stuck: bool = False

    @property
    def file(self) -> str:
        """The name of its file, as it can be printed."""
        return printable_name(self.path.name)


class Collected(msgspec.Struct):
    """What one collecting found: the new changes of each shard and their bytes, the shards left, those that hold more,
    and those of which the lock was taken. ``newcomers``: on a shared board, the shards of profiles of which no host has
    said yet where they live."""

    changes: dict[str, list[Change]] = msgspec.field(default_factory=dict)
    newcomers: list[Newcomer] = msgspec.field(default_factory=list)
    skipped: list[Skipped] = msgspec.field(default_factory=list)
    unfinished: set[str] = msgspec.field(default_factory=set)
    locked: set[str] = msgspec.field(default_factory=set)
    size_bytes: int = 0

    @property
    def more(self) -> bool:
        """Whether there is more to collect."""
        return bool(self.unfinished)

    @property
    def busy(self) -> bool:
        """Whether a shard was left because somebody had its lock, who will let go of it."""
        return bool(self.locked)

    @property
    def is_full(self) -> bool:
        """Whether a pass should hold no more than this."""
        return self.size_bytes >= shard_reader.BYTES_PER_PASS


class _OpenShard:
    """A shard's lock, and the connection that reads it, opened anew when another file lies there. ``stamp``: what the
    file was when it was read last, under its lock (files.stamp)."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self.lock = lock
        self.stamp: files.Stamp | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: files.Identity | None = None

    def read(self, read: Callable[[sqlite3.Connection], Read]) -> Read:
        """``read`` the shard in one snapshot, under its lock; a killed writer's journal is rolled back first."""
        self.stamp = None
        with leases.held_open(self.path, self.lock) as found:
            self.stamp = None if found is None else files.stamp_of(found)
            identity = None if found is None else (found.st_dev, found.st_ino)
            try:
                return self._read_once(read, identity)
            except StorageError as error:
                if not connections.is_hot_journal(error.__cause__):
                    raise
            with owners.acting_for(self.path):
                if not owners.is_mine(self.path) or not os.access(self.path, os.W_OK, effective_ids=True):
                    raise _HalfWritten
                sqlite.roll_back_hot_journal(self.path, sqlite.SHARD, self.lock, WAITED_MS)
            return self._read_once(read, identity)

    def close(self) -> None:
        """Close the connection and the lock file."""
        self._close_connection()
        self.lock.close()

    def _read_once(self, read: Callable[[sqlite3.Connection], Read], identity: files.Identity | None) -> Read:
        try:
            explained = connections.explained(self.path, waited_ms=WAITED_MS)
            with explained, connections.one_state(self._reader(identity)) as connection:
                sqlite.check_schema(connection, self.path, sqlite.SHARD)
                return read(connection)
        except (StorageError, sqlite3.Error):
            self._close_connection()
            raise

    def _reader(self, identity: files.Identity | None) -> sqlite3.Connection:
        if self._connection is None or identity != self._identity:
            self._close_connection()
            self._connection = sqlite.open_reader(self.path, sqlite.SHARD, WAITED_MS)
            self._identity = identity
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Busy(NamedTuple):
    """A shard that was busy in each look since ``since_s``, as ``time.monotonic`` has it; and what the file was since
    ``unchanged_since_s`` (files.stamp)."""

    since_s: float
    unchanged_since_s: float
    stamp: files.Stamp | None

    @classmethod
    def again(cls, former: Self | None, stamp: files.Stamp | None) -> Self:
        """Busy now, too."""
        now_s = time.monotonic()
        if former is None:
            return cls(now_s, now_s, stamp)
        return former if former.stamp == stamp else cls(former.since_s, now_s, stamp)

    @property
    def is_stuck(self) -> bool:
        """Whether whoever has the lock does nothing with it."""
        return time.monotonic() - self.unchanged_since_s > STUCK_MS / 1000

    @property
    def was_left_for_long(self) -> bool:
        """Whether it is time to wait for it."""
        return time.monotonic() - self.since_s > MAX_SKIP_MS / 1000 and not self.is_stuck


class _HalfWritten(Exception):
    """A killed writer's transaction lies in the journal of a shard that this user may not write."""


class Collector:
    """Reads the shards of one board. Kept between passes, it opens only those that changed since. ``residents``: which
    of them may be merged on this host; None where all may, as the board is not shared."""

    def __init__(self, paths: BoardPaths, residents: Residents | None = None) -> None:
        self._paths = paths
        self._residents = residents
        self._open: OrderedDict[str, _OpenShard] = OrderedDict()
        self._known: dict[str, tuple[int, int, int] | None] = {}
        self._quarantined: dict[str, Skipped] = {}
        self._judged: dict[str, tuple[int, int, int] | None] = {}
        self._stops_s = 0.0
        self._held: set[str] = set()
        self._kept_waiting: set[str] = set()
        self._busy: dict[str, _Busy] = {}

    def collect(self, watermark: WatermarkOf, patient: bool = True, most: int | None = None) -> Collected:
        """Everything new. ``watermark(profile)``: how far that shard is merged, and its digest there. ``patient``:
        whether shards that are busy are waited for although others hold something new. One that was busy each time for
        MAX_SKIP_MS always is, unless whoever holds it seems to be stopped. ``most``: how many changes are wanted
        (Budget.of_each).

        Raises CannotOpen where the board's folder cannot be listed.
        """
        collected = Collected()
        present = dict(self._paths.shards())
        for profile in self._quarantined.keys() - present.keys():
            del self._quarantined[profile]
        again = set(islice(self._quarantined, LOOKED_AT_AGAIN))  # each goes to the end when it is judged anew
        waiting = [each for each in present.items() if each[0] in again or self._may_be_new(*each)]
        # What nothing was ever merged of may be no shard at all, and there may be thousands of it.
        waiting = [*self._in_turn(waiting, watermark, True), *self._in_turn(waiting, watermark, False)]
        share = Budget.of_each(max(1, len(waiting)), most)
        began = time.monotonic()
        deadline, self._stops_s = began + PATIENCE_MS / 1000, began + COLLECTING_S
        while waiting:
            waiting = [shard for shard in waiting if not self._read_if_room(*shard, watermark, share, collected)]
            if not waiting or collected.is_full or time.monotonic() > deadline:
                break
            if collected.changes and not patient and not self._was_left_for_long(waiting):
                break
            time.sleep(0.0002)
        skipped = {profile for profile, _ in waiting}
        self._kept_waiting, busy = skipped & collected.unfinished, skipped - collected.unfinished
        self._busy = {each: _Busy.again(self._busy.get(each), files.stamp(present[each])) for each in busy}
        collected.locked = busy
        collected.skipped.extend(self._left_busy(profile, present[profile]) for profile in sorted(busy))
        collected.skipped.extend(self._quarantined.values())
        return collected

    def last_heartbeat_ms(self, profile: str, run_id: int) -> int | None:
        """When the run last sent a heartbeat in that profile's shard; 0 if never, None if it cannot be read now."""
        if not self.is_there(profile):
            return 0
        shard = self._shard(profile)
        try:
            if not shard.lock.try_acquire():
                return None
            return shard.read(lambda connection: heartbeat_ms(connection, run_id))
        except FileMissing:
            return 0
        except (_HalfWritten, KanbanError):  # the shard's own trouble, never the pass's
            return None
        finally:
            shard.lock.release()

    def is_there(self, profile: str) -> bool:
        """Whether the profile has a shard."""
        return self._paths.shard(profile).exists()

    def close(self) -> None:
        """Close the shards and their lock files."""
        while self._open:
            self._open.popitem()[1].close()

    def _left_busy(self, profile: str, path: Path) -> Skipped:
        """Who keeps it from being read, as far as the system tells."""
        if profile in self._held:
            said = HELD.format(who=who_keeps_readers_out(path) or "a process")
            return Skipped(profile, path, BUSY, said, stuck=True)
        if self._busy[profile].is_stuck:
            lock = self._paths.shard_lock(profile)
            said = STUCK.format(who=who_has_flock(lock) or "a process", lock=lock)
            return Skipped(profile, path, BUSY, said, stuck=True)
        return Skipped(profile, path, BUSY, WRITTEN)

    def _shard(self, profile: str) -> _OpenShard:
        if profile not in self._open:
            self._open[profile] = _OpenShard(self._paths.shard(profile), FileLock(self._paths.shard_lock(profile)))
            if len(self._open) > SHARDS_KEPT_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(profile)
        return self._open[profile]

    def _was_left_for_long(self, waiting: list[tuple[str, Path]]) -> bool:
        return any(self._busy[profile].was_left_for_long for profile, _ in waiting if profile in self._busy)

    def _in_turn(self, shards: list[tuple[str, Path]], watermark: WatermarkOf, merged: bool) -> list[tuple[str, Path]]:
        """Those of ``shards`` of which something was merged, or those of which nothing was; who waits longest first."""
        found = [shard for shard in shards if bool(watermark(shard[0])[0]) == merged]
        return sorted(found, key=lambda shard: shard[0] not in self._kept_waiting)

    def _may_be_new(self, profile: str, path: Path) -> bool:
        known = self._known if profile in self._known else self._judged if profile in self._quarantined else {}
        return profile not in known or known[profile] != files.stamp(path)

    def _read_if_room(self, profile: str, path: Path, watermark: WatermarkOf, share: Budget, into: Collected) -> bool:
        """Read the shard's ``share`` into ``into``; returns False if it is busy, or ``into`` has no room for more."""
        if into.is_full or time.monotonic() > self._stops_s:
            into.unfinished.add(profile)
            return False
        self._quarantined.pop(profile, None)
        self._held.discard(profile)
        self._known.pop(profile, None)
        stamp: files.Stamp | None = None
        taken, newcomer = NewChanges(), None
        try:
            shard = self._shard(check_profile(profile))
            if not shard.lock.try_acquire():
                return False
            try:
                newcomer = shard.read(lambda connection: self._take(connection, profile, watermark, share, taken))
            except FileMissing:  # made, but its first transaction is not committed yet
                if watermark(profile)[0]:
                    raise Quarantine(
                        f"it is empty, but its changes up to {watermark(profile)[0]} were merged"
                    ) from None
            finally:
                stamp = shard.stamp
                shard.lock.release()
        except _HalfWritten:
            into.skipped.append(Skipped(profile, path, BUSY, HALF_WRITTEN.format(profile=profile)))
            return True
        except FileBusy:
            self._held.add(profile)
            return False
        except TooManyFiles:  # the trouble of this process, not of the shard
            raise
        except (Quarantine, KanbanError) as trouble:
            self._quarantined[profile] = _left(profile, path, trouble)
            self._judged.pop(profile, None)
            stamp = stamp or files.stamp(path)
            if not _is_recent(stamp):
                self._judged[profile] = stamp
        if taken.changes:
            into.changes[profile] = taken.changes
            into.size_bytes += taken.size_bytes
        if newcomer is not None and (taken.changes or watermark(profile)[0]):
            into.newcomers.append(newcomer)
        if taken.unfinished:
            into.unfinished.add(profile)
        elif not taken.changes and newcomer is None and profile not in self._quarantined and not _is_recent(stamp):
            self._known[profile] = stamp
        return True

    def _take(
        self, shard: sqlite3.Connection, profile: str, watermark: WatermarkOf, share: Budget, into: NewChanges
    ) -> Newcomer | None:
        """Take the share of an open shard into ``into``, if it may be merged here; returns whose it is if nobody has
        said yet where its profile lives. Raises Quarantine."""
        residents = self._residents
        newcomer = None if residents is None else residents.check(shard, profile, watermark(profile))
        if residents is None or not residents.lives_elsewhere(profile):
            read_new(shard, profile, watermark, share, into)
        return newcomer


def look(paths: BoardPaths, watermarks: Callable[[], dict[str, tuple[int, str]]]) -> Collected:
    """What the next passes would find, for whoever makes none. ``watermarks``: reads them from the board.

    Beside a working coordinator they are old the moment they are read: a shard may hold a change whose author had
    seen more. Such a change is in order when both are read again, so a shard counts as quarantined only if it stands
    at the same change then.
    """
    with _residents(paths) as residents:
        found = _look_once(paths, residents, watermarks())
        suspected = {(skipped.profile, skipped.seq) for skipped in found.skipped if skipped.state == QUARANTINED}
        if suspected:
            found = _look_once(paths, residents, watermarks())
            found.skipped = [
                skipped
                for skipped in found.skipped
                if skipped.state != QUARANTINED or (skipped.profile, skipped.seq) in suspected
            ]
    return found


@contextmanager
def _residents(paths: BoardPaths) -> Iterator[Residents | None]:
    """Who lives on this host; None for a board that is not shared, of which nothing is loaded."""
    if not paths.is_shared:
        yield None
        return
    from kanban_shards.coordinator.merge.residents import residents_of

    with residents_of(paths) as residents:
        yield residents


def _look_once(paths: BoardPaths, residents: Residents | None, watermarks: dict[str, tuple[int, str]]) -> Collected:
    """Every change after ``watermarks``, in as many parts as passes would take."""
    collector, reached, whole = Collector(paths, residents), dict(watermarks), Collected()
    try:
        while True:
            part = collector.collect(lambda profile: reached.get(profile, (0, "")))
            for profile, changes in part.changes.items():
                whole.changes.setdefault(profile, []).extend(changes)
                reached[profile] = (changes[-1].seq, changes[-1].digest)
            whole.skipped, whole.locked = part.skipped, part.locked
            if not part.more and not (part.changes and any(skipped.saw for skipped in part.skipped)):
                return whole  # else what was seen may be among what this part would have merged
    finally:
        collector.close()


def _left(profile: str, path: Path, trouble: Exception) -> Skipped:
    if isinstance(trouble, Quarantine):
        cure = trouble.cure.format(profile=profile)
        return Skipped(profile, path, QUARANTINED, f"{trouble.why}; {cure}", trouble.seq, trouble.saw)
    if isinstance(trouble, InvalidName):
        shown = path.with_name(printable_name(path.name))
        return Skipped(profile, path, QUARANTINED, NO_PROFILE.format(profile=profile, path=shown))
    if isinstance(trouble, DiskFull):  # of a journal that is rolled back; nobody has to repeat anything
        return Skipped(profile, path, QUARANTINED, f"{trouble.happened}; it is read once there is space again")
    return Skipped(profile, path, QUARANTINED, str(trouble))


def _is_recent(stamp: files.Stamp | None) -> bool:
    return stamp is not None and files.is_recent(stamp[2])
