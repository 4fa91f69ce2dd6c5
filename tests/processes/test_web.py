"""``kanban web`` as real processes: what it has open, who gets in, what it costs, and that it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from tests import forks
from tests.processes.test_users import GROUP
from tests.serving import address_of, served

FILES = ("kanban.db", "kanban.db-wal", "kanban.db-shm", "kanban-ledger.db", "kanban.amy.db", "kanban.amy.db-journal")
# Of one merge to the page, with a margin for a machine that does something else; alone it takes some milliseconds.
SEEN_S = 0.1
FOLLOWERS = 20
PROC = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="what a process has open is not told here")


@pytest.fixture
def server(start: Callable, home: str) -> tuple[subprocess.Popen, str]:
    """A server of the board of ``home``, and its address."""
    process = start("-m", "kanban_shards", "--home", home, "web", "--port", "0")
    return process, address_of(process)


@PROC
def test_the_http_process_has_no_database_open(server, gateway_: Gateway) -> None:
    """Law 1 needs nothing of it, then; and the reader has no socket of the network open."""
    process, address = server
    gateway_.make("A task")
    with following(address) as stream:
        assert moved(stream)["position"] == 1
        assert b"A task" in urllib.request.urlopen(f"{address}b/default/").read()
        (reader,) = psutil.Process(process.pid).children()
        opened = [os.path.basename(file.path) for file in psutil.Process(process.pid).open_files()]
        assert [name for name in opened if name.startswith("kanban")] == []
        assert "kanban.db" in [os.path.basename(file.path) for file in reader.open_files()]
        assert reader.net_connections(kind="inet") == []


def test_both_processes_bear_raw_opens(
    home: str, paths: BoardPaths, start: Callable, start_daemon: Callable, gateway_: Gateway
) -> None:
    """Strangers in the HTTP process and in the reader open, copy, hash and close every file of the board, while pages
    are made and gateways work beside a daemon; nothing is damaged, and nothing that was acknowledged is lost."""
    start_daemon()
    process = start(Path(__file__).with_name("web_stranger.py"), home, *FILES)
    address = address_of(process)
    made, stop = [], threading.Event()
    with following(address) as stream:
        looking = threading.Thread(target=_look, args=(address, stop))
        looking.start()
        try:
            for number in range(25):
                made.append(gateway_.create(f"Task {number}"))
                gateway_.complete(gateway_.claim(made[-1]))
            while moved(stream)["position"] < 3 * len(made):
                pass
        finally:
            stop.set()
            looking.join()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    with Board.open(home=home) as board:
        assert {*made} == {task.id for task in board.tasks(status="done")}
    found = verify(paths)
    assert found.clean, found.findings


def test_what_is_merged_is_told_at_once(server, gateway_: Gateway) -> None:
    _, address = server
    with following(address) as stream:
        gateway_.make("The first")
        while moved(stream)["position"] < 1:
            pass
        took = []
        for number in range(10):
            made = gateway_.make(f"Task {number}")
            began = time.monotonic()
            assert made.task_id in moved(stream)["tasks"]
            took.append(time.monotonic() - began)
        assert sorted(took)[len(took) // 2] < SEEN_S, took


def test_browsers_that_follow_cost_nothing_while_nothing_happens(
    server, daemon: subprocess.Popen, gateway_: Gateway
) -> None:
    process, address = server
    gateway_.make("A task")
    with ExitStack() as held:
        streams = [held.enter_context(following(address)) for _ in range(FOLLOWERS)]
        assert {moved(stream)["position"] for stream in streams} == {1}
        before = _cpu_s(process.pid), _cpu_s(daemon.pid), time.monotonic()
        time.sleep(3)  # what is measured is what it costs to wait
        served_s, daemon_s, took_s = _cpu_s(process.pid) - before[0], _cpu_s(daemon.pid) - before[1], 3
        assert served_s / took_s < 0.1, served_s
        assert daemon_s / took_s < 0.1, daemon_s
        gateway_.make("One more")
        assert {moved(stream)["position"] for stream in streams} == {2}


def test_a_board_that_comes_and_goes(server, home: str, paths: BoardPaths) -> None:
    _, address = server
    with following(address) as stream:
        assert "There is no board" in moved(stream)["trouble"]
        with Gateway("amy", home=home) as gateway:
            gateway.make("The first task")
        while (now := moved(stream))["trouble"]:
            pass
        assert now["position"] == 1


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_browsers_and_its_reader(server, gateway_: Gateway, end: signal.Signals) -> None:
    process, address = server
    gateway_.make("A task")
    with following(address) as stream:
        moved(stream)
        (reader,) = psutil.Process(process.pid).children()
        process.send_signal(end)
        process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    reader.wait(10)


def test_a_killed_server_leaves_no_reader(server, gateway_: Gateway) -> None:
    process, address = server
    urllib.request.urlopen(address).read()
    (reader,) = psutil.Process(process.pid).children()
    process.kill()
    reader.wait(10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
@PROC
def test_another_user_of_this_machine_is_not_let_in(start: Callable, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with served(str(home)) as address:
        there = urlsplit(address)
        request = f"GET /b/default/ HTTP/1.1\r\nHost: {there.netloc}\r\nConnection: close\r\n\r\n"
        code = (
            "import socket\n"
            f"with socket.create_connection({(there.hostname.encode(), there.port)!r}) as connection:\n"
            f"    connection.sendall({request.encode()!r})\n"
            "    while got := connection.recv(65_536): print(got.decode(), end='')\n"
        )
        outputs = [forks.python("-c", code, user=forks.User(user, GROUP)) for user in (0, 4_002)]
    assert outputs[0].stdout.startswith("HTTP/1.1 200 "), outputs[0]
    assert outputs[1].stdout.startswith("HTTP/1.1 403 "), outputs[1]
    assert "This page is for the user who started" in outputs[1].stdout


def test_a_port_that_is_taken_is_a_sentence(server, home: str) -> None:
    port = str(urlsplit(server[1]).port)
    argv = [sys.executable, "-m", "kanban_shards", "--home", home, "web", "--port", port]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "another process does; name another one with --port" in ended.stderr


# --- how ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway_(home: str) -> Iterator[Gateway]:
    """A gateway of the profile ``amy``."""
    with Gateway("amy", home=home, patience_s=60) as opened:
        yield opened


@contextmanager
def following(address: str) -> Iterator[HTTPResponse]:
    """What the server tells a browser that follows the board."""
    there = urlsplit(address)
    with closing(HTTPConnection(there.hostname, there.port, timeout=30)) as connection:
        connection.request("GET", "/b/default/live")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
        yield answer


def moved(stream: HTTPResponse) -> dict:
    """The next thing that is told."""
    while not (line := stream.readline()).startswith(b"data: "):
        assert line, "the server ended it"
    return json.loads(line.removeprefix(b"data: "))


def _look(address: str, stop: threading.Event) -> None:
    while not stop.is_set():
        with urllib.request.urlopen(f"{address}b/default/") as page:
            assert page.status == 200


def _cpu_s(pid: int) -> float:
    """Of a process and its children, in seconds."""
    process = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children()))
