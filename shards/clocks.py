"""Clocks: how old a stamp is, where the clock that stamped it may be another than the one that is looked at.

Entries of a board that several hosts share are stamped by the service's clock, and those of a board of one host by that
host's, which may have been set since. So no stamp of a board is held against ``time.time()`` where something is ended
by it: ``heard.ledger_now_s`` says what time it is by the clock that stamps, and ``age_s`` how old that makes a stamp.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

# What two looks at one clock may differ by.
DRIFT_S = 5.0
# What nobody asked about for so long is forgotten.
FORGET_MS = 24 * 3_600_000

# By what was stamped, and when: since when that was seen, and when it was asked about last, by the steady clock.
_seen: dict[tuple[Hashable, float], tuple[int, int]] = {}


def steady_ms() -> int:
    """Milliseconds that go by evenly, since some moment; where the system can tell, also while the machine sleeps. By
    a clock that slept, a host that wakes would stamp its entries with yesterday's time, and take a worker that was
    silent meanwhile for one that it heard all along."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic_ns() if boottime is None else time.clock_gettime_ns(boottime)) // 1_000_000


def latest_s(newest_s: float | None) -> float:
    """From when ages of what is thrown away count: now, but not from long after anything happened here (``newest_s``,
    None if nothing did), for the clock may be years ahead, and what is thrown away then does not come back when it is
    set right."""
    return time.time() if newest_s is None else min(time.time(), newest_s + 1)


def age_s(now_s: float | None, what: Hashable, stamped_s: float) -> float:
    """How many seconds ago ``what`` was stamped with ``stamped_s``. ``now_s``: what time it is by the clock that
    stamped it, None if nobody knows. Of a time that has not come yet, and without ``now_s``, it counts for how long
    this process has seen that stamp, by the steady clock."""
    if now_s is not None and stamped_s <= now_s + DRIFT_S:
        return max(0.0, now_s - stamped_s)
    now_ms = steady_ms()
    since_ms, _ = _seen.get((what, stamped_s), (now_ms, now_ms))
    for key, (_, seen_ms) in list(_seen.items()):  # which other threads may change meanwhile
        if now_ms - seen_ms > FORGET_MS:
            _seen.pop(key, None)
    _seen[what, stamped_s] = since_ms, now_ms
    return (now_ms - since_ms) / 1_000
