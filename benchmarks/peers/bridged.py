"""The real hermes-agent on the boards of this project: its own functions, bridged, with a daemon and without one."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers import Outcome
from benchmarks.peers.hermes import PYTHON, Hermes

# Where this project is installed, with what it needs; Hermes's own environment has neither.
SITE = "BENCHMARK_SITE"


class BridgedAlone(Hermes):
    """Whoever needs a verdict makes the pass."""

    def __init__(self, folder: Path, profile: str) -> None:
        site.addsitedir(os.environ[SITE])
        from kanban_shards.hermes import startup

        startup.start()
        super().__init__(folder / "profiles" / profile, profile)
        os.environ["HERMES_KANBAN_HOME"] = str(folder)

    @classmethod
    def missing(cls) -> str | None:
        os.environ[SITE] = sysconfig.get_path("purelib")
        if why := super().missing():
            return why
        asked = [os.environ[PYTHON], "-c", "import sys; print(*sys.version_info[:2])"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        ours = [str(each) for each in sys.version_info[:2]]
        return None if said == ours else f"its Python is {'.'.join(said)}, and this one is {'.'.join(ours)}"

    @classmethod
    def settle(cls, folder: Path) -> None:
        _ours().settle(folder)

    @classmethod
    def outcome(cls, folder: Path) -> Outcome:
        return _ours().outcome(folder)

    def close(self) -> None:
        from kanban_shards.hermes import identity

        identity.close_kept()


class Bridged(BridgedAlone):
    """A daemon makes the passes."""

    @classmethod
    @contextmanager
    def serving(cls, folder: Path) -> Iterator[int | None]:
        with _ours().serving(folder) as daemon:
            yield daemon


def _ours() -> type:
    """This project's own peer; a worker in Hermes's environment cannot load it, and does without."""
    from benchmarks.peers.this import Shards

    return Shards
