"""Any number of processes with one idempotency key get one task and its id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway

ACTOR = Path(__file__).with_name("actor.py")
# Two processes of one profile, so that they also meet on one shard.
PROFILES = ("amy", "amy", "bob", "carl")
KEYS = [f"key {number}" for number in range(20)]


@pytest.mark.parametrize("with_daemon", [True, False])
def test_one_key_one_task(home, start, assert_clean, request, with_daemon: bool) -> None:
    """Four processes use each key at the same instant: one live task per key, and each process has its id."""
    if with_daemon:
        request.getfixturevalue("daemon")
    processes = [start(ACTOR, "create", home, profile) for profile in PROFILES]
    for process in processes:
        assert heard(process) == {"ready": True}
    given = {}
    for key in KEYS:
        for process in processes:
            process.stdin.write(f"{key}\n")
            process.stdin.flush()
        answers = [heard(process) for process in processes]
        assert {answer["key"] for answer in answers} == {key}
        (given[key],) = {answer["task"] for answer in answers}
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    with Board.open(home=home) as board:
        tasks = board.tasks()
        assert {task.idempotency_key: task.id for task in tasks} == given
        assert len(tasks) == len(KEYS)
        refused = board.refusals(limit=1_000)
        assert {refusal.reason for refusal in refused} == {"duplicate"}
        assert len(refused) == len(KEYS) * (len(PROFILES) - 1)
    assert_clean()


def test_archiving_frees_the_key(home) -> None:
    """Each time a key was freed, one new task has it, for everybody."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        ids = []
        for _ in range(3):
            ids.append(amy.create("x", idempotency_key="k"))
            assert bob.create("y", idempotency_key="k") == ids[-1]
            bob.archive(ids[-1])
        assert len(set(ids)) == 3


def heard(process) -> dict:
    """The next line that a process says."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return json.loads(line)
