"""Command lines of any words: both commands end with a code of their closed set, and never with a traceback."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kanban_shards import Gateway
from kanban_shards.cli.main import main as kanban
from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths

# These stay until they are stopped, or take long by nature.
STAYING = {"daemon", "watch", "tail", "demo", "web", "mcp"}
# These change what is not below the home (the installation of a Hermes, the configuration of the user), or leave no
# board there to be held against its ledger.
ELSEWHERE = {"hermes", "profile", "restore-legacy"}
CODES = {0, 1, 2, 3, 4, 5, 6}


def _verbs(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if name in ELSEWHERE:
                continue
            if isinstance(command, click.Group):
                yield from _verbs(command, (*before, name))
            elif name not in STAYING:
                yield (*before, name), command


VERBS = [(group, words, command) for group in (kanban, kanban_merge) for words, command in _verbs(group)]
NASTY = [
    "", " ", "-", "--", "0", "-1", "1e9", "nan", "inf", "9" * 400, str(2**53), str(2**63),
    "\x00", "\x1b[2J", "\n", "\udc80",
    "\u202e", "é" * 300, "../../x", "/dev/null", "/dev/zero", "{}", "[]", '{"a":' * 70, '{"n":NaN}',
    '{"n":1' + "0" * 30 + "}",
    "t_0123456789abcdef", "T_0", "@coordinator", "amy", "bob", "default", "none", "a=b", "%s%n",
    "'; DROP TABLE tasks; --",
    "1d", "9999999999d", "2026-13-40", "0001-01-01", "9999-12-31T23:59", "99999", "*", "~", "x" * 100_000,
]  # fmt: skip
WORDS = st.one_of(st.sampled_from(NASTY), st.text(max_size=6))
WHO = st.sampled_from([["-p", "amy"], ["-p", "amy"], ["-p", "bob"], [], ["-p", "@coordinator"], ["-p", "../x"]])


@pytest.fixture(scope="module")
def board() -> Iterator[tuple[Path, list[str]]]:
    """A board with a task in most statuses, and their ids."""
    with tempfile.TemporaryDirectory() as folder:
        with Gateway("amy", home=folder) as amy:
            made = [amy.create(f"task {number}") for number in range(6)]
            amy.complete(amy.claim(made[0]))
            amy.claim(made[1])
            amy.block(made[2], "why")
            amy.archive(made[3])
            amy.link(made[4], made[5])
        yield Path(folder), made


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Some words name a file to be made, and that is made where the command runs."""
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        yield


@st.composite
def command_lines(draw: st.DrawFn, known: list[str]) -> tuple[click.Group, list[str]]:
    """A verb, its options with values of any kind, and words."""
    group, words, command = draw(st.sampled_from(VERBS))
    value = st.one_of(WORDS, st.sampled_from(known))
    line = list(words)
    options = [param for param in command.params if isinstance(param, click.Option)]
    for option in draw(st.lists(st.sampled_from(options), max_size=4)) if options else ():
        line.append(draw(st.sampled_from(option.opts)))
        if not option.is_flag or draw(st.integers(0, 9)) == 0:
            line.append(draw(value))
    for argument in command.params:
        if isinstance(argument, click.Argument) and draw(st.integers(0, 9)):
            line.append(draw(st.one_of(st.sampled_from(known), value)))
    return group, line + draw(st.lists(value, max_size=1))


@settings(settings.get_profile("fuzz"), max_examples=settings.get_profile("fuzz").max_examples * 3)
@given(st.data())
def test_any_command_line(board: tuple[Path, list[str]], data: st.DataObject) -> None:
    folder, known = board
    group, line = data.draw(command_lines(known))
    who = data.draw(WHO) if group is kanban else []
    argv = ["--home", str(folder), *who, *line]
    ended = CliRunner().invoke(
        group, argv, prog_name=group.name, input=data.draw(st.sampled_from(["", "x", "[]", "{"]))
    )
    assert ended.exception is None or isinstance(ended.exception, SystemExit), (argv, ended.exc_info)
    assert ended.exit_code in CODES, (argv, ended)
    assert "Traceback" not in ended.output, (argv, ended.output)
    if ended.exit_code in (1, 3, 4, 5):
        assert ended.output.strip(), argv


def test_the_board_is_as_it_should_be_after_all_that(board: tuple[Path, list[str]]) -> None:
    """Runs behind the fuzzer, on its board."""
    assert verify(BoardPaths.find(home=board[0])).clean


@settings(settings.get_profile("fuzz"))
@given(st.lists(WORDS, max_size=4), st.sampled_from([kanban, kanban_merge]))
def test_words_that_are_no_verbs(words: list[str], group: click.Group) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.rmtree(folder)
        ended = CliRunner().invoke(group, ["--home", folder, *words, "no-such-verb"], prog_name="kanban")
        Path(folder).mkdir(exist_ok=True)
    assert ended.exit_code in CODES and (ended.exception is None or isinstance(ended.exception, SystemExit)), ended
