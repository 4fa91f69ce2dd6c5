"""Attempts: who may say that a run is over because nobody heard of it, and when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kanban_shards import Board, Gateway, Refused
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import Undecided
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock
from tests.processes.test_deliveries_process import awaited
from tests.processes.test_idempotent_create import ACTOR, heard

# Beats come every second; only a stall of two more would make a live worker look dead.
LEASE_S = 3


class Clock:
    """The coordinator's clock and the shards'."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000

        self.slept_s = 0

    def time_ns(self) -> int:
        return self.now_s * 1_000_000_000

    def monotonic_ns(self) -> int:
        """Stands still while the machine sleeps."""
        return (self.now_s - self.slept_s) * 1_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("kanban_shards.coordinator.merge.clock.time", made)
    monkeypatch.setattr("kanban_shards.shard.time", made)
    return made


@pytest.fixture
def coordinator(paths: BoardPaths, clock: Clock) -> Iterator[Coordinator]:
    """The only coordinator; a pass is made when the test says so, at the clock's time."""
    lock = FileLock(paths.coordinator_lock)
    lock.acquire(10)
    try:
        with Coordinator(paths, lock) as opened:
            yield opened
            opened.make_passes()
    finally:
        lock.close()
    assert verify(paths).clean


@pytest.fixture
def claimed(paths: BoardPaths, home: str, clock: Clock) -> tuple[str, int]:
    """A task that bingge's dispatcher claimed for pixiel's worker with a lease of 60 s, and its run."""
    with Gateway("bingge", home=home) as bingge:
        task_id = bingge.create("work", assignee="pixiel")
        return task_id, bingge.claim(task_id, runs_as="pixiel", lease_s=60).id


def heartbeat(home: str, profile: str, run_id: int) -> None:
    with Gateway(profile, home=home) as gateway:
        gateway.heartbeat(gateway.board.run(run_id))


def expired(coordinator: Coordinator) -> list[str]:
    """The tasks whose runs expire in this pass."""
    return [
        it.entry.change.task_id
        for it in coordinator.make_pass().decisions
        if it.entry.change.kind == "expire" and it.applied
    ]


@contextmanager
def busy(paths: BoardPaths, profile: str) -> Iterator[FileLock]:
    """Another process of the profile writes its shard."""
    lock = FileLock(paths.shard_lock(profile))
    lock.acquire(10)
    try:
        yield lock
    finally:
        lock.close()


def test_a_lease_runs_out(claimed, coordinator, clock) -> None:
    """Not before its last second is over, and once."""
    task_id, _ = claimed
    clock.now_s += 60
    assert expired(coordinator) == []
    clock.now_s += 1
    assert expired(coordinator) == [task_id]
    clock.now_s += 60
    assert expired(coordinator) == []


@pytest.mark.parametrize("profile", ["pixiel", "bingge"])
def test_a_sign_of_life_counts_from_when_it_was_given(home, claimed, coordinator, clock, profile: str) -> None:
    """By the worker or by the dispatcher; it is in a shard, and no entry of the ledger."""
    task_id, run_id = claimed
    clock.now_s += 50
    heartbeat(home, profile, run_id)
    position = coordinator._ledger.head()[0]
    clock.now_s += 60
    assert expired(coordinator) == []
    assert coordinator._ledger.head()[0] == position
    clock.now_s += 1
    assert expired(coordinator) == [task_id]


def test_a_stranger_s_sign_of_life_does_not_count(home, claimed, coordinator, clock) -> None:
    task_id, run_id = claimed
    clock.now_s += 50
    heartbeat(home, "mafei", run_id)
    clock.now_s += 11
    assert expired(coordinator) == [task_id]


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("profile", ["pixiel", "bingge"])
def test_never_while_a_shard_of_the_run_is_busy(
    home, paths, claimed, coordinator, clock, profile: str, is_known: bool
) -> None:
    """Somebody may be writing a heartbeat this very moment, also where nothing new was to be collected; a
    stranger's busy shard holds up nothing."""
    task_id, run_id = claimed
    heartbeat(home, "pixiel", run_id)
    if is_known:
        for each in ("pixiel", "bingge"):
            os.utime(paths.shard(each), (0, 0))  # so long unchanged that no pass reads it again
        assert expired(coordinator) == []
    clock.now_s += 3_600
    with busy(paths, profile):
        for _ in range(3):
            assert expired(coordinator) == []
    with busy(paths, "mafei"):
        assert expired(coordinator) == [task_id]


