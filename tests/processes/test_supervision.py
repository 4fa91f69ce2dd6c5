"""Supervised runs: workers that are real processes, dispatchers that die, and nobody who starts a second worker."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway, Refused
from kanban_shards.changes.kinds import Spawned, Supervise
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import WorkerAlive
from kanban_shards.paths import BoardPaths
from kanban_shards.records import Run

LEASE_S, GRACE_S = 60, 3_600
# A worker inside one long call: it says nothing, and ends when it is told to.
WORKER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def worker() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts one; all are ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(WORKER))
        return started[-1]

    yield start
    for process in started:
        _kill(process)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The wall clock goes on by so many seconds."""
    passed_s = 0
    now, now_ns = time.time, time.time_ns

    def go_on(seconds: int) -> None:
        nonlocal passed_s
        passed_s += seconds

    monkeypatch.setattr(time, "time", lambda: now() + passed_s)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + passed_s * 10**9)
    return go_on


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _start(home: str, profile: str, task_id: str, process: subprocess.Popen[bytes]) -> Run:
    """A dispatcher starts the worker, and dies."""
    with Gateway(profile, home=home) as dispatcher:
        run = dispatcher.claim(task_id, runs_as="worker", lease_s=LEASE_S, grace_s=GRACE_S)
        dispatcher.spawned(run, process.pid)
    return run


def _task(home: str) -> str:
    with Gateway("planner", home=home) as planner:
        return planner.make("a task", assignee="worker").task_id


def test_a_dispatcher_that_is_away_for_longer_than_the_lease(home, paths: BoardPaths, worker, later) -> None:
    """Whoever makes passes meanwhile ends nothing; a newer dispatcher, of another profile, sees the worker, and starts
    no second one; the worker's last word counts."""
    task_id = _task(home)
    run = _start(home, "bingge", task_id, worker())
    for _ in range(4):
        later(LEASE_S * 5)
        with Gateway("reader", home=home) as reader:
            reader.merge_now()
            assert reader.board.task(task_id).current_run_id == run.id
    with Gateway("pixiel", home=home) as dispatcher:
        assert dispatcher.look_after() == []
        assert dispatcher.board.run(run.id).claim_expires > time.time() + LEASE_S / 2
        assert dispatcher.look_after() == []
        extended = dispatcher.board.events(task_id=task_id, kinds=("claim_extended",))
        assert [event.payload["by"] for event in extended] == ["pixiel"]
        with pytest.raises(WorkerAlive, match="still lives on this host"):
            dispatcher.claim(task_id, grace_s=GRACE_S)
    with Gateway("worker", home=home) as done:
        done.complete(run, summary="it took an hour")
    assert verify(paths).clean


def test_a_dispatcher_that_comes_back_after_the_grace(home, worker, later) -> None:
    """Nobody made a pass meanwhile: its first word is that the worker lives, and so the run goes on."""
    task_id = _task(home)
    run = _start(home, "bingge", task_id, worker())
    later(GRACE_S * 3)
    with Gateway("pixiel", home=home) as dispatcher:
        assert dispatcher.look_after() == []
        assert dispatcher.board.task(task_id).current_run_id == run.id


def test_both_are_gone(home, worker, later) -> None:
    """The run ends when nobody gave a sign for the grace, and not before; then anybody may claim."""
    task_id, process = _task(home), worker()
    run = _start(home, "bingge", task_id, process)
    _kill(process)
    later(GRACE_S - 5)
    with Gateway("pixiel", home=home) as dispatcher:
        dispatcher.merge_now()
        assert dispatcher.board.task(task_id).current_run_id == run.id
        later(10)
        dispatcher.merge_now()
        assert dispatcher.board.run(run.id).outcome == "reclaimed"
        assert dispatcher.claim(task_id, runs_as="worker", grace_s=GRACE_S).id != run.id


