"""One of the two Hermes that are held side by side."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).with_name("driver.py")


@dataclass(frozen=True)
class Said:
    """How a call ended, and what it printed."""

    code: int
    out: str
    err: str


class Side:
    """A process with Hermes loaded, which makes calls in homes that it is told."""

    def __init__(self, environment: Path, folder: Path) -> None:
        """``environment``: a virtual environment with hermes-agent; ``folder``: a new one, for homes."""
        self.environment = environment
        self._folder = folder
        self._process = subprocess.Popen(
            [environment / "bin/python", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environ(folder),
        )

    def environ(self, home: Path) -> dict[str, str]:
        """The environment of a user with this home."""
        return {
            "PATH": f"{self.environment}/bin:{os.environ['PATH']}",
            "HOME": str(home),
            "TZ": "UTC",
            "COLUMNS": "100",
        }

    def new_home(self, name: str) -> Path:
        """A user's home where nothing is yet."""
        home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))
        home.chmod(0o755)
        return home

    def call(self, home: Path, argv: list[str], **more: Any) -> Said:
        """``hermes ARGV`` by the user of ``home``. ``more``: see ``driver.py``."""
        return Said(**self._ask({"home": str(home), "argv": argv, **more}))

    def wait_for_workers(self) -> None:
        """Until every process that a call started has ended; its parent has not been told yet."""
        self._ask({"wait": True})

    def verbs(self) -> list[dict[str, Any]]:
        """What the argument parser of ``hermes kanban`` has: a verb's ``spellings``, each as words, and its ``flags``,
        each in its spellings."""
        return self._ask({"verbs": True})

    def routes(self) -> list[str]:
        """Method and path of each call that the dashboard's page may make."""
        return self._ask({"routes": True})

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)

    def _ask(self, told: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def opened(environment: Path, folder: Path) -> Iterator[Side]:
    """A Side that is ended afterwards."""
    side = Side(environment, folder)
    try:
        yield side
    finally:
        side.close()
