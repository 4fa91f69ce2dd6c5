"""A served board: opened by the daemon when that is possible, healed where that is safe, released when it is another's.

While a board cannot be served its lock is free, so that a gateway which needs a verdict is told the reason and not to
wait, and a person can repair the board without stopping the daemon.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kanban_shards.bell import Bell, Rings
from kanban_shards.coordinator.backup.schedule import BackupSchedule
from kanban_shards.coordinator.daemon.healing import Healer, Watch
from kanban_shards.coordinator.daemon.troubles import Troubles
from kanban_shards.coordinator.daemon.waiters import Waiters
from kanban_shards.coordinator.errors import BoardAndLedgerGone, FileReplaced, LedgerBehind, NotCoordinator
from kanban_shards.coordinator.health.strangers import swollen
from kanban_shards.coordinator.merge.collector import QUARANTINED
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON, holder, lost_place, release, take
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.errors import CoordinatorRunning, Damaged, FileBusy, KanbanError, StorageError, TooManyFiles
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock, descriptors_left

if TYPE_CHECKING:
    from kanban_shards.coordinator.daemon.link import Link

log = logging.getLogger("kanban-merge")

# For the passes over the boards that are open, which read shards.
FILES_KEPT_FREE = 32
# How soon a shard that was busy is looked at again, and then less and less often: whoever writes it rings when it is
# through; whoever only reads it, as `status` does, rings nobody; and whoever is stopped holds it for any time.
BUSY_AGAIN_S = 0.01
# How soon after a pass what nobody waits for has the next one: what is written in quick succession shares it.
GATHER_S = 0.01
# Of a lock, in place of the time when somebody else took it.
FREE = -1


class Stopped(Exception):
    """The daemon was asked to stop while a board caught up with its ledger."""


@dataclass
class _OpenBoard:
    """What the daemon has of a board while it is its coordinator."""

    lock: FileLock
    coordinator: Coordinator
    bell: Bell
    waiters: Waiters


class ServedBoard:
    """One board. ``where`` begins each line about it; ``progress`` is told while it catches up, and may raise to stop
    that; its bell is registered with ``bells``. ``works`` is False after an error that nobody foresaw.

    ``lock_wait_s``: how long to wait for a lock that is held by somebody who makes a pass or two. ``stands_by``: that
    another daemon serves it is as it should be. ``backups``: when they are made, if this daemon has them made.
    """

    def __init__(
        self,
        paths: BoardPaths,
        where: str,
        progress: ProgressCallback,
        bells: selectors.BaseSelector,
        lock_wait_s: float,
        stands_by: bool,
        backups: BackupSchedule | None = None,
    ) -> None:
        self.paths = paths
        self.troubles = Troubles(where)
        self.works = True
        self._where = where
        self._progress = progress
        self._bells = bells
        self._lock_wait_s = lock_wait_s
        self._stands_by = stands_by
        self._backups = backups
        self._healer = Healer(paths, where)
        self._watch = Watch(paths)
        self._open: _OpenBoard | None = None
        self._was_served = False
        self._hindered: set[str] = set()
        self._busy_pause_s = BUSY_AGAIN_S
        self._passed_s = float("-inf")
        self._said_so = False
        self._elsewhere_since_ms: int | None = FREE
        self._link: Link | None = None
        self._known: set[str] = set()

    @property
    def is_troubled(self) -> bool:
        """Whether something is wrong with it."""
        return bool(self.troubles)

    @property
    def is_open(self) -> bool:
        """Whether this process is the board's coordinator now."""
        return self._open is not None

    def open(self) -> None:
        """Become the board's coordinator. Raises CoordinatorRunning, StorageError."""
        if descriptors_left() < FILES_KEPT_FREE:
            raise self._too_many_files()
        lock = take(self.paths, DAEMON, self._wait_s())
        self._elsewhere_since_ms = FREE
        with ExitStack() as undo:
            undo.callback(release, self.paths, lock)
            self._reach_others()
            waiters = Waiters(self._rings)
            undo.callback(waiters.close)
            coordinator = self._open_files(lock, waiters)
            undo.callback(coordinator.close)
            self._open = _OpenBoard(lock, coordinator, self._hung_bell(), waiters)
            undo.pop_all()
        if not self._said_so:
            log.info("process %d merges the shards of %s", os.getpid(), self.paths.folder)
            self._said_so = True

    def sweep(self) -> None:
        """Open the board if it is not open, and see to its bell; whatever is wrong with it is said."""
        with self._keeping_trouble_apart():
            if self._open is None:
                self.open()
            elif not self._open.bell.is_there():
                self._take_bell_down(self._open.bell)
                self._open.bell = self._hung_bell()
            if self._open is not None:
                if self._link is not None:
                    self._link.heed()
                self._look_from_outside(self._open)

    def heard(self, bell: object) -> float:
        """One of its bells rang; returns in how many seconds a pass should be made."""
        board = self._open
        if board is None or bell is not board.bell:
            return 0.0
        rings = board.waiters.hear()
        return 0.0 if rings.waits else max(0.0, self._passed_s + GATHER_S - time.monotonic())

    def make_pass(self) -> float | None:
        """One pass, if the board is open. Returns in how many seconds the next one should be made if no bell rings
        before, or None if that has time until the next sweep. What is wrong is said."""
        pause_s = None
        with self._keeping_trouble_apart():
            if self._open is not None:
                pause_s = self._pass(self._open)
        return pause_s

    def release(self) -> None:
        """Be its coordinator no longer, for a reason that is no trouble."""
        self.close()
        if self._said_so:
            log.info("process %d no longer merges the shards of %s", os.getpid(), self.paths.folder)
            self._said_so = False
        self._was_served = False  # what lies there next may be another board

    def close(self) -> None:
        """Close the files, and let the next coordinator in."""
        self._close_files()
        self._lose_others()

    def _close_files(self) -> None:
        if self._link is not None:
            self._link.mute()
        if self._backups is not None:
            self._backups.close()
        board, self._open = self._open, None
        if board is not None:
            self._take_bell_down(board.bell)
            board.coordinator.close()
            board.waiters.close()
            release(self.paths, board.lock)

    def _pass(self, board: _OpenBoard) -> float | None:
        board.waiters.hear()
        try:
            if board.coordinator.foreign_commit():
                log.error("%sanother process wrote %s; run `kanban-merge verify`", self._where, self.paths.board)
            report = board.coordinator.make_pass(patient=False)
        except FileReplaced as error:
            self._reopen(board)
            log.warning("%s%s was removed or replaced; what lies there now is used", self._where, error.path)
            return 0.0
        except (Damaged, LedgerBehind) as error:
            self._reopen(board, error)
            return 0.0
        self._passed_s = time.monotonic()
        late = (
            Rings()
            if report.more
            else board.waiters.ring_rest(self.paths.folder, {it.profile for it in report.skipped})
        )
        troubles = {f"shard of {it.profile}: {it.why}" for it in report.skipped if it.state == QUARANTINED or it.stuck}
        if self._backups is not None:
            troubles |= self._backups.run_if_due()
        self._known = troubles | board.coordinator.troubles
        self.troubles.are(self._known | self._hindered | _trouble_with(board.bell))
        pause_s = self._busy_pause_s
        self._busy_pause_s = 2 * pause_s if report.busy else BUSY_AGAIN_S
        if report.more or late.waits:
            return 0.0
        if late.count:
            return GATHER_S
        return pause_s if report.busy else None

    def _rings(self) -> Rings:
        return self._open.bell.rings() if self._open is not None else Rings()

    def _look_from_outside(self, board: _OpenBoard) -> None:
        self._hindered = {f"{each.path}-wal grows without bound: {each.why}" for each in swollen(self.paths)}
        try:
            self._watch.look()
        except Damaged as error:
            self._reopen(board, error)

    def _reopen(self, board: _OpenBoard, broken: StorageError | None = None) -> None:
        """Open the files again; first heal the one that is ``broken``. If that fails, the board is no longer open."""
        board.coordinator.close()
        try:
            if broken is not None:
                self._heal(broken, board.lock)
            board.coordinator = self._open_files(board.lock, board.waiters)
        except BaseException as error:
            moved = lost_place(board.lock) if isinstance(error, KanbanError | OSError) else None
            self._close_files()
            if moved:
                raise moved from error
            raise

    def _heal(self, broken: StorageError, lock: FileLock) -> None:
        if moved := lost_place(lock):
            raise moved from broken
        self._healer.heal(broken, lock, self._progress)

    def _open_files(self, lock: FileLock, waiters: Waiters) -> Coordinator:
        are_gone = not self.paths.board.exists() and not self.paths.ledger.exists()
        if self._was_served and are_gone and self._link is None:
            raise BoardAndLedgerGone(board=self.paths.board, ledger=self.paths.ledger)
        while True:
            try:
                far = self._link.far if self._link is not None else None
                coordinator = Coordinator(self.paths, lock, self._progress, far, waiters)
                break
            except (Damaged, LedgerBehind) as error:
                self._healer.heal(error, lock, self._progress)
        if coordinator.made_board:
            log.warning("%s%s was missing, and is made again from its ledger", self._where, self.paths.board)
        self._was_served = True
        return coordinator

    def _reach_others(self) -> None:
        """Have a way to the hosts that share the board, if it is shared. Raises SharingStrange."""
        if not self.paths.is_shared:
            self._lose_others()
            return
        from kanban_shards.coordinator.daemon.link import Link
        from kanban_shards.sharing import read_sharing

        sharing = read_sharing(self.paths)
        if sharing is not None and (self._link is None or self._link.sharing != sharing):
            self._lose_others()
            self._link = Link(sharing, self._bells, self)

    def _lose_others(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _hung_bell(self) -> Bell:
        bell = Bell(self.paths.coordinator_bell)
        if bell.fileno() >= 0:
            self._bells.register(bell, selectors.EVENT_READ, self)
        return bell

    def _take_bell_down(self, bell: Bell) -> None:
        if bell.fileno() >= 0:
            self._bells.unregister(bell)
        bell.close()

    def _wait_s(self) -> float:
        """A gateway's own pass is soon over; a coordinator that stays is looked at again at the next sweep."""
        found = holder(self.paths)
        return 0.0 if found is not None and found.role == DAEMON else self._lock_wait_s

    @contextmanager
    def _keeping_trouble_apart(self) -> Iterator[None]:
        """Whatever goes wrong with this board, a fault of this program included, is said and stops no other."""
        try:
            yield
            self.works = True
        except Stopped:
            raise
        except NotCoordinator as error:
            self._no_longer(error)
        except CoordinatorRunning as error:
            self._leave_to(error)
        except FileBusy as error:
            self._wait(error)
        except TooManyFiles:
            self._wait(self._too_many_files())
        except KanbanError as error:
            outage = self._link.outage(error) if self._link is not None else None
            if outage is None:
                self._give_up(error)
            else:
                self._wait_for_others(outage)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                path, problem = error.filename or self.paths.folder, (error.strerror or str(error)).lower()
                self._give_up(StorageError(path=path, problem=problem))
            else:
                self._wait(self._too_many_files())
        except Exception as error:
            self.works = False
            self._close_files()
            self.troubles.are({f"{error!r} is a fault of this program; it is tried again"}, fault=error)

    def _leave_to(self, error: CoordinatorRunning) -> None:
        """Another process has the lock. Daemons that can all not use a board each take it for a moment, at each sweep;
        so where a trouble is known, it is one that the lock was held from one sweep to the next."""
        is_held_still = error.since_ms == self._elsewhere_since_ms
        self._elsewhere_since_ms = error.since_ms
        if is_held_still or not self.troubles:
            whom = error.holder if error.since_ms is None else f"the {error.holder}"
            self.troubles.are({f"stands by for {whom}" if self._stands_by else str(error)})

    def _wait(self, error: KanbanError) -> None:
        """Until it is over by itself; the board stays this process's, if it was."""
        if not self.is_open:
            self._close_files()
        elif self._link is not None:
            self._link.mute()
        self.troubles.are({str(error)})

    def _wait_for_others(self, outage: str) -> None:
        """Until they can be reached; the board stays this process's, and what is wrong with it besides is as it was."""
        if not self.is_open:
            self._close_files()
        self.troubles.are({outage} | (self._known | self._hindered if self.is_open else set()))

    def _too_many_files(self) -> TooManyFiles:
        """One sentence, whichever file it was."""
        return TooManyFiles(path=self.paths.folder)

    def _give_up(self, error: KanbanError) -> None:
        """Until the next sweep. Any file may be the first to notice that the folder was moved away."""
        moved = lost_place(self._open.lock) if self._open is not None else None
        if moved:
            self._no_longer(moved)
        else:
            self._close_files()
            self.troubles.are({str(error)})

    def _no_longer(self, error: NotCoordinator) -> None:
        """Another coordinator may work on this board by now, unless its folder went as a whole."""
        if self.paths.folder.exists():
            log.warning("%s%s", self._where, error)
        self.release()


def _trouble_with(bell: Bell) -> set[str]:
    if bell.problem is None:
        return set()
    return {f"{bell.path} cannot be hung up ({bell.problem}), so verdicts may take a second longer"}
