"""What a shell completes: asked as bash, zsh and fish ask, and by bash itself where it is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kanban_shards.cli.main import main
from tests.unit.verbs import Shell

HOSTILE = "\x1b[2J\x1b]0;owned\x07 $(touch owned) `x`\n"
# As click tells it to each shell.
ASKED = {
    "bash": lambda words: {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
    "zsh": lambda words: {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
    "fish": lambda words: {"COMP_WORDS": " ".join(words), "COMP_CWORD": words[-1]},
}


def offered(home: str, shell: str, *words: str) -> str:
    env = {"_KANBAN_COMPLETE": f"{shell}_complete", **ASKED[shell](["kanban", "--home", home, *words])}
    return CliRunner().invoke(main, [], prog_name="kanban", env=env).output


@pytest.fixture
def task_id(shell: Shell) -> str:
    shell.says("boards", "create", "sprint")
    return shell.create(f"Write it {HOSTILE}".strip().replace("\n", " "), "--assignee", "bob")


@pytest.mark.parametrize("shell_name", ASKED)
def test_ids_profiles_boards_and_verbs(home: str, task_id: str, shell_name: str) -> None:
    assert task_id in offered(home, shell_name, "show", task_id[:6])
    assert task_id in offered(home, shell_name, "comment", "t_")
    assert task_id in offered(home, shell_name, "create", "--parent", "t_")
    assert {"amy", "bob"} <= set(offered(home, shell_name, "-p", "").replace(",", "\n").split())
    assert "bob" in offered(home, shell_name, "list", "--assignee", "b")
    assert "sprint" in offered(home, shell_name, "--board", "s")
    assert "sprint" in offered(home, shell_name, "boards", "rename", "sp")
    assert "notify-subscribe" in offered(home, shell_name, "notify-s")
    assert "blocked" in offered(home, shell_name, "list", "--status", "b")


@pytest.mark.parametrize("shell_name", ASKED)
def test_a_title_draws_on_no_terminal(home: str, task_id: str, shell_name: str) -> None:
    said = offered(home, shell_name, "show", "t_")
    assert "\x1b" not in said and "\x07" not in said


def test_trouble_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    for home in (tmp_path / "nowhere", tmp_path):
        for words in (("show", "t_"), ("-p", ""), ("--board", "")):
            said = offered(str(home), "bash", *words)
            assert said.strip() in ("", "plain,default")
    (tmp_path / "kanban.db").write_bytes(b"no database at all" * 100)
    assert offered(str(tmp_path), "bash", "show", "t_").strip() == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_itself_completes_an_id(home: str, task_id: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "kanban"
    program.parent.mkdir()
    run = "from kanban_shards.cli.main import main; main(prog_name='kanban')"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{run}" "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(kanban completion bash)"; COMP_WORDS=(kanban show "$1"); COMP_CWORD=2; '
        '_kanban_completion kanban; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HERMES_KANBAN_HOME": home}
    done = subprocess.run(
        ["bash", "-c", script, "bash", task_id[:5]], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [task_id], done
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("shell_name", ASKED)
def test_the_script_is_for_both_commands(shell: Shell, shell_name: str) -> None:
    said = shell.says("completion", shell_name)
    assert "_KANBAN_COMPLETE" in said and "_KANBAN_MERGE_COMPLETE" in said
    assert shell.json("completion", shell_name)["script"] in said
