"""docs/commands.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

import click

from tests.docs import commands

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
MAKE = "python -m tests.docs.commands > docs/commands.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands.page(), f"docs/commands.md is out of date; make it anew: {MAKE}"


def test_the_page_says_how_it_is_made() -> None:
    assert f"`{MAKE}`" in commands.page()


def test_another_spelling_is_no_other_verb() -> None:
    @click.group()
    def group() -> None: ...

    @group.command()
    @click.argument("name")
    @click.argument("words", nargs=-1)
    @click.option("--kind", type=click.Choice(["a", "b"]))
    @click.option("--json", is_flag=True)
    def new(**_: object) -> None:
        """Make
        one.

        And more."""

    group.add_command(new, "make")
    (verb,) = commands.verbs(group)
    assert verb.spellings == ("new", "make")
    assert commands.row(verb) == r"| `new NAME [WORDS...]`, `make NAME [WORDS...]` | Make one. | `--kind a\|b` |"
