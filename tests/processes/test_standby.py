"""Who follows a coordinator that died or was stopped, and what others are told meanwhile."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from msgspec.structs import asdict

from kanban_shards import Gateway
from kanban_shards.boards import create_board
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, DAEMON, GATEWAY, Holder, holder, is_stopped, take
from kanban_shards.errors import CoordinatorRunning, Undecided
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock
from tests.processes.conftest import merging
from tests.until import until

# A loaded machine may be slower than the promise.
PATIENCE_S = 20.0
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def standby(start, home: str):
    """``standby(*words)``: a daemon that says that it stands by, for each of ``wait`` boards."""

    def begin(*words: object, wait: int = 1) -> subprocess.Popen:
        process = start("-m", "kanban_shards.coordinator", "--home", home, "daemon", "--standby", *words)
        for _ in range(wait):
            line = process.stderr.readline()
            assert "stands by for the daemon process" in line, line
        return process

    return begin


def test_a_standby_takes_over(home, paths, daemon, standby) -> None:
    second = standby()
    daemon.kill()
    killed_at = time.monotonic()
    merging(second)
    assert time.monotonic() - killed_at < PATIENCE_S
    assert holder(paths).pid == second.pid
    _claim_one(home)


def test_a_standby_takes_over_each_board(home, start, standby) -> None:
    root = Path(home)
    create_board(root, "infra")
    first = start("-m", "kanban_shards.coordinator", "--home", home, "daemon", "--all-boards")
    for _ in range(2):
        merging(first)
    second = standby("--all-boards", wait=2)
    first.kill()
    for _ in range(2):
        _line_with(second, f"process {second.pid} merges the shards")
    for slug in ("default", "infra"):
        assert holder(BoardPaths.of(root, slug)).pid == second.pid


def test_a_standby_without_anybody_serves_at_once(home, paths, start) -> None:
    only = merging(start("-m", "kanban_shards.coordinator", "--home", home, "daemon", "--standby"))
    assert holder(paths).pid == only.pid


def test_a_standby_ends_when_asked(standby, daemon) -> None:
    second = standby()
    second.send_signal(signal.SIGTERM)
    _, errors = second.communicate(timeout=60)
    assert (second.returncode, "Traceback" in errors) == (0, False)


@needs_proc
def test_a_stopped_daemon_is_named(home, paths, daemon, standby) -> None:
    """Whoever waits is told which process it is and what to do; once it is dead the standby has the board."""
    daemon.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(daemon.pid))
    with Gateway("amy", home=home, patience_s=0.2) as amy:
        task_id = amy.create("waits")
        with pytest.raises(Undecided) as undecided:
            amy.claim(task_id)
    said = f"daemon process {daemon.pid} on {socket.gethostname()}"
    assert said in str(undecided.value)
    assert f"it is stopped: `kill -CONT {daemon.pid}`" in str(undecided.value)
    second = standby()
    daemon.kill()
    merging(second)
    with Gateway("amy", home=home) as amy:
        amy.sync()
        assert amy.board.task(task_id).status == "running"


@pytest.mark.parametrize("role", [GATEWAY, COMMAND])
def test_a_daemon_waits_for_whoever_is_no_daemon(home, paths, start, role) -> None:
    """A gateway's pass or a command ends some time, even one that is stopped for a while; another daemon does not."""
    lock = take(paths, role, 0)
    waiting = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    _line_with(waiting, f": {role} process {os.getpid()}")
    lock.close()
    _line_with(waiting, f"process {waiting.pid} merges the shards")
    _claim_one(home)
    second = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    assert f"daemon process {waiting.pid}" in second.stderr.read()
    assert second.wait(60) == CoordinatorRunning.exit_code


@needs_proc
def test_a_daemon_that_is_dead_is_not_waited_for_by_name(home, paths, start) -> None:
    """Its note is still in the lock file when another process has the lock, which is the one that is named."""
    former = start("-c", "")
    former.wait(60)
    lock = FileLock(paths.coordinator_lock)
    lock.acquire(0)
    lock.write_note(json.dumps(asdict(Holder(former.pid, socket.gethostname(), DAEMON, 0))))
    waiting = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    _line_with(waiting, f"is held by process {os.getpid()}")
    lock.close()
    _line_with(waiting, f"process {waiting.pid} merges the shards")


