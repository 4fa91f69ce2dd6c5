"""What a shared board costs its users: the same calls on a local board, on a shared one nearby, and on one far away.

Each is measured within one run on the same machine: a real PostgreSQL, homes with their own daemons, and a proxy that
delays. What a claim may cost more than a local one is one round trip to the server and one commit there, which are
measured beside it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from benchmarks.common import drawn_create, fill_shard, running_daemon, say, spread
from benchmarks.figures import FIGURES
from kanban_shards import Gateway
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths
from tests.far.fixtures import folder_for_sockets, programs
from tests.far.server import Server
from tests.hosts.machines import Machine, machines, settled, until

# Each way; there and back it is twice that.
FAR_S, SLOW_S = 0.010, 0.025
MOST_TRIPS = 5.0
# Of a write, in local ones: as much as two equal ones differ on a busy machine.
SAME = 1.25
ENTRIES_A_S = 3_000.0


def measure(folder: Path, claims: int, batch: int) -> None:
    """Print what ``claims`` claims and as many writes cost, here and there, and how fast two hosts have ``batch``
    changes each decided."""
    with _server() as server, ExitStack() as opened:
        near, other = opened.enter_context(machines(folder, server, "near", "other"))
        for host in (near, other):
            host.join()
        near.start()  # what the other one does with an entry is another machine's work
        local = BoardPaths.of(folder / "local", DEFAULT_BOARD)
        local.make_folder()
        opened.enter_context(running_daemon(local))
        here = opened.enter_context(Gateway("bingge", home=local.folder))
        there = opened.enter_context(near.gateway("bingge"))
        _claims(server, near, here, there, claims)
        _writes(near, here, there, claims)
        other.start()
        _slow_host(near, other, claims)
        _batches(near, other, batch)


def _claims(server: Server, near: Machine, here: Gateway, there: Gateway, claims: int) -> None:
    """Local and shared ones in turn; then from far away."""
    local, shared, trips, commits = [], [], [], []
    with _asking(near, server) as session:
        for task in zip(_ready(here, claims), _ready(there, claims), strict=True):
            local.append(_timed(lambda task=task: here.claim(task[0])))
            shared.append(_timed(lambda task=task: there.claim(task[1])))
            trips.append(_timed(lambda: session.execute("SELECT 1")))
            commits.append(_timed(lambda: session.execute("UPDATE probe SET number = number + 1")))
    say("claim on a local board", "", spread(local))
    say("claim on a shared board, server nearby", f"{_ratio(shared, local):.2f} local ones", spread(shared))
    say("round trip to that server, and a commit there", "", f"{spread(trips)}; {spread(commits)}")
    allowed = statistics.median(local) + statistics.median(trips) + statistics.median(commits)
    FIGURES.asked("claim on a shared board, in local ones plus trip and commit", statistics.median(shared) / allowed,
                  most=1.0)  # fmt: skip
    near.link.delay_s = FAR_S
    far = [_timed(lambda task=task: there.claim(task)) for task in _ready(there, claims)]
    near.link.delay_s = 0.0
    trip_s = 2 * FAR_S
    say(f"claim, server {trip_s * 1000:.0f} ms away", f"{statistics.median(far) / trip_s:.1f} round trips", spread(far))
    FIGURES.asked(f"claim {trip_s * 1000:.0f} ms away, p50 in round trips", statistics.median(far) / trip_s,
                  most=MOST_TRIPS)  # fmt: skip


def _writes(near: Machine, here: Gateway, there: Gateway, writes: int) -> None:
    """Creates, each with a comment: local ones and shared ones in turn, while the server is up, cut off, and silent."""
    for how, change in (("up", near.link.heal), ("cut off", near.link.cut), ("silent", near.link.silence)):
        change()
        local, shared = [], []
        for _ in range(writes):
            local.append(_timed(lambda: _write(here)))
            shared.append(_timed(lambda: _write(there)))
        near.link.heal()
        say(f"create and comment, server {how}", f"{_ratio(shared, local):.2f} local ones", spread(shared))
        FIGURES.asked(f"create and comment with the server {how}, in local ones", _ratio(shared, local), most=SAME)


def _slow_host(near: Machine, other: Machine, claims: int) -> None:
    """A host far away claims, beside one that never pauses."""
    settled([near, other])
    busy, stop = threading.Event(), threading.Event()

    def never_pause() -> None:
        with near.gateway("mafei") as mafei:
            task = mafei.create("talked about")
            while not stop.is_set():
                mafei.make_comment(task, "on and on")
                busy.set()

    talking = threading.Thread(target=never_pause)
    talking.start()
    try:
        busy.wait()
        with other.gateway("pixiel") as pixiel:
            tasks = list(_ready(pixiel, min(claims, 30)))
            other.link.delay_s = SLOW_S
            slow = [_timed(lambda task=task: pixiel.claim(task)) for task in tasks]
    finally:
        other.link.delay_s = 0.0
        stop.set()
        talking.join()
    trip_s = 2 * SLOW_S
    what = f"claim {trip_s * 1000:.0f} ms away, beside a host that never pauses"
    say(what, f"{statistics.median(slow) / trip_s:.1f} round trips", spread(slow))
    FIGURES.asked(f"{what}, p50 in round trips", statistics.median(slow) / trip_s, most=MOST_TRIPS)


def _batches(near: Machine, other: Machine, batch: int) -> None:
    """Two hosts hand over what they wrote while they were cut off, at once."""
    for host, profile in ((near, "qiqi"), (other, "nana")):
        host.link.cut()
        fill_shard(host.paths, profile, (drawn_create(profile, title=f"task {number}") for number in range(batch)))
    start = near.shared_end()
    for host in (near, other):
        host.link.heal()
    until(lambda: near.shared_end() > start, "the first entry", 30)  # a host asks again after a pause
    before, began = near.shared_end(), time.perf_counter()
    until(lambda: near.shared_end() >= start + 2 * batch, "all that was written", 240)
    rate = (start + 2 * batch - before) / (time.perf_counter() - began)
    settled([near, other], 240)
    decided = (start + 2 * batch - before) / (time.perf_counter() - began)
    say("entries appended by two hosts at once", f"{rate:,.0f} a second", f"decided on both {decided:,.0f}")
    FIGURES.asked("entries a second from two hosts", rate, least=ENTRIES_A_S)


# --- how -----------------------------------------------------------------------------------------------------------


@contextmanager
def _server() -> Iterator[Server]:
    with folder_for_sockets() as folder, programs() as found:
        server = Server(folder, found)
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


@contextmanager
def _asking(near: Machine, server: Server) -> Iterator[psycopg.Connection]:
    """A session by the same way as the host's own."""
    server.sql("CREATE TABLE probe AS SELECT 1 AS number", near.database)
    with psycopg.connect(host="127.0.0.1", port=near.link.port, user="postgres", dbname=near.database,
                         autocommit=True) as session:  # fmt: skip
        yield session


def _ready(gateway: Gateway, count: int) -> list[str]:
    """New tasks that the board shows."""
    with gateway.batch() as batch:
        tasks = [batch.create(f"task {number}") for number in range(count)]
    gateway.sync()
    return tasks


def _write(gateway: Gateway) -> None:
    task = gateway.create("a task")
    gateway.comment(task, "a word")


def _timed(act: Callable[[], object]) -> float:
    """Seconds that it takes; then whatever it set off has a moment to end."""
    began = time.perf_counter()
    act()
    took = time.perf_counter() - began
    time.sleep(0.002)
    return took


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(above) / statistics.median(below)
