"""Entries to append, chained as a host chains them."""

from __future__ import annotations

from collections.abc import Iterable

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.ledger import GENESIS, Entry, Point, continued

NOW_MS = 1_700_000_000_000
BEGINNING = Point(0, GENESIS)


def change(profile: str, seq: int, body: str = "{}") -> Change:
    """A change as the ledger sees it: eight values."""
    return Change(profile, seq, "t_1", "comment", body, "{}", NOW_MS, f"{profile}{seq}")


def chained(behind: Point, changes: Iterable[Change]) -> list[Entry]:
    """``changes`` as the entries that continue ``behind``."""
    return continued([*changes], NOW_MS, behind)


def end_of(entries: list[Entry]) -> Point:
    """The last of ``entries``, as what the next ones continue."""
    return Point(entries[-1].position, entries[-1].digest)
