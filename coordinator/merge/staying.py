"""Staying: a gateway that makes passes in a row stays coordinator between them, in a thread of its own.

To open ledger, board and shards for each pass, and to close them, takes several times as long as the pass. So for a
moment a gateway does what a daemon does: it holds the lock, keeps the files open, hangs the coordinator's bell up, and
makes a pass whenever it rings. Nothing is open for writing here without the lock (docs/design/sqlite.md, law 2), and
nothing holds it for long: the thread lets go when nothing happens, when its time is over, when its gateway is closed,
and at once when somebody stands in line for the lock.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextlib import closing

from kanban_shards.bell import Bell, Ringer
from kanban_shards.coordinator.merge.coordinator import Coordinator, Report
from kanban_shards.coordinator.merge.coordinator_lock import GATEWAY, is_asked_for, release, write_note
from kanban_shards.errors import KanbanError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock

# Who has nothing to do for so long lets go.
IDLE_S = 0.1
# And whoever does has the next one take its turn: this process has other things to do than to serve all others.
LONGEST_S = 2.0
# How soon a shard that was busy is looked at again, and then less and less often.
BUSY_AGAIN_S = 0.01
# For so long it goes on when it is to let go and there is more to collect.
LAST_PASSES_S = 0.5
# A fork waits for a pass that is being made, but not for one that hangs.
FORK_WAIT_S = 1.0

# What the thread is called.
THREAD = "kanban-shards passes"

_all: weakref.WeakSet[Stay] = weakref.WeakSet()


class _Asked:
    """Somebody who waits for a pass that begins after this; ``was_made``: whether there was one."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.was_made = False


class Stay:
    """Is the coordinator of the board at ``paths`` for a moment, unless somebody else is. Safe to use from several
    threads; a fork's copy does nothing."""

    def __init__(self, paths: BoardPaths) -> None:
        self._paths = paths
        self._asked: list[_Asked] = []
        self._guard = threading.Lock()
        self._trouble: KanbanError | OSError | None = None
        self._is_over = False
        self._ends = threading.Event()
        # Held by the thread except where it waits for the bell, so that no fork copies a SQLite at work.
        self._at_work = threading.Lock()
        self._thread = threading.Thread(target=self._stay, name=THREAD, daemon=True)
        _all.add(self)

    def begin(self) -> bool:
        """Take the lock and make a pass. Returns False if somebody else has it, or wants to have it, and for a board
        that is shared with other hosts, of which each pass may wait for a network. Raises the StorageErrors of files
        that cannot be used."""
        first = self._ask()
        if self._paths.is_shared or is_asked_for(self._paths) or not self._is_started():
            self._be_over()
        first.is_over.wait()
        if self._trouble is not None:
            raise self._trouble
        return first.was_made

    def make_pass(self) -> bool:
        """Have a pass made that begins now. Returns False if this is the coordinator no longer, for whatever reason;
        who makes the pass then is told it."""
        asked = self._ask()
        if not asked.is_over.is_set():
            self._wake()
        asked.is_over.wait()
        return asked.was_made

    def end(self) -> None:
        """Make a last pass, if need be, and let go; returns when files and lock are closed."""
        self._ends.set()
        if self._thread.is_alive():
            self._wake()
            self._thread.join()

    def _ask(self) -> _Asked:
        asked = _Asked()
        with self._guard:
            if self._is_over:
                asked.is_over.set()
            else:
                self._asked.append(asked)
        return asked

    def _wake(self) -> None:
        with closing(Ringer()) as ringer:
            ringer.ring(self._paths.coordinator_bell)

    def _stay(self) -> None:
        with self._at_work:
            try:
                self._coordinate()
            except (KanbanError, OSError) as trouble:  # said by whoever makes the next pass, and finds it too
                self._trouble = trouble
            finally:
                self._be_over()

    def _is_started(self) -> bool:
        try:
            self._thread.start()
        except RuntimeError:  # as many as the system permits, or the process ends
            return False
        return True

    def _be_over(self) -> None:
        with self._guard:
            self._is_over = True
        self._answer(self._taken(), was_made=False)

    def _coordinate(self) -> None:
        lock = FileLock(self._paths.coordinator_lock)
        if not lock.try_acquire():
            lock.close()
            return
        try:
            write_note(lock, GATEWAY)
            with Coordinator(self._paths, lock) as coordinator, closing(Bell(self._paths.coordinator_bell)) as bell:
                if bell.fileno() >= 0:
                    self._serve(coordinator, bell)
                bell.close()  # whoever rang before this wrote before, and is merged by this
                self._pass_until(coordinator, time.monotonic() + LAST_PASSES_S)
        finally:
            release(self._paths, lock)

    def _serve(self, coordinator: Coordinator, bell: Bell) -> None:
        until_s, pause_s = time.monotonic() + LONGEST_S, BUSY_AGAIN_S
        while True:
            bell.hush()
            report = self._pass(coordinator)
            if self._ends.is_set() or time.monotonic() > until_s or is_asked_for(self._paths):
                return
            pause_s = min(2 * pause_s, IDLE_S) if report.busy else BUSY_AGAIN_S
            if not report.more and not self._is_rung(bell, pause_s if report.busy else IDLE_S) and not report.busy:
                return

    def _is_rung(self, bell: Bell, longest_s: float) -> bool:
        self._at_work.release()
        try:
            return bell.wait(longest_s)
        finally:
            self._at_work.acquire()

    def _pass(self, coordinator: Coordinator) -> Report:
        asked = self._taken()
        try:
            report = coordinator.make_pass(patient=False)
        except BaseException:
            with self._guard:  # they are told when the lock is free
                self._asked += asked
            raise
        self._answer(asked, was_made=True)
        return report

    def _pass_until(self, coordinator: Coordinator, until_s: float) -> None:
        while self._pass(coordinator).more and time.monotonic() < until_s:
            pass

    def _taken(self) -> list[_Asked]:
        with self._guard:
            asked, self._asked = self._asked, []
        return asked

    def _answer(self, asked: list[_Asked], was_made: bool) -> None:
        for each in asked:
            each.was_made = was_made
            each.is_over.set()


_paused: list[threading.Lock] = []


def _pause_all() -> None:
    for each in list(_all):
        if each._at_work.acquire(timeout=FORK_WAIT_S):
            _paused.append(each._at_work)


def _go_on() -> None:
    while _paused:
        _paused.pop().release()


def _forget_all() -> None:
    _paused.clear()
    _all.clear()


os.register_at_fork(before=_pause_all, after_in_parent=_go_on, after_in_child=_forget_all)
