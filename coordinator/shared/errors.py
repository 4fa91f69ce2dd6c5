"""What can go wrong with a ledger in a service; see shards/errors.py.

``path`` is the name of the service in all of them: what cannot be used is not a file of this machine.
"""

from __future__ import annotations

import time
from datetime import datetime

from kanban_shards import wording
from kanban_shards.errors import StorageError, UsageError

# --- 2: the call itself is wrong -------------------------------------------------------------------------------


class ServerUnknown(UsageError):
    template = (
        "No service {name!r} is known to libpq; describe the server in a section of that name in ~/.pg_service.conf, "
        "and keep its password in ~/.pgpass."
    )
    name: str


# --- 3: a service ----------------------------------------------------------------------------------------------


class FarError(StorageError):
    template = "The shared ledger in {path} cannot be used: {problem}."


class Unreachable(FarError):
    template = (
        "The shared ledger in {path} has not answered since {since} ({problem}); what is written stays here and is "
        "merged when it answers again, and `kanban-merge doctor` says more."
    )
    # When it failed first since it last answered: for people, and in milliseconds since 1970.
    since: str
    since_ms: int


class FarBusy(FarError):
    template = (
        "Another host keeps the shared ledger in {path} for itself, so nothing was appended; the next pass tries "
        "again. If this comes again and again, look for a session there that stays in a transaction."
    )


class NoSharedLedger(FarError):
    template = (
        "There is no shared ledger of the board {board} in {path}; nothing was merged. If its tables were dropped, "
        "`kanban-merge share --again` fills it again from this host, which has everything."
    )
    board: str


class AnotherLedger(FarError):
    template = (
        "{path} has another ledger for the board {board} ({found}) than the one that this host shares ({expected}); "
        "nothing was merged. Find out who began it; `kanban-merge unshare` makes this a board of this host alone."
    )
    board: str
    found: str
    expected: str


class OtherRules(FarError):
    template = (
        "The shared ledger in {path} is decided by rules {theirs}, and this host has rules {mine}; nothing was "
        "appended. Run one version of kanban-shards on all hosts; what was written meanwhile is merged then."
    )
    theirs: int
    mine: int


class ClockStrange(FarError):
    template = (
        "The clock of {path} is {off}, and as far from what was heard before, so nothing was appended; set right "
        "whichever is wrong (`timedatectl` shows this host's). What is written meanwhile is merged then."
    )
    off: str

    def __init__(self, *, path: object, off_ms: int) -> None:
        side = "ahead of" if off_ms > 0 else "behind"
        super().__init__(path=path, off=f"{wording.age(abs(off_ms) / 1_000)} {side} this host's")


class Parted(FarError):
    template = (
        "The shared ledger in {path} holds another entry {position} than this host does, so nothing is merged; "
        "`kanban-merge share --again` takes the ledger's history ({its_verdicts} may change, and {its_changes} of this "
        "host are decided anew); or put the ledger back that has entry {position} of this host."
    )
    # The first at which they differ, as far as this host can tell.
    position: int
    # What this host alone has from there on: entries, and those of them that were written here.
    verdicts: int
    changes: int
    its_verdicts: str
    its_changes: str

    def __init__(self, *, path: object, position: int, verdicts: int, changes: int) -> None:
        super().__init__(
            path=path,
            position=position,
            verdicts=verdicts,
            changes=changes,
            its_verdicts=wording.many(verdicts, "verdict"),
            its_changes=wording.many(changes, "change"),
        )


class FarBroken(FarError):
    template = (
        "The shared ledger in {path} breaks its chain at entry {position}: somebody changed what is in its tables, so "
        "nothing from there on is merged. Put the tables back as they were, from a backup of that server."
    )
    position: int


class EntryTooLarge(FarError):
    template = (
        "The shared ledger in {path} has an entry {position} of {size_bytes} bytes, which {role} put there, and no "
        "host can keep, so nothing from there on is merged by any; whoever owns its tables takes it out (`DELETE FROM "
        "kanban_entry WHERE board = '{board}' AND position >= {position}`), by which nothing is lost that was merged, "
        "and has `kanban-merge share --upgrade` refuse such ones from then on."
    )
    board: str
    position: int
    size_bytes: int
    # The role that appended it, as the server knows it.
    role: str


class TailGone(FarError):
    template = (
        "The shared ledger in {path} ends at entry {held}, and has lost what came after it; this host dropped its own "
        "copy up to {base} in a compaction, so nothing is merged. Start the daemon of a host that was not compacted, "
        "and it puts back what is lost."
    )
    held: int
    base: int


class FarSchemaNewer(FarError):
    template = (
        "The tables in {path} were made by a newer version of this program (schema {found}, known up to {known}); "
        "update kanban-shards on this host. Nothing was changed there."
    )
    found: int
    known: int


class ServerRefused(FarError):
    template = "{path} cannot hold a shared ledger: {problem}; {cure}. Nothing was written there."
    cure: str


def unreachable(server: str, problem: str, since_s: float | None = None) -> Unreachable:
    """That ``server`` does not answer. ``since_s``: since when, in seconds since 1970; None for now."""
    since_s = time.time() if since_s is None else since_s
    since = datetime.fromtimestamp(since_s).astimezone().isoformat(" ", "seconds")
    return Unreachable(path=server, problem=problem, since=since, since_ms=round(since_s * 1_000))
