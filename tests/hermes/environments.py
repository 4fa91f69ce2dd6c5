"""Virtual environments with the real hermes-agent in them: its pins exclude ours, so it gets its own.

``python3 -m tests.hermes.environments FOLDER`` makes the one of the released program, as the gate does. Nothing is
imported here but what Python brings, so that any interpreter can do it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

RELEASE = "hermes-agent==0.19.0"
# Where the environments are, or are to be made; without it, a cache of pytest's.
FOLDER = "KANBAN_HERMES"
NO_INDEX = ("No matching distribution", "Could not find a version", "Max retries exceeded", "ConnectionError")


class NotInstalled(Exception):
    """pip could not install it. ``no_index`` says whether the reason is that no package index answered."""

    def __init__(self, what: str, said: str) -> None:
        super().__init__(f"{what} cannot be installed: {said.strip()}")
        self.no_index = any(sign in said for sign in NO_INDEX)


def plain(folder: Path) -> Path:
    """The environment of RELEASE alone, below ``folder``; made unless it is there. Raises NotInstalled."""

    def make(environment: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        _install(environment, RELEASE)

    return _made_once(folder / "plain", RELEASE, make)


def _made_once(environment: Path, content: str, make: Callable[[Path], None]) -> Path:
    """``environment``, made by the first who wants it with this content; the others wait."""
    made = environment.with_suffix(".made")
    with _locked(environment.with_suffix(".lock")):
        if not made.exists() or made.read_text() != content:
            made.unlink(missing_ok=True)
            shutil.rmtree(environment, ignore_errors=True)
            make(environment)
            made.write_text(content)
    return environment


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(environment: Path, requirement: str) -> None:
    pip = [environment / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--retries", "1", requirement], capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(requirement, done.stderr)


if __name__ == "__main__":
    try:
        print(plain(Path(sys.argv[1]).absolute()))
    except NotInstalled as error:
        sys.exit(str(error))
