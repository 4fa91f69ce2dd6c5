"""The board is Hermes's to read and ours to write: the released program against a board of ours."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from kanban_shards.records import STATUSES

# Written through a process of its own, as any user would make a copy (law 1: not by this process's own open()).
COPY = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('VACUUM INTO ?', (sys.argv[2],))"
KEEP_OUT = "this board is written by its coordinator alone; use the kanban command or shards.Gateway"
# Until there are verbs for them, nothing of ours brings a task here.
UNREACHED = {"scheduled", "review", "archived"}


@dataclass(frozen=True)
class Ours:
    """A board of ours with a task in each status, and a copy of it where Hermes looks."""

    paths: BoardPaths
    board: Board
    copy: Path


@pytest.fixture
def ours(tmp_path: Path):
    live, copy = tmp_path / "ours", tmp_path / "hermes"
    with Gateway("bingge", home=live) as gateway:
        _fill(gateway)
        gateway.sync()
    copy.mkdir()
    paths = BoardPaths.find(home=live)
    subprocess.run([sys.executable, "-c", COPY, paths.board, copy / "kanban.db"], check=True)
    with Board.open(home=live) as board:
        yield Ours(paths, board, copy)


@pytest.mark.hermes
def test_hermes_lists_our_tasks(ours: Ours, hermes_json) -> None:
    """``hermes kanban list --json`` gives the same tasks with the same values, in every status that there is."""
    listed = {task["id"]: task for task in hermes_json(ours.copy, "list")}
    expected = {task.id: task.as_hermes() for task in ours.board.tasks()}
    assert {task["status"] for task in expected.values()} == set(STATUSES) - UNREACHED
    assert listed == expected


@pytest.mark.hermes
def test_hermes_shows_our_tasks(ours: Ours, hermes_json) -> None:
    """``hermes kanban show --json`` gives the same task, links, comments, events and runs."""
    for task in ours.board.tasks():
        shown = hermes_json(ours.copy, "show", task.id)
        assert shown["task"] == task.as_hermes()
        assert shown["parents"] == ours.board.parents(task.id)
        assert shown["children"] == ours.board.children(task.id)
        for what, records in (
            ("comments", ours.board.comments(task.id)),
            ("events", ours.board.events(task_id=task.id)),
            ("runs", ours.board.runs(task.id)),
        ):
            pairs = zip(shown[what], records, strict=True)
            assert shown[what] == [_with_keys_of(given, record.as_dict()) for given, record in pairs]


@pytest.mark.hermes
def test_hermes_lists_our_subscriptions(ours: Ours, hermes_json) -> None:
    """``hermes kanban notify-list --json`` gives the same chats."""
    chats = {(chat["task_id"], chat["platform"], chat["chat_id"]) for chat in hermes_json(ours.copy, "notify-list")}
    assert chats == {(chat.task_id, chat.platform, chat.chat_id) for chat in ours.board.subscriptions()}
    assert len(chats) == 2


@pytest.mark.hermes
def test_hermes_cannot_write_the_live_board(ours: Ours, hermes) -> None:
    """Hermes on the board itself reads it; what it tries to write is refused with the sentence."""
    home = ours.paths.folder
    before = [task.as_dict() for task in ours.board.tasks()]
    ready = next(task.id for task in ours.board.tasks(status="ready"))
    for words in (("create", "foreign"), ("comment", ready, "foreign"), ("claim", ready), ("block", ready, "foreign")):
        ended = hermes(home, *words)
        assert ended.returncode != 0, words
        assert KEEP_OUT in ended.stdout + ended.stderr, words
    assert hermes(home, "list").returncode == 0
    assert [task.as_dict() for task in ours.board.tasks()] == before
    found = verify(ours.paths)
    assert found.clean, found.findings
    with Gateway("bingge", home=home) as gateway:
        assert gateway.claim(ready).task_id == ready


def test_sqlite_utils_reads_the_board(ours: Ours) -> None:
    """``sqlite-utils rows`` reads the board itself, while others have it open."""
    output = subprocess.check_output([sys.executable, "-m", "sqlite_utils", "rows", ours.paths.board, "tasks"])
    assert {row["id"]: row["title"] for row in json.loads(output)} == {t.id: t.title for t in ours.board.tasks()}


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_the_sqlite3_shell_reads_the_board(ours: Ours) -> None:
    """The sqlite3 shell reads the board itself, finds it sound, and is refused like everybody when it writes."""
    shell = ["sqlite3", "-bail", str(ours.paths.board)]
    answer = subprocess.check_output([*shell, "PRAGMA integrity_check; SELECT count(*) FROM tasks"], text=True)
    assert answer.split() == ["ok", str(len(ours.board.tasks()))]
    refused = subprocess.run([*shell, "DELETE FROM tasks"], capture_output=True, text=True)
    assert refused.returncode != 0
    assert KEEP_OUT in refused.stderr
    assert verify(ours.paths).clean


def test_the_copy_is_whole(ours: Ours) -> None:
    """A copy made with ``VACUUM INTO`` holds every row of the board, with the same ids."""
    with closing(sqlite3.connect(ours.copy / "kanban.db")) as copy:
        ids = {task_id for (task_id,) in copy.execute("SELECT id FROM tasks")}
    assert ids == {task.id for task in ours.board.tasks()}


def _fill(gateway: Gateway) -> None:
    """A task in each status, with links, comments, runs and subscriptions."""
    prd = gateway.create("冲刺 3 PRD ☂", body="1\n2", assignee="bingge", priority=3, tenant="acme", skills=["review"])
    gateway.create("ready after the PRD", parents=[prd], assignee="pixiel")
    gateway.subscribe(prd, platform="telegram", chat_id="42")
    gateway.subscribe(prd, platform="discord", chat_id="7", thread_id="3")
    gateway.comment(prd, "first\nsecond line", author="user")
    run = gateway.claim(prd)
    gateway.heartbeat(run, "half done")
    gateway.complete(run, summary="written", result="PRD.md", metadata={"pages": [1, {"§": None}]})
    gateway.create("triage", starts="triage")
    gateway.create("made blocked", starts="blocked")
    blocked = gateway.create("blocked by its worker")
    gateway.block(gateway.claim(blocked), "the key is missing", kind="needs_input")
    given_back = gateway.create("given back and running again")
    gateway.release(gateway.claim(given_back), "no time")
    gateway.claim(given_back, runs_as="pixiel", claimer="host:4711")
    waiting = gateway.create("waits for the running one", parents=[given_back])
    other = gateway.create("waits as well")
    gateway.link(given_back, other)
    gateway.link(waiting, other)
    gateway.unlink(waiting, other)
    gateway.edit(waiting, title="waits, renamed", priority=-1)


def _with_keys_of(given: dict, want: dict) -> dict:
    """What we say under the keys that Hermes shows."""
    return {key: want[key] for key in given}
