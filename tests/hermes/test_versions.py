"""Each version of Hermes that can be bridged, from the package index: installed, used and taken back by its commands.
One that cannot is told so, in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards import Board
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import HermesNotKnown
from kanban_shards.hermes import versions
from kanban_shards.paths import BoardPaths

pytestmark = pytest.mark.hermes
# The gate tries the oldest; the newest is what all other tests of this folder run.
VERSIONS = ["0.16.0", *(pytest.param(each, marks=pytest.mark.long) for each in ("0.17.0", "0.18.2"))]


class User:
    """Somebody whose Hermes lies in ``environment``, and their home."""

    def __init__(self, environment: Path, home: Path) -> None:
        self.environment, self.home = environment, home
        home.mkdir()

    def hermes(self, *words: str) -> str:
        """What ``hermes kanban WORDS`` says."""
        ended = self.run(self.environment / "bin" / "hermes", "kanban", *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def merge(self, *words: str) -> subprocess.CompletedProcess:
        """``kanban-merge hermes WORDS``, as this project's own Python has it."""
        return self.run(sys.executable, "-m", "kanban_shards.coordinator", "hermes", *words)

    def run(self, *words: str | Path) -> subprocess.CompletedProcess:
        environ = {"PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}", "HOME": str(self.home)}
        return subprocess.run(words, env=environ, capture_output=True, text=True, timeout=240)

    def titles(self) -> dict[str, str]:
        """Title and status of each task, as this Hermes lists them."""
        return {task["title"]: task["status"] for task in json.loads(self.hermes("list", "--json"))}


@pytest.mark.parametrize("version", VERSIONS)
def test_there_and_back(other_environment: Callable[[str], Path], tmp_path: Path, version: str) -> None:
    user = User(other_environment(version), tmp_path / "home")
    user.hermes("create", "of its own", "--assignee", "amy")
    ended = user.merge("install")
    try:
        assert ended.returncode == 0, ended.stderr
        assert f"Hermes {version} in" in ended.stdout
        task = json.loads(user.hermes("create", "on shards", "--assignee", "amy", "--json"))["id"]
        assert f"Claimed {task}" in user.hermes("claim", task)
        assert user.titles() == {"of its own": "ready", "on shards": "running"}
        assert f"Completed {task}" in user.hermes("complete", task, "--summary", "done")
        paths = BoardPaths.find(home=user.home / ".hermes")
        with Board(paths) as board:
            assert [(run.outcome, run.summary) for run in board.runs(task)] == [("completed", "done")]
        assert verify(paths).clean
    finally:
        ended = user.merge("uninstall")
    assert ended.returncode == 0, ended.stderr
    assert not paths.ledger.exists()
    assert user.titles() == {"of its own": "ready", "on shards": "done"}


@pytest.mark.long
def test_one_that_is_too_old(other_environment: Callable[[str], Path], tmp_path: Path) -> None:
    user = User(other_environment("0.15.2"), tmp_path / "home")
    ended = user.merge("install")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "Hermes 0.15.2 in" in ended.stderr and "which knows 0.16 to 0.19" in ended.stderr
    start = "from kanban_shards.hermes import startup; startup.start(); "
    ended = user.run(user.environment / "bin" / "python", "-c", f"{start}from hermes_cli import kanban_db")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "Hermes 0.15.2 in" in ended.stderr and "stops before it writes" in ended.stderr


def test_one_that_nobody_has_seen(hermes_environment: Path) -> None:
    """The functions of 0.19.0 under the number of a version to come."""
    (package,) = hermes_environment.glob("lib/python*/site-packages/hermes_cli")
    source = (package / "kanban_db.py").read_text(encoding="utf-8")
    assert versions.version_in((package / "__init__.py").read_text(encoding="utf-8")) == "0.19.0"
    versions.check_source("0.19.0", source, "here")
    versions.check_source("0.19.7", source, "here")
    with pytest.raises(HermesNotKnown, match=r"Hermes 0\.20\.0 in here .* install one of these"):
        versions.check_source("0.20.0", source, "here")
