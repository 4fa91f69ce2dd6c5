"""Passing: how one gateway has passes made: by the daemon, which it rings, or, where none is, by itself, one at a time,
and in a row without closing the files."""

from __future__ import annotations

import os
import threading
import time

from kanban_shards import inline_merge
from kanban_shards.bell import Bell, Ringer
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections
from kanban_shards.storage.locks import FileLock, is_mine

# Who needs a pass that soon after another one is likely to need more.
IN_A_ROW_S = 1.0


class Passing:
    """Makes the passes of one gateway over the board at ``paths``, or has the daemon make them. Safe to use from
    several threads; not across a fork.

    ``ringer``: rings the daemon; and those who wait, when a pass was made and the next one may be theirs.
    """

    def __init__(self, paths: BoardPaths, ringer: Ringer) -> None:
        self._paths = paths
        self._ringer = ringer
        self._lock = FileLock(paths.coordinator_lock)
        self._threads = threading.RLock()
        self._pid = os.getpid()
        self._stay: inline_merge.Stay | None = None
        self._last_s = float("-inf")
        self._is_served = False

    @property
    def silent_s(self) -> float:
        """How long ago the last pass was made."""
        return time.monotonic() - self._last_s

    @property
    def is_served(self) -> bool:
        """Whether a daemon had its bell out when it was rung last."""
        return self._is_served

    @property
    def is_interrupted(self) -> bool:
        """Whether this is called by a signal's handler that interrupts a pass of this very thread."""
        return is_mine(self._threads)

    def make(self) -> bool:
        """Make a pass, unless another thread or process does so now. Returns whether one was made. Raises the
        StorageErrors of a ledger or a board that cannot be used; Forked in a fork of the process that made
        this: the parent's threads are not there, and what they held would be waited for without end."""
        connections.check_same_process(self._paths.board, self._pid)
        if self.is_interrupted:
            return False
        try:
            if not self._threads.acquire(blocking=False) or not self._made():
                return False
            self._last_s = time.monotonic()
            return True
        finally:
            if self.is_interrupted:
                self._threads.release()

    def make_or_ring(self, waiting: Bell | None = None) -> bool:
        """Make a pass, or ask the coordinator for one; ``waiting``: see ``ring``. Returns whether it was made here.
        Raises as ``make`` does."""
        if self.make():
            return True
        self.ring(waiting)
        return False

    def ring(self, waiting: Bell | None = None) -> bool:
        """Tell the daemon that something is new, and that this thread waits for ``waiting``, if it does; returns
        whether one has its bell out."""
        at = self._paths.coordinator_bell
        self._is_served = self._ringer.ring(at) if waiting is None else self._ringer.call(at, waiting)
        return self._is_served

    def end_row(self) -> None:
        """Be the coordinator no longer, if this gateway is; what it wrote so far is merged then. Not for a signal's
        handler that interrupts a pass."""
        with self._threads:  # another thread's pass keeps the coordinator's lock to its end
            stay, self._stay = self._stay, None
            if stay is not None:
                stay.end()

    def close(self) -> None:
        """Close the lock, too; as ``end_row``."""
        self.end_row()
        with self._threads:
            self._lock.close()

    def _made(self) -> bool:
        if self._stay is not None and self._stay.make_pass():
            return True
        if self.silent_s < IN_A_ROW_S:
            self._stay = inline_merge.stay(self._paths)  # known before it begins, to be ended after a Ctrl-C, too
            if self._stay.begin():
                return True
        made = inline_merge.pass_if_free(self._paths, self._lock)
        if made:
            self._ringer.ring_next(self._paths.folder)
        return made
