"""What every far port does, whatever is behind it: the fake, PostgreSQL, and PostgreSQL by way of the carrier."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.ledger import GENESIS, Point
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.errors import (
    AnotherLedger,
    FarBusy,
    FarError,
    NoSharedLedger,
    OtherRules,
)
from kanban_shards.coordinator.shared.far import PAGE_BYTES, PAGE_ENTRIES, Address, Far, Standing
from kanban_shards.errors import LawBroken
from tests.far.changes import BEGINNING, chained, change, end_of
from tests.far.fake import Service
from tests.far.server import Server

BOARD = "default"


class World:
    """One service that hosts reach. ``open(host)`` is the port as that host has it. ``lose_tail``, ``drop``: what may
    happen to the service."""

    def __init__(
        self, open_far: Callable[[Address], Any], lose_tail: Callable[[int], object], drop: Callable[[], object]
    ) -> None:
        self._open, self.lose_tail, self.drop = open_far, lose_tail, drop
        self._fars = ExitStack()

    def open(self, host: str, ledger_id: str = "one", *, service: str = "kanban", rules: int = 1) -> Far:
        return self._fars.enter_context(closing(self._open(Address(service, BOARD, host, rules, ledger_id))))

    def close(self) -> None:
        self._fars.close()


def fake_world() -> World:
    service = Service(lambda: round(time.time() * 1_000))

    def open_far(address: Address) -> Far:
        return service.far(address.host, address.ledger_id, board=address.board, rules=address.rules)

    return World(open_far, service.lose_tail, service.drop)


def real_world(open_far: Callable[[Address], Any], server: Server, database: str) -> World:
    def lose_tail(entries: int) -> None:
        server.sql(
            f"DELETE FROM kanban_entry WHERE position > (SELECT max(position) FROM kanban_entry) - {entries}", database
        )

    def drop() -> None:
        server.sql("DROP TABLE kanban_entry, kanban_ledger, kanban_host, kanban_schema", database)

    return World(open_far, lose_tail, drop)


def direct(address: Address) -> Any:
    from kanban_shards.coordinator.shared.connecting import Server as Known
    from kanban_shards.coordinator.shared.postgres import Postgres

    return Postgres(Known(address), lambda: None)


# Where the way to the service matters as well, and not the service alone.
by_carrier_too = pytest.mark.parametrize("world", ["fake", "postgres", "carrier"], indirect=True)


@pytest.fixture(params=["fake", "postgres"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        made = fake_world()
    else:
        request.getfixturevalue("service")
        server = request.getfixturevalue("postgres")
        opened = direct if request.param == "postgres" else Carrier
        made = real_world(opened, server, server.latest_database)
    with closing(made):
        yield made


@pytest.fixture
def far(world: World) -> Far:
    """The port of the host ``here``, of a ledger that was just begun."""
    far = world.open("here")
    far.begin("one")
    return far


@pytest.fixture
def other(world: World, far: Far) -> Far:
    """The same of another host."""
    return world.open("there")


def test_a_ledger_begins_empty(far: Far) -> None:
    before_ms = time.time() * 1_000
    page = far.read(0)
    assert page._replace(clock_ms=0) == ("one", 1, 0, BEGINNING, GENESIS, [])
    assert abs(page.clock_ms - before_ms) < 60_000


def test_it_is_begun_once(far: Far, other: Far) -> None:
    entries = chained(BEGINNING, [change("amy", 1)])
    far.append(entries, BEGINNING)
    other.begin("one")
    assert other.read(0).entries == entries
    with pytest.raises(AnotherLedger) as found:
        other.begin("two")
    assert (found.value.found, found.value.expected) == ("one", "two")


def test_where_there_is_none(world: World) -> None:
    far = world.open("here")
    entries = chained(BEGINNING, [change("amy", 1)])
    for call in (
        lambda: far.read(0),
        lambda: far.turn(0),
        lambda: far.append(entries, BEGINNING),
        lambda: far.meet(None),
        far.raise_rules,
    ):
        with pytest.raises(NoSharedLedger):
            call()
    far.begin("one")
    far.append(entries, BEGINNING)


@by_carrier_too
def test_entries_come_back_as_they_were(far: Far, other: Far) -> None:
    bodies = ["{}", '{"text":"é 😀 \\u0000 {\\"a\\": [1, 2]}, NULL \\\\ \'%s\'"}', '{"text":"' + "x" * 300_000 + '"}']
    entries = chained(BEGINNING, [change("amy", seq, body) for seq, body in enumerate(bodies, 1)])
    far.append(entries, BEGINNING)
    page = other.read(0)
    assert page.entries == entries
    assert page.end == end_of(entries)
    page = other.read(2)
    assert (page.here, page.entries) == (entries[1].digest, entries[2:])
    page = other.read(3)
    assert (page.here, page.entries) == (entries[2].digest, [])
    assert other.read(4).here is None


@by_carrier_too
def test_whoever_was_overtaken_appends_nothing(far: Far, other: Far) -> None:
    entries = chained(BEGINNING, [change("amy", 1), change("amy", 2)])
    far.append(entries, BEGINNING)
    with pytest.raises(Overtaken) as overtaken:
        other.append(chained(BEGINNING, [change("bob", 1)]), BEGINNING)
    assert (overtaken.value.held, overtaken.value.behind) == (2, 0)
    with pytest.raises(Overtaken):
        other.append(chained(Point(2, "another"), [change("bob", 1)]), Point(2, "another"))
    with pytest.raises(Overtaken):
        other.append(chained(Point(3, "more"), [change("bob", 1)]), Point(3, "more"))
    assert far.read(0).entries == entries


def test_an_append_twice_is_overtaken_by_itself(far: Far) -> None:
    """So whoever does not know what became of it may repeat it."""
    entries = chained(BEGINNING, [change("amy", 1)])
    far.append(entries, BEGINNING)
    with pytest.raises(Overtaken):
        far.append(entries, BEGINNING)
    assert far.turn(0).entries == entries


@by_carrier_too
def test_all_of_them_or_none(far: Far) -> None:
    entries = chained(BEGINNING, [change("amy", 1)])
    far.append(entries, BEGINNING)
    behind = end_of(entries)
    with pytest.raises(FarError):
        far.append(chained(behind, [change("bob", 1), change("amy", 1)]), behind)
    assert far.read(0).entries == entries
    far.append(chained(behind, [change("bob", 1)]), behind)


@pytest.mark.parametrize("of", [slice(0), slice(1, 3), slice(None, None, 2)], ids=["none", "a gap before", "a gap"])
def test_nothing_is_appended_with_a_gap(far: Far, of: slice) -> None:
    entries = chained(BEGINNING, [change("amy", seq) for seq in (1, 2, 3)])
    with pytest.raises(LawBroken):
        far.append(entries[of], BEGINNING)
    assert far.read(0).end == BEGINNING


@by_carrier_too
def test_another_ledger_takes_nothing(far: Far, world: World) -> None:
    stranger = world.open("there", ledger_id="two")
    with pytest.raises(AnotherLedger):
        stranger.append(chained(BEGINNING, [change("bob", 1)]), BEGINNING)
    assert stranger.read(0)[:1] == ("one",)
    assert far.read(0).end == BEGINNING


@by_carrier_too
def test_only_hosts_with_its_rules_append(far: Far, world: World) -> None:
    entries = chained(BEGINNING, [change("amy", 1)])
    newer = world.open("there", rules=2)
    with pytest.raises(OtherRules) as refused:
        newer.append(entries, BEGINNING)
    assert (refused.value.theirs, refused.value.mine) == (1, 2)
    newer.raise_rules()
    newer.raise_rules()
    newer.append(entries, BEGINNING)
    page = far.read(0)
    assert (page.rules, page.entries) == (2, entries)
    with pytest.raises(OtherRules):
        far.append(chained(page.end, [change("bob", 1)]), page.end)
    with pytest.raises(OtherRules):
        far.raise_rules()
    assert far.read(0).rules == 2


@by_carrier_too
def test_a_turn_keeps_others_away(far: Far, other: Far) -> None:
    assert other.turn(0).end == BEGINNING
    with pytest.raises(FarBusy):
        far.append(chained(BEGINNING, [change("amy", 1)]), BEGINNING)
    assert far.read(0).end == BEGINNING
    mine = chained(BEGINNING, [change("bob", 1)])
    other.append(mine, BEGINNING)
    with pytest.raises(Overtaken):
        far.append(chained(BEGINNING, [change("amy", 1)]), BEGINNING)
    far.append(chained(end_of(mine), [change("amy", 1)]), end_of(mine))


def test_a_turn_waits_for_another(far: Far, other: Far) -> None:
    other.turn(0)
    with pytest.raises(FarBusy):
        far.turn(0)
    other.read(0)
    assert far.turn(0).end == BEGINNING


def test_a_turn_ends_with_the_next_call(far: Far, other: Far) -> None:
    behind, seq = BEGINNING, 0

    def others_append() -> None:
        nonlocal behind, seq
        seq += 1
        entries = chained(behind, [change("amy", seq)])
        far.append(entries, behind)
        behind = end_of(entries)

    others_append()
    other.turn(0)
    other.read(0)
    others_append()
    other.turn(0)
    assert other.turn(0).end == behind
    with pytest.raises(Overtaken):
        other.append(chained(BEGINNING, [change("bob", 1)]), BEGINNING)
    others_append()
    other.turn(0)
    other.meet(None)
    others_append()
    other.turn(0)
    other.append(chained(behind, [change("bob", 1)]), behind)
    assert far.read(0).end.position == 5


def test_a_page_is_as_long_as_it_may_be(far: Far) -> None:
    entries = chained(BEGINNING, [change("amy", seq) for seq in range(1, PAGE_ENTRIES + 2)])
    far.append(entries, BEGINNING)
    page = far.read(0)
    assert (page.entries, page.end) == (entries[:-1], end_of(entries))
    assert far.read(1).entries == entries[1:]


@by_carrier_too
def test_a_page_is_no_larger_than_it_may_be(far: Far) -> None:
    body = '{"text":"' + "x" * (PAGE_BYTES * 3 // 4) + '"}'
    behind = BEGINNING
    for seq in (1, 2, 3):
        entries = chained(behind, [change("amy", seq, body)])
        far.append(entries, behind)
        behind = end_of(entries)
    assert [each.position for each in far.read(0).entries] == [1]
    assert [each.position for each in far.turn(1).entries] == [2]


@by_carrier_too
def test_a_lost_tail_shows_and_can_be_put_back(far: Far, other: Far, world: World) -> None:
    entries = chained(BEGINNING, [change("amy", seq) for seq in range(1, 6)])
    far.append(entries, BEGINNING)
    world.lose_tail(3)
    page = other.read(5)
    assert (page.end, page.here, page.entries) == (end_of(entries[:2]), None, [])
    with pytest.raises(Overtaken):
        other.append(chained(end_of(entries), [change("bob", 1)]), end_of(entries))
    other.append(entries[2:], page.end)
    assert far.read(0).entries == entries


@by_carrier_too
def test_a_dropped_ledger_is_filled_again(far: Far, world: World) -> None:
    entries = chained(BEGINNING, [change("amy", 1)])
    far.append(entries, BEGINNING)
    world.drop()
    with pytest.raises(NoSharedLedger):
        far.read(1)
    with pytest.raises(NoSharedLedger):
        far.append(chained(end_of(entries), [change("amy", 2)]), end_of(entries))
    far.begin("one")
    far.append(entries, BEGINNING)
    assert far.read(0).entries == entries


@by_carrier_too
def test_hosts_hear_of_each_other(far: Far, other: Far) -> None:
    assert far.meet(None) == []
    here = Standing("here", "0.1.0", 1, 12, "a digest")
    there = Standing("there", "0.2.0", 1, 7, "")
    far.meet(here)
    far.meet(here._replace(position=13))
    told = other.meet(there)
    assert [each._replace(seen_ms=0) for each in told] == [here._replace(position=13), there]
    assert all(abs(each.seen_ms - far.read(0).clock_ms) < 60_000 for each in told)
    far.leave()
    far.leave()
    assert [each.host for each in far.meet(None)] == ["there"]


@pytest.mark.parametrize("world", ["fake", "carrier"], indirect=True)  # PostgreSQL's is the carrier's
def test_the_bell_rings_for_what_others_append(far: Far, other: Far) -> None:
    far.read(0)
    entries = chained(BEGINNING, [change("bob", 1)])
    other.append(entries, BEGINNING)
    assert _rings(far.bell(), 10)
    assert far.read(0).entries == entries
    assert not _rings(far.bell(), 0)
    bell = far.bell()
    other.append(chained(end_of(entries), [change("bob", 2)]), end_of(entries))
    assert _rings(far.bell(), 10)
    assert far.bell() == bell


def test_nothing_is_remarked_of_a_server_by_itself(far: Far) -> None:
    assert far.remarks() == []


@by_carrier_too
def test_it_may_be_closed_twice(world: World) -> None:
    far = world.open("here")
    far.begin("one")
    far.close()
    far.close()


def _rings(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1_000))