def test_a_worker_that_outlives_its_run(home, worker, later) -> None:
    """Somebody's pass ended the run while every dispatcher was away: the next one is told which process to end, and
    starts no worker beside it; what that one still says is late, and kept."""
    task_id, process = _task(home), worker()
    run = _start(home, "bingge", task_id, process)
    later(GRACE_S + 5)
    with Gateway("reader", home=home) as reader:
        reader.merge_now()
        assert reader.board.task(task_id).status == "ready"
    with Gateway("pixiel", home=home) as dispatcher:
        assert dispatcher.look_after() == []
        (left,) = dispatcher.living_workers(task_id)
        assert (left.run_id, left.pid, left.ended_at is None) == (run.id, process.pid, False)
        with pytest.raises(WorkerAlive) as alive:
            dispatcher.claim(task_id, grace_s=GRACE_S)
        assert (alive.value.run_id, alive.value.pid) == (run.id, process.pid)
        with Gateway("worker", home=home) as late, pytest.raises(Refused) as refused:
            late.complete(run, summary="too late")
        assert refused.value.reason == "late"
        _kill(process)
        assert dispatcher.living_workers(task_id) == []
        dispatcher.claim(task_id, runs_as="worker", grace_s=GRACE_S)


def test_an_operator_takes_the_task_from_a_living_worker(home, worker) -> None:
    """So it is with a run that was ended by hand: kill, then claim."""
    task_id, process = _task(home), worker()
    _start(home, "bingge", task_id, process)
    with Gateway("operator", home=home) as operator:
        operator.reclaim(task_id)
        with pytest.raises(WorkerAlive):
            operator.claim(task_id, grace_s=GRACE_S)
        _kill(process)
        operator.claim(task_id, grace_s=GRACE_S)


def test_a_number_that_was_given_again(home, paths: BoardPaths, worker, later) -> None:
    """Another process has the worker's number by now: it is no sign of life, and in nobody's way."""
    task_id, process = _task(home), worker()
    with Gateway("bingge", home=home) as dispatcher:
        run = dispatcher.claim(task_id, runs_as="worker", lease_s=LEASE_S, grace_s=GRACE_S)
        dispatcher.spawned(run, process.pid)
        (seen,) = dispatcher.board.workers()
        said = Spawned(run_id=run.id, pid=process.pid, host=seen.host, began=f"{seen.began}0")
        dispatcher._writer.ask(task_id, said)
        later(LEASE_S)
        assert [gone.pid for gone in dispatcher.look_after()] == [process.pid]
        assert dispatcher.board.events(task_id=task_id, kinds=("claim_extended",)) == []
        dispatcher.fail(run, "crashed", "the worker is gone")
        with pytest.raises(WorkerAlive):  # that of the first word: it began then, and lives
            dispatcher.claim(task_id, grace_s=GRACE_S)
        _kill(process)
        dispatcher.claim(task_id, grace_s=GRACE_S)


def test_a_worker_of_another_host(home, later) -> None:
    """It cannot be seen from here, so nothing is said of it, and its run ends by time."""
    task_id = _task(home)
    with Gateway("bingge", home=home) as dispatcher:
        run = dispatcher.claim(task_id, runs_as="worker", lease_s=LEASE_S, grace_s=GRACE_S)
        said = Spawned(run_id=run.id, pid=os.getpid(), host="elsewhere pid:[1]", began="1")
        dispatcher._writer.ask(task_id, said)
        dispatcher.settle()  # a coordinator that saw the clock jump counts from there
        later(LEASE_S)
        assert dispatcher.look_after() == []
        assert dispatcher.board.events(task_id=task_id, kinds=("claim_extended",)) == []
        later(GRACE_S)
        dispatcher.merge_now()
        assert dispatcher.claim(task_id, grace_s=GRACE_S).id != run.id


