"""Lineage beside writers at work."""

from __future__ import annotations

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.recovery import lineage
from kanban_shards.paths import BoardPaths


def test_what_is_merged_during_the_look_differs_in_nothing(
    paths: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.create("before")
    gateway.settle()
    true_look = lineage.history_of

    def looked_at_and_written_on(*given, **named):
        found = true_look(*given, **named)
        gateway.create("meanwhile")
        gateway.sync()
        return found

    monkeypatch.setattr(lineage, "history_of", looked_at_and_written_on)
    assert lineage.differing_change(paths, gateway.profile) is None
