"""Hostile surroundings: each ends in one sentence, loses nothing that was acknowledged, and is over when it is over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanban_shards import Gateway, Refused
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import CannotOpen, KanbanError, Undecided
from kanban_shards.paths import BoardPaths
from tests.processes.conftest import merging

HOSTILE = Path(__file__).with_name("hostile.py")
HOUR_S = 3_600


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 900 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("ballast_kib", range(0, 800, 100))
def test_a_full_disk(small_disk: Path, start: Callable, ballast_kib: int) -> None:
    """Wherever it becomes full: what was acknowledged is there, and when there is room again it goes on."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (ballast_kib * 1024 + 1))
    process = start(HOSTILE, "fill", small_disk)
    said = json.loads(process.stdout.readline())
    assert said["sentence"].startswith("The disk that holds") or "no space left" in said["sentence"].lower()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    process.stdin.write("go on\n")
    process.stdin.flush()
    said = json.loads(process.stdout.readline())
    assert set(said["made"]) <= set(said["shown"])
    assert process.wait() == 0
    assert verify(BoardPaths.find(home=small_disk)).clean


def test_no_descriptor_left(start: Callable, home: str, paths: BoardPaths) -> None:
    """Whatever cannot be opened is named; the process goes on when there are descriptors again."""
    output, errors = start(HOSTILE, "run_out_of_descriptors", home).communicate()
    said = json.loads(output)
    assert said["last"], errors
    sentences = {sentence for sentence in said["outcomes"].values() if sentence != "done"}
    assert any("has as many files open as it may" in sentence for sentence in sentences), sentences
    assert "done" in said["outcomes"].values(), "the other end of the range: nearly enough of them"
    assert verify(paths).clean


@pytest.mark.parametrize(
    "words", [("list",), ("list", "--json"), ("--help",), ("-p", "amy", "create", "x"), ("stats",)]
)
def test_output_that_cannot_be_written(home: str, paths: BoardPaths, words: tuple[str, ...]) -> None:
    with Gateway("amy", home=home) as amy:
        amy.create("x")
    for argv in (("kanban_shards", *words), ("kanban_shards.coordinator", "status")):
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", argv[0], "--home", home, *argv[1:]]
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        assert ended.returncode == 3
        (sentence,) = ended.stderr.splitlines()
        assert "The output cannot be written (no space left on device)" in sentence
    assert verify(paths).clean


def test_output_that_is_closed(home: str) -> None:
    command = f"{sys.executable} -m shards --home {home} -p amy create x"
    assert subprocess.run(["sh", "-c", f"{command} >&-"]).returncode == 0
    assert subprocess.run(["sh", "-c", f"{command} | true"]).returncode == 0


@pytest.mark.parametrize("hours", [9, -9])
def test_a_clock_that_jumps(home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """Both ways, between any two calls: fairness may suffer, a lease may end, and nothing is lost or done twice."""
    ahead_s = 0.0
    true_time, true_time_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: true_time() + ahead_s)
    monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + int(ahead_s * 1e9))
    acknowledged = []
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        for number in range(8):
            ahead_s = hours * HOUR_S * (number % 2)
            for gateway in (amy, bob):
                task_id = gateway.create(f"task {number}", assignee=gateway.profile)
                gateway.subscribe(task_id, platform="telegram", chat_id="1", from_start=True)
                run = gateway.claim(task_id)
                ahead_s = hours * HOUR_S * ((number + 1) % 2)
                try:
                    gateway.heartbeat(run, "half")
                    gateway.complete(run)
                except Refused as refused:  # its lease was over by the new clock
                    assert refused.reason == "late"
                acknowledged.append(task_id)
        ahead_s = 0.0
        statuses = {task_id: amy.board.task(task_id).status for task_id in acknowledged}
        assert set(statuses.values()) <= {"done", "ready"}
        told = [event.id for _ in range(3) for delivery in amy.deliveries() for event in delivery.events]
        assert len(told) == len(set(told))
        later = amy.create("goes on")
        amy.complete(amy.claim(later))
    assert verify(paths).clean


