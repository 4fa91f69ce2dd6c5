"""``kanban profile use``: a usual profile at a terminal, said each time, and never of the environment."""

from __future__ import annotations

import json
import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest

from kanban_shards.cli import usual
from tests.unit.verbs import Shell


@pytest.fixture(autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the user's own, so that nobody's is touched."""
    found = tmp_path_factory.mktemp("user") / ".config" / "kanban-shards" / "profile"
    monkeypatch.setattr(usual, "place", lambda: found)
    return found


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "is_asked_by_a_person", lambda: True)


def as_nobody(shell: Shell, *words: str) -> Any:
    return shell.run(*words, profile=None)


def test_at_a_terminal_it_decides_and_says_so(shell: Shell, place: Path, terminal: None) -> None:
    said = as_nobody(shell, "profile", "use", "Amy")
    assert (said.exit_code, place.read_text()) == (0, "amy\n")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    made = as_nobody(shell, "create", "x", "--assignee", "amy", "--json")
    assert json.loads(made.stdout)["created_by"] == "amy"
    assert made.stderr == "As amy, whom you chose with `kanban profile use`.\n"
    mine = as_nobody(shell, "list", "--mine")
    assert "x" in mine.stdout and "As amy" in mine.stderr
    assert as_nobody(shell, "list").stderr == ""  # nothing was decided by it
    said_so = shell.run("create", "y", "--json", profile="bob")
    assert json.loads(said_so.stdout)["created_by"] == "bob" and said_so.stderr == ""


def test_a_program_is_nobody(shell: Shell, place: Path) -> None:
    as_nobody(shell, "profile", "use", "amy")
    refused = as_nobody(shell, "create", "x")
    assert refused.exit_code == 2 and "Say which profile writes" in refused.stderr


def test_it_is_shown_changed_and_forgotten(shell: Shell, terminal: None) -> None:
    assert "None is chosen" in as_nobody(shell, "profile", "show").stdout
    as_nobody(shell, "profile", "use", "amy")
    as_nobody(shell, "profile", "use", "bob")
    assert json.loads(as_nobody(shell, "profile", "show", "--json").stdout)["profile"] == "bob"
    assert json.loads(as_nobody(shell, "profile", "clear", "--json").stdout) == {"ok": True, "cleared": True}
    assert as_nobody(shell, "create", "x").exit_code == 2
    assert as_nobody(shell, "profile", "clear").stdout == "None was chosen.\n"


@pytest.mark.parametrize("content", [b"", b"no name at all", b"\xff\xfe", b"a" * 10_000, b"../../x"])
def test_what_can_name_none_counts_as_none(shell: Shell, place: Path, terminal: None, content: bytes) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert as_nobody(shell, "create", "x").exit_code == 2


def test_a_wrong_name_and_a_place_that_cannot_be_written(shell: Shell, place: Path) -> None:
    assert as_nobody(shell, "profile", "use", "a b").exit_code == 2
    place.parent.parent.mkdir(parents=True)
    place.parent.write_text("a file")
    refused = as_nobody(shell, "profile", "use", "amy")
    assert refused.exit_code == 3 and "cannot be written" in refused.stderr


def test_no_variable_leads_to_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    for name in ("HOME", "XDG_CONFIG_HOME", "HERMES_HOME", "HERMES_KANBAN_HOME", "USER", "LOGNAME"):
        monkeypatch.setenv(name, str(tmp_path))
    found = usual.place()
    assert found is not None and found.is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)
