"""The SQLite laws, in the one module that opens files."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards.errors import (
    BoardMissing,
    CannotOpen,
    Damaged,
    DiskFull,
    FileBusy,
    FileMissing,
    ForeignFile,
    KanbanError,
    LawBroken,
    LegacyBoard,
    NewerSchema,
    NotAFile,
    StorageError,
)
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.locks import FileLock

ROLES = [sqlite.SHARD, sqlite.LEDGER, sqlite.BOARD]


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> sqlite.Role:
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.db"


@pytest.fixture
def lock(path: Path):
    lock = FileLock(path.with_suffix(".lock"))
    lock.acquire(0)
    yield lock
    lock.close()


@pytest.fixture
def made(path: Path, role: sqlite.Role, lock: FileLock) -> Path:
    sqlite.open_writer(path, role, lock).close()
    return path


def test_law_2_no_writer_without_the_lock(path: Path, role: sqlite.Role) -> None:
    with pytest.raises(LawBroken, match="only under its lock"):
        sqlite.open_writer(path, role, FileLock(path.with_suffix(".lock")))
    assert not path.exists()


def test_law_3_journals(made: Path, role: sqlite.Role, lock: FileLock) -> None:
    """Shards: a rollback journal that stays, FULL. Ledger: WAL, FULL. The board alone may lose its newest commits."""
    expected = {"shard": ("persist", 2), "ledger": ("wal", 2), "board": ("wal", 1)}
    with closing(sqlite.open_writer(made, role, lock)) as connection:
        assert (_pragma(connection, "journal_mode"), _pragma(connection, "synchronous")) == expected[role.name]
        assert _pragma(connection, "mmap_size") in (None, 0)


def test_law_4_readers_cannot_write(made: Path, role: sqlite.Role) -> None:
    with closing(sqlite.open_reader(made, role)) as connection:
        assert _pragma(connection, "query_only") == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("CREATE TABLE x (y)")


def test_law_7_what_comes_from_elsewhere(made: Path, role: sqlite.Role) -> None:
    with closing(sqlite.open_reader(made, role)) as connection:
        assert _pragma(connection, "trusted_schema") == 0
        assert _pragma(connection, "cell_size_check") == 1
        with pytest.raises((sqlite3.DataError, sqlite3.OperationalError), match="too big"):
            connection.execute(f"SELECT zeroblob({sqlite.LONGEST_VALUE_BYTES + 1})").fetchone()


def test_a_missing_file(path: Path, role: sqlite.Role) -> None:
    with pytest.raises(BoardMissing if role is sqlite.BOARD else FileMissing):
        sqlite.open_reader(path, role)
    assert not path.exists()


def test_an_empty_file_is_one_that_is_not_made_yet(path: Path, role: sqlite.Role, lock: FileLock) -> None:
    path.touch()
    with pytest.raises(FileMissing):
        sqlite.open_reader(path, role)
    sqlite.open_writer(path, role, lock).close()
    sqlite.open_reader(path, role).close()


def test_a_newer_schema_is_left_alone(made: Path, role: sqlite.Role, lock: FileLock) -> None:
    """The file of a newer program is neither read nor changed."""
    _plainly(made, "PRAGMA user_version=99")
    with pytest.raises(NewerSchema, match=r"schema 99, this one knows \d"):
        sqlite.open_reader(made, role)
    with pytest.raises(NewerSchema):
        sqlite.open_writer(made, role, lock)


def test_anothers_file_is_left_alone(path: Path, role: sqlite.Role, lock: FileLock) -> None:
    _plainly(path, "CREATE TABLE notes (text)")
    for refused in (lambda: sqlite.open_reader(path, role), lambda: sqlite.open_writer(path, role, lock)):
        with pytest.raises(ForeignFile, match=f"not a {role.name} of this project"):
            refused()


def test_one_role_is_not_another(made: Path, role: sqlite.Role) -> None:
    for other in ROLES:
        if other is not role:
            with pytest.raises(ForeignFile):
                sqlite.open_reader(made, other)


def test_a_legacy_board_is_called_so(path: Path, lock: FileLock) -> None:
    _plainly(path, "CREATE TABLE tasks (id); CREATE TABLE task_events (id)")
    with pytest.raises(LegacyBoard, match="Hermes writes itself"):
        sqlite.open_writer(path, sqlite.BOARD, lock)


def test_what_is_no_database(path: Path, role: sqlite.Role, lock: FileLock) -> None:
    path.write_bytes(b"this is no database " * 500)
    with pytest.raises(Damaged, match="is damaged"):
        sqlite.open_reader(path, role)
    with pytest.raises(Damaged):
        sqlite.open_writer(path, role, lock)
    assert path.read_bytes().startswith(b"this is no database ")


def test_a_folder_in_the_files_place(path: Path, role: sqlite.Role, lock: FileLock) -> None:
    path.mkdir()
    with pytest.raises(NotAFile, match="so it was not opened"):
        sqlite.open_writer(path, role, lock)


def test_names_with_signs(tmp_path: Path, lock: FileLock) -> None:
    """Characters that mean something in a URI are part of a path like any other."""
    for name in ("a?mode=memory", "b#c", "d%20e", "ü ☂"):
        path = tmp_path / name / "file.db"
        path.parent.mkdir()
        sqlite.open_writer(path, sqlite.LEDGER, lock).close()
        assert path.stat().st_size


def test_a_transaction_is_whole_or_nothing(made: Path, role: sqlite.Role, lock: FileLock) -> None:
    with closing(sqlite.open_writer(made, role, lock)) as connection:
        with pytest.raises(ZeroDivisionError), connections.transaction(connection):
            connection.execute("CREATE TABLE x (y)")
            raise ZeroDivisionError
        assert not connection.in_transaction
        assert connection.execute("SELECT name FROM sqlite_schema WHERE name = 'x'").fetchall() == []


def test_a_kill_while_the_file_is_made_leaves_it_new(path: Path, role: sqlite.Role, lock: FileLock) -> None:
    """The schema is made in one transaction: a killed maker leaves an empty file, which the next one makes."""
    script = (
        "import os, sys; from pathlib import Path; from kanban_shards import migrations; "
        "from kanban_shards.storage import sqlite; from kanban_shards.storage.locks import FileLock; "
        "lock = FileLock(Path(sys.argv[2])); lock.acquire(0); "
        "true = migrations.migrate; migrations.migrate = lambda *given: (true(*given), os._exit(9)); "
        "sqlite.open_writer(Path(sys.argv[1]), getattr(sqlite, sys.argv[3].upper()), lock)"
    )
    ended = subprocess.run([sys.executable, "-c", script, path, path.with_name("other.lock"), role.name])
    assert ended.returncode == 9
    sqlite.open_writer(path, role, lock).close()
    sqlite.open_reader(path, role).close()


def test_a_kill_while_the_journal_is_chosen_leaves_it_new(path: Path, role: sqlite.Role, lock: FileLock) -> None:
    """Found by tests/powercut: the first page of a new file is written under a rollback journal; a kill leaves it."""
    _plainly(path, "PRAGMA user_version=0; CREATE TABLE x (y); DROP TABLE x")
    header = struct.pack(">8sIIIII", bytes.fromhex("d9d505f920a163d7"), 0, 1, 0, 512, 4096)
    path.with_name(path.name + "-journal").write_bytes(header.ljust(512, b"\0"))
    if role is not sqlite.SHARD:  # a shard's journal is rolled back by whoever reads it
        with pytest.raises(FileMissing):
            sqlite.open_reader(path, role)
    sqlite.open_writer(path, role, lock).close()
    sqlite.open_reader(path, role).close()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_FULL, DiskFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, DiskFull),
        (sqlite3.SQLITE_CORRUPT, Damaged),
        (sqlite3.SQLITE_CORRUPT_INDEX, Damaged),
        (sqlite3.SQLITE_NOTADB, Damaged),
        (sqlite3.SQLITE_CANTOPEN, CannotOpen),
        (sqlite3.SQLITE_READONLY_DIRECTORY, CannotOpen),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, FileBusy),
        (sqlite3.SQLITE_IOERR_READ, StorageError),
        (None, StorageError),
    ],
)
def test_each_trouble_has_its_sentence(path: Path, code: int | None, error: type[KanbanError]) -> None:
    trouble = sqlite3.OperationalError("what SQLite says")
    if code is not None:
        trouble.sqlite_errorcode = code
    explained = connections.explanation(path, trouble)
    assert type(explained) is error
    assert str(path) in str(explained)
    assert explained.exit_code == 3


def _pragma(connection: sqlite3.Connection, name: str):
    row = connection.execute(f"PRAGMA {name}").fetchone()
    return row and row[0]


def _plainly(path: Path, script: str) -> None:
    """As somebody else's program does it, in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])",
         path, script],
        check=True,
    )  # fmt: skip


