"""What nobody waits for is merged all the same, soon, whoever coordinates and whenever it stops."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

from kanban_shards import Board, Gateway, background, gateway, settling, shard
from kanban_shards.background import BackgroundRetry
from kanban_shards.bell import Bell
from kanban_shards.changes.kinds import AddComment
from kanban_shards.coordinator.merge import coordinator as passes
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.repair import repair_shard
from kanban_shards.errors import GivenUp, Quarantined
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import is_taken
from kanban_shards.writer import Writer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 0.01)


def merged(board: Board, profile: str, seq: int) -> None:
    """Wait until the board shows the profile's change ``seq``."""
    with closing(board.bell()) as bell:
        for _ in range(200):
            if board.watermarks().get(profile, (0, ""))[0] >= seq:
                return
            bell.wait(0.05)
    pytest.fail(f"{profile}'s change {seq} is not merged")


def test_the_last_word_of_an_idle_gateway(home: str, paths: BoardPaths) -> None:
    """Two writes within a second and silence after that: no daemon, no further call, no close."""
    with Gateway("amy", home=home) as amy, Board(paths) as board:
        task_id = amy.create("a task")
        amy.sync()
        merged(board, "amy", amy.comment(task_id, "the last word"))


def test_what_was_decided_is_not_asked_for_again(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("a task")
        amy._writer.sync_own()
        assert amy.board.task(task_id)
        asked = []
        monkeypatch.setattr(amy._writer, "sync", lambda: asked.append("sync"))
        amy.claim(task_id)
        amy._writer.sync_own()
        assert not asked
        amy.comment(task_id, "and this")
        amy._writer.sync_own()
        assert asked


def test_a_daemon_that_was_rung_and_died(home: str, paths: BoardPaths) -> None:
    with Gateway("amy", home=home) as amy, Board(paths) as board:
        task_id = amy.create("a task")
        amy.sync()
        with closing(locks.take(paths, locks.DAEMON, 1)), closing(Bell(paths.coordinator_bell)):
            seq = amy.comment(task_id, "heard by nobody")
            assert board.watermarks()["amy"][0] < seq
        merged(board, "amy", seq)


def test_closing_beside_a_pass_that_has_collected_already(home: str, paths: BoardPaths, taken_for) -> None:
    amy = Gateway("amy", home=home)
    task_id = amy.create("a task")
    amy.sync()
    with taken_for(paths.coordinator_lock, 0.1):  # somebody else's pass, which does not see what comes now
        seq = amy.comment(task_id, "the last word")
        amy.close()
    with Board(paths) as board:
        assert board.watermarks()["amy"][0] == seq


def test_closing_does_not_wait_for_a_coordinator_that_stays(
    home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "CLOSING_S", 0.05)
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("a task")
        amy.sync()
        lock = locks.take(paths, locks.COMMAND, 1)
        amy.comment(task_id, "it is written")
    lock.close()
    with Gateway("amy", home=home) as amy:
        amy.sync()
        assert [comment.body for comment in amy.board.comments(task_id)] == ["it is written"]


def test_a_change_that_a_repair_gave_up_gets_no_other_ones_verdict(home: str, paths: BoardPaths) -> None:
    """Its seq is given again, and the verdict on that one is not the answer to this call."""
    import sqlite3

    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("amy's")
        amy.sync()
        written = amy._writer._shard.append(task_id, AddComment(text="first"), amy._writer._view(task_id))
        with closing(sqlite3.connect(paths.shard("amy"))) as shard, shard:
            shard.execute("UPDATE changes SET digest = 'another' WHERE seq = ?", (written.seq,))
        with closing(locks.take(paths, locks.COMMAND, 1)) as lock:
            assert [change.seq for change in repair_shard(paths, lock, "amy").unmerged] == [written.seq]
        amy._writer._shard.append = lambda *given: written  # the call is still waiting for its verdict
        with Gateway("amy", home=home) as another:
            assert another.comment(task_id, "in its place") == written.seq
            another.sync()
        with pytest.raises(GivenUp, match=f"Change {written.seq} of amy"):
            amy._writer.ask(task_id, AddComment(text="first"))
        assert bob.board.comments(task_id)[-1].body == "in its place"


def test_pauses_grow_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    done = threading.Event()
    pauses = []

    def act() -> bool:
        answer = next(answers)
        if answer:
            done.set()
        return answer

    started = threading.Timer

    def timer(pause_s, *given):
        pauses.append(pause_s)
        return started(0, *given)

    monkeypatch.setattr(background.threading, "Timer", timer)
    trying = BackgroundRetry(act)
    trying.soon()
    assert done.wait(10)
    trying.close()
    assert pauses == [0.01, 0.02, 0.04]
    trying.soon()
    assert len(pauses) == 3


def test_an_attempt_that_fails_by_a_fault_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    answers = iter([sqlite3.OperationalError("a fault of this program"), None])

    def act() -> bool:
        answer = next(answers)
        if answer is not None:
            raise answer
        done.set()
        return True

    monkeypatch.setattr(threading, "excepthook", lambda failed: None)
    trying = BackgroundRetry(act)
    trying.soon()
    assert done.wait(10)
    trying.close()


def test_a_gateway_that_is_closed_while_another_thread_makes_a_pass(
    home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass keeps the coordinator's lock until it is over."""
    amy = Gateway("amy", home=home)
    amy.create("a task")
    amy.sync()
    begun, may_end = threading.Event(), threading.Event()
    make_pass, was_locked = passes.Coordinator.make_pass, []

    def slow(coordinator, **how):
        begun.set()
        may_end.wait(1)
        was_locked.append(is_taken(paths.coordinator_lock))
        return make_pass(coordinator, **how)

    monkeypatch.setattr(passes.Coordinator, "make_pass", slow)
    passing = threading.Thread(target=amy.merge_now)
    passing.start()
    assert begun.wait(10)
    closing_it = threading.Thread(target=amy.close)
    closing_it.start()
    closing_it.join(0.2)
    may_end.set()
    passing.join(10)
    closing_it.join(10)
    assert was_locked[0] and all(was_locked)
    assert not closing_it.is_alive() and not is_taken(paths.coordinator_lock)


def test_the_verdict_on_the_same_seq_of_another_shard_is_not_ones_own(home: str, paths: BoardPaths) -> None:
    """A profile that has two shards, because one was copied: what becomes of the one's change is not told to who wrote
    the other's."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("a task")
        amy.sync()
    shard, aside = paths.shard("amy"), paths.folder / "aside"
    copied = shard.read_bytes()
    with Writer("amy", home=home, patience_s=0.2) as mine:
        with closing(locks.take(paths, locks.COMMAND, 1)):  # nobody merges meanwhile
            written = mine.write(task_id, AddComment(text="mine"))
            shard.rename(aside)
            shard.write_bytes(copied)
        with Gateway("amy", home=home) as twin:
            assert twin.comment(task_id, "the other's") == written
            twin.sync()
            assert twin.board.verdict("amy", written).verdict == "applied"
        aside.rename(shard)
        with pytest.raises(Quarantined, match=f"Change {written} of amy is safely written, and is not merged"):
            mine.wait_for_verdict(written)
        assert [comment.body for comment in mine.board.comments(task_id)] == ["the other's"]


def test_a_clock_that_is_ahead_forgets_no_heartbeat_of_an_open_run(
    home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process of a profile has a clock that is nine days ahead: what the others said of their runs stays. What is
    said of runs that ended goes, whether it is long ago or far ahead."""

    def signs() -> list[int]:
        with closing(sqlite3.connect(paths.shard("amy"))) as plainly:
            return [run_id for (run_id,) in plainly.execute("SELECT run_id FROM liveness ORDER BY run_id")]

    def ahead(days: float) -> None:
        now_ns = time.time_ns() + int(days * 86_400 * 10**9)
        monkeypatch.setattr(shard, "time", SimpleNamespace(time_ns=lambda: now_ns))

    monkeypatch.setattr(gateway, "HEARTBEAT_EVERY_S", 0.0)
    with Gateway("amy", home=home) as amy:
        first, second, third = (amy.claim(amy.create(f"task {number}")) for number in range(3))
        amy.heartbeat(first)
        ahead(9)
        amy.heartbeat(second)
        assert signs() == [first.id, second.id]
        amy.complete(first)
        amy.heartbeat(second)
        assert signs() == [second.id]
        ahead(0)
        amy.heartbeat(third)
        assert signs() == [second.id, third.id]
        amy.complete(second)
        amy.heartbeat(third)
        assert signs() == [third.id]
