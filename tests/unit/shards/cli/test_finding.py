"""Finding tasks: filters that add up, beginnings of ids, help in sections, pipes that close early."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

from kanban_shards.cli.main import TITLES, VERBS, main
from kanban_shards.cli.verbs import read
from kanban_shards.coordinator.cli import main as merge
from tests.unit.verbs import Shell


def titles(shell: Shell, *words: str) -> list[str]:
    return sorted(task["title"] for task in shell.json("list", *words))


@pytest.fixture
def several(shell: Shell) -> dict[str, str]:
    """A task in each of some statuses, by title."""
    made = {title: shell.create(title) for title in ("one", "two", "three")}
    made["child"] = shell.create("child", "--parent", made["one"], "--body", "needs 100% of One")
    shell.says("block", made["two"], "why")
    shell.says("complete", made["three"])
    return made


def test_filters_add_up(shell: Shell, several: dict[str, str]) -> None:
    assert titles(shell, "--status", "blocked", "--status", "done") == ["three", "two"]
    assert titles(shell, "--open") == ["child", "one", "two"]
    assert titles(shell, "--search", "ONE") == ["child", "one"]
    assert titles(shell, "--search", "100%") == ["child"]
    assert titles(shell, "--search", several["two"][:10]) == ["two"]
    assert titles(shell, "--search", "one", "--status", "todo") == ["child"]
    assert titles(shell, "--parent", several["one"][:14]) == ["child"]
    assert titles(shell, "--newer-than", "1h") == ["child", "one", "three", "two"]
    assert titles(shell, "--older-than", "1h") == []
    assert titles(shell, "--assignee", "none", "--sort", "title", "--limit", "2") == ["child", "one"]
    assert "not both" in shell.refuses(2, "list", "--open", "--status", "done")
    assert "No such tasks on the board default in" in shell.says("list", "--search", "nowhere")


def test_a_limit_says_when_there_is_more(shell: Shell, several: dict[str, str]) -> None:
    ended = shell.run("list", "--limit", "2")
    assert "2 of 4 are shown; --limit N shows more" in ended.stderr
    assert "shown" not in shell.run("list", "--limit", "4").output


def test_a_terminal_is_shown_so_many(shell: Shell, several: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "SHOWN", 3)
    assert "are shown" not in shell.run("list").output  # no terminal: all of them
    monkeypatch.setattr(read, "_is_terminal", lambda: True)
    assert "3 of 4 are shown" in shell.run("list").stderr
    assert len(shell.json("list")) == 4


def test_an_id_may_be_shortened_in_every_verb(shell: Shell, several: dict[str, str]) -> None:
    task_id = several["one"]
    short = task_id[:14]
    shell.says("comment", short, "hello")
    assert shell.task(short)["task"]["id"] == task_id
    assert shell.json("claim", short)["task"]["id"] == task_id
    shell.says("heartbeat", short)
    shell.says("link", several["two"][:14], short)
    shell.says("unlink", several["two"][:14], short)
    shell.says("complete", short)
    shell.says("archive", short)
    assert shell.status(task_id) == "archived"


def test_what_begins_several_ids_is_refused(shell: Shell, several: dict[str, str]) -> None:
    first = [shell.create(f"number {number}") for number in range(20)]
    common = next(a[:3] for a in first for b in first if a != b and a[:3] == b[:3])
    said = shell.refuses(2, "show", common)
    assert f"{common} is the beginning of several tasks" in said
    taken = {task_id[:5] for task_id in [*first, *several.values()]}
    none = next(each for each in (f"t_{number:03x}" for number in range(16**3)) if each not in taken)
    assert f"There is no task {none} on the board default" in shell.refuses(1, "comment", none, "x")


def test_every_verb_is_in_a_section() -> None:
    for verbs, named in ((VERBS, TITLES), (merge.VERBS, merge.TITLES)):
        assert next(iter(verbs)) in named and named.keys() <= verbs.keys()
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "Commands:" not in shown and all(f"{title}:" in shown for title in TITLES.values())
    workers = shown.partition("Starting workers:")[2].partition("\n\n")[0]
    assert "dispatch" in workers and "mcp" not in workers and "mcp" in shown.partition("For agents:")[2]


@pytest.mark.parametrize("words", [["list"], ["--help"], ["stats"]])
def test_a_pipe_that_closes_early_is_no_error(
    shell: Shell, several: dict[str, str], home: str, words: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "kanban_shards", "--home", home, *words]
    ended = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_deleting_a_board_asks_on_a_terminal(shell: Shell, home: str) -> None:
    shell.says("boards", "create", "old")
    for said, code, is_there in ((b"n\n", 1, True), (b"y\n", 0, False)):
        mine, theirs = pty.openpty()
        argv = [sys.executable, "-m", "kanban_shards", "--home", home, "boards", "delete", "old"]
        with subprocess.Popen(argv, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
            os.close(theirs)
            os.write(mine, said)
            _, question = asked.communicate(timeout=60)
        os.close(mine)
        assert b"Delete the board 'old' with 0 tasks" in question
        assert asked.returncode == code
        assert ("old" in shell.says("boards", "list")) == is_there
