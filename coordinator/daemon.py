"""The daemon: a coordinator that stays. It sleeps until a bell rings or a second is over, and makes passes.

It serves one board, or every board of a home; each has its own lock, ledger and bell, and the trouble of one is no
other's. It says one thing for each change of state, not one for each pass: a shard that is quarantined is named once,
and once more when it is read again.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from coordinator.backups import Schedule
from coordinator.collect import QUARANTINED
from coordinator.lock import DAEMON, take
from coordinator.passes import Coordinator, Progress, Report
from shards import sqlite
from shards.bell import Bell
from shards.boards import boards
from shards.errors import KanbanError
from shards.names import DEFAULT_BOARD, BoardPaths

log = logging.getLogger("kanban-merge")

# A bell that was lost costs at most this.
SWEEP_S = 1.0
# A gateway that makes a pass itself needs milliseconds; whoever holds the lock longer is a coordinator that stays.
LOCK_WAIT_S = 2.0
# The same beside other boards, which do not wait for this one: it is tried again at the next sweep.
LOCK_WAIT_BESIDE_OTHERS_S = 0.05
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Troubles:
    """What is wrong with a board now, said when it begins and when it is over. ``where`` begins each sentence."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._known: set[str] = set()

    def are(self, now: set[str]) -> None:
        """These are all there are now."""
        for trouble in sorted(now - self._known):
            log.warning("%s%s", self._where, trouble)
        for trouble in sorted(self._known - now):
            log.info("over: %s%s", self._where, trouble)
        self._known = now


class Stopped(Exception):
    """The daemon was asked to stop while a board caught up with its ledger."""


class Served:
    """A board that this process serves: its lock, its coordinator and its bell.

    ``wait_s``: how long to wait for the lock. ``backup_every_s``: how often a backup is made; None for never.
    ``progress`` is told while the board catches up with its ledger, and may raise to stop that. Raises
    CoordinatorRunning, StorageError.
    """

    def __init__(
        self, paths: BoardPaths, wait_s: float, troubles: Troubles, backup_every_s: float | None, progress: Progress
    ) -> None:
        self.paths = paths
        self._troubles = troubles
        self._lock = take(paths, DAEMON, wait_s)
        try:
            self._coordinator = Coordinator(paths, self._lock, progress)
        except BaseException:
            self._lock.close()
            raise
        self._identity = sqlite.identity(paths.coordinator_lock)
        self._backups = Schedule(paths, backup_every_s) if backup_every_s else None
        self.bell = Bell(paths.coordinator_bell)
        log.info("process %d merges the shards of %s", os.getpid(), paths.folder)

    def make_pass(self) -> bool:
        """One pass; returns whether there is more to collect."""
        self.bell.hush()
        report = Report()
        troubles = self._backups.run_if_due() if self._backups else set()
        try:
            if self._coordinator.foreign_commit():
                log.error("another process wrote %s; run `kanban-merge verify`", self.paths.board)
            report = self._coordinator.make_pass()
            troubles |= {f"shard of {it.profile}: {it.why}" for it in report.left if it.state == QUARANTINED}
        except KanbanError as error:
            troubles |= {str(error)}
        self._troubles.are(troubles)
        return report.more

    def is_there(self) -> bool:
        """Whether the board's folder still lies where it lay."""
        return sqlite.identity(self.paths.coordinator_lock) == self._identity

    def close(self) -> None:
        """Close the files, and let the next coordinator in."""
        if self._backups:
            self._backups.close()
        self.bell.close()
        self._coordinator.close()
        self._lock.close()


