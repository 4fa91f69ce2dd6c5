"""Strangers that lock a board's files: real processes, each with a lock of its own. Nobody waits for them, and they are
named."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.kinds import AddComment, Settings
from kanban_shards.coordinator.errors import FileHeld, LockHeld
from kanban_shards.coordinator.filelocks import LOCKS, locks_on
from kanban_shards.coordinator.health import strangers
from kanban_shards.coordinator.health.problems import problems
from kanban_shards.coordinator.health.read import read_health
from kanban_shards.coordinator.merge import collector as collect
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import BUSY, Collector
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.errors import Undecided
from kanban_shards.paths import BoardPaths

pytestmark = pytest.mark.skipif(not LOCKS.exists(), reason="this system does not list its locks")

# Each does one thing to the file that it is given, says so, and stays until its input ends.
_BEGIN = "import fcntl, os, signal, sqlite3, sys; path = sys.argv[1]; "
_STAY = "; print('done', flush=True); sys.stdin.read()"
EXCLUSIVE = "c = sqlite3.connect(path, isolation_level=None); c.execute('BEGIN EXCLUSIVE')"
RESERVED = "f = open(path, 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX, 512, 0x40000000)"
LEASE = "signal.signal(signal.SIGIO, signal.SIG_IGN); f = os.open(path, os.O_RDWR); fcntl.fcntl(f, 1024, fcntl.F_WRLCK)"
FLOCK = "f = open(path, 'rb'); fcntl.flock(f, fcntl.LOCK_EX)"
SHARED_FLOCK = "f = open(path, 'rb'); fcntl.flock(f, fcntl.LOCK_SH)"
WRITE_BYTE = "f = open(path, 'rb'); fcntl.lockf(f, fcntl.LOCK_SH, 1, 120)"
READ = (
    "c = sqlite3.connect('file:' + path + '?mode=ro', uri=True, isolation_level=None); c.execute('BEGIN'); "
    "c.execute('SELECT count(*) FROM sqlite_schema').fetchone()"
)
# No pass may take so long, however long a stranger stays: SQLite would wait for 5 s, a lease for 45.
AT_ONCE_S = 2.5

Stranger = Callable[[str, Path], subprocess.Popen]


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """``stranger(what, path)``: a process that has done ``what`` to the file, and stays."""
    started: list[subprocess.Popen] = []

    def start(what: str, path: Path) -> subprocess.Popen:
        argv = [sys.executable, "-c", _BEGIN + what + _STAY, path]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        if process.stdout.readline() != b"done\n":
            pytest.skip(f"this system or filesystem does not let it: {process.stderr.read()[-200:]}")
        return process

    yield start
    for process in started:
        process.communicate(timeout=10)


@pytest.fixture
def board(home: str, paths: BoardPaths) -> BoardPaths:
    """A board on which mallory and amy have written."""
    for profile in ("mallory", "amy"):
        with Gateway(profile, home=home) as gateway:
            gateway.create(f"{profile}'s")
            gateway.sync()
    return paths


def verdict_s(home: str) -> float:
    """How long amy waits for a verdict."""
    began = time.monotonic()
    with Gateway("amy", home=home, patience_s=20) as amy:
        amy.claim(amy.create("y"))
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("what", "suffix"),
    [(EXCLUSIVE, ""), (RESERVED, ""), (LEASE, ""), (LEASE, "-journal")],
    ids=["exclusive", "reserved", "lease", "lease on the journal"],
)
def test_a_shard_that_its_owner_has_locked(
    home: str, board: BoardPaths, stranger: Stranger, what: str, suffix: str
) -> None:
    """It is skipped and named; nobody waits for it, and it is read when the lock is gone."""
    with Gateway("mallory", home=home) as mallory:
        late = mallory._writer._append(mallory.create("z"), AddComment(text="late"), mallory._writer._view())
        mallory._writer._settling._settled_to = late.seq  # closing merges nothing
        mallory._writer._settling.close()
        mallory._writer._settling._written_to = 0
    by = stranger(what, board.folder / f"kanban.mallory.db{suffix}")
    assert verdict_s(home) < AT_ONCE_S
    began = time.monotonic()
    found = [each for each in problems(read_health(board)) if each.check == "shards"]
    assert time.monotonic() - began < AT_ONCE_S
    with closing(Collector(board)) as collector:
        (left,) = collector.collect(lambda profile: (0, "")).skipped
    assert (left.profile, left.state, left.stuck) == ("mallory", BUSY, True)
    assert f"process {by.pid} (" in left.why
    assert what == LEASE or f"process {by.pid} (" in found[0].sentence
    by.communicate()
    with Gateway("amy", home=home) as amy:
        amy.merge_now()
        assert amy.board.watermarks()["mallory"][0] == late.seq


@pytest.mark.parametrize("what", [FLOCK, SHARED_FLOCK], ids=["exclusive", "shared"])
def test_a_shard_whose_lock_is_kept(
    home: str, board: BoardPaths, stranger: Stranger, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "STUCK_MS", 0)
    by = stranger(what, board.shard_lock("mallory"))
    assert verdict_s(home) < AT_ONCE_S
    with closing(Collector(board)) as collector:
        (left,) = collector.collect(lambda profile: (0, "")).skipped
    assert f"process {by.pid} (" in left.why and str(board.shard_lock("mallory")) in left.why


@pytest.mark.parametrize("what", [FLOCK, SHARED_FLOCK], ids=["exclusive", "shared"])
def test_the_coordinators_lock_in_a_strangers_hand(
    home: str, board: BoardPaths, stranger: Stranger, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the stranger who is named, and not the daemon whose note still lies in the file."""
    with closing(locks.take(board, locks.DAEMON, 1)):
        pass
    by = stranger(what, board.coordinator_lock)
    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.1)
    with pytest.raises(LockHeld, match=f"is held by process {by.pid} "):
        locks.take(board, locks.DAEMON, 0.1)
    with Gateway("amy", home=home, patience_s=0.3) as amy, pytest.raises(Undecided, match=f"by process {by.pid} "):
        amy.claim(amy.create("y"))
    health = read_health(board)
    assert (health.coordinator.pid, health.coordinator.role) == (by.pid, locks.STRANGER)
    assert any(f"process {by.pid} (" in each.sentence for each in problems(health))
    by.communicate()
    assert locks.holder(board) is None


