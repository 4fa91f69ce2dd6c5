"""A hard link gives a file of a board the name of another one: no lock is lost by it, and only that name is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import QUARANTINED
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.errors import SecondName, StrangeJournal
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import journals, sqlite
from kanban_shards.storage.folders import read_small
from kanban_shards.storage.locks import FileLock, is_taken

# Whether another process may take for itself what a connection that reads holds a lock on.
_TRY = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, int(sys.argv[3]), int(sys.argv[2]))
except OSError:
    sys.exit(7)
"""
# Where SQLite locks: the bytes of readers in a database, and all that it locks in shared memory.
_READERS, _SHARED_MEMORY = (0x40000002, 510), (120, 9)


def is_locked(path: Path) -> bool:
    """Whether a process has a lock of SQLite's on the file, asked from another process."""
    start, length = _SHARED_MEMORY if path.name.endswith("-shm") else _READERS
    given = [sys.executable, "-c", _TRY, str(path), str(start), str(length)]
    return subprocess.run(given, timeout=30, check=False).returncode == 7


@pytest.fixture
def written(paths: BoardPaths, home: str) -> BoardPaths:
    """A board with a task of amy's and one of mallory's, merged."""
    for profile in ("amy", "mallory"):
        with Gateway(profile, home=home) as gateway:
            gateway.create(f"of {profile}")
            gateway.settle()
    return paths


@pytest.fixture
def coordinator(written: BoardPaths) -> Iterator[Coordinator]:
    """One that keeps board and ledger open."""
    with locks.holding(written, locks.COMMAND) as lock, Coordinator(written, lock) as working:
        yield working


PLANTED = ["kanban.mallory.db", "kanban.mallory.db-journal", "kanban.mallory.db-wal", "kanban.mallory.lock"]


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("victim", ["kanban.db", "kanban-ledger.db", "kanban.db-shm", "kanban.amy.db"])
def test_no_lock_is_lost_by_a_second_name(coordinator: Coordinator, home: str, victim: str, planted: str) -> None:
    """The name that was planted is refused, in one sentence that says which it is; the others go on."""
    folder = coordinator.paths.folder
    with closing(sqlite.open_raw(folder / "kanban.amy.db", "ro")) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM changes").fetchone()
        assert is_locked(folder / victim)
        (folder / planted).unlink(missing_ok=True)
        os.link(folder / victim, folder / planted)
        report = coordinator.make_pass()
        assert is_locked(folder / victim)
    [skipped] = report.skipped
    assert (skipped.profile, skipped.state) == ("mallory", QUARANTINED)
    assert f"{planted} is a second name of {victim}" in skipped.why
    with Gateway("amy", home=home) as amy:
        amy.create("behind")
    [decision] = coordinator.make_pass().decisions
    assert decision.entry.change.profile == "amy"
    (folder / planted).unlink()
    assert (folder / victim).exists()


def test_whose_a_shard_of_two_names_is_says_the_shard(written: BoardPaths, home: str) -> None:
    """Whichever of them was there first, and whoever opens it."""
    written.shard("mallory").unlink()
    os.link(written.shard("amy"), written.shard("mallory"))
    before = written.shard("amy").read_bytes()
    with Gateway("mallory", home=home) as mallory, pytest.raises(SecondName, match=r"mallory.db is a second name of"):
        mallory.create("as amy")
    assert written.shard("amy").read_bytes() == before
    with Gateway("amy", home=home) as amy:
        amy.create("behind")
        amy.sync()


def test_no_journal_of_another_name_is_rolled_back(written: BoardPaths, home: str) -> None:
    """A hot journal beside the second name is one of whoever put it there: what is in it is not in this shard."""
    amy, mallory = written.shard("amy"), written.shard("mallory")
    mallory.unlink()
    os.link(amy, mallory)
    with closing(sqlite3.connect(written.folder / "other.db")) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("PRAGMA cache_size=1")
        other.execute("BEGIN")
        other.execute("INSERT INTO t SELECT zeroblob(3000) FROM (SELECT 1 UNION SELECT 2), (SELECT 3 UNION SELECT 4)")
        other.execute("UPDATE t SET x = zeroblob(2000)")
        shutil.copy(written.folder / "other.db-journal", f"{mallory}-journal")
    before = amy.read_bytes()
    report = merge_once(written)
    assert [skipped.profile for skipped in report.skipped] == ["mallory"]
    with closing(FileLock(written.shard_lock("mallory"))) as lock:
        lock.acquire(1)
        with pytest.raises(SecondName):
            sqlite.roll_back_hot_journal(mallory, sqlite.SHARD, lock)
    assert amy.read_bytes() == before


def test_copies_made_of_links_are_no_fault(written: BoardPaths, home: str, tmp_path_factory) -> None:
    """`cp -al` gives each file of a home a second name in another folder, as programs that make backups do."""
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(written.folder, copy, copy_function=os.link, ignore=shutil.ignore_patterns("*.sock"))
    with Gateway("amy", home=home) as amy:
        task = amy.create("behind")
        amy.sync()
        amy.comment(task, "more")
    assert merge_once(written).skipped == []
    assert os.lstat(f"{written.shard('amy')}-journal").st_nlink == 1, "nothing is written into that of the copy"
    with Board(written) as board:
        assert len(board.tasks()) == 3


def test_a_journal_that_two_shards_have_is_left_by_both(written: BoardPaths, home: str) -> None:
    """It says nothing while nobody writes, so who writes next makes one of its own."""
    own, others = (Path(f"{written.shard(profile)}-journal") for profile in ("amy", "mallory"))
    others.unlink()
    os.link(own, others)
    with Gateway("amy", home=home) as amy:
        amy.create("behind")
        amy.sync()
    assert not os.path.samefile(own, others)


def test_a_journal_with_something_in_it_has_one_name(written: BoardPaths) -> None:
    shard = written.shard("amy")
    journal = Path(f"{shard}-journal")
    journal.write_bytes(b"said by somebody" * 64)
    os.link(journal, f"{written.shard('mallory')}-journal.kept")
    journals.check(shard, of_one_user=True)  # a copy of links, in a folder that is nobody else's
    written.folder.chmod(0o770)
    with pytest.raises(StrangeJournal, match="a second name of another file"):
        journals.check(shard, of_one_user=True)


def test_a_lock_elsewhere_is_no_database(written: BoardPaths, tmp_path: Path) -> None:
    """It would be opened, closed, and written over with a note."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lock = elsewhere / "kanban-coordinator.lock"
    os.link(written.board, lock)
    with pytest.raises(SecondName):
        FileLock(lock).try_acquire()
    with pytest.raises(SecondName):
        is_taken(lock)
    assert FileLock(lock).read_note() == ""


@pytest.mark.parametrize("place", ["shared.json", "kanban/boards/x/board.json"])
def test_what_says_something_is_no_database(written: BoardPaths, place: str) -> None:
    """Small files are read whole, and closed."""
    path = written.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    with Board(written) as board:
        board.tasks()
        os.link(written.board, path)
        with pytest.raises(SecondName):
            read_small(written.folder, path)
        assert is_locked(written.board)
