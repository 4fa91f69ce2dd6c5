"""The coordinator's clock: the time that entries are stamped with, and when it last was not to be relied on."""

from __future__ import annotations

import time

# Between two looks, the wall clock may differ by this much from the time that went by: it is being corrected.
DRIFT_MS = 5_000


class Clock:
    """Notices that the machine slept, or that its clock was set forward, between two looks.

    A worker on this machine could give no sign of life meanwhile, or gave it by a clock that was behind; so nobody is
    declared dead by what is older than ``relied_on_since_ms``. Sleep shows as the steady clock standing still, which
    it does on Linux and macOS. A coordinator that begins now knows of nothing before.
    """

    def __init__(self) -> None:
        self._looked_ms, self._steady_ms = _now_ms(), _steady_ms()
        self.relied_on_since_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        now_ms, steady_ms = _now_ms(), _steady_ms()
        if (now_ms - self._looked_ms) - (steady_ms - self._steady_ms) > DRIFT_MS:
            self.relied_on_since_ms = now_ms
        self._looked_ms, self._steady_ms = now_ms, steady_ms
        return now_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000
