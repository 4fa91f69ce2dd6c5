"""Who waits is rung when a pass looked at its shard, and nobody else is; no verdict is found only by looking again."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from kanban_shards import Gateway, waiting
from kanban_shards.bell import Bell, Ringer, Rings
from kanban_shards.coordinator.daemon import served_board, waiters
from kanban_shards.coordinator.daemon.daemon import Daemon
from kanban_shards.coordinator.daemon.served_board import ServedBoard
from kanban_shards.coordinator.daemon.waiters import Waiters
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from tests.until import until

# A look by itself would take longer than any test.
NEVER_S = 300.0


class Folder:
    """A board's folder with a coordinator's bell, and whoever else has one there."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._stack = stack
        self.coordinators = stack.enter_context(closing(Bell(path / "kanban-coordinator.sock")))
        self.ringer = stack.enter_context(closing(Ringer()))
        self.waiters = stack.enter_context(closing(Waiters(self.coordinators.rings)))
        self.waiters.ring_rest(path, ())  # a first pass was made

    def bell(self, profile: str | None, waits: bool = False) -> Bell:
        bell = self._stack.enter_context(closing(Bell.waiting(self.path, profile)))
        if waits:
            self.call(bell)
        return bell

    def call(self, bell: Bell) -> None:
        assert self.ringer.call(self.coordinators.path, bell)

    def listen(self) -> Rings:
        return self.waiters.hear()


