"""Homes: on which host of a shared board each profile lives. Empty on a board that is not shared."""

from __future__ import annotations

from kanban_shards.coordinator.state.session import Rows
from kanban_shards.records import ProfileHome


class HomeRows(Rows):
    """Reads and writes of where profiles live."""

    def home_of(self, profile: str) -> ProfileHome | None:
        """Where the profile lives; None if no host has said so."""
        sql = "SELECT profile, shard, host, position, seq, digest FROM merge_homes WHERE profile = ?"
        row = self._look(sql, (profile,)).fetchone()
        return ProfileHome(*row) if row else None

    def set_home(self, home: ProfileHome) -> None:
        """The profile lives there from now on."""
        row = (home.profile, home.shard, home.host, home.position, home.seq, home.digest)
        self._execute("INSERT OR REPLACE INTO merge_homes VALUES (?, ?, ?, ?, ?, ?)", row)
