"""A WAL or a journal beside the board: whole, cut anywhere, damaged, of another board, or alone."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import NotABoard
from kanban_shards.coordinator.hermes.salvage import Salvage, salvage
from tests.salvage.boards import PAGE_BYTES, delete_task, make_board, rows_of
from tests.salvage.conftest import Original

FRAME_BYTES = 24 + PAGE_BYTES
# Killed after so many commits of one task each, which are in the WAL alone, or within one in a rollback journal.
KILLED = """
import os, sqlite3, sys
board = sqlite3.connect(sys.argv[1], isolation_level=None)
board.execute("PRAGMA journal_mode=" + sys.argv[2])
board.execute("PRAGMA wal_autocheckpoint=0")
board.execute("PRAGMA cache_size=5")
for number in range(int(sys.argv[3])):
    task = f"t_ff{number:06x}"
    board.execute("INSERT INTO tasks (id, title, status, created_at) VALUES (?, 'later', 'ready', 1)", (task,))
if sys.argv[2] == "delete":
    board.execute("BEGIN")
    board.execute("UPDATE tasks SET title = 'half done', body = hex(randomblob(900))")
    board.execute("UPDATE task_events SET payload = hex(randomblob(300))")
os._exit(9)
"""


def killed(path: Path, journal: str, commits: int) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, path, journal, str(commits)])
    assert ended.returncode == 9


@pytest.fixture
def in_wal(tmp_path: Path, original: Original) -> tuple[bytes, bytes]:
    """A board and its WAL, with 12 commits of a task each in the WAL alone."""
    path = tmp_path / "killed.db"
    path.write_bytes(original.content)
    killed(path, "wal", 12)
    pair = path.read_bytes(), path.with_name("killed.db-wal").read_bytes()
    for name in ("killed.db", "killed.db-wal", "killed.db-shm"):
        (tmp_path / name).unlink()
    return pair


def later(report: Salvage) -> set[str]:
    return {key[0] for key in rows_of(report.copy)["tasks"] if key[0].startswith("t_ff")}


def ids(count: int) -> set[str]:
    return {f"t_ff{number:06x}" for number in range(count)}


def test_a_wal_is_brought_in(in_wal: tuple[bytes, bytes], original: Original, salvaged: Callable[..., Salvage]) -> None:
    report = salvaged(in_wal[0], wal=in_wal[1])
    assert (report.stage, report.complete) == ("sound", True)
    assert later(report) == ids(12)
    assert rows_of(report.copy)["task_events"] == original.rows["task_events"]
    (note,) = report.notes
    assert note.startswith("the WAL beside it holds 12 commits, which came in")


def test_a_wal_that_was_begun_anew_is_whole(
    original: Original, tmp_path: Path, salvaged: Callable[..., Salvage]
) -> None:
    """What it held before lies behind its end in every WAL, and is no damage."""
    path, wal = tmp_path / "anew.db", tmp_path / "anew.db-wal"
    path.write_bytes(original.content)
    board = sqlite3.connect(path, isolation_level=None)
    board.execute("PRAGMA journal_mode=WAL")
    for number in range(5):
        board.execute("UPDATE tasks SET title = ?", (f"changed {number}",))
    board.execute("PRAGMA wal_checkpoint")
    board.execute("UPDATE tasks SET title = 'at last' WHERE id = 't_00000000'")
    pair = path.read_bytes(), wal.read_bytes()
    board.close()
    report = salvaged(pair[0], wal=pair[1])
    assert (report.stage, report.complete) == ("sound", True)
    assert rows_of(report.copy)["tasks"][("t_00000000",)][1] == "at last"


@pytest.mark.parametrize("seed", range(4))
def test_a_wal_that_is_cut_keeps_its_first_commits(
    in_wal: tuple[bytes, bytes], original: Original, salvaged: Callable[..., Salvage], seed: int
) -> None:
    """Anywhere, as SQLite itself would take it: no commit is taken in part, and the earlier ones are all there."""
    length = random.Random(seed).randrange(1, len(in_wal[1]))
    report = salvaged(in_wal[0], wal=in_wal[1][:length])
    found = later(report)
    assert found == ids(len(found)) and len(found) < 12
    assert {key: row for key, row in rows_of(report.copy)["tasks"].items() if key[0] not in found} == original.rows[
        "tasks"
    ]


def test_a_wal_with_a_damaged_frame_ends_before_it(
    in_wal: tuple[bytes, bytes], salvaged: Callable[..., Salvage]
) -> None:
    frames = (len(in_wal[1]) - 32) // FRAME_BYTES
    wal = bytearray(in_wal[1])
    wal[32 + (frames // 2) * FRAME_BYTES + 500] ^= 1
    report = salvaged(in_wal[0], wal=bytes(wal))
    assert 0 < len(later(report)) < 12
    assert report.warnings and "the WAL is damaged" in report.warnings[0]


def test_a_wal_without_its_database(in_wal: tuple[bytes, bytes], original: Original, tmp_path: Path) -> None:
    """SQLite removes such a WAL. It holds some pages only, and each row on them is saved."""
    (tmp_path / "kanban.db-wal").write_bytes(in_wal[1])
    (tmp_path / "made").mkdir()
    report = salvage(tmp_path / "kanban.db", tmp_path / "made")
    assert report.stage in ("tables", "indexes")
    assert later(report) == ids(12)
    tasks = rows_of(report.copy)["tasks"]
    assert all(original.rows["tasks"][key] == row for key, row in tasks.items() if key[0] not in ids(12))
    assert (tmp_path / "kanban.db-wal").read_bytes() == in_wal[1]
    assert not (tmp_path / "kanban.db").exists()


def test_a_wal_beside_a_zeroed_first_page(
    in_wal: tuple[bytes, bytes], original: Original, salvaged: Callable[..., Salvage]
) -> None:
    report = salvaged(bytes(PAGE_BYTES) + in_wal[0][PAGE_BYTES:], wal=in_wal[1])
    assert later(report) == ids(12)
    assert len(rows_of(report.copy)["tasks"]) == len(original.rows["tasks"]) + 12


def test_a_wal_of_another_board_is_left_out(
    original: Original, tmp_path: Path, salvaged: Callable[..., Salvage]
) -> None:
    """Its checksums hold, so SQLite would take it, and damage the board."""
    other = make_board(tmp_path / "other.db", tasks=200, seed=9)
    killed(other, "wal", 12)
    report = salvaged(original.content, wal=other.with_name("other.db-wal").read_bytes())
    assert report.stage == "sidecar"
    assert rows_of(report.copy) == original.rows
    assert "left out" in report.notes[-1]


def test_a_wal_of_an_older_time_is_noticed(
    original: Original, tmp_path: Path, salvaged: Callable[..., Salvage]
) -> None:
    """A WAL that fits, and takes tasks away."""
    path = tmp_path / "older.db"
    path.write_bytes(original.content)
    board = sqlite3.connect(path, isolation_level=None)
    board.execute("PRAGMA journal_mode=WAL")
    board.execute("DELETE FROM tasks WHERE id = 't_00000000'")
    wal = path.with_name("older.db-wal").read_bytes()
    board.close()
    report = salvaged(original.content, wal=wal)
    assert report.stage == "sound"
    assert any("takes away 1 task" in warning for warning in report.warnings)


@pytest.mark.parametrize("wal", [b"no WAL at all", b"x" * 5000])
def test_what_is_no_wal(original: Original, salvaged: Callable[..., Salvage], wal: bytes) -> None:
    report = salvaged(original.content, wal=wal)
    assert (report.stage, rows_of(report.copy)) == ("sound", original.rows)
    assert "could not be used" in report.notes[0]


def test_a_journal_that_was_left_hot(original: Original, tmp_path: Path, salvaged: Callable[..., Salvage]) -> None:
    """The half of a transaction that reached the file is undone, in the copy alone."""
    path = tmp_path / "killed.db"
    path.write_bytes(original.content)
    killed(path, "delete", 0)
    content, journal = path.read_bytes(), path.with_name("killed.db-journal").read_bytes()
    assert content != original.content
    report = salvaged(content, journal=journal)
    assert (report.stage, rows_of(report.copy)) == ("sound", original.rows)


def test_an_empty_file_with_an_empty_wal(salvaged: Callable[..., Salvage]) -> None:
    with pytest.raises(NotABoard, match="it is empty"):
        salvaged(b"", wal=b"")


def test_nothing_stays_open(original: Original, salvaged: Callable[..., Salvage]) -> None:
    """A descriptor that stayed would drop locks when it is closed later."""
    before = set(os.listdir("/dev/fd"))
    salvaged(original.content[: 20 * PAGE_BYTES])
    assert len(set(os.listdir("/dev/fd"))) == len(before)


@pytest.mark.parametrize("mentioned", [True, False])
def test_a_task_on_a_page_that_the_wal_replaced(
    original: Original, tmp_path: Path, salvaged: Callable[..., Salvage], mentioned: bool
) -> None:
    """It is brought back if rows of other tables still name it; otherwise it is told, and no more."""
    path, task = tmp_path / "board.db", "t_00000010"
    path.write_bytes(original.content)
    board = sqlite3.connect(path, isolation_level=None)
    board.execute("PRAGMA journal_mode=WAL")
    if mentioned:
        board.execute("DELETE FROM tasks WHERE id = ?", (task,))
    else:
        delete_task(board, task)
    content, wal = bytearray(path.read_bytes()), path.with_name("board.db-wal").read_bytes()
    board.close()
    where = original.places["task_events"]
    damaged = max(number for places in where.values() for number in places)
    content[(damaged - 1) * PAGE_BYTES : damaged * PAGE_BYTES] = bytes(PAGE_BYTES)
    report = salvaged(bytes(content), wal=wal)
    assert report.stage == "tables"
    saved, row = rows_of(report.copy)["tasks"], original.rows["tasks"][(task,)]
    assert saved.get((task,)) == (row if mentioned else None)
    assert len(saved) == len(original.rows["tasks"]) - (not mentioned)
    if not mentioned:
        (told,) = (each for each in report.lost_tasks if each.task_id == task)
        assert f"title {row[1]}" in str(told)
