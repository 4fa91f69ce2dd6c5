"""The real Hermes Agent, from the package index, in an environment of its own: its pins exclude ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERMES = "hermes-agent==0.19.0"
NO_INDEX = ("No matching distribution", "Could not find a version", "Max retries exceeded", "ConnectionError")


@pytest.fixture(scope="session")
def hermes_environment(request: pytest.FixtureRequest) -> Path:
    """The folder of a virtual environment that holds HERMES; made once, kept in pytest's cache."""
    folder = Path(request.config.cache.mkdir("hermes-0.19.0"))
    made = folder / "made"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / "venv"], check=True)
        installed = subprocess.run(
            [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--retries", "1", HERMES],
            capture_output=True,
            text=True,
        )
        if installed.returncode and not os.environ.get("CI") and any(sign in installed.stderr for sign in NO_INDEX):
            pytest.skip(f"{HERMES} cannot be had here: no package index answers")
        assert installed.returncode == 0, installed.stderr
        made.touch()
    return folder / "venv"


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
