"""Files that claim more than they hold, and disks with little room: no copy that is made fills the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.backup.backup import make_backup
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.backup.manifest import Backup
from kanban_shards.coordinator.backup.restore import REPAIRED, restore
from kanban_shards.coordinator.hermes.importer import import_board
from kanban_shards.coordinator.hermes.salvage import salvage
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.errors import DiskFull, FileHollow, NoRoom
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.space import ALWAYS_BYTES, require_room
from tests.legacy import write_legacy

PAGES, PAGE_BYTES = 250_000, 4_096


@pytest.fixture
def task(home: str) -> str:
    """A task of amy's, on which bob commented; all merged."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("the task")
        amy.sync()
        bob.comment(task_id, "before")
        bob.sync()
    return task_id


def make_hollow(path: Path) -> None:
    """The file claims a gigabyte, and holds what it held."""
    with path.open("r+b") as file:
        file.seek(28)
        file.write(PAGES.to_bytes(4))
        file.seek(24)
        counter = file.read(4)
        file.seek(92)
        file.write(counter)
        file.truncate(PAGES * PAGE_BYTES)
    assert path.stat().st_blocks * 512 < 10 * 1024 * 1024


def held_bytes(folder: Path) -> int:
    """What the files in ``folder`` take of the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_a_hollow_shard_is_left_out_of_a_backup(paths: BoardPaths, task: str) -> None:
    """And named; the rest of the backup is good for all that it holds."""
    make_hollow(paths.shard("bob"))
    made = make_backup(paths, paths.backups)
    assert held_bytes(made.folder) < ALWAYS_BYTES
    assert not (made.folder / "kanban.bob.db").exists()
    assert list(made.manifest.shards) == ["amy"]
    assert any("kanban.bob.db says that it has 1024000000 bytes" in problem for problem in made.problems)
    assert not made.is_good


def test_the_command_ends_with_6(kanban_merge, paths: BoardPaths, task: str) -> None:
    make_hollow(paths.shard("bob"))
    done = kanban_merge("backup")
    assert done.returncode == 6
    assert "kanban.bob.db says that it has" in done.stdout + done.stderr


def test_a_shard_that_does_not_fit(paths: BoardPaths, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out of the backup and named, while what fits is copied."""
    real = os.statvfs

    def nearly_full(folder: object) -> os.statvfs_result:
        """Has room for what is asked for, as long as it is not the shard of bob."""
        fields = list(real(folder))
        is_there = any(Path(os.fspath(folder)).glob("kanban.amy.db"))
        fields[4] = 0 if is_there else fields[3]
        return os.statvfs_result(fields)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    made = make_backup(paths, paths.backups)
    assert list(made.manifest.shards) == ["amy"]
    assert any("kanban.bob.db takes" in problem and "must stay free" in problem for problem in made.problems)
    assert issubclass(NoRoom, DiskFull)


@pytest.mark.parametrize("verb", ["salvage", "import", "dry run"])
def test_a_hollow_board_of_hermes(tmp_path: Path, verb: str) -> None:
    source = tmp_path / "kanban.db"
    write_legacy(source, {"tasks": [{"id": "t_0000000a", "title": "a task", "status": "done", "created_at": 5}]})
    make_hollow(source)
    (tmp_path / "made").mkdir()
    target = BoardPaths(tmp_path / "here", "default")
    with pytest.raises(FileHollow, match="no copy of it is made"):
        if verb == "salvage":
            salvage(source, tmp_path / "made")
        else:
            import_board(source, target, dry_run=verb == "dry run")
    assert held_bytes(tmp_path / "made") == 0


def test_a_hollow_shard_in_a_compaction(paths: BoardPaths, task: str) -> None:
    """The others are shortened, and this one is named."""
    make_hollow(paths.shard("bob"))
    with locks.holding(paths, locks.COMMAND) as lock:
        done = compact(paths, lock, 2**53)
    problems = {each.path.name: each.problem for each in done.files if each.problem}
    assert list(problems) == ["kanban.bob.db"]
    assert held_bytes(paths.folder) < ALWAYS_BYTES


def test_a_hollow_shard_is_made_again_by_a_restore(paths: BoardPaths, task: str) -> None:
    made: Backup = make_backup(paths, paths.backups)
    make_hollow(paths.shard("bob"))
    with locks.holding(paths, locks.COMMAND) as lock:
        done = restore(paths, made, lock)
    assert done.shards["bob"] in ("restored", REPAIRED)
    assert held_bytes(paths.folder) < 2 * ALWAYS_BYTES
    with Board(paths) as board:
        assert len(board.comments(task)) == 1


def test_a_compressed_file_is_no_hollow_one(tmp_path: Path) -> None:
    """A disk that compresses holds a database in a part of its size."""
    path = tmp_path / "kanban.db"
    with path.open("wb") as file:
        file.write(os.urandom(20 * 1024 * 1024))
        file.truncate(200 * 1024 * 1024)
    require_room(path, 200 * 1024 * 1024, tmp_path)


def test_a_hollow_file_among_the_attachments(paths: BoardPaths, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup on another disk copies them: none that is larger than an attachment can be."""
    paths.attachments.mkdir(parents=True, exist_ok=True)
    with (paths.attachments / "hollow").open("wb") as file:
        file.truncate(2**40)

    def no_link(*names: object, **how: object) -> None:
        raise OSError

    monkeypatch.setattr("kanban_shards.coordinator.backup.backup.os.link", no_link)
    assert not list(make_backup(paths, paths.backups).folder.rglob("hollow"))