DISPATCHER = """
import subprocess, sys, time
from kanban_shards import Gateway, Refused
from kanban_shards.errors import Undecided, WorkerAlive

home, profile, command = sys.argv[1], sys.argv[2], sys.argv[3:]
with Gateway(profile, home=home, looks=6) as gateway:
    while True:
        for worker in gateway.look_after():
            task = gateway.board.task(worker.task_id)  # as it stands: no run that is opened meanwhile is meant
            run = gateway.board.run(worker.run_id)
            try:
                if run.ended_at is None and task.run_claimer == profile:
                    gateway.fail(run, "crashed", "gone", counts=False)
                elif run.ended_at is None:
                    gateway.reclaim(task, "gone")
            except Refused:
                pass
        for task in gateway.board.tasks(status="ready"):
            try:
                run = gateway.claim(task.id, runs_as="worker", lease_s=1, grace_s=600)
                started = subprocess.Popen(command, start_new_session=True)
                print(task.id, run.id, started.pid, flush=True)
                gateway.spawned(run, started.pid)
            except (Refused, WorkerAlive):
                pass
        time.sleep(0.05)
"""


def test_two_dispatchers_that_are_killed(home, paths: BoardPaths) -> None:
    """Both look after everything, and both are killed at random with some of their workers; no task ever has two
    workers that live, and no run two that were started."""
    chance = random.Random(7)
    with Gateway("planner", home=home) as planner:
        tasks = [planner.make(f"task {number}", assignee="worker").task_id for number in range(3)]
    started: dict[int, tuple[str, int]] = {}
    running: dict[str, subprocess.Popen[str]] = {}

    def begin(profile: str) -> None:
        command = [sys.executable, "-c", DISPATCHER, home, profile, *WORKER]
        log = Path(home) / f"started-{profile}-{len(list(Path(home).glob('started-*')))}"
        with log.open("w") as said:
            running[profile] = subprocess.Popen(command, stdout=said, text=True)

    def all_told() -> bool:
        """Whether the board has each worker that lives; of one that it lacks, nobody is told that it ended."""
        with Board.open(home=home) as board:
            events = [event for task_id in tasks for event in board.events(task_id=task_id, kinds=("spawned",))]
        return {pid for pid in started if _is_alive(pid)} <= {event.payload["pid"] for event in events}

    def look() -> Counter[str]:
        for log in Path(home).glob("started-*"):
            for line in log.read_text().splitlines():
                task_id, run_id, pid = line.split()
                started[int(pid)] = (task_id, int(run_id))
        return Counter(started[pid][0] for pid in started if _is_alive(pid))

    try:
        begin("bingge")
        begin("pixiel")
        killed = 0
        until_s = time.monotonic() + 60
        while killed < 6 and time.monotonic() < until_s:
            alive = look()
            assert all(count == 1 for count in alive.values()), alive
            if len(alive) == len(tasks) and all_told():
                profile = chance.choice(("bingge", "pixiel"))
                running[profile].kill()
                running[profile].wait()
                victim = chance.choice([pid for pid in started if _is_alive(pid)])
                os.kill(victim, signal.SIGKILL)
                begin(profile)
                killed += 1
            time.sleep(0.05)
        assert killed == 6
        with Board.open(home=home) as board:
            runs = [run for task_id in tasks for run in board.runs(task_id)]
            told = [event for task_id in tasks for event in board.events(task_id=task_id, kinds=("spawned",))]
        assert max(Counter(run_id for _, run_id in started.values()).values()) == 1
        assert len({event.run_id for event in told}) == len(told) <= len(runs)
        assert verify(paths).clean
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        look()
        for pid in started:
            if _is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def _is_alive(pid: int) -> bool:
    """Whether it runs; an ended one whose parent was killed first is nobody's, and soon buried."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


@pytest.mark.parametrize("grace_s", [None, 120])
def test_a_sign_for_another_run_keeps_none_open(home, later, grace_s: int | None) -> None:
    """A sign counts for the run that it names, and only if that is supervised; whatever its author says."""
    with Gateway("ann", home=home) as ann, Gateway("eve", home=home) as eve:
        task_id = ann.create("a task")
        run = ann.claim(task_id, lease_s=LEASE_S, grace_s=grace_s)
        ann.settle()  # a coordinator that saw the clock jump counts from there
        later(10 * LEASE_S)
        eve._writer.write(task_id, Supervise(run_id=run.id if grace_s is None else run.id + 1))
        ann.merge_now()
        eve.sync()
        assert ann.board.task(task_id).status == "ready"
