"""How long a service is waited for: between two tries while there is an outage, and for a page over a slow link."""

from __future__ import annotations

import time

from kanban_shards.coordinator.shared.errors import Unreachable, unreachable
from kanban_shards.coordinator.shared.far import PAGE_BYTES
from kanban_shards.errors import KanbanError

# What an answer may take.
DEADLINE_S = 2.0
# Between two tries.
PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
# Of a page: what is asked for first, and what is never asked for less of.
FIRST_PAGE_BYTES, LEAST_PAGE_BYTES = 512 << 10, 16 << 10


class Backoff:
    """Why nothing is answered, and since when; how long to wait until it is tried again."""

    def __init__(self, error: KanbanError) -> None:
        self._since_s = time.time()
        self._error = error
        self._pause_s = PAUSE_S
        self._until = 0.0

    def goes_on(self, error: KanbanError) -> None:
        """It failed again, with ``error``."""
        self._error = error

    def pause(self) -> None:
        """Begin a pause, twice as long as the one before."""
        self._until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def check(self) -> None:
        """Raise what is the matter, if it is to be left alone for now."""
        if time.monotonic() < self._until:
            raise self.error()

    def error(self) -> KanbanError:
        """What is the matter."""
        if isinstance(self._error, Unreachable):
            return unreachable(str(self._error.path), self._error.problem, self._since_s)
        return type(self._error)(**self._error.facts)


class Portion:
    """How large a page is asked for, and how long it may take: as much as a slow link carries, and more of a fast one.

    The smallest page is one entry, whatever its size; for that one it waits longer and longer.
    """

    def __init__(self) -> None:
        self.size_bytes, self.deadline_s = FIRST_PAGE_BYTES, DEADLINE_S

    def grow(self, took_s: float) -> None:
        """A page came, after so long."""
        self.deadline_s = DEADLINE_S
        if took_s < DEADLINE_S / 4:
            self.size_bytes = min(2 * self.size_bytes, PAGE_BYTES)

    def shrink(self) -> None:
        """None came in time."""
        if self.size_bytes > LEAST_PAGE_BYTES:
            self.size_bytes = max(self.size_bytes // 4, LEAST_PAGE_BYTES)
        else:
            self.deadline_s = min(2 * self.deadline_s, 16 * DEADLINE_S)
