"""Homes: on which host of a shared board each profile lives. Empty on a board that is not shared."""

from __future__ import annotations

from typing import NamedTuple

from kanban_shards.coordinator.state.session import Rows


class Home(NamedTuple):
    """Where a profile lives: which shard, and on which host."""

    shard: str
    host: str


class HomeRows(Rows):
    """Reads and writes of where profiles live."""

    def home_of(self, profile: str) -> Home | None:
        """Where the profile lives; None if no host has said so."""
        row = self._look("SELECT shard, host FROM merge_homes WHERE profile = ?", (profile,)).fetchone()
        return Home(*row) if row else None

    def set_home(self, profile: str, home: Home, position: int) -> None:
        """From the entry at ``position`` on, the profile lives there."""
        self._execute("INSERT OR REPLACE INTO merge_homes VALUES (?, ?, ?, ?)", (profile, *home, position))
