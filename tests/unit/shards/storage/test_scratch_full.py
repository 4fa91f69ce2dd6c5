"""A disk for temporary files that is full: one sentence about that disk, and no word against a file of the board."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.hermes.importer import import_board
from kanban_shards.coordinator.hermes.salvage import salvage
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import DiskFull
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import copies, files, sqlite
from kanban_shards.storage.locks import FileLock
from tests.legacy import write_legacy


@pytest.fixture
def lock(home: str, paths: BoardPaths) -> Iterator[FileLock]:
    with Gateway("amy", home=home) as amy:
        task = amy.create("a task")
        for _ in range(40):  # more than fits where a replay has dropped indexes
            amy.comment(task, "x" * 1_000)
        amy.sync()
    with Coordinator(paths, taken := locks.take(paths, locks.COMMAND, 1.0)) as coordinator:
        coordinator.make_passes()
    yield taken
    taken.close()


@pytest.fixture(params=["at once", "soon"])
def _full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, migrated = sqlite.open_scratch, sqlite.bring_up_to_date

    def fills_up(connection: sqlite3.Connection, role: sqlite.Role) -> None:
        connection.execute("PRAGMA max_page_count=1")
        migrated(connection, role)

    def is_small(role: sqlite.Role) -> sqlite3.Connection:
        connection = opened(role)
        connection.execute("PRAGMA max_page_count=1")  # SQLite makes it the size that the file has
        return connection

    if request.param == "at once":
        monkeypatch.setattr(sqlite, "bring_up_to_date", fills_up)
    else:
        monkeypatch.setattr(sqlite, "open_scratch", is_small)


def test_a_board_that_is_made_again(lock: FileLock, paths: BoardPaths, _full: None) -> None:
    files.discard(paths.board)
    with pytest.raises(DiskFull, match=str(sqlite.SCRATCH)):
        Coordinator(paths, lock)
    assert not paths.board.exists()
    assert not list(paths.folder.glob("*.making"))


def test_a_verification(lock: FileLock, paths: BoardPaths, _full: None) -> None:
    with pytest.raises(DiskFull, match=str(sqlite.SCRATCH)):
        verify(paths)


def test_a_rebuild_and_a_compaction(lock: FileLock, paths: BoardPaths, _full: None) -> None:
    with pytest.raises(DiskFull, match=str(sqlite.SCRATCH)):
        rebuild(paths, lock)
    with pytest.raises(DiskFull, match=str(sqlite.SCRATCH)):
        compact(paths, lock, before_ms=2**52)
    assert not paths.snapshot.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device is always full here")
def test_an_import_and_a_salvage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the original has room, and is not the one that is named."""
    original, made = tmp_path / "kanban.db", tmp_path / "copies"
    write_legacy(original, {"tasks": []})
    made.mkdir()
    opened = Path.open

    def opened_on_a_full_disk(path: Path, mode: str = "r", **how):
        return opened(Path("/dev/full"), "wb", buffering=0) if mode == "xb" else opened(path, mode, **how)

    monkeypatch.setattr(Path, "open", opened_on_a_full_disk)
    with pytest.raises(DiskFull, match=str(made)):
        salvage(original, made)
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    with pytest.raises(DiskFull, match=str(made)):
        import_board(original, BoardPaths(tmp_path / "here"))


def test_a_copy_of_a_board_that_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, copy = tmp_path / "kanban.db", tmp_path / "copy.db"
    write_legacy(original, {"tasks": []})
    connect = sqlite.open_raw

    def connected_on_a_full_disk(path: Path, mode: str) -> sqlite3.Connection:
        connection = connect(path, mode)
        if path == copy:
            connection.execute("PRAGMA max_page_count=1")
        return connection

    monkeypatch.setattr(sqlite, "open_raw", connected_on_a_full_disk)
    with pytest.raises(DiskFull, match=str(copy)):
        copies.copy_foreign(original, copy)
