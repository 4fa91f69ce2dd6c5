"""The coordinator's lock: never two, and whoever finds it taken is told by whom."""

from __future__ import annotations

import os
import socket

import pytest

from coordinator.lock import COMMAND, DAEMON, Holder, announce, holder, take
from shards.errors import CannotOpen, CoordinatorRunning
from shards.locks import FileLock
from shards.names import BoardPaths


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
                                  '{"pid": 1e99, "host": "h", "role": "daemon", "since_ms": 0}'])  # fmt: skip
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


def test_announcing_again(paths: BoardPaths) -> None:
    lock = take(paths, DAEMON, 0)
    announce(lock, "x")
    assert holder(paths).role == "x"
    lock.close()
