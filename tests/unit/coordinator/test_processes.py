"""Who has a file open: real processes, each with a descriptor of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards.coordinator.hermes.importer import import_board
from kanban_shards.coordinator.hermes.salvage import salvage
from kanban_shards.coordinator.processes import FileHolder, can_tell, file_holders, processes_of
from kanban_shards.errors import StillWritten
from kanban_shards.paths import BoardPaths
from tests.legacy import write_legacy

pytestmark = pytest.mark.skipif(not can_tell(), reason="this system does not say who has a file open")

# Opens what it is told, says so, and stays until its input ends.
_PROGRAM = (
    "import os, sys; [os.open(path, int(sys.argv[1])) for path in sys.argv[2:]]; print('open', flush=True); "
    "sys.stdin.read()"
)

Opened = Callable[[list[Path], int], int]


@pytest.fixture
def opened():
    """Start a process that has files open; returns its pid."""
    started = []

    def start(paths: list[Path], flags: int) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(flags), *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE
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
    reader, writer = opened([board], os.O_RDONLY), opened([board], os.O_RDWR)
    found = file_holders(board)
    assert _facts(found) == {(reader, "kanban.db", False, False), (writer, "kanban.db", True, False)}
    assert all("python" in each.command for each in found)


def test_what_lies_beside_it_and_what_was_deleted(tmp_path: Path, opened: Opened) -> None:
    board, wal = tmp_path / "kanban.db", tmp_path / "kanban.db-wal"
    board.touch()
    wal.touch()
    pid = opened([wal], os.O_WRONLY)
    wal.unlink()
    assert _facts(file_holders(board)) == {(pid, "kanban.db-wal", True, True)}


def test_a_process_is_named_once(tmp_path: Path, opened: Opened) -> None:
    """However many files of the database it has open; an import that only looks and a salvage say it so."""
    board, wal = tmp_path / "kanban.db", tmp_path / "kanban.db-wal"
    write_legacy(board, {"tasks": []})
    wal.touch()
    pid = opened([board, wal], os.O_RDWR)
    assert len(file_holders(board)) == 2
    (process,) = processes_of(file_holders(board))
    assert process.startswith(f"{pid} (")
    with pytest.raises(StillWritten) as raised:
        salvage(board, tmp_path)
    assert raised.value.holders == process
    assert import_board(board, BoardPaths(tmp_path / "here"), dry_run=True).still_open == [process]


def test_another_file_of_a_similar_name_is_not_it(tmp_path: Path, opened: Opened) -> None:
    board, other = tmp_path / "kanban.db", tmp_path / "kanban.db.bak"
    board.touch()
    other.touch()
    opened([other], os.O_RDWR)
    assert file_holders(board) == []


def test_this_process_is_left_out(tmp_path: Path) -> None:
    board = tmp_path / "kanban.db"
    board.touch()
    with board.open("rb"):
        assert file_holders(board) == []


def test_where_the_system_does_not_tell(tmp_path: Path) -> None:
    assert not can_tell(tmp_path / "nothing")
    assert file_holders(tmp_path / "kanban.db", tmp_path / "nothing") == []
