"""Waiting: how a writer gets the verdict on what it appended, from a daemon that rings it or by a pass of its own; and
what is said when there is none in time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

from kanban_shards import inline_merge
from kanban_shards.bell import Bell
from kanban_shards.board import Board
from kanban_shards.errors import BoardMissing, FileBusy, KanbanError, Quarantined, Undecided
from kanban_shards.passing import Passing
from kanban_shards.records import Verdict
from kanban_shards.shard import Shard

# How soon to look again although the bell did not ring.
FIRST_LOOK_S = 0.002
LONGEST_LOOK_S = 0.1


class Wait(NamedTuple):
    """What one call waits for: the verdict on change ``seq``, which is of ``task_id``, or of no one task, ``""``.

    ``bell``: of this thread; ``until_s``: for how long, as ``time.monotonic`` has it, after ``patience_s`` in all.
    """

    seq: int
    task_id: str
    bell: Bell
    patience_s: float
    until_s: float

    @classmethod
    def of(cls, seq: int, bell: Bell, patience_s: float, task_id: str = "") -> Self:
        """Beginning now."""
        return cls(seq, task_id, bell, patience_s, time.monotonic() + patience_s)


class Waiting:
    """Waits for verdicts on the changes of ``shard``, which are on ``board`` when ``passing`` had a pass made. Safe to
    use from several threads; not across a fork.

    ``check_open``: raises GatewayClosed when no more is to be read for this writer.
    """

    def __init__(self, board: Board, shard: Shard, passing: Passing, check_open: Callable[[], None]) -> None:
        self._board = board
        self._shard = shard
        self._passing = passing
        self._check_open = check_open
        self._merged_to = 0
        self._held_up_by: FileBusy | None = None
        self._guard = threading.Lock()
        self._bells: list[Bell] = []
        self._is_closed = False

    @property
    def merged_to(self) -> int:
        """The newest change of which a verdict was seen."""
        return self._merged_to

    @contextlib.contextmanager
    def bell(self) -> Iterator[Bell]:
        """A bell of this thread's, to be rung when a pass decided something of this profile."""
        with self._guard:
            bell = self._bells.pop() if self._bells else None
        if bell is not None and bell.problem is None and not bell.is_there():  # somebody cleaned up
            bell.close()
            bell = None
        bell = bell or Bell.waiting(self._board.paths.folder, self._shard.profile)
        try:
            yield bell
        finally:
            with self._guard:
                if self._is_closed:
                    bell.close()
                else:
                    self._bells.append(bell)

    def answer(self, wait: Wait) -> Verdict:
        """As ``verdict``, of a change that was appended just now: the daemon, if there is one, is told first."""
        heard = self._hear(wait) if self._passing.ring(wait.bell) else None
        return heard or self.verdict(wait)

    def verdict(self, wait: Wait) -> Verdict:
        """What became of the change, a refusal too, as soon as there is a verdict. Raises Undecided if patience is
        over, or while this host is cut off from the others of the board; GatewayClosed, and the StorageErrors of a
        ledger or a board that cannot be used."""
        began_s, began_ms = time.monotonic(), time.time_ns() // 1_000_000
        pause_s = FIRST_LOOK_S
        while (verdict := self._look(wait)) is None:
            waited_s = time.monotonic() - began_s
            cut_off = self._why_cut_off(began_ms) if waited_s >= inline_merge.CUT_OFF_S else None
            if cut_off is not None or began_s + waited_s >= wait.until_s:
                raise self._undecided(wait, cut_off, waited_s)
            # A daemon rings when it decided; where there is none, the lock may be free at any time, and nobody says so.
            longest_s = LONGEST_LOOK_S if self._passing.is_served else pause_s
            is_heard = wait.bell.is_expected or not self._passing.is_served
            wait.bell.wait(longest_s if is_heard else FIRST_LOOK_S)
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)
        return verdict

    def close(self) -> None:
        """Close the bells: now those that no thread has, and then each that is given back."""
        with self._guard:
            self._is_closed = True
            while self._bells:
                self._bells.pop().close()

    def _hear(self, wait: Wait) -> Verdict | None:
        """Wait for the daemon's answer. A ring says that a pass ended, not that it decided this change: it may have
        begun before, or have had much else of this profile to decide. Then this one says again that it waits."""
        bell, pause_s = wait.bell, FIRST_LOOK_S
        while time.monotonic() < wait.until_s:
            rang = bell.wait(LONGEST_LOOK_S if bell.is_expected else pause_s)
            if not rang and bell.is_expected:
                return None
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)
            verdict = self._verdict(wait.seq)
            if verdict is not None or not self._passing.ring(bell):  # nor is who rang the coordinator any longer
                return verdict
        return None

    def _look(self, wait: Wait) -> Verdict | None:
        """The verdict, if there is one, or is one after a pass that is made here."""
        verdict = self._verdict(wait.seq)
        self._held_up_by = None
        return verdict or self._verdict_of_pass(wait)

    def _verdict_of_pass(self, wait: Wait) -> Verdict | None:
        try:
            passed = self._passing.make_or_ring(wait.bell)
        except FileBusy as error:  # somebody has ledger or board locked, who may let go of it
            self._held_up_by = error
            return None
        return self._verdict(wait.seq) if passed else None

    def _verdict(self, seq: int) -> Verdict | None:
        """The verdict on this shard's change; where a profile has two shards, the same seq is another change in the
        other one. Then there is no verdict on this one, and its shard is quarantined."""
        try:
            found = self._board.own_verdict(self._shard.profile, seq)
        except BoardMissing:
            return None
        if found is None:
            return None
        verdict, merged = found
        self._check_open()
        if not self._shard.was_merged(merged):
            return None
        self._merged_to = max(self._merged_to, seq)
        return verdict

    def _undecided(self, wait: Wait, cut_off: str | None, waited_s: float) -> Undecided:
        """That there is no verdict: because this host is ``cut_off``, or patience is over."""
        facts: dict[str, Any] = {"seq": wait.seq, "profile": self._shard.profile, "task_id": wait.task_id}
        if cut_off is not None:
            return Undecided(waited_s=round(waited_s, 1), why=cut_off, **facts)
        if quarantine := self._why_quarantined():
            return Quarantined(waited_s=wait.patience_s, why=quarantine, **facts)
        return Undecided(waited_s=wait.patience_s, why=self._why_undecided(), **facts)

    def _why_cut_off(self, began_ms: int) -> str | None:
        return inline_merge.why_cut_off(self._board.paths, began_ms - inline_merge.ASK_AGAIN_MS)

    def _why_quarantined(self) -> str | None:
        """Why no pass takes anything from this profile's shard, and the cure, if it is quarantined."""
        with contextlib.suppress(KanbanError):  # then that is what holds it up
            return inline_merge.why_quarantined(self._board.paths, self._shard.profile, self._board.watermarks)
        return None

    def _why_undecided(self) -> str:
        if self._held_up_by is not None:
            return self._held_up_by.happened
        return inline_merge.why_undecided(self._board.paths)
