"""Boards that Hermes writes itself are never touched, however they are met."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = {
    "list": ("-m", "kanban_shards", "--home", "{home}", "list"),
    "create": ("-m", "kanban_shards", "--home", "{home}", "--profile", "bingge", "create", "a task"),
    "init": ("-m", "kanban_shards", "--home", "{home}", "init"),
    "once": ("-m", "kanban_shards.coordinator", "--home", "{home}", "--once"),
    "daemon": ("-m", "kanban_shards.coordinator", "--home", "{home}", "daemon"),
    "status": ("-m", "kanban_shards.coordinator", "--home", "{home}", "status"),
}
HEALTHY = ("hermes-0.14.0-sprints.db", "hermes-0.19.0-sprints.db")
# Hermes was killed: its last commits are in the WAL alone.
CRASH = (
    "import os, sqlite3, sys; board = sqlite3.connect(sys.argv[1]); board.execute('PRAGMA journal_mode=WAL'); "
    "board.execute(\"UPDATE tasks SET title = 'in the WAL'\"); board.commit(); os._exit(9)"
)


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("crashed", [False, True], ids=["whole", "crashed"])
def test_a_legacy_board_stays_as_it_is(fixtures: Path, tmp_path: Path, name: str, crashed: bool) -> None:
    """Each command refuses it with one sentence, and leaves the file and its WAL byte for byte."""
    shutil.copyfile(fixtures / name, tmp_path / "kanban.db")
    if crashed:
        subprocess.run([sys.executable, "-c", CRASH, tmp_path / "kanban.db"])
        assert (tmp_path / "kanban.db-wal").stat().st_size
    before = _digests(tmp_path)
    for verb, words in COMMANDS.items():
        ended = subprocess.run(
            [sys.executable, *(word.format(home=tmp_path) for word in words)], capture_output=True, text=True
        )
        assert ended.returncode == 3, (verb, ended)
        assert "is a board that Hermes writes itself" in ended.stderr, verb
        assert len(ended.stderr.splitlines()) == 1, verb
    assert _digests(tmp_path) == before
    assert list(tmp_path.glob("kanban.*.db")) == []


def _digests(folder: Path) -> dict[str, str]:
    """By content. No process has these files open, and this one never does through SQLite."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("kanban.db", "kanban.db-wal")
        if (folder / name).exists() and (folder / name).stat().st_size
    }
