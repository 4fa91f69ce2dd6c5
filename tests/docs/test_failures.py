"""docs/failures.md names every way to fail: each error with its exit code, each quarantine, each reason."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kanban_shards.cli.session import EXIT_CODES
from kanban_shards.coordinator.merge import collector, shard_reader
from kanban_shards.coordinator.rules.refusal import REASONS
from kanban_shards.coordinator.shared import errors as shared_errors
from kanban_shards.errors import KanbanError
from tests.docs import commands
from tests.docs.test_readme import COMMANDS, check_words

PAGE = (Path(__file__).parents[2] / "docs" / "failures.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
CODES = {int(re.findall(r"\d+", name)[0]): text for name, text in SECTIONS.items() if name.startswith("Exit code")}
ERRORS = re.compile(r"^\| `([A-Z]\w+)` \| (.*?) \|", re.M)


def test_every_error_is_in_the_table_of_its_exit_code() -> None:
    listed = {name: code for code, text in CODES.items() for name, _ in ERRORS.findall(text)}
    assert listed == {name: each.exit_code for name, each in classes().items()}


def test_no_error_is_listed_twice() -> None:
    names = [name for text in CODES.values() for name, _ in ERRORS.findall(text)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("name", "cell"), [found for text in CODES.values() for found in ERRORS.findall(text)])
def test_the_words_in_quotes_are_from_the_sentence(name: str, cell: str) -> None:
    sentence = classes()[name].template
    for quoted in re.findall(r'"([^"]+)"', cell):
        assert re.search(_pattern(quoted), sentence), quoted


def test_every_exit_code_has_its_table() -> None:
    assert {0, *CODES} == {int(code) for code in re.findall(r"^  (\d+)  ", EXIT_CODES, re.M)}


def test_every_quarantine_is_listed() -> None:
    listed = re.findall(r'^\| "([^"]+)"', SECTIONS["Quarantines"], re.M)
    raised = {*_quarantines()}
    assert len(raised) > 10
    assert raised <= set(listed)
    assert {words for words in listed if words not in raised} == {
        "is not a profile's name; rename … or move it away"
    }, "no such sentence is in the code"


def test_the_other_sentences_about_a_shard_are_those_of_the_code() -> None:
    source = " ".join(inspect.getsource(collector).split())
    assert "is not a profile's name; rename {path} or move it away" in source
    assert "a process of {profile} was killed while it wrote, and this user may not write the file" in source


def test_every_reason_is_listed() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", SECTIONS["Refusals"], re.M)) == sorted(REASONS)


def test_every_command_and_option_that_is_named_exists() -> None:
    named = [words for quoted in re.findall(r"`([^`\n]+)`", PAGE) if (words := quoted.split())[0] in COMMANDS]
    assert named
    for group, *words in named:
        check_words(COMMANDS[group], words)


# --- how ---------------------------------------------------------------------------------------------------------


def classes() -> dict[str, type[KanbanError]]:
    """Every error of this project but the one that all others are, by name."""
    commands.page()  # loads every verb, and with it the errors that only one verb knows
    assert issubclass(shared_errors.FarError, KanbanError)

    def below(base: type[KanbanError]) -> Iterator[type[KanbanError]]:
        for each in base.__subclasses__():
            yield each
            yield from below(each)

    return {each.__name__: each for each in below(KanbanError) if each.__module__.startswith("kanban_shards.")}


def _quarantines() -> Iterator[str]:
    """The sentences that a shard is quarantined with, what is filled in as an ellipsis."""
    modules = [ast.parse(inspect.getsource(module)) for module in (shard_reader, collector)]
    for function in itertools.chain.from_iterable(map(ast.walk, modules)):
        if not isinstance(function, ast.FunctionDef):
            continue
        named = {node.targets[0].id: node.value for node in ast.walk(function)
                 if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}  # fmt: skip
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Quarantine":
                why = node.args[0]
                yield _told(named[why.id] if isinstance(why, ast.Name) else why)


def _told(why: ast.expr) -> str:
    parts = why.values if isinstance(why, ast.JoinedStr) else [why]
    return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)


def _pattern(quoted: str) -> str:
    """A pattern for the sentence of an error, in which a name in braces stands for what is filled in."""
    return ".*".join(re.escape(part.strip()) for part in quoted.split("…"))
