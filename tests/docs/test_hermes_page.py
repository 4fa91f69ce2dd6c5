"""docs/hermes.md is true for a user of Hermes: its commands lead there and back. The tables: test_hermes_table.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_readme import Block, outside, run_shell  # noqa: F401
from tests.unit.coordinator.hermes.test_installation import Home

PAGE = (Path(__file__).parents[2] / "docs" / "hermes.md").read_text(encoding="utf-8")
STEPS = [
    Block(language, note, text)
    for language, note, text in re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)
    if language == "sh"
]
# What a user of Hermes reads, before what concerns those who write a gateway.
SECTIONS = re.findall(r"^## (.+)$", PAGE, re.M)


@pytest.fixture
def user(outside: dict[str, str], tmp_path: Path) -> dict[str, str]:  # noqa: F811
    """The environment of somebody whose Hermes is on the PATH, with two boards."""
    hermes = Home(tmp_path / "hermes")
    return {**outside, "PATH": f"{outside['PATH']}:{hermes.python.parent}", "HERMES_HOME": str(hermes.home)}


def test_the_commands_lead_there_and_back(user: dict[str, str]) -> None:
    said = run_shell(STEPS, user)
    assert said.count("is adopted") == 2
    assert ": active" in said
    assert "works on this board" in said
    assert said.count("is Hermes's again") == 2


def test_it_begins_with_what_a_user_of_hermes_does() -> None:
    assert SECTIONS[:4] == ["Two commands", "What changes, and what stays", "How to go back", "Updates of Hermes"]
    assert SECTIONS.index("Not tried") < SECTIONS.index("For those who write their own gateway")
