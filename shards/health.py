"""How a board is, in what its faces show of it: findings, each a sentence that also says what to do, and figures."""

from __future__ import annotations

import msgspec

OK = "ok"
# Worth knowing; nothing has to be done.
NOTE = "note"
# It works now, and somebody should see to it before it does not.
WARNING = "warning"
# It does not work, or something may be lost.
FAULT = "fault"
# From the least to the worst.
LEVELS = (OK, NOTE, WARNING, FAULT)


class Finding(msgspec.Struct, frozen=True):
    """What the check ``check`` found. ``level`` is one of LEVELS."""

    check: str
    level: str
    sentence: str

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody has to do something."""
        return self.level in (WARNING, FAULT)


class ShardStanding(msgspec.Struct, frozen=True):
    """A shard, as ``status`` shows it. ``head``: its last change, None if it cannot be read. ``lag_s``: the age of the
    oldest of the ``waiting`` changes. ``state``: in a word; ``last_problem``: why, or its last refusal of a day."""

    profile: str
    head: int | None
    merged: int
    waiting: int
    lag_s: float
    rate_per_minute: float
    state: str
    last_problem: str | None


class BackupStanding(msgspec.Struct, frozen=True):
    """A backup in the board's own folder. ``made_ms``: milliseconds since 1970. ``position``: where its board stands in
    the ledger. ``is_good``: every file was sound, and is still there."""

    name: str
    made_ms: int
    position: int
    is_good: bool


class BoardStanding(msgspec.Struct, frozen=True):
    """How a board stands now, for those who show it.

    ``coordinator``: who merges, as a phrase. ``position``: how many entries of the ledger the board shows.
    ``shared``: with other hosts, how, and when those were heard last, as a phrase; empty if it is not. ``refused``: how
    many changes were refused in a day. ``dead_letters``: notifications that nobody could deliver.
    ``size_bytes``: of all files of the board. ``backups``: the oldest first. ``findings``: all that is to be said.
    """

    coordinator: str
    position: int
    open_runs: int
    refused: int
    dead_letters: int
    size_bytes: int
    shards: list[ShardStanding]
    backups: list[BackupStanding]
    findings: list[Finding]
    shared: str = ""

    @property
    def waiting(self) -> int:
        """How many changes wait for a pass."""
        return sum(shard.waiting for shard in self.shards)