@needs_proc
def test_a_coordinator_that_was_stopped_notices_that_it_is_none(home, paths, daemon, start, assert_clean) -> None:
    """Somebody removed the lock file meanwhile, and another daemon serves. Continued, the first one merges nothing."""
    _claim_one(home)
    daemon.send_signal(signal.SIGSTOP)
    until(lambda: is_stopped(daemon.pid))
    paths.coordinator_lock.unlink()
    second = merging(start("-m", "kanban_shards.coordinator", "--home", home, "daemon"))
    _claim_one(home)
    daemon.send_signal(signal.SIGCONT)
    _line_with(daemon, f"Process {daemon.pid} no longer is the coordinator")
    _line_with(daemon, "Another coordinator works on the board default in ")
    assert holder(paths).pid == second.pid
    assert paths.coordinator_bell.exists(), "the bell is the second one's"
    _claim_one(home)
    second.kill()
    second.wait()
    _line_with(daemon, f"process {daemon.pid} merges the shards")
    _claim_one(home)
    assert_clean()


def test_another_hosts_note(paths) -> None:
    """A pid of another host says nothing here."""
    assert "another host than this one" in Holder(os.getpid(), "elsewhere", "daemon", 0).describe()
    own = Holder(os.getpid(), socket.gethostname(), "daemon", 0)
    assert own.describe() == str(own)


def test_its_supervisor_is_told(home, paths, start, tmp_path_factory) -> None:
    """Ready when its board is there, heartbeats, and that it ends."""
    name = tmp_path_factory.mktemp("s") / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(name))
        listening.settimeout(60)
        environ = {**os.environ, "NOTIFY_SOCKET": str(name), "WATCHDOG_USEC": "400000"}
        process = start("-m", "kanban_shards.coordinator", "--home", home, "daemon", env=environ)
        told = _datagrams(listening, "READY=1")
        assert holder(paths).pid == process.pid
        assert "STATUS=merges 1 of 1 board; 0 to be looked at" in told + _datagrams(listening, "STATUS=")
        for _ in range(3):
            _datagrams(listening, "WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        _datagrams(listening, "STOPPING=1")


def test_descriptors_that_ran_out(home, start) -> None:
    """With few of them, what cannot be opened is said once and tried again; what is open goes on."""
    root = Path(home)
    for number in range(8):
        create_board(root, f"b{number}")
    script = (
        "import os, resource, signal, sys; from kanban_shards.coordinator.cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)); "
        "others = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]; "
        "signal.signal(signal.SIGUSR1, lambda *_: [os.close(others.pop()) for _ in range(100)]); "
        "main(sys.argv[1:], 'kanban-merge')"
    )
    process = start("-c", script, "--home", home, "daemon", "--all-boards")
    lines = _line_with(process, "as many files open as it may (160)")
    assert any("merges the shards" in line for line in lines)
    _claim_one(home)
    process.send_signal(signal.SIGUSR1)
    lines += _line_with(process, "over: board b7: ")
    said = [line.split(" ", 2)[2] for line in lines if "as many files" in line and "over: " not in line]
    assert len(said) == len(set(said)) > 0
    for number in range(8):
        _claim_one(home, f"b{number}")


def test_the_daemon_allows_itself_as_many_files_as_it_may(home, start) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    script = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most})); "
        "from kanban_shards.coordinator.cli.main import main; main(sys.argv[1:], 'kanban-merge')"
    )
    process = merging(start("-c", script, "--home", home, "daemon"))
    assert f"{most} " in Path(f"/proc/{process.pid}/limits").read_text().split("Max open files")[1].splitlines()[0]


def test_a_bell_that_cannot_hang(home, paths, start) -> None:
    """It is said once, and verdicts come by sweeps."""
    (paths.folder / "kanban-coordinator.sock").mkdir()
    process = merging(start("-m", "kanban_shards.coordinator", "--home", home, "daemon"))
    _line_with(process, "cannot be hung up")
    _claim_one(home)


def _claim_one(home: str, board: str = "default") -> None:
    with Gateway("amy", home=home, board=board) as gateway:
        assert gateway.claim(gateway.create("a task")).profile == "amy"


def _line_with(process: subprocess.Popen, word: str) -> list[str]:
    lines = [process.stderr.readline()]
    while word not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    return lines


def _datagrams(listening: socket.socket, beginning: str) -> list[str]:
    told = [listening.recv(1_000).decode()]
    while not told[-1].startswith(beginning):
        told.append(listening.recv(1_000).decode())
    return told
