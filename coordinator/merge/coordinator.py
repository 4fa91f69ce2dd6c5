"""Coordinator: who makes passes. A pass is collect → order → append to the ledger → decide → apply.

The ledger's commit comes first and is durable; only then does the board show anything of it. Kill the process at
any point: what the ledger holds is applied by the next pass before it looks at anything new, and what the ledger
does not hold is still in its shard.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kanban_shards.bell import Ringer
from kanban_shards.changes.codec import Change
from kanban_shards.changes.fields import Body
from kanban_shards.coordinator.errors import FileReplaced, LedgerBehind, Overtaken
from kanban_shards.coordinator.filelocks import naming_holders
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.budget import leave_what_costs_too_much, weight
from kanban_shards.coordinator.merge.clock import Clock
from kanban_shards.coordinator.merge.collector import Collected, Collector, Skipped
from kanban_shards.coordinator.merge.coordinator_lock import lost_place
from kanban_shards.coordinator.merge.expiry import AT_ONCE, Liveness, due, own_changes
from kanban_shards.coordinator.merge.left_files import LeftFiles, set_aside_what_was_replaced
from kanban_shards.coordinator.merge.replay import (
    ProgressCallback,
    catch_up,
    make_board,
    make_first_board,
    replay,
)
from kanban_shards.coordinator.merge.rounds import Rounds
from kanban_shards.coordinator.merge.shard_reader import LEAST_SHARE, Quarantine, base_of, locked_shard
from kanban_shards.coordinator.rules.decide import Decision
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import HistoryLost, InvalidName, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.locks import FileLock

if TYPE_CHECKING:
    from kanban_shards.coordinator.merge.other_hosts import OtherHosts
    from kanban_shards.coordinator.shared.far import Far

# What the coordinator says by itself: task ids and bodies; and the same at a time.
Own = list[tuple[str, Body]]
OwnAt = Callable[[int], Own]
# How long the coordinator waits for what somebody else has locked in board or ledger: readers lock out a writer only
# while they recover the WAL of one that was killed.
FOREIGN_LOCK_MS = 250
# A shard that is being written is free again after a commit, which takes a millisecond.
WRITTEN_WITHIN_S = 0.05
# A pass that had no time for everything is followed by one that collects so much of what it decided: what no round
# takes was read and checked in vain.
PERCENT_OF_LAST = 125


class Report(msgspec.Struct, weakref=True):
    """What a pass did: the decisions in ledger order, the shards left, whether there is more to collect, and whether
    shards were busy."""

    decisions: list[Decision] = msgspec.field(default_factory=list)
    skipped: list[Skipped] = msgspec.field(default_factory=list)
    more: bool = False
    busy: bool = False

    @property
    def refused(self) -> list[Decision]:
        """The decisions that refused a change."""
        return [decision for decision in self.decisions if not decision.applied]


class Passes(msgspec.Struct):
    """What several passes came to: how many changes were decided, and the shards that the last one left, and whether
    some of them were busy."""

    decided: int = 0
    skipped: list[Skipped] = msgspec.field(default_factory=list)
    busy: bool = False


class Coordinator:
    """The board and the ledger, open for writing under the coordinator's lock. Opening catches up, and makes a board
    that is missing from its ledger; ``made_board`` says whether it did.

    ``lock`` is held by the caller until after ``close``. ``progress`` is told while catching up, with the ledger or
    with other hosts, and may raise to stop it. ``far``: of a board that several hosts share, the way to the others;
    without one, a way of its own is opened. ``ringer``: rings those who wait, and is closed by the caller; without one,
    everybody is rung whom it may concern. Raises the StorageErrors of files that cannot be used, and LedgerBehind if
    the ledger lacks what the board shows.
    """

    def __init__(
        self,
        paths: BoardPaths,
        lock: FileLock,
        progress: ProgressCallback = lambda done, total: None,
        far: Far | None = None,
        ringer: Ringer | None = None,
    ) -> None:
        self.paths = paths
        self._lock = lock
        self._progress = progress
        with ExitStack() as opened:
            self._hosts = _other_hosts(paths, lock, far)
            if self._hosts is not None:
                opened.callback(self._hosts.close)
                self._hosts.fetch_if_lost(progress)
            set_aside_what_was_replaced(paths, lock)
            self.made_board = _make_board_if_lost(paths, lock, progress)
            self._clock = Clock()
            self._most: int | None = None
            found = {path: files.identity(path) for path in (paths.board, paths.ledger)}
            with self._explained():
                self._connection = sqlite.open_writer(paths.board, sqlite.BOARD, lock, FOREIGN_LOCK_MS)
                opened.callback(self._connection.close)
                self._board = BoardState(self._connection)
                if self._board.position()[0] and not paths.ledger.exists():
                    raise _forgotten(paths) or LedgerBehind(path=paths.ledger, shown=self._board.position()[0], held=0)
                self._ledger = FileLedger(paths.ledger, lock, FOREIGN_LOCK_MS)
                opened.callback(self._ledger.close)
                if self._hosts is not None:
                    self._hosts.open(self._ledger, self._board)
                self._is_copy_alone = self._hosts is None and self._ledger.shared() is not None
                self._collector = Collector(paths, None if self._hosts is None else self._hosts.residents)
                opened.callback(self._collector.close)
                self._opened = _unless_replaced(found)
                self._left = LeftFiles(paths, lock, self._connection, self._ledger)
                caught_up = self._catch_up_at_first(progress)
                self._left.note()
            self._was_written = False
            self._looked_to = self._board.position()[0]
            self._ringer = ringer or opened.enter_context(closing(Ringer()))
            if caught_up:  # of a coordinator that was killed before it could ring
                self._ringer.ring_decided(paths.folder, ())
                self._ringer.ring_next(paths.folder)
            self._files = opened.pop_all()

    def make_pass(self, patient: bool = True) -> Report:
        """One pass over everything that is there now. ``patient``: whether shards that are busy are waited for
        although others hold something new (Collector.collect). Raises NotCoordinator, FileReplaced, StorageError."""
        self._check_may_append()
        with self._explained():
            self._was_written |= self._board.forget_if_written()
            self._show(set())  # what a pass that failed had fetched
            self._follow_others()
            collected = self._collector.collect(self._board.watermark, patient, self._most)
            more = leave_what_costs_too_much(collected, self._board)
            report = Report(skipped=collected.skipped, more=collected.more, busy=collected.busy)
            self._settle_newcomers(collected, report)
            at_ms = self._now_ms()
            liveness = self._liveness(collected)
            over = liveness.says(at_ms)
            is_due = due(self._board, at_ms)
            rounds = Rounds(
                collected.changes, lambda change: weight(change, self._board, more), self._board.position()[0]
            )
            self._decide(over, rounds.next(), at_ms, report, liveness.says)
            while not rounds.is_over:
                self._decide([], rounds.next(), at_ms, report)
            self._decide(is_due, [], at_ms, report, lambda now_ms: due(self._board, now_ms))
            decided = max(LEAST_SHARE, len(report.decisions))
            self._most = decided * PERCENT_OF_LAST // 100 if rounds.are_left else None
            report.more |= rounds.are_left or max(len(over), len(is_due)) >= AT_ONCE
        return report

    def _settle_newcomers(self, collected: Collected, report: Report) -> None:
        """Of profiles of which no host has said yet where they live, say that it is here, before anything of them is
        merged. Where another host was first, what was collected of them goes no further (OtherHosts.still_next)."""
        if self._hosts is not None and collected.newcomers:
            residents = self._hosts.residents

            def own(now_ms: int) -> Own:
                return [("", home) for home in residents.settling(collected.newcomers)]

            at_ms = self._now_ms()
            self._decide(own(at_ms), [], at_ms, report, own)

    def _liveness(self, collected: Collected) -> Liveness:
        residents = None if self._hosts is None else self._hosts.residents
        looks_ahead = self._clock.is_time_to_look()
        if looks_ahead and residents is not None:
            for run_id in self._board.renewed_behind(self._looked_to):
                self._clock.see_anew(run_id)
            self._looked_to = self._board.position()[0]
        return Liveness(self._board, self._collector, collected, self._clock, residents, looks_ahead)

    def _decide(
        self, own: Own, changes: list[Change], at_ms: int, report: Report, anew: OwnAt = lambda now_ms: []
    ) -> None:
        """Append what the coordinator says by itself, and ``changes``, decide them and ring; nothing if there is
        nothing. ``anew``: its own again, at another time, where another host was first."""
        for portion in [changes] if self._hosts is None else self._hosts.portions(self._board, changes):
            decisions = self._append_and_decide(own, portion, at_ms, anew)
            if decisions:
                report.decisions += decisions
                self._tell(decisions, {each.entry.change.profile for each in decisions})
            own, anew = [], lambda now_ms: []

    def _append_and_decide(self, own: Own, changes: list[Change], at_ms: int, anew: OwnAt) -> list[Decision]:
        """The changes were collected, ordered and chained by what the board shows, so they continue just that. Where
        another host was first, they are put behind what it said."""
        hosts = self._hosts
        while whole := [*own_changes(self._board, own, at_ms), *changes]:
            self._check_may_append()  # collecting takes a while, and a process may be stopped for any time
            behind = self._board.position()
            if hosts is None:
                return replay(self._board, self._ledger.append(whole, at_ms, behind))
            try:
                return replay(self._board, hosts.append(whole, at_ms, behind))
            except Overtaken:
                self._show(hosts.take_turn())
                at_ms = self._now_ms()
                own, changes = anew(at_ms), hosts.still_next(self._board, changes)
        if hosts is not None:
            self._show(hosts.give_up_turn())
        return []

    def _tell(self, decisions: list[Decision], whose: set[str]) -> None:
        """Ring those who wait for decisions on changes of ``whose`` profiles; a checkpoint may take longer than the
        pass, so it comes after that."""
        self._ringer.ring_decided(self.paths.folder, whose)
        self._left.wrote(len(decisions), sum(len(each.entry.change.body) for each in decisions))

    def _follow_others(self) -> None:
        """Fetch, show and ring what other hosts appended, if there may be something."""
        if self._hosts is not None and self._hosts.is_time_to_pull():
            self._show(self._hosts.pull(self._progress))
            self._hosts.meet(self._board)

    def _show(self, whose: set[str]) -> None:
        """Show what was fetched, changes of ``whose`` profiles, and ring those who wait for it."""
        if self.catch_up():
            self._ringer.ring_decided(self.paths.folder, whose)

    def _now_ms(self) -> int:
        """By which it is asked what is over or due, and the next entries are stamped."""
        now_ms = self._clock.now_ms()
        return now_ms if self._hosts is None else self._hosts.now_ms()

    def make_passes(self, told: Callable[[Report], object] = lambda report: None) -> Passes:
        """Passes until nothing more is there. A change that had seen what the same pass merged first is quarantined in
        that one, and merged by the next. ``told`` gets the report of each; none is kept, for together they may be more
        than fits in memory."""
        passes = Passes()
        is_more = True
        while is_more:
            report = self.make_pass()
            told(report)
            passes.decided += len(report.decisions)
            passes.skipped, passes.busy = report.skipped, report.busy
            is_more = report.more or bool(report.decisions and any(skipped.saw for skipped in report.skipped))
        return passes

    def write(self, bodies: Iterable[tuple[str, Body]]) -> list[Decision]:
        """Append changes of the coordinator's own, ``(task_id, body)`` each, at once or not at all, and decide them."""
        own = list(bodies)
        self._check_may_append()
        with self._explained():
            self.catch_up()
            self._follow_others()
            decisions = self._append_and_decide(own, [], self._now_ms(), lambda now_ms: own)
            self._tell(decisions, set())
        return decisions

    @property
    def troubles(self) -> set[str]:
        """What is wrong with other hosts, as this one sees it."""
        return set() if self._hosts is None else self._hosts.troubles

    @property
    def board(self) -> BoardState:
        """The board as rules see it, for reading between two passes."""
        return self._board

    def catch_up(self) -> int:
        """Apply what the ledger holds and the board lacks; returns how many entries that were."""
        return catch_up(self._board, self._ledger, progress=self._left.caught_up)

    def _catch_up_at_first(self, progress: ProgressCallback) -> int:
        def told(done: int, total: int) -> None:
            self._left.caught_up(done, total)
            progress(done, total)

        try:
            return catch_up(self._board, self._ledger, progress=told)
        except LedgerBehind as error:
            if self._hosts is None:
                raise (_forgotten(self.paths) or error) from None
            self._hosts.pull(progress)  # the file is an older copy
            return catch_up(self._board, self._ledger, progress=told)

    def foreign_commit(self) -> bool:
        """Whether somebody else committed to the board since the last call (law 5)."""
        with self._explained():
            was, self._was_written = self._was_written, False
            return self._board.forget_if_written() or was

    def close(self) -> None:
        """Close the files; the caller still holds the lock."""
        with self._left.being_checkpointed():
            self._files.close()

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as sentences; of a file that a stranger has locked, with the stranger's name."""
        with (
            naming_holders(self.paths.board, self.paths.ledger),
            connections.explained(self.paths.board, waited_ms=FOREIGN_LOCK_MS),
        ):
            yield

    def _check_may_append(self) -> None:
        """Before a pass, and before it appends: a ledger that other hosts share is not continued by this one alone,
        though its files may be repaired. And they must still be there."""
        if self._is_copy_alone:
            from kanban_shards.coordinator.merge import sharing_mark  # of no use to a board of one host

            sharing_mark.check(self.paths, self._ledger)
        self._check_still_there()

    def _check_still_there(self) -> None:
        """A lock file at another place, or none there, excludes nobody; and a verdict written to a file that nobody
        else can find would be lost with this process."""
        if error := lost_place(self._lock):
            raise error
        for path, identity in self._opened.items():
            if files.identity(path) != identity:
                raise FileReplaced(path=path)
        with connections.explained(self.paths.board):
            sqlite.check_schema(self._connection, self.paths.board, sqlite.BOARD)
        self._ledger.check_schema()


