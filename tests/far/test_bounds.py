"""What a host of this program would never append: refused where it is written, and one sentence where it is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.errors import EntryTooLarge
from kanban_shards.coordinator.shared.far import LONGEST_ENTRY_BYTES, Address, Standing
from kanban_shards.migrations.far import VERSIONS
from tests.far.changes import BEGINNING, chained, change, end_of
from tests.far.server import Server

HERE = Address("kanban", "default", "here", 1, "one")
_USUAL = {
    "board": "'default'", "position": "3", "profile": "'eve'", "seq": "1", "task_id": "'t_1'", "kind": "'comment'",
    "body": "'{}'", "seen": "'{}'", "written_ms": "1", "change_digest": "'any'", "at_ms": "1", "digest": "'any'",
}  # fmt: skip


@pytest.fixture
def carrier(service: str) -> Iterator[Carrier]:
    with closing(Carrier(HERE)) as opened:
        opened.begin("one")
        yield opened


def insert(**values: str) -> str:
    """SQL that appends an entry behind two, as whoever may append can."""
    row = {**_USUAL, **values}
    return f"INSERT INTO kanban_entry ({', '.join(row)}) VALUES ({', '.join(row.values())})"


def as_before(postgres: Server) -> None:
    """The tables as the first version made them."""
    for table in ("entry", "host", "ledger"):
        bounds = f"ALTER TABLE kanban_{table} DROP CONSTRAINT kanban_{table}_bounds"
        postgres.sql(bounds, postgres.latest_database)
    postgres.sql("UPDATE kanban_schema SET version = 1", postgres.latest_database)


BEYOND = [
    {"body": "repeat('x', 8388609)"}, {"seen": "repeat('x', 1048577)"}, {"profile": "repeat('x', 65)"},
    {"task_id": "repeat('x', 129)"}, {"kind": "repeat('x', 65)"}, {"digest": "repeat('x', 65)"},
    {"change_digest": "repeat('ä', 33)"}, {"seq": "0"}, {"position": "-1"}, {"at_ms": "9223372036854775807"},
    {"written_ms": "-1"},
]  # fmt: skip


def test_an_upgrade_has_the_server_refuse_what_no_host_appends(carrier: Carrier, postgres: Server) -> None:
    """Of a service that was made before: the same rules, and newer tables. What is there stays there."""
    as_before(postgres)
    carrier.append(chained(BEGINNING, [change("amy", 1), change("amy", 2)]), BEGINNING)
    postgres.sql(insert(**BEYOND[0]), postgres.latest_database)
    carrier.raise_rules()
    assert postgres.sql("SELECT version FROM kanban_schema", postgres.latest_database) == [(len(VERSIONS),)]
    for position, beyond in enumerate(BEYOND, 4):
        wrong = insert(**{"position": str(position), "seq": str(position), **beyond})
        with pytest.raises(Exception, match="kanban_entry_bounds"):
            postgres.sql(wrong, postgres.latest_database)
    carrier.raise_rules()
    assert len(carrier.read(2).entries) == 1


@pytest.mark.parametrize("column", ["body", "seen", "digest", "kind"])
def test_what_no_host_can_keep_is_one_sentence(carrier: Carrier, postgres: Server, column: str) -> None:
    """It stops each host at the same entry, and none of them reads it; without it, all go on."""
    as_before(postgres)
    entries = chained(BEGINNING, [change("amy", 1), change("amy", 2)])
    carrier.append(entries, BEGINNING)
    large = insert(**{column: f"repeat('x', {LONGEST_ENTRY_BYTES})"})
    postgres.sql(large, postgres.latest_database)
    assert carrier.read(0).entries == entries, "what is before it is merged"
    for call in (carrier.read, carrier.turn, carrier.read):
        with pytest.raises(EntryTooLarge) as refused:
            call(2)
        assert refused.value.position == 3 and "postgres put there" in str(refused.value)
    said = str(refused.value).partition("`")[2].partition("`")[0]
    assert said.startswith("DELETE")
    postgres.sql(said, postgres.latest_database)
    assert carrier.read(2).end == end_of(entries)
    carrier.append(chained(end_of(entries), [change("bob", 1)]), end_of(entries))


def test_of_very_many_hosts_those_are_told_that_spoke_last(carrier: Carrier, postgres: Server) -> None:
    as_before(postgres)
    row = "'default', 'h' || n, repeat('p', 100000), 1, 0, repeat('d', 100000), n"
    postgres.sql(f"INSERT INTO kanban_host SELECT {row} FROM generate_series(1, 1500) AS n", postgres.latest_database)
    hosts = carrier.meet(Standing("here", "0.1.0", 1, 0, ""))
    assert len(hosts) == 1000 and "here" in {each.host for each in hosts}
    assert sum(len(each.program) + len(each.decided) for each in hosts) < 1_000_000
