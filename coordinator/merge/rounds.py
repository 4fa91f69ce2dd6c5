"""Rounds: in which portions a pass decides what it collected, so that nobody waits long for what others ask.

A round takes a share of each shard, as much as is decided in a moment, and is appended, decided and shown before the
next one. What costs much by itself has a round of its own, after the others. When a pass has taken its time, what is
left stays in the shards for the next. Only how much is decided when depends on the time; what becomes of it does not.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping

from kanban_shards.changes.codec import Change

# What the first round of a pass may cost, in plain changes: some ten milliseconds. Each makes the ledger durable once.
FIRST_WEIGHT = 512
# A pass that took longer begins no other round.
PASS_S = 0.5
# A round that took less is followed by one twice as large.
QUICK_S = 0.05

Weigh = Callable[[Change], int]


class Rounds:
    """The rounds of one pass over ``collected``, by profile. ``weigh``: what a change costs, in plain changes; asked
    when its round is near, as it depends on what was decided before. ``turn``: whose costly change is first."""

    def __init__(self, collected: Mapping[str, list[Change]], weigh: Weigh, turn: int) -> None:
        self._waiting = {profile: deque(changes) for profile, changes in sorted(collected.items()) if changes}
        self._weigh = weigh
        self._turn = turn
        self._weight = FIRST_WEIGHT
        self._held_back: list[str] = []
        self._had_costly = False
        self._began_s = self._round_began_s = time.monotonic()

    @property
    def are_left(self) -> bool:
        """Whether there is something that no round took."""
        return bool(self._waiting)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left, or the pass has taken its time; not before one of the costly changes had its turn,
        else they might never have it."""
        is_due = self._held_back and not self._had_costly
        return not self._waiting or (time.monotonic() - self._began_s > PASS_S and not is_due)

    def next(self) -> list[Change]:
        """The changes of the next round: each shard's in their order, between shards by ``(at_ms, digest)``. Empty if
        nothing is left."""
        now_s = time.monotonic()
        if now_s - self._round_began_s < QUICK_S and self._round_began_s > self._began_s:
            self._weight *= 2
        self._round_began_s = now_s
        taken = self._costly() if self._held_back else self._cheap() or self._costly()
        self._waiting = {profile: changes for profile, changes in self._waiting.items() if changes}
        return list(heapq.merge(*taken, key=lambda change: (change.written_ms, change.digest)))

    def _cheap(self) -> list[list[Change]]:
        share = max(1, self._weight // max(1, len(self._waiting)))
        taken = {profile: self._affordable(changes, share) for profile, changes in self._waiting.items()}
        self._held_back = [profile for profile, changes in taken.items() if not changes]
        return [changes for changes in taken.values() if changes]

    def _costly(self) -> list[list[Change]]:
        """One change that no share pays for, by turns of those whose next one is such."""
        if not self._held_back:
            return []
        profile = self._held_back[self._turn % len(self._held_back)]
        self._turn += 1
        self._held_back, self._had_costly = [], True
        return [[self._waiting[profile].popleft()]]

    def _affordable(self, changes: deque[Change], share: int) -> list[Change]:
        """As many of ``changes``, taken from their beginning, as the ``share`` pays for; it may be none."""
        taken: list[Change] = []
        while changes:
            share -= self._weigh(changes[0])
            if share < 0:
                break
            taken.append(changes.popleft())
        return taken
