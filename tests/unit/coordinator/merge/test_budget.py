"""Cost: one profile's changes delay no other's, however much they make of others' tasks."""

from __future__ import annotations

from contextlib import closing

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.kinds import Complete, Reopen
from kanban_shards.coordinator.merge import shard_reader
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.paths import BoardPaths


@pytest.fixture
def coordinator(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard_reader, "CHANGES_PER_PASS", 100)
    monkeypatch.setattr(shard_reader, "LEAST_SHARE", 50)
    with closing(take(paths, COMMAND, 1)) as lock, Coordinator(paths, lock) as made:
        yield made


def _task_with_children(gateway: Gateway, count: int) -> str:
    parent = gateway.create("the one that all wait for")
    for _ in range(count):
        gateway.create("waits", parents=[parent])
    return parent


@pytest.mark.parametrize("merged", [True, False])
def test_what_many_wait_for_costs_as_much_as_they_do(paths: BoardPaths, coordinator: Coordinator, merged: bool) -> None:
    """Whether the many are on the board already, or come in the very same pass."""
    with Gateway("eve", home=paths.folder) as eve, Gateway("amy", home=paths.folder) as amy:
        parent = _task_with_children(eve, 30 if merged else 10)
        if merged:
            coordinator.make_passes()
        for _ in range(20):
            eve._writer.write(parent, Complete())
            eve._writer.write(parent, Reopen())
        amy.create("of another profile")
        report = coordinator.make_pass()
        decided = [decision.entry.change.profile for decision in report.decisions]
        assert "amy" in decided
        assert decided.count("eve") < 40
        assert report.more
        refused = []
        coordinator.make_passes(lambda report: refused.extend(report.refused))
        assert refused == []
        assert eve.board.task(parent).status == "ready"


def test_what_costs_more_than_a_share_is_decided_all_the_same(paths: BoardPaths, coordinator: Coordinator) -> None:
    with Gateway("eve", home=paths.folder) as eve:
        parent = _task_with_children(eve, 300)
        coordinator.make_passes()
        eve._writer.write(parent, Complete())
        (decision,) = coordinator.make_pass().decisions
    assert decision.applied
