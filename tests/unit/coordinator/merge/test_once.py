"""Merging everything at once: however much it is, in bounded memory, and with a bounded account of it."""

from __future__ import annotations

import json
import subprocess
import weakref
from collections.abc import Callable
from contextlib import closing

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import AddComment, Unblock
from kanban_shards.coordinator.merge import once, shard_reader
from kanban_shards.coordinator.merge.coordinator import Coordinator, Report
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.paths import BoardPaths
from tests.unit.verbs import append_unmerged

EACH = 20


@pytest.fixture(autouse=True)
def unmerged(paths: BoardPaths, home: str) -> None:
    """A task that is ready, and bob's changes of it that nobody merged: comments, and as many that will be refused."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("the task")
        amy.sync()
    for number in range(EACH):
        append_unmerged(paths, "bob", task_id, AddComment(text=f"comment {number}"))
        append_unmerged(paths, "bob", task_id, Unblock())


def test_no_pass_is_kept_for_the_next(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided may be more than fits in memory, so the report of a pass is gone when the next one ends."""
    monkeypatch.setattr(shard_reader, "CHANGES_PER_PASS", 4)
    monkeypatch.setattr(shard_reader, "LEAST_SHARE", 4)
    reports: list[weakref.ref[Report]] = []
    alive: list[int] = []

    def look(report: Report) -> None:
        reports.append(weakref.ref(report))
        alive.append(sum(each() is not None for each in reports))

    with closing(take(paths, COMMAND, 5)) as lock, Coordinator(paths, lock) as coordinator:
        passes = coordinator.make_passes(look)
    assert (passes.decided, len(reports) >= 2 * EACH / 4) == (2 * EACH, True)
    assert max(alive) <= 2


def test_names_some_refused_changes_and_counts_the_others(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "REFUSED_NAMED", 7)
    monkeypatch.setattr(shard_reader, "CHANGES_PER_PASS", 10)
    done = merge_once(paths)
    assert done.changes == {"bob": 2 * EACH}
    assert [each["seq"] for each in done.refused] == [2 * number for number in range(1, 8)]
    assert {each["reason"] for each in done.refused} == {"wrong_status"}
    assert done.refused_beyond == EACH - 7
    with Board(paths) as board:
        assert board.count_refusals() == EACH
        assert board.count_refusals(after=board.refusals(limit=3)[-1].position) == 2


def test_the_command_says_both(kanban_merge: Callable[..., subprocess.CompletedProcess]) -> None:
    told = json.loads(kanban_merge("--json", "--once").stdout)
    assert (told["merged"], len(told["refused"]), told["refused_beyond"]) == ({"bob": 2 * EACH}, EACH, 0)
