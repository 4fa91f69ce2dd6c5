"""A disk for temporary files that is full: one sentence about that disk, and no word against a file of the board."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from coordinator import lock as locks
from coordinator.compact import compact
from coordinator.passes import Coordinator
from coordinator.verify import rebuild, verify
from shards import Gateway, placing, sqlite
from shards.errors import DiskFull
from shards.locks import FileLock
from shards.names import BoardPaths


@pytest.fixture
def lock(home: str, paths: BoardPaths) -> Iterator[FileLock]:
    with Gateway("amy", home=home) as amy:
        for number in range(4):
            amy.comment(amy.create(f"task {number}"), "x" * 1_000)
        amy.sync()
    with Coordinator(paths, taken := locks.take(paths, locks.COMMAND, 1.0)) as coordinator:
        coordinator.make_passes()
    yield taken
    taken.close()


@pytest.fixture(params=["at once", "soon"])
def _full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, migrated = sqlite.open_scratch, sqlite._migrate

    def fills_up(connection: sqlite3.Connection, role: sqlite.Role) -> None:
        connection.execute("PRAGMA max_page_count=1")
        migrated(connection, role)

    def is_small(role: sqlite.Role) -> sqlite3.Connection:
        connection = opened(role)
        connection.execute("PRAGMA max_page_count=1")  # SQLite makes it the size that the file has
        return connection

    if request.param == "at once":
        monkeypatch.setattr(sqlite, "_migrate", fills_up)
    else:
        monkeypatch.setattr(sqlite, "open_scratch", is_small)


def test_a_board_that_is_made_again(lock: FileLock, paths: BoardPaths, _full: None) -> None:
    placing.discard(paths.board)
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