class Daemon:
    """Serves one board until ``stop`` is called or SIGTERM or SIGINT arrives. ``backup_every_s``: see ``Served``."""

    def __init__(self, paths: BoardPaths, backup_every_s: float | None = None) -> None:
        self.paths = paths
        self._backup_every_s = backup_every_s
        self._stopping = False
        self._served: dict[Path, Served] = {}

    def run(self) -> None:
        """Serve. Returns when asked to stop, within a pass. Raises CoordinatorRunning, StorageError."""
        try:
            with selectors.DefaultSelector() as bells, _signals(self.stop) as signalled:
                bells.register(signalled, selectors.EVENT_READ)
                self._serve(bells)
        except Stopped:
            pass
        finally:
            for folder in list(self._served):
                self._served.pop(folder).close()
        log.info("stopped")

    def stop(self) -> None:
        """Finish the pass that is being made, and return from ``run``."""
        self._stopping = True

    def _unless_stopping(self, done: int, total: int) -> None:
        if self._stopping:
            raise Stopped

    def _serve(self, bells: selectors.BaseSelector) -> None:
        awake: set[Served] = set()
        next_sweep = 0.0
        while not self._stopping:
            if time.monotonic() >= next_sweep:
                self._look_for_boards(bells)
                awake = set(self._served.values())
                next_sweep = time.monotonic() + SWEEP_S
            more = set()
            for board in awake:
                if not self._stopping and self._pass_over(board, bells):
                    more.add(board)
            sleep_s = 0 if more or self._stopping else max(0.0, next_sweep - time.monotonic())
            awake = more | {key.data for key, _ in bells.select(sleep_s) if key.data is not None}

    def _look_for_boards(self, bells: selectors.BaseSelector) -> None:
        if not self._served:
            self._add(self._serve_board(self.paths, LOCK_WAIT_S, Troubles("")), bells)

    def _serve_board(self, paths: BoardPaths, wait_s: float, troubles: Troubles) -> Served:
        return Served(paths, wait_s, troubles, self._backup_every_s, self._unless_stopping)

    def _pass_over(self, board: Served, bells: selectors.BaseSelector) -> bool:
        return board.make_pass()

    def _add(self, board: Served, bells: selectors.BaseSelector) -> None:
        self._served[board.paths.folder] = board
        if board.bell.fileno() >= 0:
            bells.register(board.bell, selectors.EVENT_READ, board)


class HomeDaemon(Daemon):
    """Serves every board of the home ``root``, those made later too. A board that another process coordinates, or that
    cannot be used, is tried again at each sweep while the others go on."""

    def __init__(self, root: Path, backup_every_s: float | None = None) -> None:
        super().__init__(BoardPaths.of(root, DEFAULT_BOARD), backup_every_s)
        self._root = root
        self._troubles: dict[Path, Troubles] = {}

    def _look_for_boards(self, bells: selectors.BaseSelector) -> None:
        there = {paths.folder: paths for paths in boards(self._root)}
        for folder, board in list(self._served.items()):
            if folder not in there or not board.is_there():
                self._drop(board, bells)
        self._troubles = {folder: known for folder, known in self._troubles.items() if folder in there}
        for paths in [paths for folder, paths in there.items() if folder not in self._served]:
            if self._stopping:
                return
            with self._keeping_trouble_apart(paths) as troubles:
                self._add(self._serve_board(paths, LOCK_WAIT_BESIDE_OTHERS_S, troubles), bells)

    def _pass_over(self, board: Served, bells: selectors.BaseSelector) -> bool:
        if board.is_there():
            with self._keeping_trouble_apart(board.paths):
                return board.make_pass()
        self._drop(board, bells)
        return False

    def _drop(self, board: Served, bells: selectors.BaseSelector) -> None:
        del self._served[board.paths.folder]
        if board.bell.fileno() >= 0:
            bells.unregister(board.bell)
        with self._keeping_trouble_apart(board.paths):
            board.close()
            log.info("process %d no longer merges the shards of %s", os.getpid(), board.paths.folder)

    @contextmanager
    def _keeping_trouble_apart(self, paths: BoardPaths) -> Iterator[Troubles]:
        """Whatever goes wrong with this board, a fault of this program included, is said and stops no other."""
        troubles = self._troubles.setdefault(paths.folder, Troubles(f"board {paths.slug}: "))
        try:
            yield troubles
        except Stopped:
            raise
        except KanbanError as error:
            troubles.are({str(error)})
        except Exception as error:
            troubles.are({f"{error!r}; `kanban-merge --board {paths.slug} daemon` says where"})


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[socket.socket]:
    """STOP_SIGNALS call ``stop`` and make the yielded socket readable, so that a sleeping daemon wakes at once."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    former_wakeup = signal.set_wakeup_fd(writing.fileno())
    former = {number: signal.signal(number, lambda *_: stop()) for number in STOP_SIGNALS}
    try:
        yield reading
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_wakeup)
        reading.close()
        writing.close()
