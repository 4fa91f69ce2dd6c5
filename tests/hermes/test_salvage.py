"""Boards that real Hermes damaged: what the file holds is saved, and what it names is named."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from kanban_shards.coordinator.hermes.salvage import Salvage, salvage
from tests.hermes.test_legacy_boards import HEALTHY

TASK_ID = re.compile(rb"t_[0-9a-f]{8}")


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_board_is_sound(fixtures: Path, tmp_path: Path, name: str) -> None:
    report = _salvaged(fixtures / name, tmp_path)
    assert (report.stage, report.complete) == ("sound", True)
    assert report.copy.read_bytes() == (fixtures / name).read_bytes()


def test_what_hermes_damaged(fixtures: Path, tmp_path: Path) -> None:
    """Each task id that stands anywhere in the file is a row again, or is said to be lost."""
    folders = sorted(fixtures.glob("corrupt-*"))
    assert folders
    for folder in folders:
        (tmp_path / folder.name).mkdir()
        report = _salvaged(folder / "kanban.db", tmp_path / folder.name)
        json.dumps(report.as_dict())
        board = sqlite3.connect(report.copy)
        assert board.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        saved = {task_id for (task_id,) in board.execute("SELECT id FROM tasks")}
        titles = board.execute("SELECT count(*) FROM tasks WHERE title <> ''").fetchone()[0]
        board.close()
        assert titles == len(saved) > 0
        in_file = {each.decode() for each in TASK_ID.findall((folder / "kanban.db").read_bytes())}
        lost = {each.task_id for each in report.lost_tasks}
        assert saved <= in_file and not saved & lost
        told = json.loads((folder / "acknowledged.json").read_text())["acknowledged_task_ids"]
        acknowledged = {task_id for ids in told.values() for task_id in ids}
        assert acknowledged & in_file <= saved | lost, folder.name


def _salvaged(source: Path, folder: Path) -> Salvage:
    shutil.copyfile(source, folder / "original.db")
    (folder / "made").mkdir()
    return salvage(folder / "original.db", folder / "made")