@pytest.fixture(params=[0, 10], ids=["short", "long"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Folder]:
    path = tmp_path.joinpath(*["a folder with a long name"] * request.param)
    path.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        yield Folder(path, stack)


def test_exactly_those_who_wait(folder: Folder) -> None:
    waits, idle, other = folder.bell("amy", waits=True), folder.bell("amy"), folder.bell("bob", waits=True)
    follower = folder.bell(None)
    assert folder.listen().waits
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert [bell.wait(0) for bell in (waits, idle, other, follower)] == [True, False, False, True]
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert not waits.wait(0), "who was rung says again that it waits"
    folder.call(waits)
    folder.listen()
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert waits.wait(0)


def test_what_was_decided_before_it_said_that_it_waits(folder: Folder) -> None:
    """The pass that follows has nothing of its profile to decide, and rings it all the same."""
    waits, left = folder.bell("amy", waits=True), folder.bell("bob", waits=True)
    folder.listen()
    folder.waiters.ring_rest(folder.path, {"bob"})
    assert [bell.wait(0) for bell in (waits, left)] == [True, False]
    folder.waiters.ring_rest(folder.path, ())
    assert left.wait(0)


def test_who_says_during_a_pass_that_it_waits(folder: Folder) -> None:
    """It is rung by what that pass decides of its profile; else by the next one, which is made at once."""
    folder.listen()
    decided, new = folder.bell("amy", waits=True), folder.bell("bob", waits=True)
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert folder.waiters.ring_rest(folder.path, ()).waits
    assert [bell.wait(0) for bell in (decided, new)] == [True, False]
    assert not folder.waiters.ring_rest(folder.path, ()).count
    assert new.wait(0)


def test_where_a_queue_was_full_everybody_is_rung(folder: Folder) -> None:
    """Whoever found it full is not known to wait."""
    while folder.ringer._send(folder.coordinators.path, b".") is not None:
        pass
    lost, left = folder.bell("amy", waits=True), folder.bell("bob", waits=True)
    assert folder.listen().unnamed
    folder.waiters.ring_rest(folder.path, {"bob"})
    assert [bell.wait(0) for bell in (lost, left)] == [True, False]


def test_a_follower_that_comes_later(folder: Folder) -> None:
    folder.waiters.ring_decided(folder.path, {"amy"})
    later = folder.bell(None)
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert later.wait(0)


def test_the_folder_is_listed_only_when_it_changed(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or may have: within the grain of its time stamp."""
    listed = []
    true_listing = waiters.waiting_in
    monkeypatch.setattr(waiters, "waiting_in", lambda path: [listed.append(path), *true_listing(path)][1:])
    monkeypatch.setattr(files, "STAMP_GRAIN_NS", 0)
    monkeypatch.setattr(files, "WHOLE_SECONDS_GRAIN_NS", 0)
    for _ in range(3):
        folder.waiters.ring_decided(folder.path, {"amy"})
    assert len(listed) == 1
    monkeypatch.setattr(files, "STAMP_GRAIN_NS", 3600 * 10**9)
    folder.bell(None)
    for _ in range(3):
        folder.waiters.ring_decided(folder.path, {"amy"})
    assert len(listed) == 4


@pytest.mark.parametrize("unsure", ["at first", "unnamed", "too many"])
def test_where_it_is_not_known_who_waits_everybody_is_rung(
    folder: Folder, unsure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the profiles that it concerns, until a pass is over."""
    if unsure == "at first":
        folder.waiters = Waiters(folder.coordinators.rings)
    elif unsure == "unnamed":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as older, pytest.MonkeyPatch.context() as moved:
            moved.chdir(folder.path)
            older.sendto(b"!", "kanban-coordinator.sock")
    else:
        monkeypatch.setattr(waiters, "KNOWN", 1)
        folder.bell("zoe", waits=True), folder.bell("yan", waits=True)
    amys, bobs = folder.bell("amy"), folder.bell("bob")
    folder.listen()
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert [bell.wait(0) for bell in (amys, bobs)] == [True, False]
    folder.waiters.ring_rest(folder.path, {"amy"})
    assert [bell.wait(0) for bell in (amys, bobs)] == [False, True], "theirs may have been decided before"
    folder.waiters.ring_decided(folder.path, {"amy"})
    assert not amys.wait(0)
    folder.waiters.close()


def test_a_bell_elsewhere_is_not_rung(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever may ring can bind a socket anywhere, and would have the daemon write to it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("kanban-coordinator.sock", "kanban-waiting.00000000.1-00.sock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hostile, pytest.MonkeyPatch.context() as moved:
            hostile.bind(str(elsewhere / name))
            hostile.setblocking(False)
            moved.chdir(folder.path)
            hostile.sendto(b"!", "kanban-coordinator.sock")
            folder.listen()
            folder.waiters.ring_rest(folder.path, ())
            with pytest.raises(BlockingIOError):
                hostile.recv(1)
    assert not folder.coordinators.rings().waits


def test_a_queue_that_is_full_says_so(folder: Folder) -> None:
    """Who waits is not known to wait then, and calls again."""
    while folder.ringer._send(folder.coordinators.path, b".") is not None:
        pass
    bell = folder.bell("amy", waits=True)
    assert not bell.is_expected
    assert not folder.listen().waiting
    folder.call(bell)
    assert bell.is_expected
    assert folder.listen().waiting == {bell.path.name}


@pytest.fixture
def served(paths: BoardPaths) -> Iterator[ServedBoard]:
    with selectors.DefaultSelector() as bells:
        served = ServedBoard(paths, "", lambda done, total: None, bells, 1.0, False)
        served.sweep()
        served.make_pass()
        yield served
        served.close()


def test_a_pass_at_once_for_who_waits_and_soon_for_what_is_written(served: ServedBoard, paths: BoardPaths) -> None:
    bell = served._open.bell
    with closing(Ringer()) as ringer, closing(Bell.waiting(paths.folder, "amy")) as waiting:
        served.make_pass()
        ringer.ring(bell.path)
        assert 0 < served.heard(bell) <= served_board.GATHER_S
        assert ringer.call(bell.path, waiting)
        assert served.heard(bell) == 0
        served._passed_s = time.monotonic() - 1
        ringer.ring(bell.path)
        assert served.heard(bell) == 0, "a pass shortly before is what makes it worth waiting"
        assert served.heard(object()) == 0, "another bell than its own"


def _claiming(home: str, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Thread, list[object]]:
    """A thread that claims a task beside a daemon, and what came of it."""
    monkeypatch.setattr(waiting, "LONGEST_LOOK_S", NEVER_S)
    claimed: list[object] = []

    def claim() -> None:
        with Gateway("amy", home=home) as amy:
            claimed.append(amy.claim(amy.create("x")))

    thread = threading.Thread(target=claim)
    thread.start()
    return thread, claimed


def test_who_said_that_it_waits_when_a_pass_had_begun(
    home: str, served: ServedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass decided its change without knowing of it; the next one, which decides nothing, rings it."""
    bell = served._open.bell
    true_rings, heard = bell.rings, []
    monkeypatch.setattr(bell, "rings", Rings)
    thread, claimed = _claiming(home, monkeypatch)
    until(lambda: served.make_pass() is None and served._open.coordinator.board.watermark("amy")[0] == 2)
    monkeypatch.setattr(bell, "rings", lambda: heard.append(true_rings()) or heard[-1])
    until(lambda: served.make_pass() is None and any(rings.waits for rings in heard))
    thread.join(30)
    assert claimed


def test_no_verdict_is_found_only_by_looking_again(home: str, paths: BoardPaths, monkeypatch) -> None:
    """Many threads and processes' worth of gateways, more than a queue holds: each one is rung for each verdict."""
    monkeypatch.setattr(waiting, "LONGEST_LOOK_S", NEVER_S)
    daemon, done = Daemon(paths), []

    def work(amy: Gateway) -> None:
        for number in range(4):
            task_id = amy.create(f"task {number}")
            amy.complete(amy.claim(task_id))
            amy.sync()
        done.append(True)

    def work_all() -> None:
        with ExitStack() as stack:
            gateways = [stack.enter_context(Gateway(name, home=home)) for name in ("amy", "bob", "cleo", "dan")]
            threads = [threading.Thread(target=work, args=(gateway,)) for gateway in gateways for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        daemon.stop()

    began_s = time.monotonic()
    working = threading.Timer(0.1, work_all)
    working.start()
    daemon.run()
    working.join()
    assert len(done) == 16
    assert time.monotonic() - began_s < NEVER_S / 2