@pytest.mark.parametrize("file", ["kanban-ledger.db", "kanban.db"])
def test_a_byte_of_the_shared_memory(home: str, board: BoardPaths, stranger: Stranger, file: str) -> None:
    """Each pass gives up soon and says who it is; a gateway waits as long as its patience is, and no longer."""
    with closing(sqlite3.connect(f"file:{board.folder / file}?mode=ro", uri=True)) as reader:
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # keeps the -shm where it is
        by = stranger(WRITE_BYTE, board.folder / f"{file}-shm")
        began = time.monotonic()
        with (
            closing(locks.take(board, locks.COMMAND, 1)) as lock,
            pytest.raises(FileHeld, match=f"process {by.pid} "),
            Coordinator(board, lock) as coordinator,
        ):
            coordinator.write([("", Settings(failure_limit=3))])
        assert time.monotonic() - began < AT_ONCE_S
        began = time.monotonic()
        with Gateway("amy", home=home, patience_s=1) as amy, pytest.raises(Undecided, match=f"process {by.pid} "):
            amy.claim(amy.create("y"))
        assert 1 <= time.monotonic() - began < 2 * AT_ONCE_S
        found = [each for each in problems(read_health(board)) if each.check == "strangers"]
        assert f"{board.folder / file} is locked by process {by.pid} (" in found[0].sentence
        by.communicate()
    assert verdict_s(home) < AT_ONCE_S


def test_a_read_that_never_ends(
    home: str, board: BoardPaths, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WAL grows meanwhile; whoever looks is told, and by whom."""
    monkeypatch.setattr(strangers, "SWOLLEN_BYTES", 200_000)
    with closing(sqlite3.connect(f"file:{board.board}?mode=ro", uri=True)) as reader:
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        by = stranger(READ, board.board)
        assert problems(read_health(board)) == []
        with Gateway("amy", home=home) as amy:
            amy.create("large", body="x" * 300_000)
            amy.sync()
        (found,) = problems(read_health(board))
        assert f"a read of process {by.pid} (" in found.sentence and "kanban.db-wal has grown" in found.sentence
        by.communicate()


def test_locks_are_told_apart(tmp_path: Path) -> None:
    """As the system lists them: who waits for a lock has none, and this process is left out."""
    file, table = tmp_path / "file", tmp_path / "locks"
    file.touch()
    seen = os.stat(file)
    name = f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"
    table.write_text(
        f"1: FLOCK  ADVISORY  WRITE 7 {name} 0 EOF\n"
        f"1: -> FLOCK  ADVISORY  WRITE 8 {name} 0 EOF\n"
        f"2: POSIX  ADVISORY  READ 9 {name} 120 121\n"
        f"3: OFDLCK ADVISORY  READ -1 {name} 0 0\n"
        f"4: POSIX  ADVISORY  WRITE {os.getpid()} {name} 0 EOF\n"
        f"5: POSIX  ADVISORY  WRITE 10 {name}9 0 EOF\n"
        "nonsense\n"
    )
    found = locks_on(file, table)
    assert [(lock.kind, lock.writing, lock.pid) for lock in found] == [
        ("FLOCK", True, 7),
        ("POSIX", False, 9),
        ("OFDLCK", False, -1),
    ]
    assert found[1].overlaps((121, 130)) and not found[1].overlaps((122, 130))
    assert locks_on(tmp_path / "none", table) == locks_on(file, tmp_path / "none") == []
