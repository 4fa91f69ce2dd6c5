"""The bell: it carries no content, and losing it costs latency alone."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.bell import Bell, Ringer
from kanban_shards.coordinator.daemon import daemon as daemons
from kanban_shards.coordinator.daemon.daemon import Daemon
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.paths import BoardPaths


@pytest.fixture
def ringer():
    ringer = Ringer()
    yield ringer
    ringer.close()


@pytest.mark.parametrize("depth", [0, 10], ids=["short", "long"])
def test_it_rings(tmp_path: Path, ringer: Ringer, depth: int) -> None:
    """Once rung, it wakes whoever waits; a path that is too long for a socket address is reached all the same."""
    folder = tmp_path.joinpath(*["a folder with a long name"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    bell = Bell(folder / "kanban-coordinator.sock")
    assert not bell.wait(0)
    assert ringer.ring(bell.path)
    assert bell.wait(30)
    assert not bell.wait(0), "heard once, it is over"
    assert bell.path.stat().st_mode & 0o777 == 0o600
    bell.close()
    assert not bell.path.exists()
    assert not ringer.ring(bell.path)


def test_who_rings_without_end_keeps_nobody_from_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another user, and who is woken may hold the coordinator's lock."""
    bell = Bell(tmp_path / "bell.sock")

    class Flooded:
        def recv(self, size: int) -> bytes:
            return b"."

    with monkeypatch.context() as patch:
        patch.setattr(bell, "_socket", Flooded())
        bell.hush()
    bell.close()


def test_ringing_never_waits(tmp_path: Path, ringer: Ringer) -> None:
    """However often it is rung while nobody listens; one hush forgets it all."""
    bell = Bell(tmp_path / "bell.sock")
    assert all(ringer.ring(bell.path) for _ in range(5_000))
    bell.hush()
    assert not bell.wait(0)
    bell.close()


def test_a_pass_rings_those_it_concerns(tmp_path: Path, ringer: Ringer) -> None:
    """A verdict is for its profile, an event for everybody; and when the lock is let go, everybody who writes may be
    the next to make a pass."""
    amys, bobs, followers = (Bell.waiting(tmp_path, whose) for whose in ("amy", "bob", None))
    ringer.ring_decided(tmp_path, {"amy", "zoe"})
    assert [bell.wait(0) for bell in (amys, bobs, followers)] == [True, False, True]
    ringer.ring_next(tmp_path)
    assert [bell.wait(0) for bell in (amys, bobs, followers)] == [True, True, False]
    for bell in (amys, bobs, followers):
        bell.close()
    ringer.ring_next(tmp_path / "missing")


@pytest.mark.parametrize("depth", [0, 10], ids=["short", "long"])
def test_the_longest_name_has_a_bell(tmp_path: Path, ringer: Ringer, depth: int) -> None:
    folder = tmp_path.joinpath(*["a folder with a long name"] * depth)
    folder.mkdir(parents=True, exist_ok=True)
    bell = Bell.waiting(folder, "p" * 64)
    assert bell.problem is None
    ringer.ring_decided(folder, {"p" * 63})
    assert not bell.wait(0)
    ringer.ring_decided(folder, {"p" * 64})
    assert bell.wait(30)
    bell.close()


def test_a_dead_waiters_bell_is_taken_down(tmp_path: Path, ringer: Ringer) -> None:
    subprocess.run(
        [sys.executable, "-c", "import os, sys; from pathlib import Path; from kanban_shards.bell import Bell; "
         "bell = Bell.waiting(Path(sys.argv[1])); os._exit(9)", tmp_path]
    )  # fmt: skip
    assert len(os.listdir(tmp_path)) == 1
    ringer.ring_decided(tmp_path, ())
    assert os.listdir(tmp_path) == []


