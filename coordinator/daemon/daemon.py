"""The daemon: a coordinator that stays. It sleeps until a bell rings or a second is over, and makes passes.

It serves one board, or every board of a home; each has its own lock, ledger and bell, and the trouble of one is no
other's (coordinator/daemon/served_board.py). It says one thing for each change of state, not one for each pass: a shard
that is quarantined is named once, and once more when it is read again.
"""

from __future__ import annotations

import logging
import os
import resource
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kanban_shards import wording
from kanban_shards.boards import boards
from kanban_shards.coordinator.backup.schedule import BackupSchedule
from kanban_shards.coordinator.daemon.apart import BoardApart
from kanban_shards.coordinator.daemon.pass_times import PassTimes
from kanban_shards.coordinator.daemon.served_board import ServedBoard, Stopped
from kanban_shards.coordinator.daemon.supervisor import Supervisor
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON
from kanban_shards.errors import CoordinatorRunning, ForeignFile, KanbanError, LegacyBoard, NewerSchema, NoSharedMemory
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths

log = logging.getLogger("kanban-merge")

# A bell that was lost costs at most this, and a standby takes over this soon.
SWEEP_S = 1.0
# A gateway that makes a pass itself needs milliseconds; whoever holds the lock longer is a coordinator that stays.
LOCK_WAIT_S = 2.0
# Shorter when several boards are served, so that one contended board does not delay the others.
LOCK_WAIT_BESIDE_OTHERS_S = 0.05
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What time does not cure: a person has to choose another folder, or another version.
_FOR_A_PERSON = (LegacyBoard, NewerSchema, ForeignFile, NoSharedMemory)


