"""Hosts: what is known here of the ledger that several hosts share, without asking anybody: what the process that makes
passes noted, and what the board says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.errors import SharingStrange, StorageError
from kanban_shards.heard import Heard, HostHeard, read_heard
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, read_sharing

if TYPE_CHECKING:
    from kanban_shards.coordinator.merge.outage import Outage


@dataclass(frozen=True)
class SharedHealth:
    """``sharing``: where the board is shared; None where that cannot be read, and ``trouble`` says why. ``outage``:
    what keeps this host from the ledger, if anything does. ``heard``: what it heard last. ``homes``: on which host
    each profile lives."""

    sharing: Sharing | None
    trouble: SharingStrange | None
    outage: Outage | None
    heard: Heard | None
    homes: dict[str, str]

    def lives_elsewhere(self, profile: str) -> str | None:
        """The other host on which the profile lives; None if that is this one, or nobody said."""
        host = self.homes.get(profile)
        return None if host is None or (self.sharing and host == self.sharing.host) else host

    def last_heard_ms(self) -> int | None:
        """When the service answered last, in milliseconds since 1970, as far as it was noted."""
        return self.heard.at_ms if self.heard else None

    def in_words(self, now_ms: int) -> str:
        """Where the board is shared and when that was heard last, as a phrase."""
        if self.sharing is None:
            return "with other hosts, but it cannot be read where"
        here = f"{self.sharing.host}, which is ephemeral" if self.sharing.ephemeral else self.sharing.host
        return f"over {self.sharing.service}, by this host as {here}; {self.heard_in_words(now_ms)}"

    def heard_in_words(self, now_ms: int) -> str:
        """When the service answered last, as a phrase."""
        heard_ms = self.last_heard_ms()
        return "not heard yet" if heard_ms is None else f"last heard {wording.ago(heard_ms // 1_000, now_ms / 1_000)}"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        sharing, outage, heard = self.sharing, self.outage, self.heard
        return {
            "service": sharing and sharing.service,
            "ledger_id": sharing and sharing.ledger_id,
            "host": sharing and sharing.host,
            "ephemeral": sharing and sharing.ephemeral,
            "last_heard_ms": self.last_heard_ms(),
            "outage": outage and {"cause": outage.cause, "since_ms": outage.since_ms},
            "end": heard and heard.end,
            "hosts": [_as_dict(each, heard.at_ms) for each in heard.hosts] if heard else [],
            "homes": self.homes,
        }


def _as_dict(host: HostHeard, heard_ms: int) -> dict[str, Any]:
    return {
        "host": host.host,
        "program": host.program,
        "rules": host.rules,
        "position": host.position,
        "seen_ms": heard_ms - host.ago_ms,
        "differs": host.differs,
    }


def read_shared(paths: BoardPaths, board: Board) -> SharedHealth | None:
    """How the board is shared; None if it is not. ``board``: the same one, open. Raises the StorageErrors of a board
    that cannot be read."""
    trouble: SharingStrange | None = None
    try:
        sharing = read_sharing(paths)
        if sharing is None and (trouble := _lost(paths)) is None:
            return None
    except SharingStrange as error:
        sharing, trouble = None, error
    from kanban_shards.coordinator.merge.outage import outage_of  # only for a board that is shared

    try:
        outage = outage_of(paths)
    except StorageError:  # said where the coordinator is looked at
        outage = None
    homes = {profile: home.host for profile, home in board.homes().items()}
    return SharedHealth(sharing, trouble, outage, read_heard(paths), homes)


def _lost(paths: BoardPaths) -> SharingStrange | None:
    try:
        return sharing_mark.lost(paths)
    except StorageError:  # said where the ledger is judged
        return None
