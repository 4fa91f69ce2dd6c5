"""Whoever looks at a board while somebody else works on it sees what is there, and raises no false alarm."""

from __future__ import annotations

import pytest

from kanban_shards import Board, Gateway
from kanban_shards import gateway as gateways
from kanban_shards.coordinator.merge.collector import QUARANTINED, look
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files


def test_a_change_that_saw_more_than_the_onlooker_read_is_no_quarantine(home: str, paths: BoardPaths) -> None:
    with Gateway("bingge", home=home) as bingge, Gateway("mafei", home=home) as mafei, Board(paths) as board:
        task_id = bingge.create("shared")
        bingge.sync()
        read_before = board.watermarks()
        bingge.edit(task_id, title="shared, and changed")
        mafei.claim(task_id)

        watermarks = iter([read_before, board.watermarks()])
        assert look(paths, lambda: next(watermarks)).skipped == []


def test_a_change_that_saw_what_nobody_wrote_is_quarantined_for_an_onlooker_too(home: str, paths: BoardPaths) -> None:
    with Gateway("bingge", home=home) as bingge, Gateway("mafei", home=home) as mafei:
        task_id = bingge.create("shared")
        bingge.sync()
        mafei.claim(task_id)
    files.discard(paths.shard("bingge"))
    (left,) = look(paths, lambda: {"bingge": (0, "")}).skipped

    assert (left.profile, left.state) == ("mafei", QUARANTINED)


@pytest.mark.parametrize(("lease_s", "later_s", "heartbeats"), [(3, 1.5, 2), (900, 1.5, 1), (900, 6, 2)])
def test_signs_of_life_are_dense_enough_for_the_lease(
    home: str, monkeypatch: pytest.MonkeyPatch, lease_s: int, later_s: float, heartbeats: int
) -> None:
    written = []
    with Gateway("bingge", home=home) as kanban:
        run = kanban.claim(kanban.create("mine"), lease_s=lease_s)
        monkeypatch.setattr(kanban._writer._shard, "heartbeat", lambda run_id, view: written.append(run_id) or [])
        now = gateways.time.monotonic()
        for at in (now, now + later_s):
            monkeypatch.setattr(gateways.time, "monotonic", lambda at=at: at)
            kanban.heartbeat(run)
        monkeypatch.undo()

    assert written == [run.id] * heartbeats
