"""docs/promises.md is true: its examples run, and the commands that show a promise exist."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.storage import files

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
PROMISES = re.findall(r"^\| (\*\*.*) \| .* \| (.*) \|$", PAGE, re.M)
COMMANDS = sorted({command for _, shown_by in PROMISES for command in re.findall(r"`([^`]+)`", shown_by)})


def test_each_file_comes_back(tmp_path: Path) -> None:
    said = _run(EXAMPLES[0], tmp_path)
    assert "verify found it, exit code 6" in said
    assert "kanban.amy.db is made again, with 1 change" in said
    assert "kanban-ledger.db is made again, with 2 entries" in said
    assert re.search(r"a task worth keeping.*another one|another one.*a task worth keeping", said, re.S)
    assert said.splitlines()[-1].startswith("clean: 2 ledger entries replayed")


@pytest.mark.parametrize("example", EXAMPLES[1:])
def test_the_other_examples_run(tmp_path: Path, example: str) -> None:
    assert "clean" in _run(example, tmp_path).splitlines()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_shows_a_promise_exists(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "python":
        assert words[0] == "-m" and importlib.util.find_spec(words[1]), command
        said = subprocess.run(
            [sys.executable, "-m", words[1], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", said))
    elif program == "pytest":
        assert (ROOT / words[0]).is_file(), command
    else:
        assert program == "kanban-merge" and kanban_merge.get_command(None, words[0]), command


def test_every_promise_says_how_it_is_shown() -> None:
    assert len(PROMISES) == len(re.findall(r"^\| \*\*", PAGE, re.M)) > 5
    assert all("`" in shown_by for _, shown_by in PROMISES)


def test_the_figures_are_those_of_the_code() -> None:
    assert f"the newest {files.ASIDE_KEPT} of each, of at most {files.ASIDE_KEPT_BYTES // 2**30} GiB" in PAGE


def _run(example: str, folder: Path) -> str:
    environment = {
        "HOME": str(folder),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example],
        env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
