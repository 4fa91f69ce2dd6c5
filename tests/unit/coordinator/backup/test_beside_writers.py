"""Backup and restore beside profiles that write into each other's tasks, and beside readers."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.backup import backup
from kanban_shards.coordinator.backup.backup import make_backup
from kanban_shards.coordinator.backup.restore import restore
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files


@pytest.fixture
def before_copying(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], None]], None]:
    """``before_copying(profile, act)``: when a backup comes to that shard, ``act`` first."""

    def begin(wanted: str, act: Callable[[], None]) -> None:
        real = backup.locked_shard

        def locked_shard(paths: BoardPaths, profile: str):
            if profile == wanted:
                act()
            return real(paths, profile)

        monkeypatch.setattr(backup, "locked_shard", locked_shard)

    return begin


@pytest.mark.parametrize("is_merged", [True, False])
def test_a_change_that_saw_what_came_later(
    paths: BoardPaths, home: str, tmp_path: Path, before_copying, is_merged: bool
) -> None:
    """bob's shard is copied last. What he wrote on what amy wrote meanwhile makes nothing unsound, here and restored
    where all else is lost; and so does what cleo, whose shard is copied behind his, wrote on that."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob, Gateway("cleo", home=home) as cleo:
        task = amy.create("amy's")
        amy.sync()
        for each in (bob, cleo):
            each.comment(task, "before the backup")
            each.sync()

        def write() -> None:
            amy.edit(task, title="changed while it is copied")
            bob.edit(task, title="on that")
            cleo.edit(task, title="and on that")
            if not is_merged:
                bob._writer._passing.make_or_ring = lambda waiting=None: False
                bob.comment(task, "not merged yet")

        before_copying("bob", write)
        made = make_backup(paths, paths.backups)
    assert made.problems == []
    copied = tmp_path / "elsewhere"
    shutil.copytree(made.folder, copied)
    assert verify(BoardPaths(copied, "default")).clean
    with closing(sqlite3.connect(copied / "kanban.bob.db")) as shard:
        assert shard.execute("SELECT count(*) FROM changes").fetchone() == (1,)
    assert not list(made.folder.glob("*-journal"))


def test_a_change_that_is_ahead_stays_in_it(paths: BoardPaths, home: str, before_copying) -> None:
    """What is written while the backup is made, and saw nothing newer, is sound, and is kept."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task = amy.create("amy's")
        amy.sync()
        bob.comment(task, "before")
        bob.sync()
        before_copying("bob", lambda: bob.comment(task, "meanwhile"))
        made = make_backup(paths, paths.backups)
    assert (made.problems, made.manifest.shards["bob"].seq) == ([], 2)


def test_a_forged_sight_is_said(paths: BoardPaths, home: str) -> None:
    """Of what nobody wrote: that change is not left out in silence."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task = amy.create("amy's")
        amy.sync()
        bob._writer._passing.make_or_ring = lambda waiting=None: False
        bob.comment(task, "seen too much")
    with closing(sqlite3.connect(paths.shard("bob"))) as shard, shard:
        shard.execute("UPDATE changes SET seen = '{\"amy\":99}'")
    made = make_backup(paths, paths.backups)
    (problem,) = made.problems
    assert "claims to have seen amy's change 99" in problem


def test_no_reader_sees_the_past(paths: BoardPaths, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open run of after the backup stays open for whoever reads during a restore, whichever step it is at."""
    with Gateway("amy", home=home) as amy:
        amy.create("before")
        amy.sync()
        made = make_backup(paths, paths.backups)
        task = amy.create("after")
        run = amy.claim(task)
        files.discard(paths.shard("amy"))
        seen: list[tuple[int, bool]] = []

        def look() -> None:
            with Board(paths) as board:
                seen.append((board.position(), board.task(task).current_run_id == run.id))

        for name in ("__init__", "make_pass", "close"):
            _look_before(monkeypatch, Coordinator, name, look)
        position = amy.board.position()
        with locks.holding(paths, locks.COMMAND) as lock:
            done = restore(paths, made, lock)
        assert done.findings == []
        assert len(seen) > 4
        assert all(at >= position and is_open for at, is_open in seen)
        amy.heartbeat(run, "still here")
        amy.complete(run)
    assert not [each.name for each in paths.folder.iterdir() if "restoring" in each.name]


def _look_before(monkeypatch: pytest.MonkeyPatch, kind: type, name: str, look: Callable[[], None]) -> None:
    real = getattr(kind, name)

    def looked(self, *args, **how):
        look()
        return real(self, *args, **how)

    monkeypatch.setattr(kind, name, looked)
