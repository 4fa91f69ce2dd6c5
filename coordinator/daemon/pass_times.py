"""When the passes over served boards are due: at once, after a pause, or when what rings may share one."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Protocol


class Served(Protocol):
    """A board, as ServedBoard: registered with a selector as the data of its bells, if they ring here."""

    def make_pass(self) -> float | None:
        """As of ServedBoard."""


class PassTimes:
    """``bells``: those of the boards. What is registered there without data wakes, and means no pass."""

    def __init__(self, bells: selectors.BaseSelector) -> None:
        self._bells = bells
        self._due_s: dict[Served, float] = {}

    def at_once(self, board: Served) -> None:
        """A pass over the board is due now."""
        self._due_s[board] = 0.0

    def make_due(self, unless: Callable[[], bool]) -> None:
        """Make the passes that are due, ``unless`` no more is to be made."""
        now_s = time.monotonic()
        for board in [board for board, at_s in self._due_s.items() if at_s <= now_s]:
            del self._due_s[board]
            if not unless() and (pause_s := board.make_pass()) is not None:
                self._due_s[board] = time.monotonic() + pause_s

    def sleep(self, until_s: float) -> None:
        """Until a bell rings or a pass is due, and no longer than until ``until_s``, as ``time.monotonic`` has it."""
        until_s = min([until_s, *self._due_s.values()])
        for key, _ in self._bells.select(max(0.0, until_s - time.monotonic())):
            if (rung := key.data) is not None:
                at_s = time.monotonic() + rung.heard(key.fileobj)
                self._due_s[rung] = min(at_s, self._due_s.get(rung, at_s))
