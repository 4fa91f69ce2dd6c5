"""docs/operating.md is true: an operator who copies its commands, with a damaged board, gets a running one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kanban_shards import Board
from kanban_shards.coordinator.backup import backup
from kanban_shards.coordinator.health.metrics import FIGURES
from kanban_shards.storage import files
from tests.docs.test_readme import COMMANDS, Block, check_words, outside, run_shell  # noqa: F401
from tests.salvage.boards import PAGE_BYTES, make_board, pages_by_kind

PAGE = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
BLOCKS = [Block(*match) for match in re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)]
STEPS = [block for block in BLOCKS if block.language == "sh" and not block.note]
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)


@pytest.fixture
def operator(outside: dict[str, str], tmp_path: Path) -> dict[str, str]:  # noqa: F811
    """The environment of somebody whose home has a board of Hermes's that lost a page."""
    home = tmp_path / ".hermes"
    home.mkdir()
    board = make_board(home / "kanban.db", tasks=20)
    content = bytearray(board.read_bytes())
    lost = pages_by_kind(board)["leaf"][-1]
    content[(lost - 1) * PAGE_BYTES : lost * PAGE_BYTES] = bytes(PAGE_BYTES)
    board.write_bytes(content)
    return {**outside, "HERMES_KANBAN_HOME": str(home)}


def test_from_a_damaged_board_to_one_that_is_looked_after(operator: dict[str, str]) -> None:
    home = Path(operator["HERMES_KANBAN_HOME"])
    damaged = (home / "kanban.db").read_bytes()
    said = run_shell(STEPS, operator)
    assert "nothing was written\nsomething is lost, exit code 6" in said
    assert "adopted, and something is lost, exit code 6" in said
    assert said.count("clean:") == 2
    assert (home / "kanban-legacy.db").read_bytes() == damaged
    assert re.search(r"^mafei +2 +2 +0 ", said, re.M)
    assert " by the daemon" in said or "merged 0 changes" in said
    assert "kanban_problems" in (Path(operator["HOME"]) / "kanban.prom").read_text()
    with Board.open(home=home) as here, Board.open(home=Path(operator["HOME"]) / "drill") as restored:
        assert [task.id for task in restored.tasks()] == [task.id for task in here.tasks()]
        assert len(here.tasks(status="running")) == 4


def test_every_command_and_option_that_is_named_exists() -> None:
    """In the text, and in the examples that the test above does not run."""
    named = [words for words in re.findall(r"`([^`\n]+)`", PROSE) if words.split()[0] in COMMANDS]
    unrun = "\n".join(block.text for block in BLOCKS if block not in STEPS)
    named += re.findall(r"kanban-merge [^|>#\n]+", unrun.replace("'kanban-merge-*'", ""))
    assert len(named) > 15
    for words in named:
        group, *rest = words.split()
        check_words(COMMANDS[group], rest)


def test_the_verbs_that_take_all_boards() -> None:
    (listed,) = re.findall(r"((?:`\w+`(?:, | and\s))+)the service take `--all-boards`", PROSE)
    for verb in re.findall(r"`(\w+)`", listed):
        check_words(COMMANDS["kanban-merge"], [verb, "--all-boards"])
    for verb in ("restore", "repair"):
        with pytest.raises(AssertionError):
            check_words(COMMANDS["kanban-merge"], [verb, "--all-boards"])


def test_the_figures_are_those_of_the_code() -> None:
    named = set(re.findall(r"`kanban_(\w+)`", PAGE))
    assert named and named <= set(FIGURES)
    assert f"keeps {backup.KEPT}," in " ".join(PAGE.split())
    assert f"the newest {files.ASIDE_KEPT} of each file, of at most {files.ASIDE_KEPT_BYTES // 2**30} GiB" in PAGE
