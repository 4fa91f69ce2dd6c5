"""``kanban-merge``: exit codes, one sentence and no traceback, and JSON for programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.kinds import AddComment, Create
from kanban_shards.coordinator.merge import collector, once, shard_reader
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock
from tests.ids import new_task_id
from tests.tree import ROOT


@pytest.fixture
def task_id(home: str) -> str:
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task")
        gateway.claim(task_id)
    return task_id


def test_once(home: str, paths: BoardPaths, kanban_merge) -> None:
    """It merges what is there, says what became of it, and is done; a second one has nothing to do."""
    lock = locks.take(paths, locks.COMMAND, 0)
    with Gateway("amy", home=home) as gateway:
        gateway.create("a task")
        gateway.create("another")
    lock.close()
    assert "merged 2 changes: amy 2" in kanban_merge("--once").stdout
    again = kanban_merge("--json", "--once")
    assert json.loads(again.stdout) == {"merged": {}, "refused": [], "refused_beyond": 0, "left": [], "daemon": None}


def test_a_look_sees_every_shards_present_head(
    home: str, paths: BoardPaths, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many changes one pass takes: ``--once`` beside a daemon waits for the last, ``status`` counts all."""
    monkeypatch.setattr(shard_reader, "CHANGES_PER_PASS", 1)
    monkeypatch.setattr(shard_reader, "LEAST_SHARE", 2)
    lock = locks.take(paths, locks.COMMAND, 0)
    with Gateway("amy", home=home) as gateway:
        last = [gateway.comment(task_id, str(number)) for number in range(5)][-1]
        assert collector.look(paths, gateway.board.watermarks).changes["amy"][-1].seq == last
    lock.close()


@pytest.mark.parametrize("words", [("status",), ("verify",), ("refusals",), ("rebuild",)])
def test_json(kanban_merge, task_id: str, words: tuple[str, ...]) -> None:
    plain, as_json = kanban_merge(*words), kanban_merge(*words, "--json")
    assert (plain.returncode, as_json.returncode) == (0, 0), as_json
    assert plain.stdout
    json.loads(as_json.stdout)


@pytest.mark.parametrize("verb", ["status", "verify", "refusals", "rebuild"])
def test_no_board_yet(kanban_merge, failed, verb: str) -> None:
    ended = kanban_merge(verb, "--json")
    assert "There is no" in failed(ended, 3)
    assert json.loads(ended.stdout)["ok"] is False


def test_a_mistyped_home_gets_no_board(kanban_merge, kanban, failed, tmp_path: Path) -> None:
    """`kanban init` makes one, and what brings a board along from elsewhere."""
    mistyped = tmp_path / "mistyped"
    merging = (("--once",), ("status",), ("verify",), ("doctor",), ("backup",), ("rebuild",), ("daemon",),
               ("daemon", "--all-boards"))  # fmt: skip
    writing = (("list",), ("-p", "amy", "create", "a task"), ("boards", "create", "infra"), ("boards", "list"))
    for command, calls in ((kanban_merge, merging), (kanban, writing)):
        for words in calls:
            assert f"There is no folder {mistyped}" in failed(command(*words, home=mistyped), 3)
            assert not mistyped.exists()
    assert kanban("init", home=mistyped).returncode == 0
    assert kanban_merge("--once", home=mistyped).returncode == 0


