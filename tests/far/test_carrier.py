"""The carrier: whatever its child or the server does, the parent waits for no longer than it says, and is told why."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.shared import carrier as carriers
from kanban_shards.coordinator.shared import patience
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.errors import FarError, ServerUnknown, Unreachable, unreachable
from kanban_shards.coordinator.shared.far import PAGE_BYTES, Address, Page
from kanban_shards.coordinator.shared.patience import DEADLINE_S, Backoff, Portion
from kanban_shards.errors import ExtraMissing, NoServiceName
from tests.far.changes import BEGINNING, chained, change
from tests.far.fixtures import serve
from tests.far.server import Server

HERE = Address("kanban", "default", "here", 1, "one")


@pytest.fixture
def carrier(service: str) -> Iterator[Carrier]:
    """The way to a ledger that was just begun."""
    with closing(Carrier(HERE)) as opened:
        opened.begin("one")
        yield opened


def test_a_silent_server_costs_one_deadline_for_an_outage(carrier: Carrier, postgres: Server) -> None:
    silent = backend(postgres)
    os.kill(silent, signal.SIGSTOP)
    try:
        took_s, first = failing(lambda: carrier.read(0))
        assert DEADLINE_S <= took_s < 3 * DEADLINE_S
        assert "no answer within 2 seconds" in str(first)
        took_s, again = failing(lambda: carrier.read(0))
        assert took_s < DEADLINE_S / 2
        assert again.since_ms == first.since_ms
    finally:
        os.kill(silent, signal.SIGCONT)
    assert answered_again(carrier).end == BEGINNING


def test_a_server_that_takes_connections_and_says_nothing(
    tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(tmp_path, monkeypatch, host=str(short_folder))
    with socket.socket(socket.AF_UNIX) as mute, closing(Carrier(HERE)) as carrier:
        mute.bind(str(short_folder / ".s.PGSQL.5432"))
        mute.listen()
        _, first = failing(lambda: carrier.read(0))
        assert first.path == f"kanban ({short_folder}:5432)"
        took_s, again = failing(lambda: carrier.read(0))
        assert took_s < DEADLINE_S / 2
        assert again.since_ms == first.since_ms


def test_no_server(tmp_path: Path, short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(tmp_path, monkeypatch, host=str(short_folder))
    with closing(Carrier(HERE)) as carrier:
        took_s, error = failing(lambda: carrier.read(0))
        assert took_s < carriers.BEGINNING_S
        assert f"kanban ({short_folder}:5432)" in str(error)
        assert carrier.pid is None, "it is left alone for a while"


def test_an_answer_ends_the_outage(new_server: Callable[[], Server], tmp_path: Path, monkeypatch) -> None:
    """A server that crashes under a host loses nothing that it acknowledged."""
    server = new_server()
    server.initialize()
    server.start()
    serve(tmp_path, monkeypatch, host=str(server.folder))
    entries = chained(BEGINNING, [change("amy", 1)])
    with closing(Carrier(HERE)) as carrier:
        carrier.begin("one")
        carrier.append(entries, BEGINNING)
        server.stop("immediate")
        _, first = failing(lambda: carrier.read(0))
        server.start()
        assert answered_again(carrier).entries == entries
        server.stop("immediate")
        _, second = failing(lambda: carrier.read(0))
        assert second.since_ms > first.since_ms


def test_a_child_that_was_killed_is_begun_anew(carrier: Carrier) -> None:
    first = carrier.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await_end(first)
    assert answered_again(carrier).end == BEGINNING
    assert carrier.pid != first


@pytest.mark.parametrize("repeats_at_once", [True, False])
def test_an_append_in_doubt_is_there_once(carrier: Carrier, postgres: Server, repeats_at_once: bool) -> None:
    """The server has the request, and does it only after the host gave up; perhaps after the host repeated it."""
    entries = chained(BEGINNING, [change("amy", 1)])
    doubtful = backend(postgres)
    os.kill(doubtful, signal.SIGSTOP)
    try:
        failing(lambda: carrier.append(entries, BEGINNING))
        if repeats_at_once:
            assert answered_again(carrier).end == BEGINNING
            carrier.append(entries, BEGINNING)
    finally:
        os.kill(doubtful, signal.SIGCONT)
    await_end(doubtful)
    assert answered_again(carrier, lambda: carrier.turn(0)).entries == entries
    with pytest.raises(Overtaken):
        carrier.append(entries, BEGINNING)


def test_the_child_ends_with_its_parent(service: str) -> None:
    """Even of a parent that had no time to end it, and while it waits for a server."""
    code = (
        "import os, signal; from kanban_shards.coordinator.shared import carrier, far\n"
        f"way = carrier.Carrier(far.Address(*{tuple(HERE)!r}))\n"
        "way.begin('one'); print(way.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout
    await_end(int(said))


def test_nothing_of_the_service_is_in_the_words_of_a_process(carrier: Carrier) -> None:
    words = Path(f"/proc/{carrier.pid}/cmdline").read_text().split("\0")
    assert words[:4] == [*carriers.COMMAND]
    assert all(word.isdigit() for word in words[4:] if word)


def test_the_parent_loads_nothing_that_speaks_to_a_server(service: str) -> None:
    code = (
        "import sys; from kanban_shards.coordinator.shared import carrier, far\n"
        f"way = carrier.Carrier(far.Address(*{tuple(HERE)!r})); way.begin('one'); way.read(0); way.close()\n"
        "assert not {'psycopg', 'psycopg_binary', 'ssl'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "import sys; sys.modules['psycopg'] = None; from kanban_shards.coordinator.shared import carrying as c"
    main = "c.main(*map(int, sys.argv[1:]))"
    monkeypatch.setattr(carriers, "COMMAND", (sys.executable, "-c", f"{hidden}; {main}"))
    with (
        closing(Carrier(HERE)) as carrier,
        pytest.raises(ExtraMissing, match=r"pip install 'kanban-shards\[postgres\]'"),
    ):
        carrier.read(0)


def test_a_service_that_nobody_knows(service: str) -> None:
    with closing(Carrier(HERE._replace(service="another"))) as carrier, pytest.raises(ServerUnknown, match="another"):
        carrier.read(0)


@pytest.mark.parametrize("said", ["host=db password=secret1", "postgresql://amy:secret1@db/board", ""])
def test_an_address_is_no_name(said: str) -> None:
    with closing(Carrier(HERE._replace(service=said))) as carrier, pytest.raises(NoServiceName) as refused:
        carrier.read(0)
    assert "secret1" not in str(refused.value)


# --- patience ------------------------------------------------------------------------------------------------------


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(patience.time, "monotonic", lambda: now_s)
    monkeypatch.setattr(patience.time, "time", lambda: now_s)
    backoff = Backoff(unreachable("db", "gone"))
    pauses = []
    for _ in range(9):
        backoff.pause()
        began_s = now_s
        while True:
            try:
                backoff.check()
                break
            except Unreachable as error:
                assert error.since_ms == 100_000
                now_s += 0.1
        pauses.append(round(now_s - began_s, 1))
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8], abs=0.11)
    assert pauses[-1] == pytest.approx(patience.LONGEST_PAUSE_S, abs=0.11)


def test_a_slow_link_gets_smaller_pages_and_then_more_time() -> None:
    portion = Portion()
    for _ in range(10):
        portion.grow(0.01)
    assert portion.size_bytes == PAGE_BYTES
    while portion.deadline_s == DEADLINE_S:
        portion.shrink()
    assert portion.size_bytes == patience.LEAST_PAGE_BYTES
    portion.grow(DEADLINE_S)
    assert (portion.size_bytes, portion.deadline_s) == (patience.LEAST_PAGE_BYTES, DEADLINE_S)


# --- how -----------------------------------------------------------------------------------------------------------


def backend(server: Server) -> int:
    """The server's process that serves the only session with its newest database."""
    [(pid,)] = server.sql(f"SELECT pid FROM pg_stat_activity WHERE datname = '{server.latest_database}'")
    return int(pid)


def failing(call: Callable[[], object]) -> tuple[float, Unreachable]:
    """How many seconds a call takes that fails, and with what."""
    began = time.monotonic()
    with pytest.raises(Unreachable) as error:
        call()
    return time.monotonic() - began, error.value


def answered_again(carrier: Carrier, call: Callable[[], Page] | None = None) -> Page:
    """The first page after an outage. The bell tells that it is over; until then the next try has to be called for."""
    call = call or (lambda: carrier.read(0))
    poll = select.poll()
    poll.register(carrier.bell(), select.POLLIN)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(FarError):
            return call()
        poll.poll(50)
    raise AssertionError("it was not answered again")


def await_end(pid: int) -> None:
    """Wait for a process to end, which is no child of this one, or one that nobody waits for."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} did not end")
