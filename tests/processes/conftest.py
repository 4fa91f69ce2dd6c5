"""Real processes, none of which outlives its test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths

WORKER = Path(__file__).with_name("worker.py")

Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start() -> Iterator[Start]:
    """``start(*words)``: a Python process with these arguments, its streams as text; killed at the end of the test."""
    started: list[subprocess.Popen] = []

    def begin(*words: object, **how) -> subprocess.Popen:
        streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        process = subprocess.Popen([sys.executable, *map(str, words)], text=True, **{**streams, **how})
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        with process:
            pass


@pytest.fixture
def work(start: Start, home: str) -> Start:
    """``work(verb, profile, *words)``: a process that does ``verb`` of worker.py on the board of ``home``."""
    return lambda verb, profile, *words, **how: start(WORKER, verb, home, profile, *words, **how)


@pytest.fixture
def start_daemon(start: Start, home: str) -> Callable[[], subprocess.Popen]:
    """A daemon of the board of ``home``; it merges when this returns."""

    def begin() -> subprocess.Popen:
        return merging(start("-m", "kanban_shards.coordinator", "--home", home, "daemon"))

    return begin


@pytest.fixture
def daemon(start_daemon) -> subprocess.Popen:
    """A daemon that merges."""
    return start_daemon()


@pytest.fixture
def said() -> Callable[[subprocess.Popen], list[dict]]:
    """``said(process)``: the JSON lines of a process that ended well."""

    def lines(process: subprocess.Popen) -> list[dict]:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        return [json.loads(line) for line in output.splitlines()]

    return lines


@pytest.fixture
def assert_clean(paths: BoardPaths) -> Callable[[], None]:
    """Everything about the board is as it must be: each file, the chains, and the board row for row."""

    def check() -> None:
        found = verify(paths)
        assert found.clean, found.findings
        assert found.entries

    return check


def merging(process: subprocess.Popen) -> subprocess.Popen:
    """``process``, once it says that it merges."""
    line = process.stderr.readline()
    assert "merges the shards" in line, line + process.stderr.read()
    return process