def _other_hosts(paths: BoardPaths, lock: FileLock, far: Far | None) -> OtherHosts | None:
    """What it takes to work with other hosts; None for a board that is not shared, for which nothing is loaded."""
    if not paths.is_shared:
        return None
    from kanban_shards.coordinator.merge.other_hosts import OtherHosts

    return OtherHosts.of(paths, lock, far)


def _forgotten(paths: BoardPaths) -> StorageError | None:
    from kanban_shards.coordinator.merge import sharing_mark  # of no use to a board that has its ledger

    return sharing_mark.forgotten(paths)


def _make_board_if_lost(paths: BoardPaths, lock: FileLock, progress: ProgressCallback) -> bool:
    """Make a board that is missing from its ledger; returns whether that was done. Where neither is there, an empty one
    is made, whole before it has its name: whoever reads it with another tool never meets half a schema. Raises
    HistoryLost where something says that both were there."""
    if not files.is_empty(paths.board):
        return False
    if files.is_empty(paths.ledger):
        if _was_compacted(paths):
            raise HistoryLost(path=paths.board, has_snapshot=paths.snapshot.exists())
        if not os.path.lexists(paths.board):
            make_first_board(paths, lock)
        return False
    make_board(paths, lock, progress)
    return True


def _unless_replaced(found: dict[Path, tuple[int, int] | None]) -> dict[Path, tuple[int, int] | None]:
    """Which files board and ledger are, now that they are open. Raises FileReplaced for one that was there before, as
    ``found``, and is another now."""
    opened = {path: files.identity(path) for path in found}
    for path, identity in found.items():
        if identity not in (None, opened[path]):
            raise FileReplaced(path=path)
    return opened


def _was_compacted(paths: BoardPaths) -> bool:
    """Whether a snapshot, or a shard that can be read now, says that changes were dropped. One that stays busy is not
    waited for: if it says so, it is quarantined when it is read, because nothing of it was merged."""
    return paths.snapshot.exists() or any(_begins_late(paths, profile) for profile, _ in paths.shards())


def _begins_late(paths: BoardPaths, profile: str) -> bool:
    with suppress(StorageError, InvalidName, Quarantine), locked_shard(paths, profile, WRITTEN_WITHIN_S) as shard:
        return base_of(shard)[0] > 0
    return False
