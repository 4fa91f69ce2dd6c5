"""A daemon on a disk that is full, or read-only: said once, nothing is lost, and it goes on by itself.

The disk is a small tmpfs in a mount namespace of the daemon's own; commands are run inside of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import tenacity

_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
_MOUNT = 'mount -t tmpfs -o size=6m none "$1"'

Within = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="module", autouse=True)
def _namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        tried = subprocess.run([*_NAMESPACE, "sh", "-c", _MOUNT, "sh", tmp_path_factory.mktemp("disk")], check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if tried.returncode:
        pytest.skip("this user may not make a mount namespace here")


@pytest.fixture
def disk(home: str) -> Iterator[Callable[[str], tuple[subprocess.Popen, Within]]]:
    """``disk(options)``: a daemon on a disk of 6 MiB, and how to run a program where that disk is."""
    started: list[subprocess.Popen] = []

    def begin(option: str) -> tuple[subprocess.Popen, Within]:
        mount = f'{_MOUNT} && mount -o "remount,$3" "$1" && echo mounted >&2'
        script = f'{mount} && exec "$2" -m kanban_shards.coordinator --home "$1" daemon'
        words = [*_NAMESPACE, "sh", "-c", script, "sh", home, sys.executable, option]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        started.append(process)
        _line_with(process, "mounted")
        inside = ["nsenter", f"--target={process.pid}", "--mount", "--user", "--preserve-credentials"]

        def within(*program: str) -> subprocess.CompletedProcess:
            return subprocess.run([*inside, *program], capture_output=True, text=True, check=False)

        return process, within

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


def test_a_full_disk(disk, home: str) -> None:
    """What is acknowledged meanwhile, in the shard's preallocated journal or not, is merged when there is space."""
    daemon, within = disk("rw")
    _line_with(daemon, "merges the shards")
    acknowledged = [_create(within, home, "before")]
    within("dd", "if=/dev/zero", f"of={home}/filler", "bs=4k")
    written = _kanban(within, home, "-p", "amy", "create", "meanwhile", "--json")
    assert written.returncode in (3, 4), written
    assert "is full" in written.stderr, written
    within("rm", f"{home}/filler")
    acknowledged.append(_create(within, home, "after"))
    shown = {task["title"] for task in json.loads(_kanban(within, home, "list", "--json").stdout)}
    assert shown - {"meanwhile"} == {"before", "after"}
    assert written.returncode == 3 or "meanwhile" in shown
    verified = within(sys.executable, "-m", "kanban_shards.coordinator", "--home", home, "verify")
    assert verified.returncode == 0, verified
    daemon.terminate()
    _, said = daemon.communicate(timeout=60)
    told = [line.split(" ", 2)[2] for line in said.splitlines() if "is full" in line]
    assert len(told) == len(set(told)), said


def test_a_read_only_folder(disk, home: str) -> None:
    """It is said once; when it may be written, the daemon serves."""
    daemon, within = disk("ro")
    assert "is mounted read-only here" in daemon.stderr.readline()
    remounted = within("mount", "-o", "remount,rw", home)
    assert remounted.returncode == 0, remounted
    _line_with(daemon, "merges the shards")
    _create(within, home, "later")


def _create(within: Within, home: str, title: str) -> str:
    """A task, once there is somebody to merge it."""

    def create() -> subprocess.CompletedProcess:
        return _kanban(within, home, "-p", "amy", "create", title, "--json")

    trying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: done.returncode != 0),
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(60),
    )
    return json.loads(trying(create).stdout)["id"]


def _kanban(within: Within, home: str, *words: str) -> subprocess.CompletedProcess:
    return within(sys.executable, "-m", "kanban_shards", "--home", home, *words)


def _line_with(process: subprocess.Popen, word: str) -> str:
    line = process.stderr.readline()
    while word not in line:
        assert line, "it ended"
        line = process.stderr.readline()
    return line