def test_a_due_time_that_the_clock_jumped_over(home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes once, when the clock first says so, and a clock that is set back does not take it back."""
    true_time_ns = time.time_ns
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("later")
        amy.schedule(task_id, due_s=true_time_ns() // 10**9 + HOUR_S)
        amy.merge_now()
        assert amy.board.task(task_id).status == "scheduled"
        monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + 2 * HOUR_S * 10**9)
        amy.merge_now()
        assert amy.board.task(task_id).status == "ready"
        monkeypatch.setattr(time, "time_ns", true_time_ns)
        amy.merge_now()
        assert amy.board.task(task_id).status == "ready"
    assert verify(paths).clean


@pytest.mark.parametrize(
    "note", [b"", b'{"pid":1,"host":"elsewhere","role":"daemon","since_ms":1}', b"\xff" * 99, b"[]"]
)
def test_a_stale_lock_file(home: str, paths: BoardPaths, note: bytes) -> None:
    """Whoever wrote it, on whatever host: a lock that nobody holds is free."""
    paths.coordinator_lock.write_bytes(note)
    paths.shard_lock("amy").write_bytes(note)
    with Gateway("amy", home=home) as amy:
        amy.claim(amy.create("x"))
    assert verify(paths).clean


@pytest.mark.parametrize("which", ["shard", "coordinator"])
def test_a_lock_that_is_a_folder(home: str, paths: BoardPaths, which: str) -> None:
    """One sentence; and when it is moved away, the gateway goes on without a restart."""
    lock = paths.shard_lock("amy") if which == "shard" else paths.coordinator_lock
    lock.mkdir()
    with Gateway("amy", home=home) as amy:
        with pytest.raises(KanbanError, match="is a folder, a pipe, a link or a device"):
            amy.claim(amy.create("x"))
        lock.rmdir()
        amy.claim(amy.create("y"))
    assert verify(paths).clean


@pytest.mark.timeout(60)
@pytest.mark.parametrize("target", ["gone", "/dev/zero", "kanban.db", None], ids=str)
def test_a_shard_whose_lock_is_no_file(home: str, paths: BoardPaths, start: Callable, target: str | None) -> None:
    """The daemon leaves that shard and serves the others; nothing waits, and it ends when it is asked to."""
    with Gateway("evil", home=home) as evil:
        evil.create("x")
    lock = paths.shard_lock("evil")
    lock.unlink()
    os.mkfifo(lock) if target is None else lock.symlink_to(target)
    daemon = merging(start("-m", "kanban_shards.coordinator", "--home", home, "daemon"))
    said = daemon.stderr.readline()
    assert "shard of evil: " in said
    assert f"{lock} is a folder, a pipe, a link or a device" in said
    with Gateway("amy", home=home, patience_s=20) as amy:
        amy.complete(amy.claim(amy.create("y")))
    daemon.terminate()
    assert daemon.wait(20) == 0
    with Gateway("amy", home=home, patience_s=20) as amy:
        amy.complete(amy.claim(amy.create("z")))
    lock.rename(paths.folder / "moved away")
    with Gateway("evil", home=home) as evil:
        evil.claim(evil.create("mended"))
    assert verify(paths).clean


@pytest.mark.timeout(60)
@pytest.mark.parametrize("target", ["gone", None], ids=str)
def test_a_coordinators_lock_that_is_no_file(home: str, paths: BoardPaths, start: Callable, target: str | None) -> None:
    """Said once by a daemon, and at once to a gateway, whose change is written; merged when it is moved away."""
    lock = paths.coordinator_lock
    os.mkfifo(lock) if target is None else lock.symlink_to(target)
    daemon = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    assert f"{lock} is a folder, a pipe, a link or a device" in daemon.stderr.readline()
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("x")
        with pytest.raises(Undecided, match=r"is safely written, but has no verdict after 0 s; .* is a folder"):
            amy.claim(task_id)
    lock.rename(paths.folder / "moved away")
    assert "over: " in merging(daemon).stderr.readline()
    with Gateway("amy", home=home) as amy:
        amy.sync()
        assert amy.board.task(task_id).status == "running"
    daemon.terminate()
    assert daemon.wait(20) == 0
    assert verify(paths).clean


@pytest.mark.parametrize("folder", ["folder", "x" * 120])
def test_a_long_path(tmp_path: Path, start: Callable, folder: str) -> None:
    """A socket's name may have about 100 bytes; a board may lie deeper."""
    home = tmp_path / folder / folder
    home.mkdir(parents=True)
    daemon = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    assert "merges the shards" in daemon.stderr.readline()
    with Gateway("amy", home=home, patience_s=20) as amy:
        began = time.monotonic()
        amy.claim(amy.create("x"))
        assert time.monotonic() - began < 0.9, "the bell rang; nobody waited for the daemon's sweep"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; tests/processes/test_users.py has users")
def test_a_folder_that_becomes_read_only(home: str, paths: BoardPaths) -> None:
    """One sentence each; nothing is lost, and it goes on without a restart when it may write again."""
    with Gateway("amy", home=home) as amy:
        first = amy.create("x")
        amy.sync()
        os.chmod(paths.folder, 0o500)
        with pytest.raises(CannotOpen):
            Gateway("bob", home=home).create("y")
        os.chmod(paths.folder, 0o700)
        amy.complete(amy.claim(first))
