"""docs/board.md is true: its keys are those of the program, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kanban_shards import Gateway
from tests.docs.test_readme import outside, run  # noqa: F401

pytest.importorskip("textual", reason="the extra kanban-shards[terminal] is not installed")

from textual.binding import Binding
from textual.widgets import OptionList

from kanban_shards.terminal import typed
from kanban_shards.terminal.board_screen import BoardScreen
from kanban_shards.terminal.column_list import ColumnList
from kanban_shards.terminal.task_screen import TaskScreen

PAGE = (Path(__file__).parents[2] / "docs" / "board.md").read_text(encoding="utf-8")
KEYS = PAGE.partition("## Keys")[2].partition("\n## ")[0]


def test_the_table_has_every_key() -> None:
    named = {key for cell in re.findall(r"^\| (.+?) \|", KEYS, re.M) for key in re.findall(r"`(\w+)`", cell)}
    bound = {
        key
        for owner in (BoardScreen, TaskScreen, ColumnList, OptionList)
        for binding in owner.BINDINGS
        if isinstance(binding, Binding)
        for key in binding.key.split(",")
    }
    assert bound - {"backspace", *"2345678"} == named


def test_the_words_are_read() -> None:
    said = PAGE.partition("## What is shown")[2].partition("\n## ")[0]
    for words in re.findall(r"`(\w+:[\w-]+)`", said):
        typed.read(words)


def test_the_examples_run(outside: dict[str, str]) -> None:  # noqa: F811
    with Gateway("bingge", home=Path(outside["HOME"]) / ".hermes") as bingge:
        bingge.create("Mock-ups", assignee="bingge")
    examples = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.partition("## Keys")[2], re.M | re.S))
    said = run(["bash", "-euo", "pipefail", "-c", examples], outside)
    assert said.count("Mock-ups") == 3
    assert "As it stood at position 0" in said
    assert said.splitlines()[-1] == "2", "the column, and the task"
