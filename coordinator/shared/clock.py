"""The service's clock, as a host knows it: what the last answer said, and how long ago that is by the steady clock.

One answer may be wrong, as that of a server which was set wrong for a moment, or failed over to one that is. A host has
two witnesses against it: its own clock, and what was heard before. Neither stamps anything; both together keep a wrong
answer from being believed, and let the ledger's time go back where a wrong one was.
"""

from __future__ import annotations

import time

from kanban_shards.clocks import steady_ms

# An answer that is further from both witnesses is not believed. Between hosts, and before anybody sets a clock right,
# less than that happens.
STRANGE_MS = 24 * 3_600_000
# What two hosts know of one clock differs by less.
APART_MS = 60_000


class FarClock:
    """One time for all hosts. A host's own clock may be wrong by minutes, and may be set while it runs; the entries of
    one ledger are stamped by one clock, whichever host appends them. ``heard_ms``: when an answer was believed last, by
    the steady clock; None before."""

    def __init__(self) -> None:
        self._ahead_ms: int | None = None
        self.heard_ms: int | None = None

    def heard(self, clock_ms: int, asked_ms: int, newest_ms: int | None) -> int:
        """An answer came just now, which was asked for at ``asked_ms`` (``steady_ms``) and says that the service's
        clock is ``clock_ms`` (milliseconds since 1970): half of the way there and back ago, as far as anybody knows.
        ``newest_ms``: the time of the ledger's newest entry, None if there is none. Returns 0 if it is believed, else
        by how much it is ahead of this host's clock, or, below 0, behind."""
        answered_ms = steady_ms()
        clock_ms += (answered_ms - asked_ms) // 2
        off_ms = _strange(clock_ms, host_ms(), self.now_ms(), newest_ms)
        if not off_ms:
            self.heard_ms = answered_ms
            self._ahead_ms = clock_ms - answered_ms
        return off_ms

    def now_ms(self) -> int | None:
        """Milliseconds since 1970 by the service's clock; None before its first answer."""
        return None if self._ahead_ms is None else steady_ms() + self._ahead_ms


def stamp_ms(now_ms: int, newest_ms: int | None) -> int:
    """What an entry is stamped with: ``now_ms``, the service's clock, and not below ``newest_ms``, the time of the
    entry before, of which another host may know a little more. Where this host's clock says, too, that the entry before
    is of a time that has not come yet, a wrong answer had stamped it, and time goes back."""
    if newest_ms is None or max(now_ms, host_ms()) < newest_ms - APART_MS:
        return now_ms
    return max(now_ms, newest_ms)


def host_ms() -> int:
    """Milliseconds since 1970 by this host's clock."""
    return time.time_ns() // 1_000_000


def _strange(clock_ms: int, own_ms: int, last_ms: int | None, newest_ms: int | None) -> int:
    """By how much an answer is away from this host's clock, ``own_ms``, if it is as far from what was heard before, on
    the same side: ``last_ms``, what the last answer comes to by now; or of a host that had none yet, the newest entry.
    0 if one of them bears it out. A host's clock that is behind the ledger is no witness."""
    if last_ms is None and newest_ms is not None and own_ms < newest_ms - STRANGE_MS:
        return 0
    before_ms = newest_ms if last_ms is None else last_ms
    if before_ms is None:
        return 0
    off_ms = clock_ms - own_ms
    return (
        off_ms
        if min(abs(off_ms), abs(clock_ms - before_ms)) > STRANGE_MS and off_ms * (clock_ms - before_ms) > 0
        else 0
    )
