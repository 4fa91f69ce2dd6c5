"""The commands, as a shell runs them: each call is a process (tests/forks.py)."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.storage.locks import FileLock
from tests import forks
from tests.unit.verbs import Shell

Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def kanban(home: str) -> Run:
    """``kanban(*words)``: the ``kanban`` command on the board of ``home``; ``home=`` names another one."""
    return _command("kanban_shards", home)


@pytest.fixture
def kanban_merge(home: str) -> Run:
    """``kanban_merge(*words)``: the ``kanban-merge`` command on the board of ``home``."""
    return _command("kanban_shards.coordinator", home)


@pytest.fixture
def shell(home: str) -> Shell:
    """The ``kanban`` command on the board of ``home``, inside this process."""
    return Shell(home)


@pytest.fixture
def gateway(home: str):
    """A gateway of the profile ``amy``."""
    with Gateway("amy", home=home) as opened:
        yield opened


@pytest.fixture
def taken_for() -> Callable[[Path, float], AbstractContextManager[None]]:
    """``with taken_for(path, seconds)``: from its beginning on somebody has the lock at ``path`` for so long."""

    @contextmanager
    def begin(path: Path, seconds: float) -> Iterator[None]:
        taken, release = threading.Event(), threading.Event()

        def hold() -> None:
            with closing(FileLock(path)) as lock:
                lock.acquire(5)
                taken.set()
                release.wait(seconds)

        holding = threading.Thread(target=hold)
        holding.start()
        taken.wait()
        try:
            yield
        finally:
            release.set()
            holding.join()

    return begin


@pytest.fixture
def failed() -> Callable[[subprocess.CompletedProcess, int], str]:
    """``failed(ended, code)``: the one sentence of a command that ended with exit code ``code``."""

    def sentence(ended: subprocess.CompletedProcess, code: int) -> str:
        assert ended.returncode == code, ended
        (line,) = ended.stderr.splitlines()
        return line

    return sentence


def _command(module: str, usual_home: str) -> Run:
    def run(*words: object, home: object = usual_home, **how) -> subprocess.CompletedProcess:
        return forks.python("-m", module, "--home", home, *words, **how)

    return run
