"""Waiters: who waits for the passes of a daemon over one board, so that those are rung, and nobody else.

Who waits says so after its change was committed, and a pass looks at a shard after it heard that. So the first pass
that read the shard to its end decided the change, or found that an earlier one did; either way, its author is rung
then. One that was rung for an earlier change of its profile finds no verdict, and says again that it waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from kanban_shards.bell import Ringer, Rings, mark_in, mark_of, waiting_in
from kanban_shards.storage import files

# Of so many it is known that they wait; beyond that, everybody is rung whose profile it may be.
KNOWN = 4_096


class Waiters(Ringer):
    """The ringer of a daemon's coordinator. At first it is not known who waits: they said so to the one before.

    ``listen``: what the coordinator's bell heard since the last time. It is asked in the middle of a pass, too, so that
    whoever said only then that it waits need not wait for the next one.
    """

    def __init__(self, listen: Callable[[], Rings]) -> None:
        super().__init__()
        self._listen = listen
        self._waiting: dict[str, str | None] = {}
        self._late: dict[str, str | None] = {}
        self._late_rings = Rings()
        self._is_unsure = True
        self._followers: list[Path] = []
        self._listed_ns = 0

    def hear(self) -> Rings:
        """Note who said that they wait, before a pass begins; returns what was heard."""
        rings = self._listen()
        self._waiting.update({name: mark_in(name) for name in rings.waiting})
        self._is_unsure |= rings.unnamed
        if len(self._waiting) > KNOWN:
            self._waiting.clear()
            self._is_unsure = True
        return rings

    def ring_decided(self, folder: Path, profiles: Collection[str]) -> None:
        """As of Ringer, of those who wait."""
        self._hear_late()
        decided = {mark_of(profile) for profile in profiles}
        paths = [*waiting_in(folder)] if self._is_unsure else [(path, None) for path in self._followers_in(folder)]
        paths += [(folder / name, mark) for name, mark in [*self._waiting.items(), *self._late.items()]]
        self._ring({path for path, mark in paths if mark is None or mark in decided})

    def ring_rest(self, folder: Path, left: Collection[str]) -> Rings:
        """A pass over all that is there ended; it did not read the shards of the profiles ``left``. Returns what was
        heard since it began: it may have read the shards of those before they wrote."""
        self._hear_late()
        not_read = {mark_of(profile) for profile in left}
        paths = [*waiting_in(folder)] if self._is_unsure else []
        paths += [(folder / name, mark) for name, mark in self._waiting.items()]
        self._ring({path for path, mark in paths if mark is not None and mark not in not_read})
        late, self._late_rings = self._late_rings, Rings()
        self._waiting.update(self._late)
        self._late, self._is_unsure = {}, late.unnamed
        return late

    def _hear_late(self) -> None:
        rings, late = self._listen(), self._late_rings
        self._late.update({name: mark_in(name) for name in rings.waiting})
        late.count, late.waits = late.count + rings.count, late.waits or rings.waits
        late.unnamed |= rings.unnamed or len(self._late) > KNOWN

    def _ring(self, paths: set[Path]) -> None:
        for path in paths:
            self._waiting.pop(path.name, None)
            self._late.pop(path.name, None)
            self.ring(path)

    def _followers_in(self, folder: Path) -> list[Path]:
        """The bells of those who wait for whatever happens, listed anew when the folder changed."""
        try:
            changed_ns = os.stat(folder).st_mtime_ns
        except OSError:
            return []
        if changed_ns != self._listed_ns:
            self._followers = [path for path, mark in waiting_in(folder) if mark is None]
            self._listed_ns = 0 if files.is_recent(changed_ns) else changed_ns
        return self._followers