@pytest.mark.parametrize("profile", ["pixiel", "bingge"])
def test_never_while_a_shard_of_the_run_is_quarantined(home, paths, claimed, coordinator, clock, profile: str) -> None:
    """What it holds cannot be read; a person can still reclaim the task."""
    task_id, run_id = claimed
    heartbeat(home, "pixiel", run_id)
    with busy(paths, profile) as lock:
        connection = sqlite.open_writer(paths.shard(profile), sqlite.SHARD, lock)
        forged = (9, task_id, "nonsense", "{}", "{}", 0, "")
        connection.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", forged)
        connection.close()
    clock.now_s += 3_600
    assert expired(coordinator) == []
    with Gateway("mafei", home=home, patience_s=0.01) as mafei, pytest.raises(Undecided):
        mafei.reclaim(task_id)
    coordinator.make_pass()
    with Board(paths) as board:
        assert board.run(run_id).outcome == "reclaimed"
    with busy(paths, profile) as lock:
        connection = sqlite.open_writer(paths.shard(profile), sqlite.SHARD, lock)
        connection.execute("DELETE FROM changes WHERE seq = 9")
        connection.close()


@pytest.mark.parametrize("profile", ["pixiel", "bingge"])
def test_never_before_what_the_shards_hold_is_merged(home, claimed, coordinator, clock, profile: str) -> None:
    """A change that was not merged yet may be the run's end, or a word of progress: it comes first."""
    task_id, run_id = claimed
    clock.now_s += 3_600
    with Gateway(profile, home=home) as gateway:
        gateway.comment(task_id, "nearly there")
        assert expired(coordinator) == []
        assert expired(coordinator) == [task_id]
        assert gateway.board.run(run_id).outcome == "reclaimed"


def test_a_profile_that_is_busy_elsewhere_holds_up_nothing(home, claimed, coordinator, clock, monkeypatch) -> None:
    """Nor does a shard that has more to read than one pass takes, if it is a stranger's."""
    monkeypatch.setattr("kanban_shards.coordinator.merge.shard_reader.CHANGES_PER_PASS", 1)
    monkeypatch.setattr("kanban_shards.coordinator.merge.shard_reader.LEAST_SHARE", 1)
    task_id, _ = claimed
    clock.now_s += 3_600
    with Gateway("mafei", home=home) as mafei, Gateway("bingge", home=home) as bingge:
        for _ in range(3):
            mafei.create("something else")
        bingge.create("of his own")
        assert expired(coordinator) == [task_id]


def test_a_claim_of_the_same_pass_finds_the_task_free(home, claimed, coordinator, clock) -> None:
    task_id, run_id = claimed
    clock.now_s += 61
    with Gateway("pixiel", home=home, patience_s=0.01) as pixiel, pytest.raises(Undecided):
        pixiel.claim(task_id)
    decisions = coordinator.make_pass().decisions
    assert [(it.entry.change.kind, it.applied) for it in decisions] == [("expire", True), ("claim", True)]
    assert decisions[1].answer == {"task_id": task_id, "run_id": run_id + 1}


@pytest.mark.parametrize("why", ["the machine slept", "the clock was set forward"])
def test_nobody_is_dead_because_time_jumped(home, claimed, coordinator, clock, why: str) -> None:
    """The worker could send no heartbeat meanwhile: it has one lease more to do so."""
    task_id, _ = claimed
    assert expired(coordinator) == []
    clock.now_s += 3_600
    clock.slept_s += 3_600
    assert expired(coordinator) == []
    clock.now_s += 60
    assert expired(coordinator) == []
    clock.now_s += 1
    assert expired(coordinator) == [task_id]


