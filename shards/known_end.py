"""The end of a shard: as it is read from the file, and as the process that wrote it knows it.

A digest names its change and all before it. So who finds the last change as it left it need look at nothing else of the
file, and who knows the digest at which the board stands knows whether the board shows this shard or another one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kanban_shards.changes.codec import Change, is_beginning
from kanban_shards.errors import Damaged

# Of so many changes the digests are kept. A pass takes what is new within milliseconds.
DIGESTS_KEPT = 1_024

# A change of a shard, by its seq and digest; ``(0, "")`` is none.
Named = tuple[int, str]

_ENDS = (
    "SELECT base_seq, base_digest, head.seq, head.digest, (SELECT digest FROM changes WHERE seq = ?) FROM meta "
    "LEFT JOIN (SELECT seq, digest FROM changes ORDER BY seq DESC LIMIT 1) head"
)


class End(NamedTuple):
    """Where a shard begins and ends. ``first``: the change up to which all were dropped; ``last``; ``asked``: the
    change that was asked for, with the digest that the file has for it, if it has one."""

    first: Named
    last: Named
    asked: tuple[int, str | None]

    def has(self, merged: Named) -> bool:
        """Whether ``merged``, which was asked for, is a change of this shard. Of those that were dropped nothing is
        known any more, which only happens to what was merged from here."""
        return (
            merged[0] == 0
            or merged[0] < self.first[0]
            or merged == (self.first if merged[0] == self.first[0] else self.asked)
        )


def read_end(shard: sqlite3.Connection, path: Path, asked: int = 0) -> End:
    """Where an open shard begins and ends, and the change with the seq ``asked``. Raises Damaged if it does not say
    where it begins: then no pass takes what is appended."""
    base_seq, base_digest, seq, digest, found = shard.execute(_ENDS, (asked,)).fetchone()
    if not is_beginning(base_seq, base_digest):
        raise Damaged(path=path, problem="it does not say where it begins")
    first = base_seq, base_digest
    return End(first, first if seq is None else (seq, digest), (asked, found))


class KnownEnd:
    """What this process read and wrote in one shard. The file may have grown or been replaced since, which shows in its
    last change. ``last``: that change; None while it is not known."""

    def __init__(self) -> None:
        self.last: Named | None = None
        self._digests: dict[int, str] = {}
        self._merged: Named = (0, "")

    def learn(self, behind: Named, changes: Sequence[Change]) -> None:
        """``changes`` were committed behind ``behind``, and end the file now."""
        if not self._digests or (next(reversed(self._digests)), self._digests.get(behind[0])) != behind:
            self._digests = {behind[0]: behind[1]}  # somebody else wrote, or it is another file
            self._merged = 0, ""
        for change in changes:
            self._digests[change.seq] = change.digest
            if len(self._digests) > DIGESTS_KEPT:
                del self._digests[next(iter(self._digests))]
            self.last = change.seq, change.digest

    def learn_merged(self, merged: Named) -> None:
        """The board showed ``merged``, and the file has it."""
        self._merged = merged

    def has(self, merged: Named) -> bool:
        """Whether the file is known to have what the board shows as ``merged``."""
        return not merged[0] or merged == self._merged or self._digests.get(merged[0]) == merged[1]
