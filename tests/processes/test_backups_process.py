"""Backups, restores and compactions beside real gateways and a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tenacity

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.backup.manifest import backups_in
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from tests.processes.conftest import merging

ACTOR = Path(__file__).with_name("actor.py")


@pytest.fixture
def task(home: str) -> str:
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("the task")
        amy.sync()
    return task_id


@pytest.fixture
def gateways(start, home: str, task: str) -> dict[str, subprocess.Popen]:
    """Processes of amy and of bob that stay, with their shard and the board open."""
    there = {profile: start(ACTOR, "comment", home, profile, task) for profile in ("amy", "bob")}
    for process in there.values():
        assert json.loads(process.stdout.readline()) == {"ready": True}
    return there


def test_beside_a_daemon_and_workers(home, paths, work, daemon, tmp_path, assert_clean) -> None:
    """Each backup is complete and sound, whatever is written meanwhile, and nobody is stopped by it."""
    workers = [work("work", profile, tmp_path / f"diary-{profile}") for profile in ("amy", "bob")]
    _wait_until(lambda: all((tmp_path / f"diary-{profile}").exists() for profile in ("amy", "bob")))
    made = [json.loads(_kanban_merge(home, "backup", "--json", "--keep", "3").stdout) for _ in range(4)]
    assert all(each["good"] for each in made)
    assert sorted({each["position"] for each in made}) == [each["position"] for each in made]
    assert [str(each.folder) for each in backups_in(paths.backups)] == [each["path"] for each in made[1:]]
    for process in [*workers, daemon]:
        assert process.poll() is None
        process.kill()
        process.wait()
    for backup in backups_in(paths.backups):
        assert verify(backup.paths("default")).clean
    for profile in ("amy", "bob"):
        with Gateway(profile, home=home) as gateway:
            gateway.sync()
    assert_clean()


def test_a_killed_backup_is_no_backup(home, paths, start, task) -> None:
    """Killed at once, it leaves at most what the next one removes."""
    for _ in range(5):
        process = start("-m", "kanban_shards.coordinator", "--home", home, "backup")
        _wait_until(lambda process=process: process.poll() is not None or list(paths.backups.glob(".making-*")))
        process.kill()
        process.wait()
    assert all(verify(backup.paths("default")).clean for backup in backups_in(paths.backups))
    assert _kanban_merge(home, "backup").returncode == 0
    assert not list(paths.backups.glob(".*"))


def test_a_daemon_that_makes_them(home, paths, start, task) -> None:
    """It goes on merging, says a failing backup once, and ends one that is being made when it is stopped."""
    daemon = merging(start("-m", "kanban_shards.coordinator", "--home", home, "daemon", "--backup-every", "1s"))
    _wait_until(lambda: len(backups_in(paths.backups)) > 1)
    assert json.loads(_kanban_merge(home, "status", "--json").stdout)["coordinator"]["pid"] == daemon.pid
    assert _kanban_merge(home, "restore", backups_in(paths.backups)[0].folder.name).returncode == 5
    daemon.terminate()
    assert daemon.wait(30) == 0


@pytest.mark.parametrize("lost", ["board and ledger", "shard", "snapshot"])
def test_gateways_go_on_behind_a_restore(home, paths, gateways, task, lost) -> None:
    """They have their shards and the board open all the while, and notice which files were replaced."""
    texts = [_say(gateways, profile, "before") for profile in ("amy", "bob")]
    if lost == "snapshot":
        assert _kanban_merge(home, "compact", "--keep-days", "0").returncode == 0
    backup = json.loads(_kanban_merge(home, "backup", "--json").stdout)["path"]
    texts += [_say(gateways, profile, "since") for profile in ("amy", "bob", "amy")]
    for path in {
        "board and ledger": [paths.board, paths.ledger],
        "shard": [paths.shard("bob")],
        "snapshot": [paths.snapshot],
    }[lost]:
        files.discard(path)
    done = _kanban_merge(home, "restore", backup)
    assert done.returncode == 0, done.stderr
    texts += [_say(gateways, profile, "after") for profile in ("bob", "amy")]
    with Board.open(home=home) as board:
        assert sorted(comment.body for comment in board.comments(task)) == sorted(texts)
    _assert_clean(paths)


def test_gateways_go_on_behind_a_compaction(home, paths, gateways, task) -> None:
    """Again and again, while they write; the shards are shortened under them."""
    texts = []
    for number in range(3):
        texts += [_say(gateways, profile, f"{number}") for profile in ("amy", "bob")]
        done = _kanban_merge(home, "compact", "--keep-days", "0", "--json")
        assert done.returncode == 0, done.stderr
    texts.append(_say(gateways, "bob", "after"))
    with Board.open(home=home) as board:
        assert [comment.body for comment in board.comments(task)] == texts
    _assert_clean(paths)


def _say(gateways: dict[str, subprocess.Popen], profile: str, text: str) -> str:
    process = gateways[profile]
    process.stdin.write(f"{profile} {text}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return f"{profile} {text}"


def _assert_clean(paths: BoardPaths) -> None:
    found = verify(paths)
    assert found.clean, found.findings


def _wait_until(is_so) -> None:
    tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: not found),
        wait=tenacity.wait_fixed(0.01),
        stop=tenacity.stop_after_delay(60),
    )(is_so)


def _kanban_merge(home: str, *words: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "kanban_shards.coordinator", "--home", home, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)
