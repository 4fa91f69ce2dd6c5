"""The real Hermes Agent, from the package index, in environments of its own (``environments.py``)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hermes import environments


@pytest.fixture(scope="session")
def hermes_folder(request: pytest.FixtureRequest) -> Path:
    """Where the environments are: named by ``KANBAN_HERMES``, or made once and kept in pytest's cache."""
    named = os.environ.get(environments.FOLDER)
    return Path(named) if named else Path(request.config.cache.mkdir("hermes"))


@pytest.fixture(scope="session")
def hermes_environment(hermes_folder: Path) -> Path:
    """The folder of a virtual environment with the released hermes-agent."""
    return _made(environments.plain, hermes_folder)


@pytest.fixture(scope="session")
def bridged_environment(hermes_folder: Path) -> Path:
    """The folder of one with the same release, and with this project installed and switched on in it."""
    return _made(environments.bridged, hermes_folder)


@pytest.fixture(scope="session")
def other_environment(hermes_folder: Path) -> Callable[[str], Path]:
    """``other_environment(version)``: the folder of one with that version of Hermes, and with this project in it."""
    return lambda version: _made(lambda folder: environments.other(folder, version), hermes_folder)


def _made(make: Callable[[Path], Path], folder: Path) -> Path:
    try:
        return make(folder)
    except environments.NotInstalled as error:
        if error.no_index and not os.environ.get("CI") and environments.FOLDER not in os.environ:
            pytest.skip(f"{environments.RELEASE} cannot be had here: no package index answers")
        raise


@pytest.fixture
def hermes(hermes_environment: Path) -> Callable[..., subprocess.CompletedProcess]:
    """``hermes(home, *words)``: ``hermes kanban WORDS`` with this Hermes home."""

    def run(home: Path, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [hermes_environment / "bin/hermes", "kanban", *words],
            env={"PATH": os.environ["PATH"], "HOME": str(home), "HERMES_HOME": str(home)},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def hermes_json(hermes) -> Callable:
    """``hermes_json(home, *words)``: what ``hermes kanban WORDS --json`` prints."""

    def run(home: Path, *words: str):
        ended = hermes(home, *words, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Boards that released versions of Hermes wrote. They are not part of the repository."""
    folder = Path(os.environ.get("KANBAN_FIXTURES") or Path(__file__).parents[3] / "shared" / "fixtures")
    if not folder.is_dir():
        assert "KANBAN_FIXTURES" not in os.environ, f"KANBAN_FIXTURES names {folder}, which is no folder"
        pytest.skip("the boards of real Hermes are not here; name their folder in KANBAN_FIXTURES")
    return folder
