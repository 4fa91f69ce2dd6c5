"""Law 2 under the conditions of the WAL-reset fault (SQLite 3.7.0 to 3.51.2). ``wal_reset.py`` is the command of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

LIBRARIES = ["sqlite3", "apsw"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_with_the_lock_nothing_is_damaged(library: str) -> None:
    _need(library)
    assert _damaged("--library", library, "--seconds", "3") == 0


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_the_lock_the_fault_is_there(library: str) -> None:
    """So the other test says something. It takes luck, so it is given some rounds; most need one."""
    _need(library)
    version = tuple(map(int, _version(library).split(".")))
    if version >= (3, 51, 3) or (version[:2] == (3, 50) and version[2] >= 7) or version == (3, 44, 6):
        pytest.skip(f"SQLite {_version(library)} has no such fault")
    assert _damaged("--library", library, "--seconds", "4", "--without-lock", "--rounds", "12", "--until-damaged") == 1


def _need(library: str) -> None:
    if not importlib.util.find_spec(library):
        pytest.skip("for another SQLite with the fault: pip install apsw==3.51.0.0")


def _version(library: str) -> str:
    code = f"from tests.processes.wal_reset import version; print(version({library!r}))"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def _damaged(*words: str) -> int:
    """The command's exit code: 1 if a round was damaged."""
    ended = subprocess.run([sys.executable, "-m", "tests.processes.wal_reset", *words], capture_output=True, text=True)
    assert ended.returncode in (0, 1) and "rounds damaged" in ended.stdout, ended
    return ended.returncode
