"""Who has a file open: real processes, each with a descriptor of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.holders import FileHolder, can_tell, file_holders

pytestmark = pytest.mark.skipif(not can_tell(), reason="this system does not say who has a file open")

# Opens what it is told, says so, and stays until its input ends.
_PROGRAM = "import os, sys; os.open(sys.argv[1], int(sys.argv[2])); print('open', flush=True); sys.stdin.read()"

Opened = Callable[[Path, int], int]


@pytest.fixture
def opened():
    """Start a process that has a file open; returns its pid."""
    started = []

    def start(path: Path, flags: int) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(path), str(flags)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"open\n"
        return process.pid

    yield start
    for process in started:
        process.communicate(timeout=10)


def _facts(found: list[FileHolder]) -> set[tuple]:
    return {(each.pid, each.path.name, each.writing, each.deleted) for each in found}


def test_readers_and_writers_are_told_apart(tmp_path: Path, opened: Opened) -> None:
    board = tmp_path / "kanban.db"
    board.touch()
    assert file_holders(board) == []
    reader, writer = opened(board, os.O_RDONLY), opened(board, os.O_RDWR)
    found = file_holders(board)
    assert _facts(found) == {(reader, "kanban.db", False, False), (writer, "kanban.db", True, False)}
    assert all("python" in each.command for each in found)


def test_what_lies_beside_it_and_what_was_deleted(tmp_path: Path, opened: Opened) -> None:
    board, wal = tmp_path / "kanban.db", tmp_path / "kanban.db-wal"
    board.touch()
    wal.touch()
    pid = opened(wal, os.O_WRONLY)
    wal.unlink()
    assert _facts(file_holders(board)) == {(pid, "kanban.db-wal", True, True)}


def test_another_file_of_a_similar_name_is_not_it(tmp_path: Path, opened: Opened) -> None:
    board, other = tmp_path / "kanban.db", tmp_path / "kanban.db.bak"
    board.touch()
    other.touch()
    opened(other, os.O_RDWR)
    assert file_holders(board) == []


def test_this_process_is_left_out(tmp_path: Path) -> None:
    board = tmp_path / "kanban.db"
    board.touch()
    with board.open("rb"):
        assert file_holders(board) == []


def test_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert not can_tell(tmp_path / "nothing")
    assert file_holders(tmp_path / "kanban.db", tmp_path / "nothing") == []
