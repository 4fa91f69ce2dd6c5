"""What a person reads: help and tables that fit the terminal, sentences that say where they looked."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from kanban_shards import wording
from kanban_shards.changes.codec import decode_body
from kanban_shards.changes.kinds import KINDS
from kanban_shards.cli import text
from kanban_shards.cli.main import main as kanban
from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.coordinator.daemon.units import Service
from kanban_shards.errors import InvalidChange
from tests.tree import ROOT
from tests.unit.verbs import MISSING, Shell

WIDTHS = (60, 80, 120)
# Counts that are large, and numbers that name something.
NO_COUNT = re.compile(r"LIMIT|_BYTES|_bytes|bytes are no whole|change .seq.|row .row|page size|more (rows|problems)")
COUNTED = re.compile(
    r"\} (?:[a-z]+ )?(tasks|boards|shards|rows|pages|files|changes|entries|events|commits|frames|failures|findings|"
    r"values|crashes|attachments|backups|bytes|runs|profiles|links|chats|days|logs|workspaces)\b"
)


def groups_and_verbs(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            verb = command.get_command(ctx, name)
            assert verb is not None
            yield from groups_and_verbs(verb, (*path, name))


@pytest.mark.parametrize("command", [kanban, kanban_merge])
@pytest.mark.parametrize("width", WIDTHS)
def test_help_fits_the_terminal(command: click.Command, width: int) -> None:
    for path in groups_and_verbs(command):
        shown = CliRunner().invoke(command, [*path, "--help"], terminal_width=width, max_content_width=width)
        assert shown.exit_code == 0
        assert [line for line in shown.output.split("\n") if len(line) > width] == [], path


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_fit_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(text.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(os, "get_terminal_size", lambda: os.terminal_size((width, 24)))
    row = ("t_0123456789abcdef0123", "running", 7, "a-profile-with-a-very-long-name", "tenant", "新しい" * 40)
    text.print_table(("TASK", "STATUS", "PRI", "ASSIGNEE", "TENANT", "TITLE"), [row, (*row[:-1], "")])
    said = click.unstyle(capsys.readouterr().out)
    assert all(wording.columns(line) <= width for line in said.split("\n"))
    assert said.count(row[0]) == 2 and "TITLE" in said and "新しい" in said


def test_a_short_table_is_as_it_was(capsys: pytest.CaptureFixture) -> None:
    text.print_table(("A", "B"), [("long " * 60, "c")])
    assert len(capsys.readouterr().out.split("\n")[1]) > 300  # whole, where it is no terminal


@pytest.mark.parametrize(
    "command", [kanban, kanban_merge, kanban_merge.get_command(click.Context(kanban_merge), "service")]
)
def test_a_command_without_a_verb_shows_its_help(command: click.Command, home: str) -> None:
    bare = CliRunner().invoke(command, [])
    assert bare.exit_code == 2 and "Options:" in bare.output


@pytest.mark.parametrize("command", [kanban, kanban_merge])
def test_options_without_a_verb_are_wrong_usage(command: click.Command, home: str) -> None:
    ended = CliRunner().invoke(command, ["--home", home])
    assert ended.exit_code == 2 and "Missing command." in ended.output


@pytest.mark.parametrize(
    "words",
    [("show", MISSING), ("comment", MISSING, "x"), ("runs", MISSING), ("attachments", MISSING), ("context", MISSING),
     ("diagnostics", "--task", MISSING), ("attach-rm", "99"), ("notify-resend", "99"), ("complete", MISSING)],
)  # fmt: skip
def test_what_is_not_there_is_said_with_board_and_home(shell: Shell, home: str, words: tuple[str, ...]) -> None:
    shell.create("x")
    assert f"on the board default in {home}" in shell.refuses(1, *words)


def test_a_named_board_is_said(home: str, shell: Shell) -> None:
    shell.says("boards", "create", "sprint")
    said = CliRunner().invoke(kanban, ["--home", home, "--board", "sprint", "list"]).output
    assert said == f"No tasks on the board sprint in {home}.\n"


@pytest.mark.parametrize(
    ("option", "words"),
    [("--max-runtime", ("create", "x", "--max-runtime", "5q")), ("--workspace", ("create", "x", "--workspace", "foo")),
     ("--workspace", ("create", "x", "--workspace", "dir:")), ("--in", ("schedule", MISSING, "--in", "0m")),
     ("--branch", ("create", "x", "--workspace", "worktree", "--branch", "a b")),
     ("--at", ("schedule", MISSING, "--at", "noon")), ("--cooldown", ("fail", MISSING, "crashed", "--cooldown", "-")),
     ("--max-runtime", ("edit", MISSING, "--max-runtime", "x"))],
)  # fmt: skip
def test_a_wrong_value_names_its_option(shell: Shell, option: str, words: tuple[str, ...]) -> None:
    assert f"Invalid value for '{option}'" in shell.refuses(2, *words)


def test_a_service_of_a_mistyped_home_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "write", lambda service: pytest.fail("it was written"))
    for words in ((), ("--all-boards",), ("--dry-run",)):
        ended = CliRunner().invoke(kanban_merge, ["--home", str(tmp_path / "nosuch"), "service", "install", *words])
        assert ended.exit_code == 3 and "There is no folder" in ended.output
    assert not (tmp_path / "nosuch").exists()


def test_a_number_goes_with_its_noun_everywhere() -> None:
    """But for the rules, whose sentences are in the verdicts of every board, and what a replay must give again."""
    found = []
    for folder in ("shards", "coordinator"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.parent.name == "rules":
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    said = ast.unparse(node)
                    if COUNTED.search(said) and not NO_COUNT.search(said) and "many(" not in said:
                        found.append(f"{file.name}:{node.lineno} {said}")
    assert found == []


WRONG = ["", "x", "x" * 300_000, -5, 2**70, 1.5, True, None, [], [1], ["a"] * 3_000, {}, {"a": 1}, [{}], [{"id": 1}],
         [{"title": "x", "zzz": 1}], [None]]  # fmt: skip


def test_no_message_of_a_library_reaches_a_sentence() -> None:
    texts = ["", "{", "[]", "3", '{"title":"a","priority":1e999}', '{"text":"a', "\x00"]
    for kind, cls in KINDS.items():
        names = [field.encode_name for field in msgspec.structs.fields(cls)]
        for body in [*texts, *(json.dumps({name: value}) for name in names for value in WRONG)]:
            try:
                decode_body(kind, body)
            except InvalidChange as error:
                assert not re.search(r"`|Expected|malformed|truncated|\$", error.problem), (kind, error.problem)
