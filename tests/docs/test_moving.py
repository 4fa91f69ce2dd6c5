"""docs/moving.md is true: an operator who copies its commands gets there and back."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tests.docs.test_readme import COMMANDS, Block, check_words, outside, run_shell  # noqa: F401
from tests.legacy import legacy_rows, rows_of, write_legacy

PAGE = (Path(__file__).parents[2] / "docs" / "moving.md").read_text(encoding="utf-8")
BLOCKS = [Block(*match) for match in re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)]
STEPS = [block for block in BLOCKS if not block.note]


@pytest.fixture
def operator(outside: dict[str, str], tmp_path: Path) -> dict[str, str]:  # noqa: F811
    """The environment of somebody whose home has a board that Hermes wrote."""
    home = tmp_path / ".hermes"
    home.mkdir()
    write_legacy(home / "kanban.db", legacy_rows(random.Random(3), ("ann", "bob"), wrong=False).tables)
    return {**outside, "HERMES_KANBAN_HOME": str(home)}


def test_there_and_back(operator: dict[str, str]) -> None:
    said = run_shell(STEPS, operator)
    assert "nothing was written" in said
    assert "clean:" in said
    assert "is Hermes's again, with all of" in said
    kept = rows_of(Path(operator["HERMES_KANBAN_HOME"]) / "kanban.db")["tasks"]
    assert "The first task here" in {dict(row)["title"] for row in kept}
    assert rows_of(Path(operator["HOME"]) / "for-hermes.db")["tasks"] == kept


def test_the_original_comes_back(operator: dict[str, str]) -> None:
    board = Path(operator["HERMES_KANBAN_HOME"]) / "kanban.db"
    before = board.read_bytes()
    there = STEPS[: [block.text.startswith("kanban-merge restore") for block in STEPS].index(True)]
    (back,) = (block for block in BLOCKS if block.note == "instead")
    assert "is Hermes's again, as it was" in run_shell([*there, back], operator)
    assert board.read_bytes() == before


def test_every_command_and_option_that_is_named_exists() -> None:
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    named = [words for quoted in re.findall(r"`([^`\n]+)`", prose) if (words := quoted.split())[0] in COMMANDS]
    assert named
    for group, *words in named:
        check_words(COMMANDS[group], words)
