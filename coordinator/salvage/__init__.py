"""Salvage: a sound copy of a board that may be damaged. Here, the first rung: a board that is sound."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards import sqlite
from shards.errors import Damaged


@dataclass(frozen=True)
class Salvage:
    """A sound copy, and how it was come by: ``rung`` of the ladder, and what is to be said about it."""

    rung: str
    copy: Path
    report: dict[str, Any] = field(default_factory=dict)


def salvage(source: Path, folder: Path) -> Salvage:
    """Copy the board ``source`` into ``folder``, without writing to it. Raises StorageError, Damaged."""
    copy = folder / "salvaged.db"
    sqlite.copy_foreign(source, copy)
    with closing(sqlite.open_foreign(copy)) as connection, sqlite.explained(source):
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise Damaged(path=source, problem=found)
    return Salvage("sound", copy)
