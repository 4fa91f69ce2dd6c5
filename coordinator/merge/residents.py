"""Residents: which profiles live on this host of a shared board, and so which shards here may be merged, and of which
runs this host reads every sign of life.

A profile lives where the board says; one of which it says nothing yet may live here, if it has a shard here. Another
host's shard of the same name is another one, whatever is in it: nothing of it is ever taken, and it is named with what
it holds beyond what was merged.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.changes.homes import Home
from kanban_shards.clocks import steady_ms
from kanban_shards.coordinator.merge.shard_reader import Quarantine, base_of, head_of
from kanban_shards.errors import SharingStrange
from kanban_shards.paths import BoardPaths
from kanban_shards.records import ProfileHome
from kanban_shards.sharing import read_sharing

HomeOf = Callable[[str], ProfileHome | None]

_SHARD_ID = re.compile("[0-9a-f]{32}")
# Whoever was not heard for longer was out of touch: other hosts may have said nothing meanwhile because they could not.
OUT_OF_TOUCH_MS = 10_000
LIVES_ELSEWHERE = (
    "write as {profile} on {host}, and move this shard away; if that host is gone for good, "
    "`kanban-merge move {profile}` lets {profile} live here, and keeps this file beside the new one"
)
NAMED_ALIKE = (
    "if two hosts are called {host}, leave on one of them (`kanban-merge unshare`) and share again under another name "
    "(`--host`); otherwise `kanban-merge repair {profile}` makes the shard again, and keeps this file beside it"
)


class Newcomer(NamedTuple):
    """A profile of which no host has said yet where it lives, with the shard that it has here."""

    profile: str
    shard: str


class Residents:
    """``host``: this one's name. ``home_of``: reads from the board where a profile lives."""

    def __init__(self, host: str, home_of: HomeOf) -> None:
        self._host = host
        self._home_of = home_of
        self._heard_ms = self._since_ms = steady_ms()

    def lives_elsewhere(self, profile: str) -> bool:
        """Whether another host is the profile's home."""
        home = self._home_of(profile)
        return home is not None and home.host != self._host

    def lives_here(self, profile: str) -> bool:
        """Whether this host is the profile's home."""
        home = self._home_of(profile)
        return home is not None and home.host == self._host

    def check(self, shard: sqlite3.Connection, profile: str, merged: tuple[int, str]) -> Newcomer | None:
        """Before anything of an open shard is taken: raises Quarantine if it is not the one that lives here, and holds
        more than was ``merged`` before the profile's home was another. Returns a newcomer."""
        home = self._home_of(profile)
        if home is not None and home.host != self._host:
            _check_holds_no_more(shard, home)
            return None
        row = shard.execute("SELECT shard_id FROM meta WHERE profile = ?", (profile,)).fetchone()
        if row is None:  # it is empty yet, or another profile's, which is found out when it is read
            return None
        (found,) = row
        if not isinstance(found, str) or not _SHARD_ID.fullmatch(found):
            raise Quarantine("it does not say which shard it is")
        if home is None:
            return Newcomer(profile, found)
        # From its first merged change on, the chain of its digests tells it from any other.
        if merged == (home.seq, home.digest) and found != home.shard:
            why = f"it is not the shard of {profile} that lives on {home.host}"
            raise Quarantine(why, cure=NAMED_ALIKE.format(profile=profile, host=home.host))
        return None

    def settling(self, newcomers: Iterable[Newcomer]) -> list[Home]:
        """What says that the newcomers live here; without those of which another host has said so meanwhile."""
        return [
            Home(profile=profile, shard=shard, host=self._host)
            for profile, shard in newcomers
            if self._home_of(profile) is None
        ]

    def heard(self) -> None:
        """The other hosts were heard just now: whatever they said is on the board."""
        now_ms = steady_ms()
        if now_ms - self._heard_ms > OUT_OF_TOUCH_MS:
            self._since_ms = now_ms
        self._heard_ms = now_ms

    def in_touch_ms(self) -> int:
        """For how long, by the steady clock, the other hosts were heard without a gap."""
        return self._heard_ms - self._since_ms


@contextmanager
def residents_of(paths: BoardPaths) -> Iterator[Residents | None]:
    """For who looks and makes no pass; None for a board that is not shared, or of which its file does not say where:
    that is said by itself, and all else is still worth a look."""
    try:
        sharing = read_sharing(paths)
    except SharingStrange:
        sharing = None
    if sharing is None:
        yield None
        return
    with Board(paths) as board:
        yield Residents(sharing.host, board.home_of)


def _check_holds_no_more(shard: sqlite3.Connection, home: ProfileHome) -> None:
    """Raise Quarantine if a shard of a profile that lives elsewhere holds what nobody will merge: it is a second one,
    or one that was written after its profile moved."""
    seq, digest = head_of(shard) or base_of(shard)
    if type(seq) is not int:  # a STRICT table is no promise
        raise Quarantine("its last change has no number")
    if seq < home.seq or (seq, digest) == (home.seq, home.digest) or not seq:
        return
    held = wording.many(seq - home.seq, "change") if seq > home.seq else f"change {seq}"
    raise Quarantine(
        f"{home.profile} lives on {home.host}, so nothing of this shard is merged ({held} of it never was)",
        cure=LIVES_ELSEWHERE.format(profile=home.profile, host=home.host),
    )
