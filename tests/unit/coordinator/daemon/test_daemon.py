"""The daemon, inside: what it says, and that trouble with one file does not end it."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.boards import create_board
from kanban_shards.coordinator.daemon import daemon as daemons
from kanban_shards.coordinator.daemon import troubles
from kanban_shards.coordinator.daemon.daemon import Daemon, HomeDaemon
from kanban_shards.coordinator.daemon.served_board import ServedBoard
from kanban_shards.coordinator.daemon.troubles import Troubles
from kanban_shards.coordinator.merge.coordinator import Coordinator, Report
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON, holder, take, write_note
from kanban_shards.errors import Damaged, DiskFull, LegacyBoard
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock
from tests.legacy import write_legacy


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The daemon's log so far, line by line."""
    caplog.set_level(logging.INFO, logger="kanban-merge")
    return lambda: caplog.messages


def test_each_trouble_is_said_once_and_once_more_when_it_is_over(said) -> None:
    known = Troubles("board x: ")
    for found in ({"a"}, {"a"}, {"a", "b"}, {"b"}, set(), set()):
        known.are(found)
    assert said() == ["board x: a", "board x: b", "over: board x: a", "over: board x: b"]


def test_a_trouble_that_comes_and_goes_is_said_once_in_a_while(said, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each pass, as a lock that is held for moments does; and one that comes back to stay is said all the same."""
    now_s = 0.0
    monkeypatch.setattr(troubles.time, "monotonic", lambda: now_s)
    known = Troubles("")
    for _ in range(300):
        now_s += 0.1
        known.are({"a"})
        known.are(set())
    known.are({"b", "a"})
    assert said() == ["a", "over: a", "b"]
    assert known, "what is not said is there all the same"
    now_s += troubles.AGAIN_S
    known.are({"a", "b"})
    known.are({"a", "b"})
    assert said()[3:] == ["a"]
    known.are(set())
    assert said()[4:] == ["over: a", "over: b"]


def test_a_failing_pass_does_not_end_it(home, paths, said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: it is said once, tried again, and over when it is over."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)
    daemon, calls = Daemon(paths), 0
    true_pass = Coordinator.make_pass

    def make_pass(coordinator: Coordinator, **how: bool) -> Report:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise DiskFull(path=paths.ledger)
        daemon.stop()
        return true_pass(coordinator, **how)

    monkeypatch.setattr(Coordinator, "make_pass", make_pass)
    daemon.run()
    full = str(DiskFull(path=paths.ledger))
    assert [line for line in said() if full in line] == [full, f"over: {full}"]
    assert holder(paths) is None


def test_a_quarantined_shard_is_named(home, paths, said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon says which shard and why, and serves the others."""
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task")
    paths.shard("bob").write_bytes(b"no database" * 1_000)
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)
    daemon, passes = Daemon(paths), 0
    true_pass = Coordinator.make_pass

    def make_pass(coordinator: Coordinator, **how: bool) -> Report:
        nonlocal passes
        passes += 1
        if passes == 5:
            daemon.stop()
        return true_pass(coordinator, **how)

    monkeypatch.setattr(Coordinator, "make_pass", make_pass)
    daemon.run()
    assert len([line for line in said() if line.startswith("shard of bob: ")]) == 1
    with Gateway("amy", home=home) as gateway:
        assert gateway.board.task(task_id).status == "ready"


def test_it_gives_the_signals_back(paths: BoardPaths) -> None:
    """Whoever runs it inside another program gets its own handlers back."""
    former = {number: signal.getsignal(number) for number in daemons.STOP_SIGNALS}
    daemon = Daemon(paths)
    stopper = threading.Timer(0, daemon.stop)
    stopper.start()
    daemon.run()
    stopper.join()
    assert {number: signal.getsignal(number) for number in daemons.STOP_SIGNALS} == former
    assert not paths.coordinator_bell.exists()


