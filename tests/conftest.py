"""What every test may use."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kanban_shards.paths import BoardPaths
from tests.far.fixtures import new_server, postgres, postgres_programs, service, short_folder  # noqa: F401

# The tests run in the tree, where the folders of the product could be imported by their own names, and a second time.
for folder in ("shards", "coordinator", "migrations"):
    sys.modules[folder] = None  # type: ignore[assignment]  # an import of it fails


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are cores: most tests wait for a disk or for another process."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where temporary files lie, of the tests and of every process that they start: who is killed leaves some, and
    pytest removes this folder with its own. The name is short, because sockets lie there, too."""
    place = tmp_path_factory.mktemp("t", numbered=False)
    with pytest.MonkeyPatch.context() as patches:
        patches.setenv("TMPDIR", str(place))
        patches.setattr(tempfile, "tempdir", str(place))
        yield place


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where caches lie that would else be the user's own."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, caches: Path) -> None:
    """No test finds the board of whoever runs it, or leaves something with them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
    monkeypatch.setattr("kanban_shards.cli.usual.place", lambda: caches / "usual" / "profile")
    for name in ("HERMES_KANBAN_DB", "HERMES_KANBAN_HOME", "HERMES_HOME", "HERMES_KANBAN_BOARD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A run in a shell's background ignores SIGINT, and so would everything that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def home(tmp_path) -> str:
    """A Hermes home of the test's own."""
    return str(tmp_path)


@pytest.fixture
def paths(home: str) -> BoardPaths:
    """The default board of ``home``."""
    return BoardPaths.find(home=home)
