"""Push: whoever follows the board is told by the bell, and costs nothing while nothing happens."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.paths import BoardPaths


@pytest.fixture
def follow(work) -> Callable[..., subprocess.Popen]:
    """``follow(*words, before=())``: a ``kanban`` that looks by itself once an hour only, once it waits; until then it
    shows events of the kinds ``before``."""

    def begin(*words: object, before: tuple[str, ...] = ()) -> subprocess.Popen:
        process = work("patient_kanban", "-", *words)
        assert tuple(_next_event(process)["kind"] for _ in before) == before
        assert json.loads(process.stdout.readline()) == {"waiting": True}
        return process

    return begin


@pytest.mark.parametrize("with_daemon", [True, False])
@pytest.mark.parametrize("verb", ["watch", "tail"])
def test_an_event_is_shown_when_it_is_merged(home, follow, request, verb: str, with_daemon: bool) -> None:
    """By a daemon, or by the gateway that made the pass itself: the bell alone shows it."""
    task_id = _one_task(home)
    if with_daemon:
        request.getfixturevalue("daemon")
    words, before = (["watch"], ()) if verb == "watch" else (["tail", task_id], ("created",))
    process = follow(*words, "--json", before=before)
    with Gateway("amy", home=home) as gateway:
        for number in range(3):
            gateway.wait_for_verdict(gateway.comment(task_id, str(number)))
            assert _next_event(process)["kind"] == "commented"
    assert _ended(process) == (0, "")


def test_whoever_starts_from_an_event_is_told_what_was_before(home, follow) -> None:
    task_id = _one_task(home)
    with Gateway("amy", home=home) as gateway:
        gateway.wait_for_verdict(gateway.comment(task_id, "before"))
    process = follow("watch", "--json", "--after", "0", before=("created", "commented"))
    assert _ended(process) == (0, "")


def test_a_change_that_was_not_merged_wakes_nobody(home, paths: BoardPaths, follow) -> None:
    """What lies in a shard is shown when it is merged, not before, and then at once."""
    task_id = _one_task(home)
    process = follow("watch", "--json")
    lock = take(paths, COMMAND, 5)
    with Gateway("amy", home=home) as gateway:
        gateway.comment(task_id, "first")
        lock.close()
        gateway.wait_for_verdict(gateway.comment(task_id, "second"))
    assert [_next_event(process)["payload"]["len"] for _ in range(2)] == [5, 6]
    assert _ended(process) == (0, "")


def test_waiting_costs_no_wake_ups(home, follow) -> None:
    """Each wake-up is one look at the board. A thousand heartbeats and reads of others are none for a follower."""
    task_id = _one_task(home)
    with Gateway("amy", home=home) as gateway:
        run = gateway.claim(task_id)
        process = follow("watch", "--json")
        for _ in range(1_000):
            gateway.heartbeat(run)
            gateway.board.task(task_id)
        gateway.complete(run)
    assert _next_event(process)["kind"] == "completed"
    process.send_signal(signal.SIGUSR1)
    # It looked when it began, when the bell rang, and once more to see that nothing follows.
    assert json.loads(process.stdout.readline())["looks"] <= 3
    assert _ended(process) == (0, "")


def _one_task(home: str) -> str:
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task", assignee="amy")
        gateway.sync()
    return task_id


def _next_event(process: subprocess.Popen) -> dict:
    return json.loads(process.stdout.readline())


def _ended(process: subprocess.Popen) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    return process.returncode, errors
