"""The service's clock, as a host knows it: what the last answer said, and how long ago that is by the steady clock."""

from __future__ import annotations

import time


class FarClock:
    """One time for all hosts. A host's own clock may be wrong by minutes, and may be set while it runs; the entries of
    one ledger are stamped by one clock, whichever host appends them."""

    def __init__(self) -> None:
        self._ahead_ms: int | None = None
        self.heard_ms: int | None = None

    def heard(self, clock_ms: int, asked_ms: int) -> None:
        """An answer came just now, which was asked for at ``asked_ms`` (``steady_ms``) and says that the service's
        clock is ``clock_ms`` (milliseconds since 1970): half of the way there and back ago, as far as anybody knows."""
        self.heard_ms = steady_ms()
        self._ahead_ms = clock_ms + (self.heard_ms - asked_ms) // 2 - self.heard_ms

    def now_ms(self) -> int | None:
        """Milliseconds since 1970 by the service's clock; None before its first answer."""
        return None if self._ahead_ms is None else steady_ms() + self._ahead_ms


def steady_ms() -> int:
    """Milliseconds that go by evenly, since some moment; where the system can tell, also while the machine sleeps. By
    a clock that slept, a host that wakes would stamp its entries with yesterday's time, and take a worker that was
    silent meanwhile for one that it heard all along."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic_ns() if boottime is None else time.clock_gettime_ns(boottime)) // 1_000_000
