"""A process that may write no long file is told so, and not that the disk is full; nothing is lost by it."""

from __future__ import annotations

import errno
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import DiskFull, FileSizeLimit, cannot_open
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections


def kanban(paths: BoardPaths, limit_bytes: int, *words: str) -> subprocess.CompletedProcess:
    """``kanban`` of amy, in a process that may write no file longer than ``limit_bytes``."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # as a shell leaves it: it ends whoever does not ignore it
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-B", "-m", "kanban_shards", "--home", paths.folder, "-p", "amy", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)


@pytest.mark.parametrize("kib", [0, 1, 8, 16, 24, 32, 40, 64, 100, 128, 160, 200])
def test_a_first_call(paths: BoardPaths, kib: int) -> None:
    """Wherever the limit hits first: the lock, the shard, its journal, the ledger, the board, shared memory."""
    ended = kanban(paths, kib * 1024, "create", "one")
    assert ended.returncode in (0, 3, 4), ended
    if ended.returncode:
        assert f"no file of more than {kib * 1024} bytes" in ended.stderr
    assert "is full" not in ended.stderr and "disk I/O" not in ended.stderr
    with Gateway("bob", home=paths.folder) as bob:
        bob.create("two")
    shown = [task.title for task in bob.board.tasks()]
    assert "two" in shown and ("one" in shown or ended.returncode == 3)
    assert verify(paths).clean


def test_a_board_that_grows(paths: BoardPaths) -> None:
    with Gateway("bob", home=paths.folder) as bob:
        bob.create("two")
    limit_bytes = paths.board.stat().st_size
    for number in range(100):
        ended = kanban(paths, limit_bytes, "create", str(number), "--body", "x" * 20_000)
        if ended.returncode:
            break
    assert ended.returncode in (3, 4) and f"no file of more than {limit_bytes} bytes" in ended.stderr, ended


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_IOERR_WRITE, FileSizeLimit),
        (sqlite3.SQLITE_IOERR_TRUNCATE, FileSizeLimit),
        (sqlite3.SQLITE_IOERR_SHMSIZE, FileSizeLimit),
        (sqlite3.SQLITE_FULL, DiskFull),
    ],
)
def test_what_sqlite_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type) -> None:
    """A disk that is full is full, whatever the limit is."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (32_767, 32_767))
    (tmp_path / "kanban.db-shm").write_bytes(b"")
    trouble = sqlite3.OperationalError("disk I/O error")
    trouble.sqlite_errorcode = code
    assert type(connections.explanation(tmp_path / "kanban.db", trouble)) is kind


def test_what_the_system_says(tmp_path: Path) -> None:
    assert type(cannot_open(tmp_path, OSError(errno.EFBIG, "File too large"))) is FileSizeLimit
    assert type(cannot_open(tmp_path, OSError(errno.ENOSPC, "No space left"))) is DiskFull
