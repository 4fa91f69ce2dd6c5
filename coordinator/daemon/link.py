"""The daemon's way to the service in which a board's hosts agree: kept open from pass to pass, with its bell.

Nothing here is loaded for a board that is not shared.
"""

from __future__ import annotations

import selectors

from kanban_shards.coordinator import rules
from kanban_shards.coordinator.shared.errors import FarError, Unreachable
from kanban_shards.coordinator.shared.opening import open_far
from kanban_shards.errors import KanbanError
from kanban_shards.sharing import Sharing


class Link:
    """``sharing``: which ledger. Its bell is registered with ``bells``, for ``whom``, while it is heeded."""

    def __init__(self, sharing: Sharing, bells: selectors.BaseSelector, whom: object) -> None:
        self.sharing = sharing
        self.far = open_far(sharing, rules.VERSION)
        self._bells = bells
        self._whom = whom
        self._heeded = -1
        self._said: tuple[int, str] | None = None

    def heed(self) -> None:
        """From here, the bell wakes the daemon: it rings until a pass asks what is new."""
        if self._heeded < 0 and self.far.bell() >= 0:
            self._heeded = self.far.bell()
            self._bells.register(self._heeded, selectors.EVENT_READ, self._whom)

    def mute(self) -> None:
        """Heed it no more: whatever keeps a pass from asking would be met again at once."""
        if self._heeded >= 0:
            self._bells.unregister(self._heeded)
            self._heeded = -1

    def outage(self, error: KanbanError) -> str | None:
        """What to say if ``error`` keeps this host from the others: one sentence for one outage, however many reasons
        the system gives in turn. None if it is about something else."""
        if not isinstance(error, FarError):
            return None
        if not isinstance(error, Unreachable):
            return str(error)
        if self._said is None or self._said[0] != error.since_ms:
            self._said = error.since_ms, str(error)
        return self._said[1]

    def close(self) -> None:
        """Let go of the service."""
        self.mute()
        self.far.close()
