"""What only a real server shows: which are refused, what becomes of tables that others touch, crashes, standbys."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.errors import (
    FarBusy,
    FarError,
    FarSchemaNewer,
    NoSharedLedger,
    ServerRefused,
    Unreachable,
)
from kanban_shards.coordinator.shared.far import Address, Standing
from kanban_shards.coordinator.shared.patience import DEADLINE_S
from tests.far.changes import BEGINNING, chained, change, end_of
from tests.far.fixtures import serve
from tests.far.server import Server
from tests.far.test_carrier import answered_again, failing
from tests.tree import ROOT

HERE = Address("kanban", "default", "here", 1, "one")
THERE = HERE._replace(host="there")
PAGE = (ROOT / "docs" / "design" / "service.md").read_text(encoding="utf-8")


@pytest.fixture
def carrier(service: str) -> Iterator[Carrier]:
    with closing(Carrier(HERE)) as opened:
        opened.begin("one")
        yield opened


@pytest.fixture
def own_server(new_server: Callable[[], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that the test may stop; the service names it."""
    server = new_server()
    server.initialize()
    server.start()
    serve(tmp_path, monkeypatch, host=str(server.folder))
    return server


# --- what somebody does to the tables --------------------------------------------------------------------------------


def test_entries_that_are_cut_off_can_be_put_back(carrier: Carrier, postgres: Server) -> None:
    """Although the row that is locked says that they are there."""
    entries = appended(carrier, 5)
    postgres.sql("TRUNCATE kanban_entry", postgres.latest_database)
    with pytest.raises(Overtaken) as overtaken:
        carrier.append(chained(end_of(entries), [change("bob", 1)]), end_of(entries))
    assert overtaken.value.held == 0
    carrier.append(entries, BEGINNING)
    assert carrier.read(0).entries == entries


def test_a_row_that_is_cut_off_comes_back_of_the_entries(carrier: Carrier, postgres: Server) -> None:
    entries = appended(carrier, 5)
    postgres.sql("TRUNCATE kanban_ledger", postgres.latest_database)
    with pytest.raises(NoSharedLedger):
        carrier.read(5)
    carrier.begin("one")
    more = chained(end_of(entries), [change("bob", 1)])
    carrier.append(more, end_of(entries))
    assert carrier.read(0).entries == entries + more


def test_newer_tables_are_left_alone(carrier: Carrier, postgres: Server) -> None:
    postgres.sql("UPDATE kanban_schema SET version = 99", postgres.latest_database)
    with closing(Carrier(THERE)) as other:
        for call in (lambda: other.read(0), lambda: other.begin("one")):
            with pytest.raises(FarSchemaNewer) as refused:
                call()
            assert refused.value.found == 99


def test_what_postgresql_cannot_hold_is_said(carrier: Carrier) -> None:
    entries = chained(BEGINNING, [change("amy", 1, '{"text":"\0"}')])
    with pytest.raises(FarError, match="NUL"):
        carrier.append(entries, BEGINNING)
    assert carrier.read(0).end == BEGINNING


# --- who may do what -------------------------------------------------------------------------------------------------


def statements(heading: str) -> list[list[str]]:
    """The SQL of each block below a heading of the page, which is its last one."""
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.partition(heading)[2], re.S)
    return [[each.strip() for each in block.split(";") if each.strip()] for block in blocks]


def as_role(postgres: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, sql: list[str], role: str) -> None:
    """Make ``role`` with what ``sql`` says of the role ``laptop``, and have the service log in as it."""
    for statement in [f"CREATE ROLE {role} LOGIN", *sql]:
        postgres.sql(statement.replace("laptop", role), postgres.latest_database)
    serve(folder, monkeypatch, host=str(postgres.folder), dbname=postgres.latest_database, user=role)


