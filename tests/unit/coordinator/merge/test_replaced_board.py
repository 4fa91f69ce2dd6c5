"""A board or a ledger that another program put in place of ours, as a restore of Hermes does, beside the WAL of the one
before.

SQLite would put that WAL's pages into it. The next coordinator sets aside a board with its WAL, and makes it of its
ledger; of a ledger, it sets aside the WAL.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import Settings
from kanban_shards.coordinator.errors import FileReplaced
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator import FOREIGN_LOCK_MS, Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holder, holding
from kanban_shards.coordinator.merge.left_files import BOARD, LEDGER, LONG_WAL_BYTES, left, note_left
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import Damaged
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock

# Reads the board, and keeps it open: whoever closes it last would take the WAL away.
READER = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
connection.execute("SELECT count(*) FROM tasks").fetchall()
print(1, flush=True)
input()
"""
# A copy as Hermes makes one, in a process of its own (law 1).
COPY = """
import sqlite3, sys
source, target = (sqlite3.connect(path) for path in sys.argv[1:])
source.backup(target)
"""


@pytest.fixture
def written(paths: BoardPaths) -> Iterator[list[str]]:
    """The titles on a board whose WAL stays, because somebody reads it; an older copy of it is ``copy.db``."""
    titles = [f"{number} {'x' * 4000}" for number in range(220)]
    with Gateway("amy", home=paths.folder) as gateway:
        gateway.create(titles[0])
        gateway.sync()
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, paths.board], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert reader.stdout is not None and reader.stdout.readline() == b"1\n"
        subprocess.run([sys.executable, "-c", COPY, paths.board, copy_of(paths)], check=True)
        for number, title in enumerate(titles[1:], 1):
            gateway.create(title, body="b" * 20_000)
            if number % 10 == 0:
                gateway.sync()
    reader.kill()
    reader.communicate()
    assert not files.is_empty(files.beside(paths.board, "-wal"))
    yield titles


def copy_of(paths: BoardPaths) -> Path:
    return paths.folder / "copy.db"


def make_pass(paths: BoardPaths) -> None:
    with holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.make_passes()


def aside(paths: BoardPaths) -> list[str]:
    return [path.name for path in paths.folder.glob("kanban.db.damaged-*")]


def check(paths: BoardPaths, titles: list[str]) -> None:
    with Board(paths) as board:
        assert sorted(task.title for task in board.tasks()) == sorted(titles)
    assert verify(paths).clean


@pytest.mark.parametrize("way", ["renamed", "in place"])
def test_an_older_board_catches_up(paths: BoardPaths, written: list[str], way: str) -> None:
    put_back(copy_of(paths), paths.board, way)
    make_pass(paths)
    check(paths, written)
    assert len(aside(paths)) == 3, "the file with its WAL and its memory"
    make_pass(paths)
    assert len(aside(paths)) == 3


def test_without_the_coordinators_note_sqlite_mixes_them(paths: BoardPaths, written: list[str]) -> None:
    """What this is for: the restored copy is sound, and with the WAL of another file it is not."""
    copy_of(paths).replace(paths.board)
    files.beside(paths.board, "-shm").unlink()
    with closing(sqlite3.connect(paths.board)) as connection:
        try:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.DatabaseError as error:
            answer = str(error)
    assert answer != "ok"


def test_ledger_and_board_that_are_older_catch_up_from_shards(paths: BoardPaths, written: list[str]) -> None:
    """``hermes import`` over a home: what it does not have stays, and so do the shards' newer changes."""
    with closing(sqlite3.connect(paths.ledger)) as connection, connection:
        connection.execute("DELETE FROM entries WHERE position > 1")
    with open(copy_of(paths), "rb") as source, open(paths.board, "wb") as target:
        shutil.copyfileobj(source, target)
    make_pass(paths)
    check(paths, written)


def test_a_board_as_it_was_left_is_opened_as_it_is(paths: BoardPaths, written: list[str], tmp_path: Path) -> None:
    before = files.identity(paths.board)
    for _ in range(3):
        make_pass(paths)
    assert (files.identity(paths.board), aside(paths)) == (before, [])
    shutil.copytree(paths.folder, tmp_path / "copied")
    copied = BoardPaths.find(home=tmp_path / "copied")
    make_pass(copied)
    assert aside(copied) == []
    check(copied, written)