def test_a_dead_coordinators_bell_is_replaced(tmp_path: Path, ringer: Ringer) -> None:
    path = tmp_path / "kanban-coordinator.sock"
    subprocess.run(
        [sys.executable, "-c", "import os, sys; from pathlib import Path; from kanban_shards.bell import Bell; "
         "bell = Bell(Path(sys.argv[1])); os._exit(9)", path]
    )  # fmt: skip
    assert path.exists()
    assert not ringer.ring(path)
    bell = Bell(path)
    assert ringer.ring(path)
    bell.close()


def test_where_none_can_hang_it_never_rings(tmp_path: Path, ringer: Ringer) -> None:
    """Nothing but a former bell is ever replaced by one."""
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file", tmp_path / "missing" / "bell.sock"):
        bell = Bell(path)
        assert bell.fileno() == -1
        assert not bell.wait(0)
        assert not ringer.ring(path)
        bell.hush()
        bell.close()
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize("bells", [True, False], ids=["a bell", "none left"])
def test_a_process_with_many_files(tmp_path: Path, bells: bool) -> None:
    """A gateway may live in a process that has more than a thousand files open, or as many as it may have."""
    script = """if True:
        import errno, os, resource, sys
        from pathlib import Path
        from kanban_shards.bell import Bell, Ringer
        ringer = Ringer()
        most = 1_200 if sys.argv[2] == "True" else 100
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        opened = []
        try:
            while len(opened) < 1_100:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE
        bell = Bell(Path(sys.argv[1]) / "bell.sock")
        print(bell.fileno() >= 0, ringer.ring(bell.path), bell.wait(0))
        bell.close()
    """
    told = subprocess.check_output([sys.executable, "-c", script, tmp_path, str(bells)], text=True)
    assert told.split() == [str(bells)] * 3


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch):
    """``no_sockets(code)``: from now on none can be made, as in a sandbox; returns what ends that."""

    def begin(code: int):
        def forbidden(*given: object, **how: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(socket, "socket", forbidden)
        return monkeypatch.undo

    return begin


@pytest.mark.parametrize("code", [errno.EPERM, errno.EAFNOSUPPORT, errno.EMFILE])
def test_where_no_socket_can_be_made_everything_works(home: str, paths: BoardPaths, no_sockets, code: int) -> None:
    """Gateways, commands and the daemon; each only waits a little longer."""
    no_sockets(code)
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("x")
        amy.complete(amy.claim(task_id))
        assert amy.board.task(task_id).status == "done"
        amy.create("y")
        merge_once(paths)
    daemon = Daemon(paths)
    serving = threading.Timer(0.3, daemon.stop)
    serving.start()
    daemon.run()
    with Gateway("amy", home=home) as amy:
        assert [task.status for task in amy.board.tasks()].count("ready") == 1


def test_a_daemon_without_sockets_serves_a_gateway(home: str, paths: BoardPaths, no_sockets, monkeypatch) -> None:
    monkeypatch.setattr(daemons, "SWEEP_S", 0.01)
    no_sockets(errno.EPERM)
    daemon = Daemon(paths)
    claimed = []

    def claim() -> None:
        with Gateway("amy", home=home) as amy:
            claimed.append(amy.claim(amy.create("x")))
        daemon.stop()

    gateway = threading.Timer(0.1, claim)
    gateway.start()
    daemon.run()
    gateway.join()
    assert claimed


def test_a_coordinator_that_found_no_descriptor_for_a_socket_rings_later(home: str, paths, no_sockets) -> None:
    """What it merged meanwhile is merged."""
    over = no_sockets(errno.EMFILE)
    with Gateway("amy", home=home) as amy, holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        amy.create("x")
        assert len(coordinator.make_pass().decisions) == 1
        over()
        bell = Bell.waiting(paths.folder, "amy")
        amy.create("y")
        coordinator.make_pass()
        assert bell.wait(30)
        bell.close()


def test_a_ringer_that_is_closed_makes_no_socket(tmp_path: Path, no_sockets) -> None:
    over = no_sockets(errno.EMFILE)
    ringer = Ringer()
    ringer.close()
    over()
    bell = Bell(tmp_path / "bell.sock")
    assert not ringer.ring(bell.path)
    bell.close()
