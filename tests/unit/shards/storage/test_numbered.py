"""What is kept is the newest, also after a clock that was ahead; and a call never prunes what it has just made."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.backup.backup import limit_backups, make_backup
from kanban_shards.coordinator.backup.manifest import backups_in
from kanban_shards.coordinator.hermes import adopt
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files, numbered
from kanban_shards.storage.locks import FileLock

YEAR_NS = 365 * 24 * 3600 * 10**9


@pytest.fixture
def clock_is_ahead(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``clock_is_ahead(years)``: the clock shows so much more than it should."""
    real = time.time_ns
    return lambda years: monkeypatch.setattr(time, "time_ns", lambda: real() + years * YEAR_NS)


def test_the_newest_backup_stays(paths: BoardPaths, home: str, clock_is_ahead: Callable[[int], None]) -> None:
    with Gateway("amy", home=home) as amy:
        amy.create("a task")
        amy.sync()
    clock_is_ahead(5)
    former = [make_backup(paths, paths.backups) for _ in range(2)]
    clock_is_ahead(0)
    made = make_backup(paths, paths.backups)
    assert made.folder.name < former[0].folder.name
    assert [each.folder for each in backups_in(paths.backups)] == [each.folder for each in (*former, made)]
    assert limit_backups(paths, paths.backups, 1, None) == [each.folder for each in former]
    assert made.folder.exists()


def test_the_newest_file_set_aside_stays(paths: BoardPaths, clock_is_ahead: Callable[[int], None]) -> None:
    path = paths.folder / "kanban.amy.db"
    with closing(FileLock(paths.shard_lock("amy"))) as lock:
        lock.acquire(0)
        asides = []
        for years in (5, 5, 5, 4, 3, 2, 1, 0):
            clock_is_ahead(years)
            path.write_bytes(b"a shard")
            asides.append(files.set_aside(path, lock))
            assert asides[-1].exists()
    assert [each for each in asides if each.exists()] == asides[-files.ASIDE_KEPT :]


def test_names_without_a_number_are_older(paths: BoardPaths, clock_is_ahead: Callable[[int], None]) -> None:
    """Those of before there were numbers."""
    for day in range(1, 8):
        (paths.folder / f"kanban.amy.db.damaged-2031010{day}-000000-000000001").write_bytes(b"former")
    path = paths.folder / "kanban.amy.db"
    path.write_bytes(b"a shard")
    with closing(FileLock(paths.shard_lock("amy"))) as lock:
        lock.acquire(0)
        aside = files.set_aside(path, lock)
    kept = sorted(each.name for each in paths.folder.glob("*.damaged-*"))
    assert kept == [aside.name, *(f"kanban.amy.db.damaged-2031010{day}-000000-000000001" for day in (4, 5, 6, 7))]


def test_the_newest_folder_set_aside_is_found(paths: BoardPaths, clock_is_ahead: Callable[[int], None]) -> None:
    """What a killed ``restore-legacy`` began goes on in the folder that it made, not in one that was made before."""
    clock_is_ahead(5)
    former = adopt._new_folder_aside(paths)
    clock_is_ahead(0)
    assert adopt._new_folder_aside(paths) == adopt._filled_in_part(paths) != former


def test_the_order_of_names() -> None:
    names: list[str] = []
    for _ in range(12):
        names.append(numbered.next_name("a-", [*names, "a-20310101-000000-1", "b-000099-20310101-000000-1", "a-x"]))
    assert sorted(names, key=lambda name: numbered.order("a-", name)) == names == sorted(names)
    assert numbered.order("a-", "a-20310101-000000-1") < numbered.order("a-", names[0])


def test_a_file_beside_the_backups_is_none(paths: BoardPaths) -> None:
    paths.backups.mkdir(parents=True)
    Path(paths.backups, "notes").write_text("mine")
    assert backups_in(paths.backups) == []
