"""A shared ledger in memory, with the faults of a network and of a server. No thread, no sleep, no clock of its own.

Several hosts share one ``Service``. Each has its ``FakeFar`` and in it its ``Link``, which a test cuts, silences or
slows. Time is whatever ``Service.now_ms`` says; what would take time only adds to ``Link.waited_ms``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.ledger import GENESIS, Entry, Point
from kanban_shards.coordinator.shared.errors import (
    AnotherLedger,
    FarBusy,
    FarError,
    NoSharedLedger,
    OtherRules,
    ServerRefused,
    Unreachable,
)
from kanban_shards.coordinator.shared.far import PAGE_BYTES, PAGE_ENTRIES, TURN_MS, Page, Standing, check_continue

DEADLINE_MS = 2_000


@dataclass
class Ledger:
    """What the service keeps of one board. ``turn``: which host has it, and until when."""

    ledger_id: str
    rules: int
    entries: list[Entry] = field(default_factory=list)
    hosts: dict[str, Standing] = field(default_factory=dict)
    turn: tuple[str, int] | None = None

    @property
    def end(self) -> Point:
        return Point(self.entries[-1].position, self.entries[-1].digest) if self.entries else Point(0, GENESIS)

    def digest_at(self, position: int) -> str | None:
        if position == 0:
            return GENESIS
        return self.entries[position - 1].digest if position <= len(self.entries) else None


class Bell:
    """A descriptor that can be read while it rings."""

    def __init__(self) -> None:
        self.descriptor, self._other = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._other, False)

    def ring(self) -> None:
        with suppress(BlockingIOError):  # it rings already
            os.write(self._other, b"!")

    def silence(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.descriptor, 4_096):
                pass

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._other)


@dataclass
class Link:
    """The way from one host to the service.

    ``cut``: refused at once. ``silent``: no answer within the deadline. ``late_ms``: how long an answer takes.
    ``lose_requests``: of how many appends, from now on, nothing arrives. ``lose_answers``: of how many the answer is
    lost, after the commit. ``deaf``: no bell rings. ``wrong_ms``: by how much the clock is ahead that answers tell.
    ``trips``, ``waited_ms``: how many calls there were, and how long they took together. ``failed_ms``: when it failed
    first since the last answer.
    """

    cut: bool = False
    silent: bool = False
    late_ms: int = 0
    lose_requests: int = 0
    lose_answers: int = 0
    deaf: bool = False
    wrong_ms: int = 0
    trips: int = 0
    waited_ms: int = 0
    failed_ms: int | None = None


class Service:
    """A server that some hosts reach. ``now_ms``: its clock. ``refused``: why it may not be used ("it is a standby"),
    "" if it may."""

    def __init__(self, now_ms: Callable[[], int], name: str = "fake") -> None:
        self.now_ms, self.name = now_ms, name
        self.refused = ""
        self.ledgers: dict[str, Ledger] = {}
        self.fars: list[FakeFar] = []

    def far(self, host: str, ledger_id: str = "", *, board: str = "default", rules: int = 1) -> FakeFar:
        """The ledger of ``board`` as ``host`` reaches it. ``ledger_id``: the one that it knows, "" if none."""
        self.fars.append(FakeFar(self, host, ledger_id, board, rules))
        return self.fars[-1]

    def lose_tail(self, entries: int, board: str = "default") -> list[Entry]:
        """Forget that many of the last entries, as a failover or an old dump does; returns them."""
        ledger = self.ledgers[board]
        kept = len(ledger.entries) - entries
        lost, ledger.entries = ledger.entries[kept:], ledger.entries[:kept]
        return lost

    def drop(self, board: str = "default") -> Ledger:
        """Drop what it has of the board; returns that."""
        return self.ledgers.pop(board)


class FakeFar:
    """Far, in memory."""

    def __init__(self, service: Service, host: str, ledger_id: str, board: str, rules: int) -> None:
        self.link = Link()
        self._service, self._host, self._board, self._rules = service, host, board, rules
        self._ledger_id = ledger_id
        self._bell = Bell()
        self._open = True

    @property
    def server(self) -> str:
        return self._service.name

    def read(self, position: int) -> Page:
        self._arrive()
        self._bell.silence()
        page = self._page(position)
        self._return()
        return page

    def append(self, entries: Sequence[Entry], behind: Point) -> None:
        check_continue(entries, behind)
        self._arrive(self.link.lose_requests)
        ledger = self._ledger()
        self._check_nobody_has_its_turn(ledger)
        if ledger.ledger_id != self._ledger_id:
            raise AnotherLedger(path=self.server, board=self._board, found=ledger.ledger_id, expected=self._ledger_id)
        if ledger.rules != self._rules:
            raise OtherRules(path=self.server, theirs=ledger.rules, mine=self._rules)
        if ledger.end != behind:
            raise Overtaken(path=self.server, held=ledger.end.position, behind=behind.position)
        there = {each.change[:2] for each in ledger.entries}
        if any(each.change[:2] in there for each in entries):
            raise FarError(path=self.server, problem="it has a change of this profile and seq already")
        ledger.entries += entries
        for far in self._service.fars:
            far.hear(self._board)
        if self.link.lose_answers:
            self.link.lose_answers -= 1
            self._fail("the connection was lost")
        self._return()

    def turn(self, position: int) -> Page:
        self._arrive(keeps_turn=True)
        ledger = self._ledger()
        self._check_nobody_has_its_turn(ledger)
        self._bell.silence()
        ledger.turn = (self._host, self._service.now_ms() + TURN_MS)
        page = self._page(position)
        self._return()
        return page

    def bell(self) -> int:
        return self._bell.descriptor

    def meet(self, mine: Standing | None) -> list[Standing]:
        self._arrive()
        hosts = self._ledger().hosts
        if mine is not None:
            hosts[mine.host] = mine._replace(seen_ms=self._service.now_ms())
        self._return()
        return [hosts[name] for name in sorted(hosts)]

    def remarks(self) -> list[str]:
        self._arrive()
        self._return()
        return []

    def begin(self, ledger_id: str) -> None:
        self._arrive()
        there = self._service.ledgers.setdefault(self._board, Ledger(ledger_id, self._rules))
        if there.ledger_id != ledger_id:
            raise AnotherLedger(path=self.server, board=self._board, found=there.ledger_id, expected=ledger_id)
        self._ledger_id = ledger_id
        self._return()

    def raise_rules(self) -> None:
        self._arrive()
        ledger = self._ledger()
        if ledger.rules > self._rules:
            raise OtherRules(path=self.server, theirs=ledger.rules, mine=self._rules)
        ledger.rules = self._rules
        self._return()

    def leave(self) -> None:
        self._arrive()
        self._ledger().hosts.pop(self._host, None)
        self._return()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._service.fars.remove(self)
            self._bell.close()

    def hear(self, board: str) -> None:
        """Ring, if this is about its board and the way is free."""
        link = self.link
        if board == self._board and not (link.deaf or link.cut or link.silent):
            self._bell.ring()

    # --- how -----------------------------------------------------------------------------------------------------

    def _arrive(self, lose: int = 0, keeps_turn: bool = False) -> None:
        """The request is at the service, and ends this host's turn; or this raises."""
        self.link.trips += 1
        if self.link.cut:
            self._fail("the connection was refused")
        if self.link.silent or self.link.late_ms > DEADLINE_MS:
            self.link.waited_ms += DEADLINE_MS
            self._fail("no answer within 2 s")
        if lose:
            self.link.lose_requests -= 1
            self._fail("the connection was lost")
        if self._service.refused:
            raise ServerRefused(path=self.server, problem=self._service.refused, cure="name another server")
        if not keeps_turn:
            self._end_turn()

    def _return(self) -> None:
        """The answer is here."""
        self.link.waited_ms += self.link.late_ms
        self.link.failed_ms = None

    def _fail(self, problem: str) -> NoReturn:
        if self.link.failed_ms is None:
            self.link.failed_ms = self._service.now_ms()
        since = datetime.fromtimestamp(self.link.failed_ms / 1_000, UTC).isoformat(" ", "seconds")
        raise Unreachable(path=self.server, problem=problem, since=since, since_ms=self.link.failed_ms)

    def _ledger(self) -> Ledger:
        ledger = self._service.ledgers.get(self._board)
        if ledger is None:
            raise NoSharedLedger(path=self.server, board=self._board)
        return ledger

    def _page(self, position: int) -> Page:
        ledger = self._ledger()
        entries, bytes_left = [], PAGE_BYTES
        for entry in ledger.entries[position : position + PAGE_ENTRIES]:
            bytes_left -= len(entry.change.body.encode())
            if entries and bytes_left < 0:
                break
            entries.append(entry)
        now_ms = self._service.now_ms() + self.link.wrong_ms
        return Page(ledger.ledger_id, ledger.rules, now_ms, ledger.end, ledger.digest_at(position), entries)

    def _check_nobody_has_its_turn(self, ledger: Ledger) -> None:
        if ledger.turn and ledger.turn[0] != self._host and self._service.now_ms() < ledger.turn[1]:
            self.link.waited_ms += DEADLINE_MS
            raise FarBusy(path=self.server)

    def _end_turn(self) -> None:
        ledger = self._service.ledgers.get(self._board)
        if ledger and ledger.turn and ledger.turn[0] == self._host:
            ledger.turn = None
