"""The doctor's workbench: a folder of its own inside the board's, and a second process to test locks against.

The tests must run on the filesystem of the board, and never on a file of the board.
"""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kanban_shards.errors import LawBroken

PREFIX = ".kanban-doctor-"
# An answer takes less than a millisecond, the start of the process some ten.
PATIENCE_S = 10.0
_PROGRAM = Path(__file__).with_name("rival.py")


class NoAnswer(Exception):
    """The second process could not be started or asked."""


@contextmanager
def workbench(folder: Path) -> Iterator[Path]:
    """A new folder in ``folder``, gone afterwards with all that is in it. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder, ignore_cleanup_errors=True) as made:
        yield Path(made)


class Rival:
    """Another process, which does on a file what it is told (rival.py)."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            raise NoAnswer(f"no second process can be started: {error.strerror}") from error
        if self._process.stdin is None or self._process.stdout is None:
            raise LawBroken("a process that was started with two pipes has none")
        self._asked, self._answers = self._process.stdin, self._process.stdout

    def ask(self, word: str, path: Path) -> str:
        """The other process's answer. Raises NoAnswer."""
        try:
            self._asked.write(f"{word} {path}\n".encode(errors="surrogateescape"))
            self._asked.flush()
        except OSError as error:
            raise NoAnswer(f"the second process ended: {error.strerror}") from error
        ready, _, _ = select.select([self._answers], [], [], PATIENCE_S)
        answer = self._answers.readline().decode(errors="replace").strip() if ready else ""
        if not answer or answer.startswith("error "):
            raise NoAnswer(f"the second process could not do its part: {answer[6:] or 'it gave no answer'}")
        return answer

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self._process.kill()
        with self._process:
            pass

    def __enter__(self) -> Rival:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
