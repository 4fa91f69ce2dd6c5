"""The daemon: a coordinator that stays. It sleeps until the bell rings or a second is over, and makes passes.

It says one thing for each change of state, not one for each pass: a shard that is quarantined is named once, and once
more when it is read again.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from coordinator.collect import QUARANTINED
from coordinator.lock import DAEMON, take
from coordinator.passes import Coordinator, Report
from shards.bell import Bell
from shards.errors import KanbanError
from shards.names import BoardPaths

log = logging.getLogger("kanban-merge")

# A bell that was lost costs at most this.
SWEEP_S = 1.0
# A gateway that makes a pass itself needs milliseconds; whoever holds the lock longer is a coordinator that stays.
LOCK_WAIT_S = 2.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Daemon:
    """Serves one board until ``stop`` is called or SIGTERM or SIGINT arrives."""

    def __init__(self, paths: BoardPaths) -> None:
        self.paths = paths
        self._stopping = False
        self._troubles: set[str] = set()

    def run(self) -> None:
        """Take the lock and serve. Returns when asked to stop, within a pass. Raises CoordinatorRunning,
        StorageError."""
        lock = take(self.paths, DAEMON, LOCK_WAIT_S)
        try:
            with _signals(self.stop) as signalled, Coordinator(self.paths, lock) as coordinator:
                bell = Bell(self.paths.coordinator_bell)
                try:
                    log.info("process %d merges the shards of %s", os.getpid(), self.paths.folder)
                    self._serve(coordinator, bell, signalled)
                finally:
                    bell.close()
        finally:
            lock.close()
        log.info("stopped")

    def stop(self) -> None:
        """Finish the pass that is being made, and return from ``run``."""
        self._stopping = True

    def _serve(self, coordinator: Coordinator, bell: Bell, signalled: socket.socket) -> None:
        while not self._stopping:
            report = self._make_pass(coordinator)
            if not report.more:
                watched = [signalled, *([bell] if bell.fileno() >= 0 else [])]
                select.select(watched, [], [], SWEEP_S)
                bell.hush()

    def _make_pass(self, coordinator: Coordinator) -> Report:
        troubles: dict[str, str] = {}
        report = Report()
        try:
            if coordinator.foreign_commit():
                log.error("another process wrote %s; run `kanban-merge verify`", self.paths.board)
            report = coordinator.make_pass()
            troubles = {left.profile: left.why for left in report.left if left.state == QUARANTINED}
        except KanbanError as error:
            troubles = {"": str(error)}
        self._say_what_changed({f"shard of {who}: {why}" if who else why for who, why in troubles.items()})
        return report

    def _say_what_changed(self, troubles: set[str]) -> None:
        for trouble in sorted(troubles - self._troubles):
            log.warning("%s", trouble)
        for trouble in sorted(self._troubles - troubles):
            log.info("over: %s", trouble)
        self._troubles = troubles


@contextmanager
def _signals(stop) -> Iterator[socket.socket]:
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
