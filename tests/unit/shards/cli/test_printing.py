"""What others wrote reaches no terminal as it is: escape sequences, control characters, and what turns a line around.

The board is full of them, in every text that no law keeps plain, and so are the files beside it; every verb that shows
something is run, for people and for programs.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from kanban_shards import Gateway, boards
from kanban_shards.changes.kinds import Attach
from kanban_shards.cli import text
from kanban_shards.cli.main import main as kanban
from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.coordinator.cli.merge import _Formatter
from kanban_shards.errors import InvalidName, StorageError
from kanban_shards.paths import BoardPaths
from tests.tree import ROOT

# Draws, sets the title of the window, rings, goes back; 8-bit forms; turns the line around; ends it elsewhere.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x08\r\x7f\x9b31m\x9d0;owned\x9c\u202e\u2028\u200b"
# What the coordinator makes up itself, in each table, and what only has a few values.
PLAIN = {"id", "task_id", "parent_id", "child_id", "status", "kind", "workspace_kind", "outcome", "block_kind",
         "reason", "payload", "metadata", "skills", "vector", "owner", "digest"}  # fmt: skip

SHOWING = {
    kanban: [
        ["board", "--once"], ["board", "--json"],
        ["list"], ["show", "TASK"], ["runs", "TASK"], ["stats"], ["log", "TASK"], ["context", "TASK"], ["diagnostics"],
        ["assignees"], ["attachments", "TASK"], ["notify-list"], ["notify-dead"], ["limits"], ["boards", "show"],
        ["boards", "list", "--all"], ["dispatch", "--dry-run"], ["claim", "TASK"], ["promote", "TASK"],
        ["unblock", "TASK"], ["complete", "TASK"], ["attach-rm", "1"], ["gc"],
    ],
    kanban_merge: [["status"], ["doctor"], ["refusals"], ["metrics"], ["verify"], ["backup"], ["backups"], ["--once"]],
}  # fmt: skip


@pytest.fixture
def hostile(home: str, paths: BoardPaths, tmp_path: Path) -> str:
    """A board full of it; returns the id of a task."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("a task", body="text", tenant="x", assignee="amy")
        amy.create("another", assignee="a-person")
        amy.comment(task_id, f"remark {HOSTILE}")
        run = amy.claim(task_id)
        amy.fail(run, "crashed", error=f"why {HOSTILE}")
        amy.block(task_id, reason=f"why {HOSTILE}")
        amy.subscribe(task_id, platform="telegram", chat_id="4", chat_type="dm")
        file = {"filename": f"a{HOSTILE}", "stored_path": f"/nowhere/{HOSTILE}", "size": 5}
        amy._writer.ask(task_id, Attach(**file, content_type=f"text/{HOSTILE}", uploaded_by=f"bob{HOSTILE}"))
        amy.sync()
    paths.logs.mkdir(parents=True)
    (paths.logs / f"{task_id}.log").write_text(f"began {HOSTILE}\n")
    (paths.folder / f"kanban.evil{HOSTILE}.db".replace("\x00", "")).write_text("no database")
    boards.write_metadata(paths, name=f"Ours{HOSTILE}", description=HOSTILE, default_workdir=f"/{HOSTILE}")
    paths.coordinator_lock.write_text(f"daemon {os.getpid()} {HOSTILE}")
    with closing(sqlite3.connect(paths.board)) as board, board:
        board.execute("UPDATE merge_state SET writing = 1")
        for table in ("tasks", "task_comments", "task_events", "task_runs", "task_attachments", "kanban_notify_subs"):
            for _, name, kind, *_ in board.execute(f"PRAGMA table_info({table})").fetchall():
                if kind.upper() == "TEXT" and name not in PLAIN:
                    board.execute(f"UPDATE OR IGNORE {table} SET {name} = {name} || ?", (HOSTILE,))
        board.execute("UPDATE merge_state SET writing = 0")
    return task_id


@pytest.fixture(autouse=True)
def without_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is left of escape sequences is somebody else's."""
    monkeypatch.setattr(click, "style", lambda text, **how: text)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)


def _run(command: click.Command, home: str, words: list[str]) -> Result:
    who = ["-p", "amy"] if command is kanban else []
    ended = CliRunner().invoke(command, ["--home", home, *who, *words], color=True)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), (words, ended.exc_info)
    return ended


def _said(command: click.Command, home: str, words: list[str]) -> str:
    return _run(command, home, words).stdout


def _controls(said: str) -> set[str]:
    return {each for each in said if not each.isprintable() and each not in "\n\t"}


def _calls() -> list[Any]:
    return [
        pytest.param(command, words + more, id=" ".join([*words, *more]))
        for command, verbs in SHOWING.items()
        for words in verbs
        for more in ([], ["--json"])
    ]


@pytest.mark.parametrize(("command", "words"), _calls())
def test_no_verb_prints_what_draws(hostile: str, home: str, command: click.Command, words: list[str]) -> None:
    ended = _run(command, home, [hostile if word == "TASK" else word for word in words])
    assert _controls(ended.stdout + ended.stderr) == set()
    if "--json" in words:
        json.loads(ended.stdout)


def test_what_is_hostile_is_there(hostile: str, home: str) -> None:
    """Else the test above would prove nothing: what is shown comes from those places, and keeps its plain part."""
    assert json.loads(_said(kanban, home, ["attachments", hostile, "--json"]))[0]["content_type"].startswith(
        f"text/{HOSTILE}"
    )
    for words, shown in (
        (["attachments", hostile], "text/ [2J"),
        (["log", hostile], "began  [2J"),
        (["show", hostile], "remark  [2J"),
        (["list"], "a task"),
        (["boards", "list"], "Ours [2J"),
    ):
        assert shown in _said(kanban, home, words), words


def test_everything_is_printed_in_one_place() -> None:
    """``text.say`` and its neighbors, which let nothing through; so a new verb is safe without thinking of it."""
    found = []
    for path in [*(ROOT / "shards").rglob("*.py"), *(ROOT / "coordinator").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write", "click.echo_via_pager",
            ):  # fmt: skip
                found.append(str(path.relative_to(ROOT)))
    # The second is asked by a program, which it answers with two words.
    assert set(found) == {"shards/cli/text.py", "coordinator/health/checks/rival.py"}


def test_errors_and_logs() -> None:
    wrong_name = InvalidName(name=HOSTILE, what="board")
    for error in (StorageError(path=f"/x{HOSTILE}", problem=f"it is{HOSTILE}"), wrong_name):
        assert _controls(str(error)) == set()
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "a shard: %s", (HOSTILE,), None)
    assert _controls(_Formatter("%(message)s").format(record)) == set()


def test_colors_stand_beside_what_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.undo()
    with click.Context(click.Command("x"), color=True):
        text.say(f"b{HOSTILE}", lead="a", lead_fg="red")
        text.say("plain")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("\x1b[31ma\x1b[0mb [2J ]0;owned")
    assert second == "plain"


def test_json_says_the_same(capsys: pytest.CaptureFixture) -> None:
    """It is escaped, and not changed, also what no UTF-8 of a file's name has become."""
    value = {"name": HOSTILE, "emoji": "👩\u200d🚀", "file": os.fsdecode(b"\xff"), "plain": "ä\n"}
    text.print_json(value)
    said = capsys.readouterr().out
    assert _controls(said) == set()
    assert json.loads(said) == value
