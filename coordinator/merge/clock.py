"""The coordinator's clock: the time that entries are stamped with, when it last was not to be relied on, and how long a
time that has not come yet was seen."""

from __future__ import annotations

import time

# Between two looks, the wall clock may differ by this much from the time that went by: it is being corrected.
DRIFT_MS = 5_000
# What nobody asked about for so long is forgotten.
FORGET_MS = 3_600_000
# How often it is looked for runs whose times have not come yet.
LOOK_MS = 1_000


class Clock:
    """Notices that the machine slept, or that its clock was set, between two looks.

    A worker on this machine could send no heartbeat meanwhile, or sent it by a clock that was behind; so nobody is
    declared dead by what is older than ``relied_on_since_ms``. Sleep shows as the steady clock standing still, which
    it does on Linux and macOS. A coordinator that begins now knows of nothing before.

    What was stamped while the clock was ahead says nothing until that time comes, which may take years. How long this
    coordinator has seen it unchanged counts in its place, by the steady clock. ``looked_ms``: what it said at the last
    look.
    """

    def __init__(self) -> None:
        self.looked_ms, self._steady_ms = _now_ms(), _steady_ms()
        self.relied_on_since_ms = 0
        self._seen_ms: dict[tuple[int, int], tuple[int, int]] = {}
        self._look_again_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        now_ms, steady_ms = _now_ms(), _steady_ms()
        if abs((now_ms - self.looked_ms) - (steady_ms - self._steady_ms)) > DRIFT_MS:
            self.relied_on_since_ms = now_ms
        self.relied_on_since_ms = min(self.relied_on_since_ms, now_ms)  # it may be set back little by little, too
        self.looked_ms, self._steady_ms = now_ms, steady_ms
        return now_ms

    def is_time_to_look(self) -> bool:
        """Whether to look again for runs whose times have not come yet; true once in LOOK_MS."""
        steady_ms = _steady_ms()
        if steady_ms < self._look_again_ms:
            return False
        self._look_again_ms = steady_ms + LOOK_MS
        self._seen_ms = {key: seen for key, seen in self._seen_ms.items() if steady_ms - seen[1] < FORGET_MS}
        return True

    def see_anew(self, run_id: int) -> None:
        """Somebody said that the run gave a sign: what was seen of it before counts no more."""
        self._seen_ms = {key: seen for key, seen in self._seen_ms.items() if key[0] != run_id}

    def seen_for_ms(self, run_id: int, stamped_ms: int) -> int:
        """For how long, by the steady clock, this coordinator has known that the newest heartbeat of the run is of
        ``stamped_ms``; 0 if it hears of it for the first time."""
        steady_ms = _steady_ms()
        since_ms, _ = self._seen_ms.get((run_id, stamped_ms), (steady_ms, steady_ms))
        self._seen_ms[run_id, stamped_ms] = since_ms, steady_ms
        return steady_ms - since_ms


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000