class _Meddling:
    """A connection beside which another process makes the file, as soon as its mark was read."""

    def __init__(self, connection: sqlite3.Connection, make) -> None:
        self._connection = connection
        self._make = make

    def __getattr__(self, name: str):
        return getattr(self._connection, name)

    def execute(self, sql: str):
        answer = self._connection.execute(sql).fetchall()
        if "application_id" in sql:
            self._make()
        return iter(answer) if "sqlite_schema" in sql else _Fetched(answer)


class _Fetched(list):
    def fetchone(self):
        return self[0]


def test_a_file_that_is_being_made_is_no_strangers(tmp_path: Path) -> None:
    """Whoever opens a board at the moment at which another process makes it sees it empty, or whole."""
    path = tmp_path / "kanban.db"
    empty = sqlite3.connect(path)
    empty.execute("PRAGMA journal_mode=WAL")
    empty.close()

    def make() -> None:
        lock = FileLock(tmp_path / "kanban-coordinator.lock")
        lock.acquire(1)
        sqlite.open_writer(path, sqlite.BOARD, lock).close()
        lock.close()

    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    assert sqlite._check_identity(_Meddling(reader, make), path, sqlite.BOARD) == 0
    assert sqlite._check_identity(reader, path, sqlite.BOARD) == sqlite.BOARD.schema
    reader.close()