class Daemon:
    """Serves one board until ``stop`` is called or SIGTERM or SIGINT arrives.

    ``stands_by``: wait while another coordinator serves it. ``backup_every_s``: how often a backup is made; None for
    never. ``supervisor`` is told how it goes.
    """

    lock_wait_s = LOCK_WAIT_S

    def __init__(
        self,
        paths: BoardPaths,
        stands_by: bool = False,
        backup_every_s: float | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.paths = paths
        self._stands_by = stands_by
        self._backup_every_s = backup_every_s
        self._supervisor = supervisor or Supervisor()
        self._stopping = False
        self._served: dict[Path, ServedBoard | BoardApart] = {}

    def run(self) -> None:
        """Serve. Returns when asked to stop, within a pass. Raises, before it serves, CoordinatorRunning for another
        daemon and the StorageErrors that only a person can end."""
        _allow_many_files()
        try:
            with selectors.DefaultSelector() as bells, _signals(self.stop) as signaled:
                bells.register(signaled, selectors.EVENT_READ)
                try:
                    self._begin(bells)
                    self._serve(bells)
                except Stopped:
                    pass
                finally:
                    self._supervisor.stopping()
                    for board in self._served.values():
                        board.close()
        finally:
            self._served.clear()
        log.info("stopped")

    def stop(self) -> None:
        """Finish the pass that is being made, and return from ``run``."""
        self._stopping = True

    def _begin(self, bells: selectors.BaseSelector) -> None:
        """Refuse to start where this daemon would do nothing for as long as it runs."""
        board = self._served[self.paths.folder] = self._made_here(self.paths, bells)
        try:
            board.open()
        except CoordinatorRunning as running:
            if running.role == DAEMON and not self._stands_by:
                raise  # anybody else lets go when a pass or a command is over, and is waited for
        except _FOR_A_PERSON:
            raise
        except KanbanError:
            pass  # the sweep that follows says it, and tries again

    def _serve(self, bells: selectors.BaseSelector) -> None:
        ready, next_sweep, times = False, 0.0, PassTimes(bells)
        while not self._stopping:
            if time.monotonic() >= next_sweep:
                for board in self._boards(bells):
                    self._unless_stopping()
                    board.sweep()
                    times.at_once(board)
                next_sweep = time.monotonic() + min(SWEEP_S, self._supervisor.interval_s)
            times.make_due(unless=lambda: self._stopping)
            self._tell_supervisor(ready)
            ready = True
            times.sleep(0.0 if self._stopping else next_sweep)

    def _tell_supervisor(self, ready: bool) -> None:
        """That it is alive, unless every board fails by a bug of this program, which a restart may end."""
        if not ready:
            self._supervisor.ready()
        if any(board.works for board in self._served.values()):
            self._supervisor.alive()
        serving = sum(board.is_open for board in self._served.values())
        troubled = sum(board.is_troubled for board in self._served.values())
        self._supervisor.status(
            f"merges {serving} of {wording.many(len(self._served), 'board')}; {troubled} to be looked at"
        )

    def _boards(self, bells: selectors.BaseSelector) -> list[ServedBoard | BoardApart]:
        """The boards that are to be served now; those that no longer are, or no longer so, are let go."""
        there = {paths.folder: paths for paths in self._wanted()}
        for folder, board in [*self._served.items()]:
            if folder not in there or not self._serves_rightly(board, there[folder]):
                self._served.pop(folder).release()
        for folder, paths in there.items():
            if folder not in self._served:
                self._served[folder] = self._made(paths, bells)
        return [self._served[folder] for folder in there]

    def _made(self, paths: BoardPaths, bells: selectors.BaseSelector) -> ServedBoard | BoardApart:
        return self._made_here(paths, bells)

    def _made_here(self, paths: BoardPaths, bells: selectors.BaseSelector) -> ServedBoard:
        backups = BackupSchedule(paths, self._backup_every_s) if self._backup_every_s else None
        return ServedBoard(
            paths, self._where(paths), self._unless_stopping, bells, self.lock_wait_s, self._stands_by, backups
        )

    def _serves_rightly(self, board: ServedBoard | BoardApart, paths: BoardPaths) -> bool:
        return True

    def _wanted(self) -> list[BoardPaths]:
        return [self.paths]

    def _where(self, paths: BoardPaths) -> str:
        return ""

    def _unless_stopping(self, done: int = 0, total: int = 0) -> None:
        if self._stopping:
            raise Stopped
        self._supervisor.alive()


class HomeDaemon(Daemon):
    """Serves every board of the home ``root``, those made later too. A board that another process coordinates, or that
    cannot be used, is tried again at each sweep while the others go on."""

    lock_wait_s = LOCK_WAIT_BESIDE_OTHERS_S

    def __init__(
        self,
        root: Path,
        stands_by: bool = False,
        backup_every_s: float | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        super().__init__(BoardPaths.of(root, DEFAULT_BOARD), stands_by, backup_every_s, supervisor)
        self._root = root
        self._known: list[BoardPaths] = []

    def _begin(self, bells: selectors.BaseSelector) -> None:
        """Start in any case: the next board that is made may be one that it can serve."""

    def _wanted(self) -> list[BoardPaths]:
        try:
            self._known = boards(self._root)
        except OSError as error:  # the folder cannot be listed now: no reason to let its boards go
            log.debug("%s cannot be listed: %s", self._root, error)
        return self._known

    def _where(self, paths: BoardPaths) -> str:
        return f"board {paths.slug}: "

    def _made(self, paths: BoardPaths, bells: selectors.BaseSelector) -> ServedBoard | BoardApart:
        """A shared board is served apart: the service that its hosts share may be silent."""
        if not paths.is_shared:
            return self._made_here(paths, bells)
        return BoardApart(lambda its_bells: self._made_here(paths, its_bells), SWEEP_S)

    def _serves_rightly(self, board: ServedBoard | BoardApart, paths: BoardPaths) -> bool:
        return isinstance(board, BoardApart) == paths.is_shared


def _allow_many_files() -> None:
    """As many as the system lets this user have: each board needs about nine, and one or two more for each shard."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):  # macOS names no limit and then refuses it
        pass


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[int]:
    """STOP_SIGNALS call ``stop`` and make the yielded descriptor readable, so that a sleeping daemon wakes at once."""
    reading, writing = os.pipe()  # no sockets, which may be forbidden here
    os.set_blocking(writing, False)
    former_wakeup = signal.set_wakeup_fd(writing)
    former = {number: signal.signal(number, lambda *_: stop()) for number in STOP_SIGNALS}
    try:
        yield reading
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_wakeup)
        os.close(reading)
        os.close(writing)
