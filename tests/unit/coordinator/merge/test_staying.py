"""A gateway that makes passes in a row, and stays coordinator between them: nobody waits for it, nothing is lost with
it, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.merge import staying
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, GATEWAY, holder, take
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import Forked, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock, is_taken
from tests.until import until

# Far beyond what anything here takes, also on a machine that has much else to do.
SOON_S = 30.0

WORKER = """
import sys
from kanban_shards import Gateway
with Gateway(sys.argv[2], home=sys.argv[1]) as gateway:
    while True:
        task_id = gateway.create("acknowledged")
        run = gateway.claim(task_id)
        print(task_id, flush=True)
        gateway.complete(run)
"""


@pytest.fixture
def amy(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway that is the coordinator now, and stays it as long as nobody asks for the lock."""
    monkeypatch.setattr(staying, "IDLE_S", SOON_S)
    monkeypatch.setattr(staying, "LONGEST_S", 10 * SOON_S)
    with Gateway("amy", home=paths.folder) as gateway:
        work(gateway, 2)
        assert is_staying(paths)
        yield gateway


def work(gateway: Gateway, tasks: int = 1) -> None:
    for _ in range(tasks):
        gateway.complete(gateway.claim(gateway.create("a task")))


def is_staying(paths: BoardPaths) -> bool:
    found = holder(paths)
    return found is not None and (found.pid, found.role) == (os.getpid(), GATEWAY) and paths.coordinator_bell.exists()


def passes_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == staying.THREAD]


def test_one_pass_is_no_row(paths: BoardPaths) -> None:
    with Gateway("amy", home=paths.folder) as amy:
        amy.make("a task")
        assert not is_taken(paths.coordinator_lock) and not passes_threads()


