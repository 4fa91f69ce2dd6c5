"""What the page costs that ``kanban web`` serves: a look at it, a merge until it is told, and nothing happening."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.common import make_board, running_daemon, say, spread
from benchmarks.figures import FIGURES
from kanban_shards import Gateway
from kanban_shards.paths import BoardPaths

MOST_LOOK_S = 1.0
MOST_TOLD_S = 0.1
MOST_CPU = 0.1
# A browser shows what it was told, and then everything is still.
SETTLE_S = 2.0
PAGES = {
    "the board": "",
    "the board, searched": "?q=task",
    "the board, by profile": "?lanes=assignee",
    "the graph": "graph",
    "its health": "health",
}


def measure(folder: Path, tasks: int, browsers: int, looks: int, seconds: float) -> None:
    """Print the time of a look at each page of a board of so many ``tasks``, of a merge until a browser is told, and
    the share of a CPU that the server takes while ``browsers`` follow and nothing happens."""
    paths = make_board(folder, tasks)
    with _served(paths) as (server, address), Gateway("amy", paths=paths) as amy:
        started = time.perf_counter()
        urllib.request.urlopen(address).close()
        say("the first page of a server, which starts its reader", f"{time.perf_counter() - started:.2f} s")
        for name, words in PAGES.items():
            took = []
            for number in range(looks):
                amy.make(f"so that this look is a new one {number}")
                started = time.perf_counter()
                with urllib.request.urlopen(f"{address}b/default/{words}") as page:
                    content = page.read()
                took.append(time.perf_counter() - started)
            say(f"{name} of {tasks:,} tasks", f"{len(content) / 1024:.0f} KiB", spread(took))
            FIGURES.asked(f"{name} of {tasks:,} tasks, s", statistics.median(took), most=MOST_LOOK_S)
        with running_daemon(paths) as daemon, ExitStack() as held:
            streams = [held.enter_context(_following(address)) for _ in range(browsers)]
            _say_told(amy, streams, looks)
            _say_idle(server, daemon, browsers, seconds)


def _say_told(amy: Gateway, streams: list[HTTPResponse], merges: int) -> None:
    took = []
    for stream in streams:
        _moved(stream)
    for number in range(merges):
        amy.make(f"to be told of {number}")
        started = time.perf_counter()
        for stream in streams:
            _moved(stream)
        took.append(time.perf_counter() - started)
    say(f"from a verdict until {len(streams)} browsers are told", f"{max(took) * 1000:.0f} ms at most", spread(took))
    FIGURES.asked("from a verdict until a browser is told, s", statistics.median(took), most=MOST_TOLD_S)


def _say_idle(server: psutil.Process, daemon: psutil.Process, browsers: int, seconds: float) -> None:
    time.sleep(SETTLE_S)
    before, started = (_cpu_s(server), _cpu_s(daemon)), time.perf_counter()
    time.sleep(seconds)
    passed = time.perf_counter() - started
    served, merged = (_cpu_s(server) - before[0]) / passed, (_cpu_s(daemon) - before[1]) / passed
    memory = sum(each.memory_info().rss for each in (server, *server.children()))
    say(
        f"idle, with {browsers} browsers", f"{served:.2%} CPU", f"{memory / 2**20:.0f} MiB, the daemon {merged:.2%} CPU"
    )
    FIGURES.asked(f"idle page server with {browsers} browsers, of a CPU", served, most=MOST_CPU)


@contextmanager
def _served(paths: BoardPaths) -> Iterator[tuple[psutil.Process, str]]:
    argv = [sys.executable, "-m", "kanban_shards", "--home", str(paths.folder), "web", "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+/(?=[,?\s])", server.stdout.readline())
            assert found, "the server did not say where it is"
            yield psutil.Process(server.pid), found[0]
        finally:
            server.terminate()


@contextmanager
def _following(address: str) -> Iterator[HTTPResponse]:
    there = urlsplit(address)
    with closing(HTTPConnection(there.hostname or "", there.port, timeout=60)) as connection:
        connection.request("GET", "/b/default/live")
        yield connection.getresponse()


def _moved(stream: HTTPResponse) -> int:
    """The position that is told next."""
    while not (line := stream.readline()).startswith(b"data: "):
        assert line, "the server ended it"
    return int(json.loads(line.removeprefix(b"data: "))["position"])


def _cpu_s(process: psutil.Process) -> float:
    """Of a process and its children."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children()))