def test_a_clock_that_is_set_back_ends_no_run(home, claimed, coordinator, clock) -> None:
    task_id, _ = claimed
    clock.now_s -= 3_600
    clock.slept_s -= 3_600
    assert expired(coordinator) == []
    clock.now_s += 3_661
    assert expired(coordinator) == [task_id]


def test_progress_keeps_the_lease(home, paths, claimed, coordinator, clock) -> None:
    task_id, run_id = claimed
    clock.now_s += 3_600
    with Gateway("pixiel", home=home) as worker:
        worker.heartbeat(worker.board.run(run_id), note="halfway")
    assert expired(coordinator) == []
    assert expired(coordinator) == []
    with Board(paths) as board:
        assert board.task(task_id).claim_expires == clock.now_s + 60
    clock.now_s += 61
    assert expired(coordinator) == [task_id]


def test_what_was_merged_late_still_counts(home, paths, claimed, coordinator, clock) -> None:
    """The worker completed in time, and no coordinator was there: its result is taken, not its lease."""
    task_id, run_id = claimed
    with Gateway("pixiel", home=home, patience_s=0.01) as worker, pytest.raises(Undecided):
        worker.complete(worker.board.run(run_id), result="in time")
    clock.now_s += 3_600
    assert expired(coordinator) == []
    with Board(paths) as board:
        assert (board.task(task_id).status, board.task(task_id).result) == ("done", "in time")


def test_scheduled_tasks_fall_due(home, paths, clock) -> None:
    """By the coordinator's word, at the time that was named."""
    with Gateway("bingge", home=home) as bingge:
        task_id = bingge.create("later")
        bingge.schedule(task_id, due_s=clock.now_s + 10)
        clock.now_s += 9
        bingge.comment(task_id, "any change makes a pass")
        bingge.sync()
        assert bingge.board.task(task_id).status == "scheduled"
        clock.now_s += 1
        bingge.comment(task_id, "another one")
        bingge.sync()
        assert bingge.board.task(task_id).status == "ready"
        (due,) = bingge.board.events(task_id=task_id, kinds=("unblocked",))
        assert (due.payload, due.created_at) == ({"reason": "due"}, clock.now_s)
    assert verify(paths).clean


