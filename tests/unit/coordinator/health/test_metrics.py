"""Metrics: figures that Prometheus's own parser reads, and a textfile that is whole or not there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kanban_shards import Gateway
from kanban_shards.boards import create_board
from kanban_shards.coordinator.health.metrics import FIGURES, Metrics
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.errors import ExtraMissing
from kanban_shards.paths import BoardPaths


def figures(text: str) -> dict[tuple, float]:
    """``{(name, label values…): value}`` of the default board, as Prometheus reads ``text``."""
    return {
        (sample.name, *(value for label, value in sample.labels.items() if label != "board")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels["board"] == "default"
    }


def test_the_figures_of_a_board(home: str, paths: BoardPaths, gateway: Gateway, kanban_merge) -> None:
    gateway.claim(gateway.create("a task"))
    with Gateway("bob", home=home) as bob:
        run = bob.claim(bob.create("another"))
        bob.subscribe(run.task_id, platform="telegram", chat_id="42")
        bob.complete(run)
    paths.shard("eve").write_bytes(b"no database" * 1_000)
    paths.folder.joinpath("kanban.db.damaged-20260101-000000-000000001").write_bytes(b"x" * 700)
    lock = locks.take(paths, locks.DAEMON, 5)
    gateway.create("waits")
    found = figures(kanban_merge("metrics").stdout)
    lock.close()
    expected = {
        ("kanban_board_readable",): 1,
        ("kanban_board_position",): 6,
        ("kanban_ledger_head",): 6,
        ("kanban_coordinator_up",): 1,
        ("kanban_open_runs",): 1,
        ("kanban_tasks", "running"): 1,
        ("kanban_tasks", "done"): 1,
        ("kanban_tasks", "blocked"): 0,
        ("kanban_shard_head", "amy"): 3,
        ("kanban_shard_merged", "amy"): 2,
        ("kanban_shard_waiting", "amy"): 1,
        ("kanban_shard_waiting", "bob"): 0,
        ("kanban_shard_lag_seconds", "bob"): 0,
        ("kanban_shard_quarantined", "amy"): 0,
        ("kanban_shard_quarantined", "eve"): 1,
        ("kanban_undelivered_chats", "bob"): 1,
        ("kanban_dead_letters",): 0,
        ("kanban_set_aside_bytes",): 700,
        ("kanban_problems", "fault"): 1,
    }
    assert {key: found[key] for key in expected} == expected
    assert 0 < found["kanban_shard_lag_seconds", "amy"] < 60
    assert found["kanban_file_bytes", "ledger"] > 4_096
    assert {key[0].removeprefix("kanban_") for key in found} <= FIGURES.keys()


def test_of_all_boards(home: str, gateway: Gateway, kanban_merge) -> None:
    """A board that cannot be read says so, and hides no other."""
    gateway.claim(gateway.create("a task"))
    create_board(Path(home), "hurt")
    BoardPaths.of(Path(home), "hurt").board.write_bytes(b"no database" * 1_000)
    found = json.loads(kanban_merge("metrics", "--all-boards", "--json").stdout)
    readable = {each["labels"]["board"]: each["value"] for each in found if each["name"] == "kanban_board_readable"}
    assert readable == {"default": 1, "hurt": 0}


def test_the_textfile(tmp_path: Path, gateway: Gateway, kanban_merge, failed) -> None:
    gateway.claim(gateway.create("a task"))
    folder = tmp_path / "collector"
    folder.mkdir()
    target = folder / "kanban.prom"
    target.write_text("old")
    before = target.stat().st_ino
    ended = kanban_merge("metrics", "--textfile", target)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert figures(target.read_text())["kanban_board_position",] == 2
    assert target.stat().st_ino != before, "replaced, not rewritten"
    assert os.listdir(folder) == ["kanban.prom"]
    assert "cannot be written" in failed(kanban_merge("metrics", "--textfile", tmp_path / "no" / "file"), 3)


@pytest.mark.skipif(sys.platform == "darwin", reason="its filesystems take UTF-8 alone")
def test_a_shard_whose_name_is_no_text(tmp_path: Path, paths: BoardPaths, gateway: Gateway, kanban_merge) -> None:
    """It is a quarantined shard, and hides no figure."""
    gateway.claim(gateway.create("a task"))
    (paths.folder / "kanban.\udcff.db").touch()
    target = tmp_path / "kanban.prom"
    ended = kanban_merge("metrics", "--textfile", target)
    assert (ended.returncode, ended.stderr) == (0, "")
    found = figures(target.read_text(encoding="utf-8"))
    assert found["kanban_shard_quarantined", "\\udcff"] == found["kanban_board_readable",] == 1
    assert figures(kanban_merge("metrics").stdout)["kanban_problems", "fault"] == 1


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ExtraMissing, match=r"kanban-shards\[metrics\]"):
        Metrics()
