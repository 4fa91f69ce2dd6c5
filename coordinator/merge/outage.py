"""Outage: what keeps this host from the ledger that it shares with others, noted beside the coordinator's lock.

Whoever waits for a verdict is another process than the one that asks the service, and shall hear within two seconds why
there is none. Whoever may take the lock may write the note, so it says nothing but which of a few causes it is, and
numbers; the words, and the name of the service, are not taken from there.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any, NamedTuple, Self

from kanban_shards.coordinator.merge.coordinator_lock import OUTAGE, note_in
from kanban_shards.coordinator.shared.errors import ClockStrange, FarBusy, FarError, OtherRules, Parted, Unreachable
from kanban_shards.moments import CALENDAR_ENDS_MS
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock

# The causes, and how a sentence about the ledger goes on.
_SAID = {
    "unreachable": "has not answered since {since}",
    "busy": "is kept by another host since {since}",
    "parted": "holds another entry {position} than this host does; `kanban-merge share --again` takes its history",
    "rules": "is decided by other rules than this host has; run one version of kanban-shards on all hosts",
    "clock": "has a clock that is more than a day off, by this host's and by the ledger; set right whichever is wrong",
    "other": "cannot be used since {since}; `kanban-merge doctor` says why",
}
_CAUSES: dict[type[FarError], str] = {
    Unreachable: "unreachable",
    FarBusy: "busy",
    Parted: "parted",
    OtherRules: "rules",
    ClockStrange: "clock",
}


class Outage(NamedTuple):
    """``cause``: one of a few. ``since_ms``: since when; ``tried_ms``: when the service was asked last; both in
    milliseconds since 1970. ``position``: of what the two differ in, if they do."""

    cause: str
    since_ms: int
    tried_ms: int
    position: int = 0

    @classmethod
    def of(cls, error: FarError, former: Outage | None) -> Outage:
        """The outage that ``error`` says; as long as it is the ``former`` one, it is since then."""
        now_ms = time.time_ns() // 1_000_000
        cause = _CAUSES.get(type(error), "other")
        since_ms = former.since_ms if former and former.cause == cause else now_ms
        return cls(
            cause, getattr(error, "since_ms", since_ms), now_ms, error.position if isinstance(error, Parted) else 0
        )

    @classmethod
    def read(cls, lock: FileLock) -> Self | None:
        """What was noted; None if nothing, or nothing that ``note`` writes."""
        found: Any = note_in(lock).get(OUTAGE)
        if not isinstance(found, list) or len(found) != len(cls._fields):
            return None
        cause, *numbers = found
        if not isinstance(cause, str) or cause not in _SAID:
            return None
        return cls(*found) if all(type(each) is int and 0 <= each < CALENDAR_ENDS_MS for each in numbers) else None

    @property
    def ends_by_itself(self) -> bool:
        """Whether nobody has to do anything here."""
        return self.cause in ("unreachable", "busy")

    def was_tried_since(self, since_ms: int) -> bool:
        """Whether the service was asked in vain since ``since_ms``, milliseconds since 1970. A time that has not come
        yet says nothing: the clock was ahead when it was noted, or somebody made it up."""
        return since_ms <= self.tried_ms <= time.time_ns() // 1_000_000

    def why(self, service: str) -> str:
        """Why no pass decides anything, as a part of a sentence."""
        since = datetime.fromtimestamp(self.since_ms / 1000).isoformat(sep=" ", timespec="seconds")
        return f"the shared ledger in {service} {_SAID[self.cause].format(since=since, position=self.position)}"


def note(lock: FileLock, outage: Outage | None) -> None:
    """Note it, or that there is none. ``lock`` is held by the caller."""
    said = {key: value for key, value in note_in(lock).items() if key != OUTAGE}
    lock.write_note(json.dumps(said if outage is None else {**said, OUTAGE: outage}))


def outage_of(paths: BoardPaths) -> Outage | None:
    """What keeps this host from the shared ledger, as the board's coordinator last noted."""
    return Outage.read(FileLock(paths.coordinator_lock))
