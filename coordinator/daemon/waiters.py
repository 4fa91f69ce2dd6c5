"""Waiters: who waits for the passes of a daemon over one board, so that those are rung, and nobody else.

Who waits says so after its change was committed, and a pass looks at a shard after it heard that. So the first pass
that read the shard to its end decided the change, or found that an earlier one did; either way, its author is rung
then. One that was rung for an earlier change of its profile finds no verdict, and says again that it waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from kanban_shards.bell import Ringer, Rings, mark_in, mark_of, waiting_in

# Of so many it is known that they wait; beyond that, everybody is rung whose profile it may be.
KNOWN = 4_096
# A folder that changed this recently may change again without its time stamp moving. Filesystems that keep whole
# seconds show it in the stamp.
STAMP_GRAIN_NS = 25_000_000
WHOLE_SECONDS_GRAIN_NS = 2_100_000_000


class Waiters(Ringer):
    """The ringer of a daemon's coordinator. At first it is not known who waits: they said so to the one before."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, str | None] = {}
        self._is_unsure = True
        self._followers: list[Path] = []
        self._listed_ns = 0

    def note(self, rings: Rings) -> None:
        """These said that they wait."""
        self._waiting.update({name: mark_in(name) for name in rings.waiting})
        self._is_unsure |= rings.unnamed
        if len(self._waiting) > KNOWN:
            self._waiting.clear()
            self._is_unsure = True

    def ring_decided(self, folder: Path, profiles: Collection[str]) -> None:
        """As of Ringer, of those who wait."""
        decided = {mark_of(profile) for profile in profiles}
        if self._is_unsure:
            super().ring_decided(folder, profiles)
            self._waiting = {name: mark for name, mark in self._waiting.items() if mark not in decided}
            return
        for path in self._followers_in(folder):
            self.ring(path)
        self._ring_waiting(folder, [name for name, mark in self._waiting.items() if mark in decided])

    def ring_rest(self, folder: Path, left: Collection[str]) -> None:
        """A pass over all that is there ended; it did not read the shards of the profiles ``left``."""
        self._is_unsure = False
        not_read = {mark_of(profile) for profile in left}
        self._ring_waiting(folder, [name for name, mark in self._waiting.items() if mark not in not_read])

    def _ring_waiting(self, folder: Path, names: list[str]) -> None:
        for name in names:
            del self._waiting[name]
            self.ring(folder / name)

    def _followers_in(self, folder: Path) -> list[Path]:
        """The bells of those who wait for whatever happens, listed anew when the folder changed."""
        try:
            changed_ns = os.stat(folder).st_mtime_ns
        except OSError:
            return []
        if changed_ns != self._listed_ns:
            self._followers = [path for path, mark in waiting_in(folder) if mark is None]
            grain_ns = STAMP_GRAIN_NS if changed_ns % 1_000_000_000 else WHOLE_SECONDS_GRAIN_NS
            self._listed_ns = 0 if time.time_ns() - changed_ns < grain_ns else changed_ns
        return self._followers