def test_a_hosts_role_may_do_what_a_host_does_and_no_more(
    carrier: Carrier, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants, _ = statements("## Roles")
    as_role(postgres, tmp_path, monkeypatch, grants, "tower")
    with closing(Carrier(THERE)) as there:
        there.begin("one")
        entries = appended(there, 2)
        assert there.turn(0).entries == entries
        there.meet(Standing("there", "0.1.0", 1, 2, ""))
        there.raise_rules()
        there.leave()
    for statement in (
        "UPDATE kanban_entry SET body = '{}'", "DELETE FROM kanban_entry", "TRUNCATE kanban_entry",
        "UPDATE kanban_ledger SET ledger_id = 'two'", "DROP TABLE kanban_entry",
    ):  # fmt: skip
        with pytest.raises(Exception, match=r"permission denied|must be owner"):
            postgres.sql(statement, postgres.latest_database, user="tower")
    assert postgres.sql("SELECT DISTINCT host FROM kanban_entry", postgres.latest_database) == [("tower",)]


def test_the_server_holds_profiles_apart_where_it_is_told_to(
    carrier: Carrier, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grants, policy = statements("## Roles")
    as_role(postgres, tmp_path, monkeypatch, grants + policy, "phone")
    with closing(Carrier(THERE)) as there:
        entries = chained(BEGINNING, [change("amy", 1), change("@coordinator", 1)])
        there.append(entries, BEGINNING)
        with pytest.raises(FarError, match="row-level security"):
            there.append(chained(end_of(entries), [change("bob", 1)]), end_of(entries))
        assert there.read(0).entries == entries


# --- which servers ---------------------------------------------------------------------------------------------------


def test_a_server_that_may_lose_entries_is_refused(own_server: Server) -> None:
    for name, words in (("fsync", "fsync is off"), ("full_page_writes", "full_page_writes is off")):
        own_server.sql(f"ALTER SYSTEM SET {name} = off")
        own_server.sql("SELECT pg_reload_conf()")
        await_setting(own_server, name, "off")
        with closing(Carrier(HERE)) as carrier, pytest.raises(ServerRefused, match=words):
            carrier.read(0)
        own_server.sql(f"ALTER SYSTEM RESET {name}")
        own_server.sql("SELECT pg_reload_conf()")
        await_setting(own_server, name, "on")
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")


def test_an_encoding_that_holds_not_every_text_is_refused(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    serve(tmp_path, monkeypatch, host=str(postgres.folder), dbname="latin")
    with closing(Carrier(HERE)) as carrier, pytest.raises(ServerRefused, match="encoding is LATIN1"):
        carrier.begin("one")


@pytest.mark.parametrize(
    ("said", "trusts", "sslmode"),
    [
        ({"host": "db.example"}, False, "verify-full"),
        ({"host": "db.example", "sslmode": "verify-full"}, False, "verify-full"),
        ({"host": "db.example", "sslmode": "require"}, False, None),
        ({"host": "db.example", "sslmode": "disable"}, False, None),
        ({"host": "db.example", "sslmode": "disable"}, True, "disable"),
        ({"host": "db.example", "hostaddr": "127.0.0.1"}, False, "verify-full"),
        ({"host": "10.0.0.7"}, False, "verify-full"),
        ({"host": "/run/postgresql,db.example", "sslmode": "prefer"}, False, "verify-full"),
        ({"host": "/run/postgresql"}, False, "prefer"),
        ({"host": "localhost,127.0.0.9,::1"}, False, "prefer"),
        ({}, False, "prefer"),
    ],
)
def test_a_network_takes_a_server_whose_name_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], trusts: bool, sslmode: str | None
) -> None:
    from kanban_shards.coordinator.shared.connecting import Server as Known

    serve(tmp_path, monkeypatch, **said)
    address = HERE._replace(trusts_network=trusts)
    if sslmode is None:
        with pytest.raises(ServerRefused, match=f"sslmode={said['sslmode']}"):
            Known(address)
    else:
        assert Known(address).sslmode == sslmode


def test_a_password_is_in_no_file_of_ours_and_in_no_words(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.sql("CREATE ROLE amy LOGIN CREATEDB SUPERUSER PASSWORD 'secret1'")
    (own_server.data / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    own_server.sql("SELECT pg_reload_conf()")
    passwords = tmp_path / "pgpass"
    passwords.touch(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    serve(tmp_path, monkeypatch, host=str(own_server.folder), user="amy")
    passwords.write_text("*:*:*:amy:wrong2\n")
    with closing(Carrier(HERE)) as carrier, pytest.raises(Unreachable, match="password authentication failed") as error:
        carrier.begin("one")
    assert "wrong2" not in str(error.value)
    passwords.write_text("*:*:*:amy:secret1\n")
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")
        told = [Path(f"/proc/{carrier.pid}/{name}").read_text() for name in ("cmdline", "environ")]
        assert "secret1" not in "".join(told)
    passwords.chmod(0o644)
    with closing(Carrier(HERE)) as carrier, pytest.raises(Unreachable, match=r"no password supplied; .*chmod 600"):
        carrier.begin("one")


# --- crashes, standbys -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_was_acknowledged_outlives_crashes(own_server: Server) -> None:
    """Every append that returned is there; one that failed is there whole, or not at all."""
    behind, seq, acknowledged = BEGINNING, 0, []
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")
        for crash in range(3):
            for _ in range(10):
                seq += 1
                entries = chained(behind, [change("amy", 2 * seq), change("amy", 2 * seq + 1)])
                carrier.append(entries, behind)
                acknowledged += entries
                behind = end_of(entries)
            own_server.stop("immediate")
            failing(partial(carrier.append, chained(behind, [change("amy", 1_000)]), behind))
            own_server.start()
            assert answered_again(carrier).entries == acknowledged, crash


def is_there(carrier: Carrier, entries: list[Entry]) -> bool:
    """Whether ``entries`` are in the ledger after one attempt more to append them at its beginning."""
    try:
        carrier.append(entries, BEGINNING)
    except Overtaken:  # on a busy machine the carrier gave up an attempt that came to its end all the same
        return True
    except (FarBusy, Unreachable):
        return False
    return True


def test_a_stopped_holder_of_the_turn_loses_it(carrier: Carrier) -> None:
    with closing(Carrier(THERE)) as stopped:
        stopped.turn(0)
        assert stopped.pid is not None
        os.kill(stopped.pid, signal.SIGSTOP)
        began = time.monotonic()
        entries = chained(BEGINNING, [change("amy", 1)])
        try:
            while not is_there(carrier, entries):
                assert time.monotonic() - began < 3 * DEADLINE_S
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        with pytest.raises((Unreachable, Overtaken)):
            stopped.append(chained(BEGINNING, [change("bob", 1)]), BEGINNING)
        assert answered_again(stopped).entries == entries


@pytest.fixture
def standby(own_server: Server, new_server: Callable[[], Server]) -> Server:
    """A streaming standby of ``own_server``, which has what that one has."""
    made = new_server()
    made.become_standby_of(own_server)
    made.start()
    return made


def test_a_standby_is_refused_until_it_is_promoted(
    own_server: Server, standby: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without synchronous replication it may lack the tail. A host that has the tail puts it back."""
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")
        entries = appended(carrier, 3)
        await_copied(own_server, standby)
        assert [remark.partition(",")[0] for remark in carrier.remarks()] == [
            f"A standby follows {carrier.server} and acknowledges nothing"
        ]
        standby.stop()
        lost = chained(end_of(entries), [change("bob", 1), change("bob", 2)])
        carrier.append(lost, end_of(entries))
        own_server.stop("immediate")
        standby.start()
        serve(tmp_path, monkeypatch, host=str(standby.folder))
        with pytest.raises(ServerRefused, match="it is a standby"):
            carrier.read(0)
        standby.promote()
        page = answered_again(carrier, lambda: carrier.read(5))
        assert (page.end, page.here) == (end_of(entries), None)
        carrier.append(lost, page.end)
        assert carrier.read(0).entries == entries + lost


@pytest.mark.long
def test_a_synchronous_standby_loses_nothing(
    own_server: Server, standby: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an append return before the standby has it."""
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")
        await_copied(own_server, standby)
        own_server.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        own_server.sql("SELECT pg_reload_conf()")
        await_setting(own_server, "synchronous_standby_names", "*")
        assert carrier.remarks() == []
        entries = appended(carrier, 3)
        standby.stop()
        doubtful = chained(end_of(entries), [change("bob", 1)])
        failing(lambda: carrier.append(doubtful, end_of(entries)))
        assert answered_again(carrier).entries == entries
        with pytest.raises(FarBusy):
            carrier.turn(0)
        standby.start()
        assert answered_again(carrier, lambda: carrier.turn(0)).entries == entries + doubtful
        own_server.stop("immediate")
        standby.promote()
        serve(tmp_path, monkeypatch, host=str(standby.folder))
        assert answered_again(carrier).entries == entries + doubtful


# --- how -------------------------------------------------------------------------------------------------------------


def appended(far: Carrier, number: int) -> list[Entry]:
    """So many entries of amy's, appended to an empty ledger."""
    entries = chained(BEGINNING, [change("amy", seq) for seq in range(1, number + 1)])
    far.append(entries, BEGINNING)
    return entries


def await_setting(server: Server, name: str, value: str) -> None:
    """A reload is done by each process of the server when it gets to it."""
    until = time.monotonic() + 30
    while server.sql(f"SHOW {name}") != [(value,)]:
        assert time.monotonic() < until


def await_copied(primary: Server, standby: Server) -> None:
    """Wait until the standby has what the primary has now."""
    [(there,)] = primary.sql("SELECT pg_current_wal_flush_lsn()")
    until = time.monotonic() + 30
    while standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{there}'") != [(True,)]:
        assert time.monotonic() < until
