"""The coordinator's lock: never two, and whoever finds it taken is told by whom."""

from __future__ import annotations

import os
import socket

import pytest

from kanban_shards.coordinator.merge.coordinator_lock import (
    COMMAND,
    DAEMON,
    Holder,
    holder,
    take,
    write_note,
)
from kanban_shards.errors import CannotOpen, CoordinatorRunning
from kanban_shards.moments import CALENDAR_ENDS_MS
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import NOTE_BYTES, FileLock


def test_nobody(paths: BoardPaths) -> None:
    assert holder(paths) is None
    assert not paths.coordinator_lock.exists(), "asking makes no file"


def test_the_holder_is_named(paths: BoardPaths) -> None:
    lock = take(paths, DAEMON, 0)
    found = holder(paths)
    assert (found.pid, found.host, found.role) == (os.getpid(), socket.gethostname(), DAEMON)
    with pytest.raises(CoordinatorRunning, match=f"daemon process {os.getpid()} on .*, since ") as running:
        take(paths, COMMAND, 0.01)
    assert running.value.exit_code == 5
    assert holder(paths) == found, "whoever was refused left no note"
    lock.close()
    assert holder(paths) is None
    take(paths, COMMAND, 0).close()


@pytest.mark.parametrize("note", ["", "no JSON", "[]", "7", '{"pid": 1}', '{"pid": 1, "more": 1}', "\0" * 9,
                                  '{"pid": "x", "host": "h", "role": "daemon", "since_ms": 0}',
                                  '{"pid": 1e99, "host": "h", "role": "daemon", "since_ms": 0}',
                                  '{"pid": true, "host": "h", "role": "daemon", "since_ms": 0}',
                                  '{"pid": 1, "host": 7, "role": "daemon", "since_ms": 0}',
                                  '{"pid": 1, "host": "h\\u001b[2J", "role": "daemon", "since_ms": 0}',
                                  '{"pid": 1, "host": "' + "h" * 256 + '", "role": "daemon", "since_ms": 0}',
                                  '{"pid": 1, "host": "h", "role": ["daemon"], "since_ms": 0}',
                                  '{"pid": 1, "host": "h", "role": "king", "since_ms": 0}',
                                  '{"pid": 1, "host": "h", "role": "daemon", "since_ms": "x"}',
                                  '{"pid": 1, "host": "h", "role": "daemon", "since_ms": 1e300}',
                                  '{"pid": 1, "host": "h", "role": "daemon", "since_ms": ' + "9" * 300 + "}",
                                  '{"pid": 1, "host": "h", "role": "daemon", "since_ms": -1}',
                                  '{"pid": 1, "host": "h", "role": "daemon", "since_ms": 0, "system": 7}',
                                  '{"pid": 1, "host": "h", "role": "daemon", "since_ms": 0, "pid_space": "\\u001b"}',
                                  "[" * 4_000, "[" * 200_000])  # fmt: skip
def test_a_note_that_says_nothing(paths: BoardPaths, note: str) -> None:
    """A holder that has not said who it is yet, or whose note cannot be read, still has the lock."""
    lock = FileLock(paths.coordinator_lock)
    lock.acquire(0)
    lock.write_note(note)
    assert holder(paths) is None
    with pytest.raises(CoordinatorRunning, match="did not say which"):
        take(paths, COMMAND, 0.01)
    lock.close()


def test_a_note_that_cannot_be_written_hinders_nobody(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk nobody is named, least of all a former holder; the lock holds all the same."""
    take(paths, DAEMON, 0).close()

    def full(*given: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = take(paths, COMMAND, 0)
    assert lock.held
    assert lock.read_note() == ""
    assert holder(paths) is None
    lock.close()


def test_a_missing_folder(tmp_path) -> None:
    with pytest.raises(CannotOpen):
        take(BoardPaths(tmp_path / "missing"), COMMAND, 0)


def test_a_sentence_for_people() -> None:
    assert str(Holder(7, "box", DAEMON, 0)).startswith("daemon process 7 on box, since 19")


def test_the_latest_time_can_be_told() -> None:
    assert "since 9998-12-3" in str(Holder(7, "box", DAEMON, CALENDAR_ENDS_MS - 10**8))


def test_a_lock_file_that_is_huge_is_not_read_whole(paths: BoardPaths) -> None:
    lock = take(paths, DAEMON, 0)
    os.truncate(paths.coordinator_lock, 2**33)
    assert len(lock.read_note()) == NOTE_BYTES
    assert holder(paths) is None
    lock.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("target", ["gone", "/dev/zero", "pipe", "kanban.db"])
@pytest.mark.parametrize("words", [("status",), ("doctor",), ("--once",), ("rebuild",)])
def test_what_is_no_lock_file_stops_no_command(paths, gateway, kanban_merge, target: str, words: tuple) -> None:
    """One sentence each, in place of a wait without end or of an overwritten board."""
    gateway.claim(gateway.create("x"))
    paths.coordinator_lock.unlink()
    board = paths.board.read_bytes()
    os.mkfifo(paths.coordinator_lock) if target == "pipe" else os.symlink(target, paths.coordinator_lock)
    ended = kanban_merge(*words)
    assert ended.returncode == (6 if words[0] in ("status", "doctor") else 3)
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    assert f"{paths.coordinator_lock} is a folder, a pipe, a link or a device" in said
    assert paths.board.read_bytes() == board


def test_announcing_again(paths: BoardPaths) -> None:
    lock = take(paths, DAEMON, 0)
    write_note(lock, COMMAND)
    assert holder(paths).role == COMMAND
    lock.close()
