"""A board, the processes that write it and the ones that merge it, all in this process, all decided by the test.

Time is a number that the test moves, both ways. A process of a profile is a ``Writer``: a shard opened by itself, with
eyes of its own. A kill is an exception that nobody catches, thrown at a named place; whoever was killed is gone
afterwards, and its files are as they were at that moment.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from msgspec import structs

from kanban_shards import shard, shard_file
from kanban_shards.board import Board
from kanban_shards.changes.fields import Body
from kanban_shards.changes.vectors import View
from kanban_shards.coordinator.backup import compact as compacting
from kanban_shards.coordinator.backup.backup import limit_backups, make_backup
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.backup.manifest import backups_in
from kanban_shards.coordinator.backup.restore import restore
from kanban_shards.coordinator.errors import NothingToRepair
from kanban_shards.coordinator.hermes.importer import write_plan
from kanban_shards.coordinator.hermes.legacy import Legacy
from kanban_shards.coordinator.hermes.plan import plan
from kanban_shards.coordinator.ledger import Entry, FileLedger
from kanban_shards.coordinator.merge import clock as merge_clock
from kanban_shards.coordinator.merge import replay as replaying
from kanban_shards.coordinator.merge.coordinator import Coordinator, Report
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import BoardMissing, DiskFull, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.locks import FileLock
from tests import invariants
from tests.evidence import Dot, Evidence, Known
from tests.far.fake import FakeFar
from tests.invariants import Memory

PROFILES = ("ann", "bob", "cyd")
START_MS = 1_700_000_000_000
# SQLite's own limit.
MOST_PAGES = 1_073_741_823
# Where a pass can be killed. A number says at which of its entries.
CRASH_POINTS = (
    "before the ledger's commit",
    "after the ledger's commit",
    "while deciding",
    "before the board's commit",
    "after the board's commit",
)
# Where a compaction can be.
COMPACTION_CRASH_POINTS = (
    "before the snapshot",
    "after the snapshot",
    "after the ledger is shorter",
    "before a shard is shorter",
    "after a shard is shorter",
)


class Killed(BaseException):
    """The process is dead from here on."""


class Writer:
    """One process of ``profile``. It reads the board when it likes, and writes by what it read last."""

    def __init__(self, world: World, profile: str) -> None:
        self.profile = profile
        self._world = world
        self._shard = Shard(world.paths, profile)
        self.own: set[Dot] = set()
        self._looks: dict[str, tuple[View, int]] = {}

    def look(self, task_id: str) -> None:
        """Read the task, as ``kanban show`` does."""
        self._looks[task_id] = self._look(task_id)

    def write(self, task_id: str, body: Body, fresh: bool = True) -> int:
        """Append a change, by what the board shows now or (not ``fresh``) by what was read last; returns its seq."""
        if fresh or task_id not in self._looks:
            self.look(task_id)
        view, position = self._looks[task_id]
        seq = self._shard.append(task_id, body, view).seq
        self._world.known[self.profile, seq] = Known(position, frozenset(self.own))
        self.own.add((self.profile, seq))
        return seq

    def write_if_there_is_room(self, task_id: str, body: Body) -> bool:
        """Append while the disk is full: what needs no new page still fits. Returns whether it did."""
        with full_disk():
            try:
                self._world.write(self, task_id, body)
            except DiskFull:
                return False
        return True

    def heartbeat(self, run_id: int) -> None:
        """Say that the worker of the run is alive."""
        self._shard.heartbeat(run_id, self._look("")[0])

    def end(self) -> None:
        """The process exits, or is killed between two calls."""
        self._shard.close()

    def _look(self, task_id: str) -> tuple[View, int]:
        view = self._world.board.view(task_id, self.profile)
        return view, self._world.position()


class World:
    """A board in ``folder`` with ``per_profile`` processes of each of ``profiles``, under a clock of its own.

    ``chance`` gives whatever the code draws at random. Use it as a context; afterwards nothing of it is open.
    """

    def __init__(
        self, folder: Path, chance: random.Random, profiles: tuple[str, ...] = PROFILES, per_profile: int = 2
    ) -> None:
        self.paths = BoardPaths(folder)
        self.chance = chance
        self.now_ms = START_MS
        self.known: dict[Dot, Known] = {}
        self.acknowledged: dict[Dot, str] = {}
        self.remembered: dict[Dot, tuple] = {}
        self.memory = Memory()
        self.passes = 0
        self.kills = 0
        self.board = Board(self.paths)
        self.writers = [Writer(self, profile) for profile in profiles for _ in range(per_profile)]
        self._earlier: list[Entry] = []
        self._daemon: tuple[Coordinator, FileLock] | None = None
        self._patches = ExitStack()

    def __enter__(self) -> World:
        clock = SimpleNamespace(time_ns=lambda: self.now_ms * 1_000_000, monotonic_ns=lambda: self.now_ms * 1_000_000)
        enter = self._patches.enter_context
        enter(patch.object(merge_clock, "time", clock))
        enter(patch.object(shard, "time", clock))
        enter(patch.object(shard_file, "draw_id", lambda: f"{self.chance.getrandbits(128):032x}"))
        enter(no_fsync())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop_daemon()
        for writer in self.writers:
            writer.end()
        self.board.close()
        self._patches.close()

    def position(self) -> int:
        """How many entries of the ledger the board shows; 0 if there is none."""
        try:
            return self.board.position()
        except BoardMissing:
            return 0

    # --- what may happen -----------------------------------------------------------------------------------------

    def write(self, writer: Writer, task_id: str, body: Body, fresh: bool = True) -> int:
        """A change that is acknowledged."""
        seq = writer.write(task_id, body, fresh)
        self.acknowledged[writer.profile, seq] = ""
        return seq

    def restart(self, index: int) -> None:
        """A process of a profile ends, and another of the same profile begins, with a view of its own."""
        self.writers[index].end()
        self.writers[index] = Writer(self, self.writers[index].profile)

    def make_pass(self, crash: str | None = None, at: int = 1, busy: tuple[str, ...] = ()) -> Report | None:
        """A pass: the daemon's if there is one, else by a coordinator that opens the files for it and closes them.

        ``crash``: where it is killed, ``at`` its how manieth time there; ``busy``: profiles whose shard somebody
        writes all the while. Returns None if it was killed.
        """
        self.passes += 1
        with self._held(busy), killed_at(crash, at):
            try:
                if self._daemon:
                    return self._daemon[0].make_pass()
                with self._coordinator() as (coordinator, _):
                    return coordinator.make_pass()
            except Killed:
                self.kills += 1
                self.stop_daemon()
                return None

    def import_board(self, legacy: Legacy, crash: str | None = None, at: int = 1) -> None:
        """A board that Hermes wrote is imported; killed or not, it can be imported again."""
        self.stop_daemon()
        with killed_at(crash, at):
            try:
                with self._coordinator() as (coordinator, _):
                    coordinator.make_passes()
                    write_plan(coordinator, plan(legacy, "elsewhere", coordinator.board, self.now_ms // 1_000))
            except Killed:
                self.kills += 1

    def start_daemon(self, crash: str | None = None, at: int = 1) -> None:
        """From here the passes are made by one coordinator that keeps the files open."""
        self.stop_daemon()
        lock = self._take_lock()
        try:
            with killed_at(crash, at):
                self._daemon = Coordinator(self.paths, lock), lock
        except Killed:
            self.kills += 1
            lock.close()

    def stop_daemon(self) -> None:
        """The daemon ends, or is killed between two passes."""
        if self._daemon:
            coordinator, lock = self._daemon
            self._daemon = None
            coordinator.close()
            lock.close()

    def delete_board(self, with_its_log: bool = True) -> None:
        """Somebody deletes ``kanban.db``, with or without the files beside it."""
        self.stop_daemon()
        suffixes = ("", "-wal", "-shm") if with_its_log else ("",)
        for suffix in suffixes:
            self.paths.board.with_name(self.paths.board.name + suffix).unlink(missing_ok=True)

    def make_pass_on_a_full_disk(self) -> None:
        """A coordinator opens the files, and may be able to merge a little, or nothing."""
        self.stop_daemon()
        self.passes += 1
        with full_disk(), suppress(DiskFull), self._coordinator() as (coordinator, _):
            coordinator.make_pass()

    def come_to_rest(self) -> None:
        """Everything is merged, and nobody has a file open."""
        with self._coordinator() if not self._daemon else nullcontext(self._daemon) as (coordinator, _):
            coordinator.make_passes()
        self.stop_daemon()
        for writer in self.writers:
            writer.end()
        self.board.close()

    def try_to_write(self, writer: Writer, task_id: str, body: Body) -> bool:
        """A change beside a damaged file; returns whether it was acknowledged."""
        try:
            self.write(writer, task_id, body)
        except StorageError:
            return False
        return True

    def try_to_merge(self) -> bool:
        """A pass beside a damaged file; returns whether it came through."""
        self.passes += 1
        try:
            with self._coordinator() as (coordinator, _):
                coordinator.make_pass()
        except StorageError:
            return False
        return True

    def make_again(self, role: str, profile: str) -> None:
        """What the sentence about a damaged file says: rebuild, or repair."""
        with closing(self._take_lock()) as lock, suppress(NothingToRepair):
            if role == "board":
                rebuild(self.paths, lock)
            elif role == "ledger":
                repair_ledger(self.paths, lock)
            else:
                repair_shard(self.paths, lock, profile)

    def compact(self, keep_ms: int, crash: str | None = None) -> None:
        """Old changes leave ledger and shards, or are about to when the process is killed at ``crash``."""
        self.stop_daemon()
        self.make_pass()
        self._check_replay()  # what is dropped is remembered
        lock = self._take_lock()
        try:
            with killed_at(crash):
                compact(self.paths, lock, self.now_ms - keep_ms)
        except Killed:
            self.kills += 1
        finally:
            lock.close()

    def back_up(self) -> None:
        """A backup, beside whoever works; the newest two are kept."""
        if self.paths.board.exists():
            self._check_replay()
            make_backup(self.paths, self.paths.backups)
            limit_backups(self.paths, self.paths.backups, 2, None)

    def restore(self, lost: str | None) -> None:
        """The newest backup is put back, after the board or the snapshot was lost, or nothing (None)."""
        there = backups_in(self.paths.backups)
        if not there:
            return
        self.stop_daemon()
        if lost:
            files.discard({"board": self.paths.board, "snapshot": self.paths.snapshot}[lost])
        lock = self._take_lock()
        try:
            done = restore(self.paths, there[-1], lock)
        finally:
            lock.close()
        assert not done.findings, done.findings

    # --- what must hold ------------------------------------------------------------------------------------------

    def check(self) -> Evidence:
        """Every invariant that can be judged without a replay."""
        evidence = Evidence.read(self.paths, self._earlier)
        self._earlier = evidence.entries or self._earlier
        for profile, rows in evidence.shards.items():
            for row in rows:
                if self.acknowledged.get((profile, row[0])) == "":
                    self.acknowledged[profile, row[0]] = row[6]
        invariants.check(evidence, self.known, self.memory)
        invariants.no_lost_change(evidence, self.acknowledged, self.remembered)
        return evidence

    def check_all(self) -> Evidence:
        """Merge all that is left, and check every invariant."""
        if not self._daemon:
            self.start_daemon()
        while self.make_pass().decisions:
            pass
        evidence = self.check()
        invariants.no_lost_change(evidence, self.acknowledged, self.remembered, everything=True)
        invariants.rebuild_equals_board(evidence, self.chance)
        return evidence

    def _check_replay(self) -> None:
        """Backups and compactions refuse a board that is no replay; the invariant is to say it first."""
        invariants.rebuild_equals_board(self.check(), random.Random(0))

    # --- how -----------------------------------------------------------------------------------------------------

    def _take_lock(self) -> FileLock:
        lock = FileLock(self.paths.coordinator_lock)
        assert lock.try_acquire(), "two coordinators"
        return lock

    @contextmanager
    def _coordinator(self) -> Iterator[tuple[Coordinator, FileLock]]:
        lock = self._take_lock()
        try:
            with Coordinator(self.paths, lock) as coordinator:
                yield coordinator, lock
        finally:
            lock.close()

    @contextmanager
    def _held(self, profiles: tuple[str, ...]) -> Iterator[None]:
        locks = [FileLock(self.paths.shard_lock(profile)) for profile in profiles]
        try:
            for lock in locks:
                lock.acquire(5)
            yield
        finally:
            for lock in locks:
                lock.close()


@contextmanager
def killed_at(point: str | None, at: int = 1) -> Iterator[None]:
    """Whoever makes a pass inside the block is killed at ``point``, the ``at``-th time that it comes there."""
    left = at

    def kill_when_due() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed(point)

    def before(original: Callable) -> Callable:
        def replaced(*given, **named):
            kill_when_due()
            return original(*given, **named)

        return replaced

    def after(original: Callable) -> Callable:
        def replaced(*given, **named):
            done = original(*given, **named)
            kill_when_due()
            return done

        return replaced

    where = {
        "before the service's commit": (FakeFar, "append", before),
        "after the service's commit": (FakeFar, "append", after),
        "before the ledger's commit": (FileLedger, "store", before),
        "after the ledger's commit": (FileLedger, "store", after),
        "while deciding": (replaying, "decide", after),
        "before the board's commit": (BoardState, "commit", before),
        "after the board's commit": (BoardState, "commit", after),
        "before the snapshot": (files, "replace", before),
        "after the snapshot": (files, "replace", after),
        "after the ledger is shorter": (FileLedger, "drop", after),
        "before a shard is shorter": (compacting, "_drop_changes", before),
        "after a shard is shorter": (compacting, "_drop_changes", after),
    }
    if point is None:
        yield
        return
    owner, name, wrapped = where[point]
    with patch.object(owner, name, wrapped(getattr(owner, name))):
        yield


@contextmanager
def no_fsync() -> Iterator[None]:
    """Nothing here loses power, and waiting for the disk is most of the time that a commit takes."""
    with ExitStack() as patches:
        for name in ("SHARD", "LEDGER", "BOARD"):
            role = structs.replace(getattr(sqlite, name), synchronous="OFF")
            patches.enter_context(patch.object(sqlite, name, role))
        yield


@contextmanager
def full_disk() -> Iterator[None]:
    """Inside the block no file gets a page more: SQLite says SQLITE_FULL as it does on a full disk."""
    limited: list[sqlite3.Connection] = []
    true_transaction, true_open = connections.transaction, sqlite.open_writer

    def limit(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count=1")  # SQLite makes it the size that the file has
        limited.append(connection)

    @contextmanager
    def transaction(connection: sqlite3.Connection) -> Iterator[None]:
        limit(connection)
        with true_transaction(connection):
            yield

    def open_writer(*given, **named) -> sqlite3.Connection:
        connection = true_open(*given, **named)
        limit(connection)
        return connection

    with patch.object(connections, "transaction", transaction), patch.object(sqlite, "open_writer", open_writer):
        yield
    for connection in limited:
        with suppress(sqlite3.ProgrammingError):  # it is closed
            connection.execute(f"PRAGMA max_page_count={MOST_PAGES}")