def test_a_row_keeps_the_files_open(paths: BoardPaths, amy: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(Coordinator, "__init__", lambda *given: opened.append(given))
    work(amy, 3)
    assert not opened and is_staying(paths)


def test_others_are_served_meanwhile(paths: BoardPaths, amy: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(Coordinator, "__init__", lambda *given: opened.append(given))
    with Gateway("bob", home=paths.folder) as bob:
        work(bob, 3)
        work(amy)
    assert not opened and is_staying(paths)


def test_closing_leaves_nothing(paths: BoardPaths, amy: Gateway) -> None:
    task_id = amy.create("the last")
    amy.comment(task_id, "and a comment")
    amy.close()
    assert not is_taken(paths.coordinator_lock) and not paths.coordinator_bell.exists() and not passes_threads()
    assert files.is_empty(files.beside(paths.ledger, "-wal"))
    with Board(paths) as board:
        assert [comment.body for comment in board.comments(task_id)] == ["and a comment"]


def test_it_lets_go_when_nothing_happens(paths: BoardPaths, amy: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staying, "IDLE_S", 0.001)
    work(amy)
    until(lambda: not is_taken(paths.coordinator_lock))
    assert not paths.coordinator_bell.exists()
    work(amy)


def test_it_lets_go_after_a_while_however_much_happens(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one may be somebody else, who is told then; each ring is heard by one of them."""
    monkeypatch.setattr(staying, "LONGEST_S", 0.02)
    with Gateway("amy", home=paths.folder) as amy, Gateway("bob", home=paths.folder) as bob:
        threads = [threading.Thread(target=work, args=(gateway, 25)) for gateway in (amy, bob)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    with Board(paths) as board:
        assert [task.status for task in board.tasks()] == ["done"] * 50
    assert verify(paths).clean


def test_who_waits_for_the_lock_gets_it_at_once(paths: BoardPaths, amy: Gateway) -> None:
    ends = threading.Event()

    def keep_working() -> None:
        while not ends.is_set():
            work(amy)

    worker = threading.Thread(target=keep_working)
    worker.start()
    try:
        for _ in range(5):
            until(lambda: is_staying(paths))
            began_s = time.monotonic()
            with closing(take(paths, COMMAND, SOON_S)):
                assert time.monotonic() - began_s < staying.LONGEST_S / 10
    finally:
        ends.set()
        worker.join()


def test_nobody_stays_while_somebody_stands_in_line(paths: BoardPaths) -> None:
    """And everybody's changes are decided all the same."""
    with closing(FileLock(paths.next_coordinator_lock)) as line, Gateway("amy", home=paths.folder) as amy:
        work(amy)
        line.acquire(SOON_S)
        until(lambda: not is_taken(paths.coordinator_lock))
        work(amy, 2)
        assert not passes_threads()


def test_a_line_that_is_no_lock_hinders_nobody(paths: BoardPaths, amy: Gateway) -> None:
    paths.next_coordinator_lock.symlink_to("elsewhere")
    work(amy, 2)
    amy.settle()
    with closing(take(paths, COMMAND, SOON_S)):
        pass


def test_trouble_is_told_to_whoever_makes_the_next_pass(
    paths: BoardPaths, amy: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Coordinator, patient: bool = True) -> None:
        raise StorageError(path=paths.ledger, problem="is ill")

    with monkeypatch.context() as patch:
        patch.setattr(Coordinator, "make_pass", fails)
        with pytest.raises(StorageError, match="is ill"):
            amy.merge_now()
        assert not is_taken(paths.coordinator_lock) and not passes_threads()
    work(amy)


@pytest.mark.parametrize("name", ["board", "ledger"])
def test_a_file_that_is_replaced_is_noticed(paths: BoardPaths, amy: Gateway, name: str, tmp_path: Path) -> None:
    """By what was copied before: what came since is in the ledger, or in the shards."""
    path: Path = getattr(paths, name)
    amy.settle()
    copy = tmp_path / "older.db"
    subprocess.run([sys.executable, "-c", COPY, path, copy], check=True)
    work(amy, 2)
    assert is_staying(paths)
    copy.replace(path)
    if name == "ledger":  # else the board shows more than it leads to, and whoever looks is told so
        paths.board.unlink()
    work(amy)
    amy.close()
    with Board(paths) as board:
        assert {task.status for task in board.tasks()} == {"done"} and len(board.tasks()) == 5
    assert verify(paths).clean


# As a backup of Hermes makes one, in a process of its own (law 1).
COPY = """
import sqlite3, sys
source, target = (sqlite3.connect(path) for path in sys.argv[1:])
source.backup(target)
"""


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_kill_loses_nothing_acknowledged(paths: BoardPaths, after: int) -> None:
    paths.make_folder()
    said = []
    with subprocess.Popen([sys.executable, "-c", WORKER, paths.folder, "amy"], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        for _ in range(after):
            said.append(worker.stdout.readline().decode().strip())
        worker.send_signal(signal.SIGKILL)
        said += worker.stdout.read().decode().split()
    assert after == 1 or not files.is_empty(files.beside(paths.ledger, "-wal")), "it was killed while it stayed"
    with Gateway("bob", home=paths.folder) as bob:
        work(bob)
    merge_once(paths)
    with Board(paths) as board:
        shown = {task.id: task.status for task in board.tasks()}
    assert set(said) <= shown.keys() and {shown[each] for each in said} <= {"running", "done"}
    assert verify(paths).clean


def test_a_fork_takes_nothing_along(paths: BoardPaths, amy: Gateway) -> None:
    """Neither the lock, which the parent goes on to hold, nor a connection; and it may have a gateway of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Gateway("bob", home=paths.folder) as bob:
                work(bob)
            code = 0
        finally:
            os._exit(code)
    work(amy)
    assert os.waitpid(child, 0)[1] == 0 and is_staying(paths)
    with Board(paths) as board:
        assert [task.status for task in board.tasks()] == ["done"] * 4


def test_a_fork_is_told_so_by_the_parents_gateway(paths: BoardPaths, amy: Gateway) -> None:
    """It would wait without end for a thread that only the parent has."""
    work(amy)
    assert is_staying(paths)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(Forked):
                amy.merge_now()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_signal_that_closes_the_gateway_while_it_waits_for_its_own_pass(
    paths: BoardPaths, amy: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler does not wait for what it interrupts; the thread that makes the pass lets go by itself."""
    make_pass = Coordinator.make_pass

    def interrupted(self: Coordinator, patient: bool = True) -> object:
        if not closed.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            closed.wait(SOON_S)
        return make_pass(self, patient)

    def close(*_: object) -> None:
        amy.close()
        closed.set()

    closed = threading.Event()
    before = signal.signal(signal.SIGUSR1, close)
    monkeypatch.setattr(staying, "IDLE_S", 0.001)
    monkeypatch.setattr(Coordinator, "make_pass", interrupted)
    try:
        amy.merge_now()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert closed.is_set()
    until(lambda: not is_taken(paths.coordinator_lock))


def test_ctrl_c_while_a_row_begins(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes the gateway then finds nothing of it left."""
    make_pass, interrupts = Coordinator.make_pass, threading.Event()

    def interrupted(self: Coordinator, patient: bool = True) -> object:
        if threading.current_thread().name == staying.THREAD and not interrupts.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            interrupts.wait(SOON_S)
        return make_pass(self, patient)

    monkeypatch.setattr(staying, "IDLE_S", SOON_S)
    monkeypatch.setattr(Coordinator, "make_pass", interrupted)
    amy = Gateway("amy", home=paths.folder)
    with pytest.raises(KeyboardInterrupt):
        work(amy)
    interrupts.set()
    amy.close()
    assert not is_taken(paths.coordinator_lock) and not passes_threads()


def test_threads_of_one_gateway(paths: BoardPaths, amy: Gateway) -> None:
    threads = [threading.Thread(target=work, args=(amy, 5)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with Board(paths) as board:
        assert [task.status for task in board.tasks()] == ["done"] * 22
