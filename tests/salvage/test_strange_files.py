"""What is no board, what somebody still writes, and schemas that were made to do harm."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.errors import NotABoard
from kanban_shards.coordinator.hermes.salvage import Salvage, salvage
from kanban_shards.errors import AlreadyThere, StillWritten
from tests import forks
from tests.salvage.boards import PAGE_BYTES, make_board, rows_of
from tests.salvage.conftest import Original


def database(*statements: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        board = sqlite3.connect(path)
        for statement in statements:
            board.execute(statement)
        board.commit()
        board.close()

    return make


NO_BOARDS = {
    "empty": (lambda path: path.touch(), "it is empty"),
    "text": (lambda path: path.write_text("# my board\n" * 2_000), "it is a text"),
    "zeros": (lambda path: path.write_bytes(bytes(3 * PAGE_BYTES)), "it holds zeros"),
    "encrypted": (lambda path: path.write_bytes(random.Random(4).randbytes(40_000)), "it may be encrypted"),
    "pipe": (os.mkfifo, "not a regular file"),
    "folder": (Path.mkdir, "not a regular file"),
    "schema-less": (database("PRAGMA user_version=1", "VACUUM"), "without any table"),
    "another program's": (database("CREATE TABLE cookies (name)"), "it has no tasks"),
    "view": (database("CREATE TABLE rows (id)", "CREATE VIEW tasks AS SELECT * FROM rows"), "its tasks are a view"),
    "other tasks": (database("CREATE TABLE tasks (id TEXT, due INTEGER)"), "no status and no title"),
}


@pytest.mark.parametrize("name", NO_BOARDS)
def test_what_is_no_board(tmp_path: Path, name: str) -> None:
    make, problem = NO_BOARDS[name]
    make(tmp_path / "kanban.db")
    (tmp_path / "made").mkdir()
    with pytest.raises(NotABoard, match=problem):
        salvage(tmp_path / "kanban.db", tmp_path / "made")
    assert not any((tmp_path / "made").iterdir())


@pytest.mark.parametrize("file", ["kanban.db", "kanban-ledger.db", "kanban.amy.db"])
def test_files_of_this_program(home: str, tmp_path: Path, file: str) -> None:
    with Gateway("amy", home=home) as gateway:
        gateway.assign(gateway.create("a task"), "amy")
    (tmp_path / "made").mkdir()
    with pytest.raises(NotABoard, match="of this program"):
        salvage(tmp_path / file, tmp_path / "made")


def test_a_board_that_somebody_writes(original: Original, tmp_path: Path) -> None:
    """It is refused with the writer's pid, and left as it is."""
    board = tmp_path / "kanban.db"
    board.write_bytes(original.content)
    program = "import os, sys; os.open(sys.argv[1], os.O_RDWR); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", program, board], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(StillWritten, match=str(writer.pid)):
            salvage(board, tmp_path)
    finally:
        writer.communicate(timeout=10)
    assert board.read_bytes() == original.content


HARM = (
    "CREATE TRIGGER harm AFTER INSERT ON tasks BEGIN DELETE FROM task_events; END",
    "CREATE VIEW harm_view AS SELECT load_extension('x')",
    "CREATE VIRTUAL TABLE harm_text USING fts5(a)",
    "ALTER TABLE task_comments ADD COLUMN made TEXT GENERATED ALWAYS AS (body || hex(zeroblob(100))) VIRTUAL",
    "ALTER TABLE tasks ADD COLUMN later_column TEXT DEFAULT 'kept'",
    "CREATE TABLE stranger (id INTEGER PRIMARY KEY, task_id TEXT, run_id INTEGER, kind TEXT, payload TEXT, at INTEGER)",
    "INSERT INTO stranger VALUES (990001, 't_00000000', NULL, 'created', NULL, 1)",
    "UPDATE tasks SET later_column = 'set'",
)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_schema_that_would_do_harm(
    original: Original, tmp_path: Path, salvaged: Callable[[bytes], Salvage], damaged: bool
) -> None:
    """Rows alone are taken from it: no trigger, view or virtual table, and none of another table's rows."""
    path = tmp_path / "harm.db"
    path.write_bytes(original.content)
    database(*HARM)(path)
    content = path.read_bytes()
    if damaged:
        content = content[:28] + bytes(4) + (1).to_bytes(4) + content[36:]
    report = salvaged(content)
    assert report.stage == "tables"
    board = sqlite3.connect(report.copy)
    assert board.execute("SELECT DISTINCT type FROM sqlite_schema ORDER BY 1").fetchall() == [("index",), ("table",)]
    assert board.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'harm%' OR name = 'stranger'").fetchall() == []
    assert board.execute("SELECT DISTINCT later_column FROM tasks").fetchall() == [("set",)]
    board.close()
    saved = rows_of(report.copy)
    assert {key: row[:-1] for key, row in saved.pop("tasks").items()} == original.rows["tasks"]
    assert saved == {table: rows for table, rows in original.rows.items() if table != "tasks"}
    assert "trigger harm" in " ".join(report.notes) and "stranger" in " ".join(report.notes)


def test_a_statement_in_place_of_a_schema(original: Original, tmp_path: Path, salvaged) -> None:
    """The schema's text is never run: here it would attach, and so make, a file."""
    path = tmp_path / "harm.db"
    path.write_bytes(original.content)
    board = sqlite3.connect(path)
    board.execute("PRAGMA writable_schema=ON")
    made = tmp_path / "attached.db"
    board.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'tasks'", (f"ATTACH '{made}' AS harm",))
    board.commit()
    board.close()
    report = salvaged(path.read_bytes())
    assert not made.exists()
    assert rows_of(report.copy)["tasks"] == original.rows["tasks"]


def test_an_empty_board_is_suspicious(tmp_path: Path, salvaged: Callable[[bytes], Salvage]) -> None:
    """A schema without a row: a WAL that held the tasks may have been removed."""
    report = salvaged(make_board(tmp_path / "none.db", tasks=0).read_bytes())
    assert report.stage == "sound" and not report.complete
    assert "was a WAL removed" in report.warnings[0]


def test_the_command(original: Original, tmp_path: Path) -> None:
    """It makes a new file and never overwrites one, says what is lost, and ends with 6 if something is."""
    board, into = tmp_path / "kanban.db", tmp_path / "sound.db"
    lost = original.kinds["leaf"][-1]
    content = bytearray(original.content)
    content[(lost - 1) * PAGE_BYTES : lost * PAGE_BYTES] = bytes(PAGE_BYTES)
    board.write_bytes(content)
    ended = _command(board, "--into", into, "--json")
    assert ended.returncode == 6, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["rung"], told["copy"], told["complete"]) == ("tables", str(into), False)
    assert rows_of(into)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kanban.db", "sound.db"]
    again = _command(board, "--into", into)
    assert (again.returncode, len(again.stderr.splitlines())) == (AlreadyThere.exit_code, 1)
    for_people = _command(board, "--into", tmp_path / "second.db")
    assert "page by page into a new file" in for_people.stdout
    assert _command(tmp_path / "none.db", "--into", tmp_path / "third.db").returncode == 3
    assert _command(board, "--into", tmp_path / "no" / "folder.db").returncode == 3


def _command(*words: object) -> subprocess.CompletedProcess:
    return forks.python("-m", "kanban_shards.coordinator", "salvage", *words)