def test_an_idle_worker_writes_nothing_while_its_task_cools_down(home) -> None:
    """Asking again and again for a task that waits out a rate limit leaves no refusals behind."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("limited")
        amy.fail(amy.claim(task_id), "rate_limited", cooldown_s=3_600)
        position = amy.board.position()
        assert [amy.claim_next() for _ in range(3)] == [None, None, None]
        assert amy.board.position() == position
        with pytest.raises(Refused, match="waits out a rate limit"):
            amy.claim(task_id)


def test_a_heartbeat_keeps_a_short_lease_alive(home, start, daemon, assert_clean) -> None:
    """Of two workers with the same short lease, the silent one loses its run while the other one, that began before
    it, keeps its own; until it is killed. What is said for it then comes late, and is kept."""
    with Gateway("planner", home=home) as planner:
        beating, silent = planner.create("beating"), planner.create("silent")
        planner.sync()
        alive = start(ACTOR, "beat", home, "amy", beating, LEASE_S)
        run_id = heard(alive)["run"]
        quiet = start(ACTOR, "claim", home, "bob", silent, LEASE_S)
        heard(quiet)
        awaited(lambda: planner.board.task(silent).status == "ready")
        assert planner.board.task(beating).current_run_id == run_id
        assert planner.board.events(task_id=beating, kinds=("heartbeat", "reclaimed")) == []
        run = planner.board.run(run_id)
        alive.kill()
        awaited(lambda: planner.board.task(beating).status == "ready")
        (reclaimed,) = planner.board.events(task_id=beating, kinds=("reclaimed",))
        assert reclaimed.payload["last_heartbeat_at"] >= run.started_at
    refuse_late(home, beating, run_id)
    assert_clean()


def refuse_late(home: str, task_id: str, run_id: int) -> None:
    with Gateway("amy", home=home) as amy:
        run = amy.board.run(run_id)
        assert (run.outcome, run.error) == ("reclaimed", f"no sign of life for {LEASE_S} s")
        late: list[Callable] = [lambda: amy.heartbeat(run), lambda: amy.complete(run, result="too late", summary="s")]
        for say in late:
            with pytest.raises(Refused) as raised:
                say()
            assert raised.value.reason == "late"
        kept = amy.board.events(task_id=task_id, kinds=("late_refused",))
        assert [(event.payload["result"], event.run_id) for event in kept] == [("too late", run_id)]
        assert amy.board.task(task_id).status == "ready"


def set_clock(clock: Clock, by_s: int) -> None:
    """Somebody sets the clock; the steady one goes on as it was."""
    clock.now_s += by_s
    clock.slept_s += by_s


YEARS_S = 3 * 365 * 86_400


def test_a_run_that_was_claimed_while_the_clock_was_ahead(paths: BoardPaths, home: str, clock: Clock) -> None:
    """A coordinator that stays ends it a lease after it saw it, and not before."""
    set_clock(clock, YEARS_S)
    with Gateway("bingge", home=home) as bingge:
        task_id = bingge.create("work", assignee="pixiel")
        bingge.claim(task_id, runs_as="pixiel", lease_s=60)
    set_clock(clock, -YEARS_S)
    with staying(paths) as coordinator:
        assert expired(coordinator) == []
        clock.now_s += 60
        assert expired(coordinator) == []
        clock.now_s += 1
        assert expired(coordinator) == [task_id]


def test_its_worker_is_alive_all_the_same(paths: BoardPaths, home: str, clock: Clock) -> None:
    """Heartbeats by the right clock keep the run open as they do any other."""
    set_clock(clock, YEARS_S)
    with Gateway("bingge", home=home) as bingge:
        task_id = bingge.create("work", assignee="pixiel")
        run_id = bingge.claim(task_id, runs_as="pixiel", lease_s=60).id
    set_clock(clock, -YEARS_S)
    with staying(paths) as coordinator:
        for _ in range(5):
            heartbeat(home, "pixiel", run_id)
            clock.now_s += 40
            assert expired(coordinator) == []
        clock.now_s += 21
        assert expired(coordinator) == [task_id]


def test_a_sign_of_life_while_the_clock_was_ahead(home, claimed, coordinator, clock) -> None:
    """The worker died behind it, and the clock was put right."""
    task_id, run_id = claimed
    set_clock(clock, YEARS_S)
    heartbeat(home, "pixiel", run_id)
    set_clock(clock, -YEARS_S)
    clock.now_s += 61
    assert expired(coordinator) == []
    clock.now_s += 60
    assert expired(coordinator) == []
    clock.now_s += 1
    assert expired(coordinator) == [task_id]


def test_a_clock_that_went_ahead_and_back_beside_a_coordinator(claimed, coordinator, clock) -> None:
    """What it noticed while it was ahead keeps no run open until then."""
    task_id, _ = claimed
    set_clock(clock, YEARS_S)
    assert expired(coordinator) == []
    set_clock(clock, -YEARS_S)
    assert expired(coordinator) == []
    clock.now_s += 61
    assert expired(coordinator) == [task_id]


@contextmanager
def staying(paths: BoardPaths) -> Iterator[Coordinator]:
    """A coordinator that begins now and stays, as a daemon does."""
    lock = FileLock(paths.coordinator_lock)
    lock.acquire(10)
    try:
        with Coordinator(paths, lock) as opened:
            yield opened
    finally:
        lock.close()
