"""The README is true: its examples run as they are printed, and what it names exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from kanban_shards import errors
from kanban_shards.cli.main import main as kanban
from kanban_shards.cli.session import EXIT_CODES
from kanban_shards.coordinator.cli.main import main as kanban_merge

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HERMES = (ROOT / "docs" / "hermes.md").read_text(encoding="utf-8")
COMMANDS: dict[str, click.Group] = {"kanban": kanban, "kanban-merge": kanban_merge}
LONGEST_EXAMPLE_S = 120


class Block(NamedTuple):
    """A fenced block: its language, what stands behind it on the fence (``setup=…``, ``needs=…``), its text."""

    language: str
    note: str
    text: str

    @property
    def needs(self) -> list[str]:
        """The programs that are not part of this project and that the block calls."""
        return self.note.removeprefix("needs=").split(",") if self.note.startswith("needs=") else []


def verbs(name: str, group: click.Group) -> Iterator[list[str]]:
    """Every verb of ``group`` that is not hidden, as it is called, in each of its spellings."""
    context = click.Context(group)
    spellings: dict[int, list[str]] = {}
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from verbs(f"{name} {word}", command)
        elif not command.hidden:
            spellings.setdefault(id(command), []).append(f"{name} {word}")
    yield from spellings.values()


VERBS = [spellings for name, group in COMMANDS.items() for spellings in verbs(name, group)]
BLOCKS = [Block(*match) for match in re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", README, re.M | re.S)]
SHELL = [block for block in BLOCKS if block.language == "sh" and not block.note]


def test_the_shell_examples_run(outside) -> None:
    said = run_shell(SHELL, outside)
    assert "refused, exit code 1" in said
    assert "crashed: ready, 1 failure in a row" in said
    assert "clean:" in said


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.needs], ids=lambda block: block.note)
def test_the_examples_of_other_tools_run(block: Block, outside) -> None:
    missing = [tool for tool in block.needs if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    run_shell(SHELL[:1], outside)
    home = Path(outside["HOME"]) / "kanban-try"
    assert "running" in run_shell([block], {**outside, "HERMES_KANBAN_HOME": str(home)})


def test_the_python_examples_run(outside) -> None:
    examples = [block.text for block in BLOCKS if block.language == "python"]
    assert examples
    for example in examples:
        said = run([sys.executable, "-c", example], outside)
        assert "wrong_status - t_" in said
        assert "to 42 ['unblocked']" in said
        assert "ready Mock-ups pixiel" in said


def test_the_exit_codes_are_those_of_the_commands() -> None:
    promised = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.M)
    assert promised == re.findall(r"^  (\d+)  (.*)$", EXIT_CODES, re.M)
    raised = {
        each.exit_code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.KanbanError)
    }
    assert {str(code) for code in raised} <= {code for code, _ in promised}


@pytest.mark.parametrize("spellings", VERBS, ids=" or ".join)
def test_every_command_is_named(spellings: list[str]) -> None:
    """Here, or on the page that lists all that Hermes has, too."""
    for spelling in spellings:
        command, words = spelling.split(" ", 1)
        if re.search(rf"(?<![\w-]){command}( --\S+ \S+)* {words}(?![\w-])", README + HERMES):
            return
    raise AssertionError(f"{spellings} is named nowhere")


def test_the_changelog_names_every_verb_of_kanban_merge() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (bullet,) = re.findall(r"^- \*\*`kanban-merge`\*\*: (.*?)(?=^- )", changelog, re.M | re.S)
    verbs_of_it = kanban_merge.list_commands(click.Context(kanban_merge))
    assert {"--once", *verbs_of_it} <= set(re.findall(r"`([\w-]+)`", bullet))


def test_every_command_and_option_that_is_named_exists() -> None:
    named = [words for quoted in re.findall(r"`([^`\n]+)`", prose()) if (words := quoted.split())[0] in COMMANDS]
    assert named
    for group, *words in named:
        check_words(COMMANDS[group], words)


def test_every_environment_variable_that_is_named_is_read() -> None:
    names = (ROOT / "shards" / "paths.py").read_text(encoding="utf-8")
    assert set(re.findall(r"HERMES_KANBAN_\w+", README)) <= set(re.findall(r"HERMES_\w+", names))


def test_the_pages_that_are_linked_exist() -> None:
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            if ":" in path:
                continue
            linked = page.parent / path if path else page
            assert linked.is_file(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


def test_every_page_is_listed() -> None:
    listed = re.findall(r"^- \[(docs/[\w-]+\.md)\]\(\1\): ", README, re.M)
    assert sorted(listed) == sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))


def test_continuous_integration_runs_the_commands_of_the_set_up() -> None:
    printed = {block.note.removeprefix("setup="): block.text for block in BLOCKS if block.note.startswith("setup=")}
    called = re.findall(r"^setup (\w+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)
    assert called == list(printed) == ["demo", "tests"]
    for text in printed.values():
        assert text.count("\n") == 1
        assert re.match(r"python3 -m venv (--clear )?\.venv && \.venv/bin/pip install ", text)


# --- how ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path) -> dict[str, str]:
    """The environment of a user who has nothing yet, with this interpreter's commands first."""
    return {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
    }


def run_shell(blocks: list[Block], environment: dict[str, str]) -> str:
    """What the blocks print, run in one shell that stops at the first failure."""
    return run(["bash", "-euo", "pipefail", "-c", "".join(block.text for block in blocks)], environment)


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=environment["HOME"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_EXAMPLE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def prose() -> str:
    """The README without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", README, flags=re.M | re.S)


def check_words(command: click.Command, words: list[str]) -> None:
    """``words`` are verbs and options that ``command`` has."""
    left = iter(shlex.split(" ".join(words)))
    for word in left:
        if word.startswith("-"):
            options = {option: each for each in command.params for option in each.opts}
            assert word in options, f"{command.name} {word}"
            if isinstance(command, click.Group) and not options[word].is_flag:
                next(left)  # its value, which is no verb
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"{command.name} {word}"
            command = found


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of ``page`` have."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
