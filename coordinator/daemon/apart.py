"""A board that is served in a thread of its own, so that what it waits for keeps no other board waiting.

A pass over a shared board asks a service, which may be silent; every other pass waits for nothing but files.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Callable

from kanban_shards.coordinator.daemon.pass_times import PassTimes
from kanban_shards.coordinator.daemon.served_board import ServedBoard, Stopped


class BoardApart:
    """``make``: makes the board, with the selector of its bells; ``sweep_s``: how often it is swept. Called as a
    ServedBoard is, by the thread that serves the others."""

    def __init__(self, make: Callable[[selectors.BaseSelector], ServedBoard], sweep_s: float) -> None:
        self._make = make
        self._sweep_s = sweep_s
        self._board: ServedBoard | None = None
        self._thread: threading.Thread | None = None
        self._ends = False
        self._is_no_longer = False
        self._woken, self._wakes = os.pipe()

    @property
    def is_open(self) -> bool:
        """As of ServedBoard."""
        return self._board is not None and self._board.is_open

    @property
    def works(self) -> bool:
        """As of ServedBoard."""
        return self._board is None or self._board.works

    @property
    def is_troubled(self) -> bool:
        """As of ServedBoard."""
        return self._board is not None and self._board.is_troubled

    def sweep(self) -> None:
        """See to it that the board is served."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="board apart")
            self._thread.start()

    def make_pass(self) -> float | None:
        """The thread makes them."""
        return None

    def release(self) -> None:
        """As of ServedBoard."""
        self._is_no_longer = True
        self.close()

    def close(self) -> None:
        """As of ServedBoard; returns when a pass that is being made is over."""
        self._ends = True
        os.write(self._wakes, b"!")
        if self._thread is not None:
            self._thread.join()
        os.close(self._woken)
        os.close(self._wakes)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as bells:
            bells.register(self._woken, selectors.EVENT_READ)
            self._board = board = self._make(bells)
            try:
                self._make_passes(board, bells)
            except Stopped:
                pass
            finally:
                if self._is_no_longer:
                    board.release()
                board.close()

    def _make_passes(self, board: ServedBoard, bells: selectors.BaseSelector) -> None:
        next_sweep, times = 0.0, PassTimes(bells)
        while not self._ends:
            if time.monotonic() >= next_sweep:
                board.sweep()
                times.at_once(board)
                next_sweep = time.monotonic() + self._sweep_s
            times.make_due(unless=lambda: self._ends)
            times.sleep(next_sweep)
