"""The far port: what a service must do that several hosts agree on one order in.

An entry is whole when it comes here: its position, time and digest were worked out by the host that appends it, as for
the file. So the service knows no rule and no content. It keeps one thing: an append names the entry that it continues,
and is refused whole if that is no longer the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from kanban_shards.coordinator.ledger import Entry, Point
from kanban_shards.errors import LawBroken

# What a page holds at most; whoever gets as many entries, or is short of ``end``, asks for what is behind them.
PAGE_ENTRIES = 1_000
PAGE_BYTES = 8 << 20
# Of text in an entry: more no host can keep, whose rows SQLite reads within 16 MiB (sqlite.LONGEST_VALUE_BYTES). What
# a host of this program appends has 9 MiB at most.
LONGEST_ENTRY_BYTES = 15 << 20
# What the slowest link carries that is still waited for.
_BYTES_PER_S = 128 << 10
# For how long others wait for the host that has its turn.
TURN_MS = 2_000


class Address(NamedTuple):
    """Where a board's shared ledger is, and as whom a host comes there. No secret is in it.

    ``service``: the name that libpq's service file knows the server by. ``board``: what the ledger is called there.
    ``host``: this host's name. ``rules``: the version of the rules that this host decides by. ``ledger_id``: the ledger
    that this host knows; "" as long as it knows none, and may not append. ``trusts_network``: whether somebody said
    that no third party can read or change what goes over it, so that TLS need not be checked.
    """

    service: str
    board: str
    host: str
    rules: int
    ledger_id: str = ""
    trusts_network: bool = False


class Page(NamedTuple):
    """One state of the ledger, and a piece of it.

    ``ledger_id``: which ledger this is; made once, by whoever began it. ``rules``: the version of the rules that it is
    decided by. ``clock_ms``: the service's clock, milliseconds since 1970. ``end``: its last entry; ``(0, GENESIS)``
    if it has none. ``here``: the digest of its entry at the position that was asked for, GENESIS at 0; None if it has
    no entry there. ``entries``: those behind that position, in order, at most PAGE_ENTRIES, and no more than
    PAGE_BYTES (one entry at least), and none that is larger than LONGEST_ENTRY_BYTES or behind such a one. Nobody has
    checked their chain.
    """

    ledger_id: str
    rules: int
    clock_ms: int
    end: Point
    here: str | None
    entries: list[Entry]


class Standing(NamedTuple):
    """How far a host is, as it says itself. Nothing is decided by it.

    ``host``: its name, as its ``shared.json`` has it. ``program``: the version of this program that it runs. ``rules``:
    the version of the rules that it decides by. ``position``: up to where its board shows the ledger. ``decided``: what
    came of the entries up to there, in a form that two hosts can compare. ``seen_ms``: when it said so, by the
    service's clock, milliseconds since 1970; whoever says it need not fill it in.
    """

    host: str
    program: str
    rules: int
    position: int
    decided: str
    seen_ms: int = 0


class Far(Protocol):
    """A board's ledger in a service, at one Address.

    Each call is one round trip, as a rule, and ends within two seconds (but see ``append`` and ``begin``). Each raises
    ``Unreachable`` if the service did not answer, ``NoSharedLedger`` if it has none of this board, ``ServerRefused`` if
    it is one that may lose what it acknowledged; all of these are ``FarError``. Nothing was done then, but by an
    ``append``, which may be in doubt.
    """

    @property
    def server(self) -> str:
        """Which service this is, as sentences name it. No secret is in it."""
        ...

    def read(self, position: int) -> Page:
        """What is behind ``position``, with the rest of one and the same state. The bell is quiet after it, until
        there is more. Raises EntryTooLarge if the very next entry is larger than LONGEST_ENTRY_BYTES."""
        ...

    def append(self, entries: Sequence[Entry], behind: Point) -> None:
        """Append all of them or none, durable on return. ``entries``: at least one, the first at ``behind.position +
        1``. Takes a second longer for each 128 KiB, if the link is slow.

        Raises Overtaken unless ``behind`` is its end, AnotherLedger or OtherRules unless it is the ledger, and has the
        rules, of this host's Address; FarBusy if another host has its turn for too long; FarError if it has a change
        of that profile and seq already. Nothing was appended then. After Unreachable it is in doubt: perhaps they are
        there, or will be. The next ``turn`` tells; and an append of the same again is overtaken by it.
        """
        ...

    def turn(self, position: int) -> Page:
        """The same as ``read``, and nobody else appends until this host's next call, or for TURN_MS. For a host that
        was overtaken. That next call is its append; another ``turn`` keeps its turn, and ``read`` gives it up, which a
        host does that has nothing to append any more. Raises FarBusy if another host has its turn for too long."""
        ...

    def bell(self) -> int:
        """A descriptor that is readable while there may be more than was read, the same one until ``close``; -1 from a
        service that has none. A bell may ring for nothing, and may be silent although there is more: look each second
        as well."""
        ...

    def meet(self, mine: Standing | None) -> list[Standing]:
        """Say how far this host is (None says nothing), and hear how far each is that did, by name."""
        ...

    def remarks(self) -> list[str]:
        """What makes this service slower or less safe than it could be, and is no reason to refuse it: a sentence
        each."""
        ...

    def begin(self, ledger_id: str) -> None:
        """Begin this board's ledger, empty, with this id and this host's rules. Makes what the service needs for it
        (tables), for which it may take ten seconds. Nothing happens if there is one with this id already. Raises
        AnotherLedger if there is one with another id."""
        ...

    def raise_rules(self) -> None:
        """Have the ledger decided by this host's rules from now on. Hosts with older ones append nothing more. Brings
        what the service needs for it (tables) to this host's version, as ``begin`` makes it. Raises OtherRules if the
        ledger has newer ones."""
        ...

    def leave(self) -> None:
        """Take this host out of those that ``meet`` tells."""
        ...

    def close(self) -> None:
        """Let go of the service, at once, whatever it does. May be called twice."""
        ...


def check_continue(entries: Sequence[Entry], behind: Point) -> None:
    """Raise LawBroken unless there are entries, and their positions go on from ``behind`` without a gap."""
    if not entries or [each.position - behind.position for each in entries] != [*range(1, len(entries) + 1)]:
        raise LawBroken(f"entries were to be appended that do not continue position {behind.position}")


def size_s(entries: Sequence[Entry]) -> float:
    """How many seconds more than another request an append of ``entries`` may take, for their size."""
    return sum(len(each.change.body) for each in entries) / _BYTES_PER_S