def test_the_usual_home_is_made(kanban, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is named or not: nobody has to make it before the first task."""
    for variable, home in (("HOME", tmp_path / "user" / ".hermes"), ("HERMES_KANBAN_HOME", tmp_path / "another")):
        monkeypatch.setenv(variable, str(home if variable != "HOME" else home.parent))
        assert kanban("-p", "amy", "create", "a task", home=home).returncode == 0
        assert kanban("list", home=home).returncode == 0


def test_what_is_missing_is_named_with_its_cure(paths: BoardPaths, kanban, kanban_merge, failed, task_id: str) -> None:
    paths.board.unlink()
    for ended in (kanban("list"), kanban_merge("status")):
        assert "its ledger is there; `kanban-merge --once` makes it again" in failed(ended, 3)
    assert kanban_merge("--once").returncode == 0
    assert task_id in kanban("list").stdout
    paths.ledger.unlink()
    assert "`kanban-merge repair --ledger` makes it again" in failed(kanban_merge("verify"), 3)
    assert kanban_merge("repair", "--ledger").returncode == 0
    assert "nothing of nobody was ever merged" in failed(kanban_merge("repair", "nobody"), 3)


@pytest.mark.parametrize("words", [("--home", "{}/none", "status"), ("--board", "typo", "verify")])
def test_what_is_not_there_is_told_to_programs(kanban_merge, failed, tmp_path: Path, words: tuple[str, ...]) -> None:
    """It is found out before the verb is reached that has the option."""
    ended = kanban_merge(*(word.format(tmp_path) for word in words), "--json")
    assert "There is no" in failed(ended, 3)
    assert json.loads(ended.stdout)["error"] in ("HomeMissing", "UnknownBoard")


def test_an_option_before_a_verb(kanban_merge) -> None:
    for words, said in (
        (("--all-boards", "status"), "Say --all-boards behind status."),
        (("--all-boards", "backup"), "Say --all-boards behind backup."),
        (("--all-boards", "verify"), "--all-boards goes with --once, and verify has no such option."),
        (("--json", "status"), "Say --json behind status."),
    ):
        ended = kanban_merge(*words)
        assert (ended.returncode, said in ended.stderr) == (2, True)


def test_bad_boards(kanban_merge, failed) -> None:
    assert "cannot name a board" in failed(kanban_merge("--board", "../x", "--once"), 2)
    assert "no board named typo" in failed(kanban_merge("--board", "typo", "--once"), 3)


def test_wrong_usage(kanban_merge) -> None:
    limits = (("refusals", "--limit", "0"), ("refusals", "--limit", str(2**70)))
    for words in (("--once", "status"), ("nonsense",), *limits):
        ended = kanban_merge(*words)
        assert ended.returncode == 2
        assert "Traceback" not in ended.stderr


def test_another_coordinator(paths: BoardPaths, kanban_merge, failed, task_id: str) -> None:
    """What needs the lock for itself says who has it."""
    lock = locks.take(paths, locks.DAEMON, 0)
    refused = kanban_merge("rebuild", "--json")
    lock.close()
    assert f"Another coordinator works on {paths}: daemon process" in failed(refused, 5)
    assert json.loads(refused.stdout)["error"] == "CoordinatorRunning"


def test_a_quarantined_shard_needs_a_person(paths: BoardPaths, kanban_merge, task_id: str) -> None:
    paths.shard("bob").write_bytes(b"no database" * 1_000)
    for words in (("--json", "--once"), ("status", "--json"), ("verify", "--json")):
        ended = kanban_merge(*words)
        assert ended.returncode == 6, (words, ended)
        assert "bob" in ended.stdout
        json.loads(ended.stdout)


def test_a_missing_ledger(paths: BoardPaths, kanban_merge, kanban, failed, task_id: str) -> None:
    """Nothing goes on without the ledger that belongs to the board, and what is written meanwhile is kept."""
    aside = paths.ledger.rename(paths.folder / "aside")
    for sidecar in ("-wal", "-shm"):
        paths.ledger.with_name(paths.ledger.name + sidecar).unlink(missing_ok=True)
    assert "the ledger is missing" in failed(kanban_merge("--once"), 3)
    ended = kanban("-p", "amy", "create", "meanwhile")
    assert "the ledger is missing" in failed(ended, 4)
    aside.rename(paths.ledger)
    assert json.loads(kanban_merge("--json", "--once").stdout)["merged"] == {"amy": 1}
    assert kanban_merge("verify").returncode == 0


def test_a_newer_ledger(paths: BoardPaths, kanban_merge, failed, task_id: str) -> None:
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version=99')"
    subprocess.run([sys.executable, "-c", script, paths.ledger], check=True)
    assert "made by a newer version" in failed(kanban_merge("--once"), 3)
    assert "made by a newer version" in failed(kanban_merge("verify"), 3)


def test_once_waits_for_whoever_writes(paths: BoardPaths, home: str, kanban_merge, taken_for) -> None:
    """All that was acknowledged before the call is merged when it returns, though a process writes all the time."""
    with Gateway("amy", home=home) as amy:
        seq = amy._writer.write(amy.create("a task"), AddComment(text="acknowledged"))
        with taken_for(paths.shard_lock("amy"), 0.5):
            done = kanban_merge("--once", "--json")
        assert (done.returncode, json.loads(done.stdout)["left"]) == (0, [])
        assert amy.board.watermarks()["amy"][0] >= seq


def test_once_tells_what_it_had_to_leave(paths: BoardPaths, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        amy.create("a task")
        bob.create("another")
        amy.sync()
        bob.sync()
    monkeypatch.setattr(once, "BUSY_S", 0.01)
    paths.shard("bob").unlink()
    with Gateway("amy", home=home) as amy, closing(FileLock(paths.shard_lock("amy"))) as held:
        amy._writer._shard.append(new_task_id(), Create(title="x"), amy._writer._view())
        held.acquire(5)
        left = {each.profile: each.state for each in once.merge_once(paths).skipped}
        held.close()
    assert left == {"amy": "busy", "bob": "missing"}


@pytest.mark.skipif(sys.platform == "darwin", reason="its filesystems take UTF-8 alone")
@pytest.mark.parametrize("words", ["--once", "status", "verify", "doctor", "backup", "export out.db"])
@pytest.mark.parametrize("name", ["a\nb", "\udcff", "\x1b[31mred"], ids=ascii)
def test_a_shard_whose_name_cannot_be_printed(paths: BoardPaths, task_id: str, tmp_path_factory, words, name) -> None:
    """It is named, by all who look, on one line and as UTF-8."""
    (paths.folder / f"kanban.{name}.db").touch()
    told = ascii(name)[1:-1]
    command = [sys.executable, "-m", "kanban_shards.coordinator", "--home", paths.folder, *words.split()]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    how = {"capture_output": True, "env": strict, "cwd": tmp_path_factory.mktemp("out")}
    ended = subprocess.run(command, **how)
    assert (ended.returncode, ended.stderr) == (6, b"")
    lines = ended.stdout.decode().split("\n")
    assert all(line.isprintable() for line in lines)
    assert any(told in line or ascii(told)[1:-1] in line for line in lines)
    assert words in ("backup", "status") or any(f"kanban.{told}.db" in line for line in lines)
    json.loads(subprocess.run([*command, "--json"], **{**how, "cwd": tmp_path_factory.mktemp("json")}).stdout)
