"""In a folder that is made for a group, whatever takes a file's place is for the same people as the file was."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.backup.backup import make_backup
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.backup.manifest import Backup
from kanban_shards.coordinator.backup.restore import restore
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.replay import make_board
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard, repair_snapshot
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def lock(request: pytest.FixtureRequest, home: str, paths: BoardPaths) -> Iterator[FileLock]:
    """The coordinator's, of a board in a shared folder, on which amy commented."""
    former = os.umask(request.param)
    os.chmod(home, 0o2770)
    with Gateway("amy", home=home) as amy:
        amy.comment(amy.create("a task"), "a comment")
        amy.sync()
    taken = locks.take(paths, locks.COMMAND, 1.0)
    yield taken
    taken.close()
    os.umask(former)


@pytest.fixture
def backup(lock: FileLock, paths: BoardPaths) -> Backup:
    return make_backup(paths, paths.backups)


def modes(paths: BoardPaths) -> dict[str, int]:
    """Permissions of the database files, without those that were set aside."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths.folder.glob("*.db")}


def nobody_else_reads(paths: BoardPaths) -> bool:
    return not any(path.stat().st_mode & 0o007 for path in paths.folder.glob("*.db*"))


def test_what_is_made_again(lock: FileLock, paths: BoardPaths) -> None:
    before = modes(paths)
    make_board(paths, lock)
    files.discard(paths.ledger)
    repair_ledger(paths, lock)
    files.discard(paths.shard("amy"))
    repair_shard(paths, lock, "amy")
    assert modes(paths) == before
    assert nobody_else_reads(paths)


def test_snapshots(lock: FileLock, paths: BoardPaths) -> None:
    compact(paths, lock, before_ms=2**52)
    assert modes(paths)[paths.snapshot.name] == modes(paths)[paths.board.name]
    files.discard(paths.snapshot)
    repair_snapshot(paths, lock)
    assert modes(paths)[paths.snapshot.name] == modes(paths)[paths.board.name]
    assert nobody_else_reads(paths)


@pytest.mark.parametrize("everything", [True, False])
def test_what_a_backup_puts_back(backup: Backup, lock: FileLock, paths: BoardPaths, everything: bool) -> None:
    before = modes(paths)
    for path in (paths.board, paths.ledger, paths.shard("amy")) if everything else ():
        files.discard(path)
    restore(paths, backup, lock)
    assert modes(paths) == before
    assert nobody_else_reads(paths)