def test_a_coordinator_that_was_killed_left_the_same_file(paths: BoardPaths, written: list[str]) -> None:
    code = (
        "import os, sys; from pathlib import Path; from kanban_shards.paths import BoardPaths\n"
        "from kanban_shards.coordinator.merge.coordinator import Coordinator\n"
        "from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take\n"
        "from kanban_shards.changes.kinds import Settings\n"
        "paths = BoardPaths(Path(sys.argv[1])); lock = take(paths, COMMAND, 1)\n"
        "Coordinator(paths, lock).write([('', Settings(failure_limit=3))]); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, paths.folder]).returncode == 9
    lock = FileLock(paths.coordinator_lock)
    assert [left(lock, name) for name in (BOARD, LEDGER)] == [files.stamp(paths.board), files.stamp(paths.ledger)]
    make_pass(paths)
    assert aside(paths) == []
    check(paths, written)


def test_a_note_tells_both_holder_and_board(paths: BoardPaths) -> None:
    paths.make_folder()
    with holding(paths, COMMAND) as lock:
        found = holder(paths)
        note_left(lock, {BOARD: (1, 2, 3), LEDGER: (4, None, None)})
        assert (left(lock, BOARD), left(lock, LEDGER)) == ((1, 2, 3), (4, None, None))
        assert found is None or found == holder(paths)
    with holding(paths, COMMAND) as lock:
        assert left(lock, BOARD) == (1, 2, 3)


@pytest.mark.parametrize(
    "said", [None, [], [1], "x", {}, [None, 2, 3], ["1", 2, 3], [1, 2, 3, 4], [True, None, None, 1], [[1], 2, 3]]
)
def test_a_note_that_somebody_else_wrote(paths: BoardPaths, written: list[str], said: object) -> None:
    note = json.loads(paths.coordinator_lock.read_text())
    paths.coordinator_lock.write_text(json.dumps({**note, "board": said}))
    make_pass(paths)
    assert aside(paths) == []
    check(paths, written)


@pytest.mark.parametrize("note", ["", "[", "[]", "3", '{"pid": 1}', "x" * 5000])
def test_a_note_that_is_none(paths: BoardPaths, written: list[str], note: str) -> None:
    paths.coordinator_lock.write_text(note)
    make_pass(paths)
    assert aside(paths) == []


# Makes passes as a daemon does, and is killed meanwhile.
KILLED = """
import os, sys
from pathlib import Path
from kanban_shards import Gateway
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.paths import BoardPaths
paths = BoardPaths(Path(sys.argv[1]))
lock = take(paths, COMMAND, 1)
gateway = Gateway("amy", home=paths.folder)
for first in (0, 20):
    coordinator = Coordinator(paths, lock)
    for number in range(first, first + 20):
        gateway.create(f"since {number}", body="b" * 3_000)
        coordinator.make_passes()
    if not first:
        coordinator.close()  # with a checkpoint, so that the WAL has not all that is new
os._exit(9)
"""


@pytest.fixture
def killed(paths: BoardPaths) -> list[str]:
    """The titles on a board whose coordinator was killed while its ledger had a WAL; ``copy.db`` and ``ledger.db`` are
    older copies of board and ledger."""
    with Gateway("amy", home=paths.folder) as gateway:
        for number in range(20):
            gateway.create(f"before {number}", body="b" * 3_000)
    for file, copy in ((paths.board, copy_of(paths)), (paths.ledger, paths.folder / "ledger.db")):
        subprocess.run([sys.executable, "-c", COPY, file, copy], check=True)
        # Closing what it copies is a checkpoint: on a fast machine in the tick of the clock in which the copy is made.
        os.utime(copy, ns=(0, copy.stat().st_mtime_ns - 10**9))
    assert subprocess.run([sys.executable, "-c", KILLED, paths.folder]).returncode == 9
    return [*(f"before {number}" for number in range(20)), *(f"since {number}" for number in range(40))]


@pytest.mark.parametrize("way", ["renamed", "in place"])
@pytest.mark.parametrize("with_board", [True, False])
def test_an_older_ledger_is_not_read_through_the_wal_of_a_newer_one(
    paths: BoardPaths, killed: list[str], way: str, with_board: bool
) -> None:
    put_back(paths.folder / "ledger.db", paths.ledger, way)
    if with_board:
        put_back(copy_of(paths), paths.board, way)
    else:
        files.discard(paths.board)
    with closing(FileLedger(paths.ledger)) as mixed, pytest.raises(Damaged):
        mixed.check_whole()
    make_pass(paths)
    check(paths, killed)
    assert [path.suffix for path in paths.folder.glob("kanban-ledger.db.damaged-*-wal")], "it is kept"


def test_a_ledger_that_is_whole_with_its_wal_keeps_it(paths: BoardPaths, killed: list[str]) -> None:
    """Whatever its time says, as that of a copied home: it holds what nothing else does."""
    os.utime(paths.ledger, (1, 1))
    with closing(FileLedger(paths.ledger)) as ledger:
        head = ledger.head()
    make_pass(paths)
    with closing(FileLedger(paths.ledger)) as ledger:
        assert ledger.digest_at(head.position) == head.digest
    check(paths, killed)
    assert not list(paths.folder.glob("kanban-ledger.db.damaged-*"))


def test_a_board_that_is_replaced_under_a_coordinator(paths: BoardPaths, written: list[str]) -> None:
    """It leaves no note that the one there now is as it left it."""
    with holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.make_passes()
        coordinator.write([("", Settings(failure_limit=3))])
        reader = sqlite3.connect(f"file:{paths.board}?mode=ro", uri=True)  # keeps the WAL there
        reader.execute("SELECT count(*) FROM tasks").fetchone()
        copy_of(paths).replace(paths.board)
        with pytest.raises(FileReplaced):
            coordinator.make_pass()
    make_pass(paths)
    reader.close()
    check(paths, written)


# Makes the WAL longer than SQLite itself lets one become, as many coordinators do that each write little.
LONG_WAL = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as board:
    board.execute("PRAGMA wal_autocheckpoint=0")
    board.execute("CREATE TABLE much (some BLOB)")
    board.executemany("INSERT INTO much VALUES (zeroblob(?))", [(1024**2,)] * 18)
    board.execute("DROP TABLE much")
print(1, flush=True)
input()
"""
# Commits to board and ledger, and is killed before it can do anything else.
KILLED_AT_COMMIT = """
import os, sys
from pathlib import Path
from kanban_shards.changes.kinds import Settings
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.coordinator.merge.left_files import LeftFiles
from kanban_shards.paths import BoardPaths
paths = BoardPaths(Path(sys.argv[1]))
coordinator = Coordinator(paths, take(paths, COMMAND, 1))
LeftFiles.wrote = lambda *said: os._exit(9)
coordinator.write([("", Settings(failure_limit=3))])
"""


@pytest.fixture
def long_wal(paths: BoardPaths) -> Iterator[Path]:
    """The WAL of a board with one task, ``before``, that somebody has open and does not read; it is long."""
    with Gateway("amy", home=paths.folder) as gateway:
        gateway.create("before")
    with subprocess.Popen(
        [sys.executable, "-c", LONG_WAL, paths.board], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        wal = files.beside(paths.board, "-wal")
        assert wal.stat().st_size > LONG_WAL_BYTES
        yield wal
        other.kill()


def test_a_coordinator_that_was_killed_at_a_commit_left_the_same_file(paths: BoardPaths, long_wal: Path) -> None:
    """However long the WAL is: no commit brings it into the file behind the back of the note."""
    before = files.stamp(paths.board)
    assert subprocess.run([sys.executable, "-c", KILLED_AT_COMMIT, paths.folder]).returncode == 9
    assert files.stamp(paths.board) == before
    make_pass(paths)
    assert aside(paths) == []
    check(paths, ["before"])


def test_a_long_wal_is_brought_into_its_file_with_the_next_change(paths: BoardPaths, long_wal: Path) -> None:
    with holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.write([("", Settings(failure_limit=3))])
        assert files.is_empty(long_wal)
        assert left(lock, BOARD) == files.stamp(paths.board)


def test_a_long_wal_that_is_read_is_waited_for_by_nobody(paths: BoardPaths, long_wal: Path) -> None:
    """And asked about again when it has become longer, or by the next coordinator."""
    with Board(paths) as board, holding(paths, COMMAND) as lock:
        with Coordinator(paths, lock) as coordinator, board.reading() as reading:
            reading.execute("SELECT count(*) FROM tasks").fetchone()
            began_s = time.monotonic()
            coordinator.write([("", Settings(failure_limit=3))])
            assert time.monotonic() - began_s < FOREIGN_LOCK_MS / 1000
            assert not files.is_empty(long_wal)
            assert left(lock, BOARD) == files.stamp(paths.board)
        with Coordinator(paths, lock) as coordinator:
            coordinator.write([("", Settings(failure_limit=4))])
            assert files.is_empty(long_wal)


def put_back(copy: Path, path: Path, way: str) -> None:
    if way == "renamed":
        copy.replace(path)
    else:
        with open(copy, "rb") as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
