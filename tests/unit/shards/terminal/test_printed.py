"""The board printed once: whole at any width, plain in a pipe, and read as far as it is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from kanban_shards import Gateway, wording
from tests.unit.verbs import Shell

Print = Callable[..., str]


@pytest.fixture
def printed(home: str) -> Print:
    """``printed(*words, width=80)``: what ``kanban board WORDS`` writes into a pipe."""

    def run(*words: str, width: int = 80) -> str:
        command = [sys.executable, "-m", "kanban_shards", "--home", home, "board", *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": str(width)})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def busy(home: str) -> None:
    """A board with something in most columns."""
    with Gateway("amy", home=home) as amy:
        for starts in ("triage", "blocked"):
            amy.create(f"It is {starts}", starts=starts)
        for number in range(14):
            amy.create(f"Task {number:02} with 長い title that has no room", priority=20 - number, assignee="amy")
        amy.complete(amy.claim(amy.create("It is done")))
        amy.claim(amy.create("It is running", assignee="amy"))


@pytest.mark.parametrize("width", [20, 60, 80, 120, 300])
def test_every_column_is_printed_at_any_width(printed: Print, busy: None, width: int) -> None:
    lines = printed(width=width).splitlines()
    assert max(map(wording.columns, lines)) <= width
    assert "\x1b" not in "".join(lines), "no color in a pipe"
    for heading in ("triage 1", "ready 14", "running 1", "blocked 1", "done 1"):
        assert any(heading in line for line in lines), heading
    assert any("… 4 more" in line for line in lines)


def test_filters_and_limit(printed: Print, busy: None) -> None:
    text = printed("--search", "Task", "--limit", "3", "--assignee", "amy")
    assert "Task 02" in text and "Task 03" not in text and "… 11 more" in text
    assert "running" not in text
    assert "blocked 1" in printed("--status", "blocked", "--status", "done")
    assert "ready" not in printed("--status", "blocked", "--status", "done")
    nobodys = printed("--assignee", "none")
    assert "It is done" in nobodys and "Task 02" not in nobodys
    assert "It is blocked" in printed("--needs-person")
    assert printed("--search", "nothing like that") == "No tasks.\n"


def test_for_programs_and_as_it_was(printed: Print, busy: None, home: str) -> None:
    found = json.loads(printed("--json", "--limit", "2"))
    (ready,) = (column for column in found["columns"] if column["status"] == "ready")
    assert ready["count"] == 14 and [task["title"][:7] for task in ready["tasks"]] == ["Task 00", "Task 01"]
    with Gateway("amy", home=home) as amy:
        amy.make("Later")
    then = printed("--at", str(found["position"]))
    assert "As it stood" in then and "ready 14" in then and "Later" not in then


def test_mine_needs_a_profile(shell: Shell, busy: None) -> None:
    assert "kanban --profile NAME board" in shell.refuses(2, "board", "--mine", profile=None)
