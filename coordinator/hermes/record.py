"""Record: which interpreters' Hermes were set up to work on the boards of a home, noted in that home.

Whoever may write there may write anything; so what it says is looked at, and never run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from kanban_shards.coordinator.hermes.interpreters import HermesEnvironment, existing
from kanban_shards.errors import StorageError
from kanban_shards.storage.filesystems import GROUP_READS
from kanban_shards.storage.folders import make_below, read_small

RECORD = Path("kanban", "hermes-environments.json")
_MOST_RECORDED = 100


def known(home: Path, others: Iterable[HermesEnvironment] = ()) -> list[HermesEnvironment]:
    """The environments whose Hermes was installed for ``home``, if they are still there, and ``others``; each once."""
    found = {each.site: each for each in (*existing(recorded(home)), *others)}
    return list(found.values())


def gone(home: Path) -> list[Path]:
    """The interpreters whose Hermes was installed for ``home``, and that have none any more."""
    pythons = recorded(home)
    there = {each.python for each in existing(pythons)}
    return [python for python in pythons if python not in there]


def recorded(home: Path) -> list[Path]:
    """The interpreters whose Hermes was installed for this home. Whatever else the file says counts for nothing."""
    try:
        said = json.loads(read_small(home, home / RECORD) or "[]")
    except (StorageError, ValueError, RecursionError):
        return []
    pythons = [Path(each) for each in said if _can_be_a_path(each)] if isinstance(said, list) else []
    return pythons[:_MOST_RECORDED]


def _can_be_a_path(said: object) -> bool:
    return isinstance(said, str) and os.path.isabs(said) and said.isprintable()


def record(home: Path, pythons: Iterable[Path]) -> None:
    """Note in the home whose Hermes work on its boards. Raises StorageError."""
    names = sorted({str(python) for python in pythons})
    path = home / RECORD
    try:
        with make_below(home, path.parent) as folder:
            if names:
                said = json.dumps(names, indent=2)
                folder.write_whole(path.name, said.encode(), folder.mode_for(GROUP_READS))
            else:
                folder.remove(path.name)
    except OSError as error:
        raise StorageError(path=path, problem=f"it cannot be written: {error.strerror}") from error