def test_a_fault_of_this_program_on_one_board_stops_no_other(home, paths, said, monkeypatch) -> None:
    """A board whose pass raises what nobody foresaw is let go and taken again; the other one is served."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)
    create_board(paths.folder, "cursed")
    daemon, passes = HomeDaemon(paths.folder), []
    true_pass = Coordinator.make_pass

    def make_pass(coordinator: Coordinator, **how: bool) -> Report:
        passes.append(coordinator.paths.slug)
        if passes.count("default") >= 3 and passes.count("cursed") >= 3:
            daemon.stop()
        if coordinator.paths.slug == "cursed":
            raise ZeroDivisionError("a fault")
        return true_pass(coordinator, **how)

    monkeypatch.setattr(Coordinator, "make_pass", make_pass)
    daemon.run()
    fault = "board cursed: ZeroDivisionError('a fault') is a fault of this program; it is tried again"
    assert said().count(fault) == 1
    for slug in ("default", "cursed"):
        assert holder(BoardPaths.of(paths.folder, slug)) is None


def test_a_folder_that_is_moved_while_a_file_is_opened_is_let_go(home, paths, said, monkeypatch) -> None:
    """The read that meets it fails with an I/O error. That is a consequence, and not said as if a disk had failed."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)
    create_board(paths.folder, "moved")
    moved = BoardPaths.of(paths.folder, "moved")
    daemon = HomeDaemon(paths.folder)
    true_connect = sqlite.open_raw

    def connect(path: Path, *how: object, **more: object) -> sqlite3.Connection:
        connection = true_connect(path, *how, **more)
        if path == moved.board and moved.coordinator_bell.exists():  # served already, and looked at from outside
            moved.folder.rename(paths.folder / "elsewhere")
        return connection

    monkeypatch.setattr(sqlite, "open_raw", connect)
    _run_until_let_go(daemon, monkeypatch)
    about = [line for line in said() if str(moved.folder) in line]
    whose = f"the shards of {moved.folder}"
    assert about == [f"process {os.getpid()} {does} {whose}" for does in ("merges", "no longer merges")]


@pytest.mark.parametrize("stands_by", [False, True])
def test_daemons_that_cannot_use_a_board_say_so_once(home, paths, said, monkeypatch, stands_by: bool) -> None:
    """Each takes the lock for a moment at each sweep, and meets the other one there: that changes nothing."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)
    monkeypatch.setattr(HomeDaemon, "lock_wait_s", 0)
    write_legacy(paths.board, {})
    daemon, sweeps, true_sweep = HomeDaemon(paths.folder, stands_by), 0, ServedBoard.sweep

    def sweep(served: ServedBoard) -> None:
        nonlocal sweeps
        sweeps += 1
        if sweeps % 2:
            true_sweep(served)
        else:
            with closing(take(paths, DAEMON, 0)):
                true_sweep(served)
        if sweeps == 10:
            daemon.stop()

    monkeypatch.setattr(ServedBoard, "sweep", sweep)
    daemon.run()
    assert [line for line in said() if "board default" in line] == [f"board default: {LegacyBoard(path=paths.board)}"]


@pytest.mark.parametrize("stands_by", [False, True])
@pytest.mark.parametrize("is_named", [True, False])
def test_a_coordinator_that_stays_is_said_beside_a_trouble(home, paths, said, monkeypatch, stands_by, is_named) -> None:
    """Once it had the lock from one sweep to the next."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)
    monkeypatch.setattr(HomeDaemon, "lock_wait_s", 0)
    write_legacy(paths.board, {})
    daemon, sweeps, true_sweep = HomeDaemon(paths.folder, stands_by), 0, ServedBoard.sweep
    with closing(FileLock(paths.coordinator_lock)) as lock:

        def sweep(served: ServedBoard) -> None:
            nonlocal sweeps
            sweeps += 1
            if sweeps == 3:
                lock.acquire(5)
                write_note(lock, DAEMON) if is_named else lock.write_note("")
            true_sweep(served)
            if sweeps == 6:
                daemon.stop()

        monkeypatch.setattr(ServedBoard, "sweep", sweep)
        daemon.run()
    legacy = f"board default: {LegacyBoard(path=paths.board)}"
    other = f"the daemon process {os.getpid()} on " if is_named else "a process that did not say which"
    begins = "stands by for " if stands_by else f"Another coordinator works on {paths}: "
    first, second, third = [line for line in said() if "board default" in line]
    assert (first, third) == (legacy, f"over: {legacy}")
    assert second.startswith(f"board default: {begins}{other if stands_by else other.removeprefix('the ')}")


def test_nothing_is_healed_by_whoever_lost_the_lock(home, paths, said, monkeypatch) -> None:
    """The next coordinator may be making the same file again."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.001)

    def make_pass(coordinator: Coordinator, **how: bool) -> Report:
        paths.coordinator_lock.unlink()
        raise Damaged(path=paths.board, problem="for a test")

    monkeypatch.setattr(Coordinator, "make_pass", make_pass)
    _run_until_let_go(Daemon(paths), monkeypatch)
    assert any("no longer is the coordinator" in line for line in said())
    assert not any("made again" in line for line in said())
    assert not list(paths.folder.glob("*.damaged-*"))


def _run_until_let_go(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    true_let_go = ServedBoard.release

    def release(served: ServedBoard) -> None:
        true_let_go(served)
        daemon.stop()

    monkeypatch.setattr(ServedBoard, "release", release)
    daemon.run()
