"""Sidecars: the journal and the WAL beside a private copy, brought into it; and the copy without them, for a sidecar
may be of another file or an older time."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from kanban_shards import wording
from kanban_shards.coordinator.hermes.salvage.report import Salvage
from kanban_shards.coordinator.hermes.salvage.wal import Replayed, replay
from kanban_shards.storage import connections, copies, files, journals

JOURNAL, WAL = "-journal", "-wal"
LEFT_OUT = {
    JOURNAL: "the journal beside it was left out: rolled back, it would damage the file, so it is not this file's",
    WAL: "the WAL beside it was left out: replayed, it would damage the file, so it is not this file's or is too old",
}


@dataclass(frozen=True)
class Trial:
    """A private database without sidecars, what was left out of it, in words, and the same one without them, if it
    had any."""

    path: Path
    left_out: list[str]
    alone: Path | None = None


def bring_in(private: Path, report: Salvage) -> Generator[Trial, None, None]:
    """First ``private`` with its journal rolled back and its WAL replayed; then, if there are any, without them.

    When the iteration ends, ``private`` has them, unless it holds nothing of itself.
    """
    left_out = _leave_strange_journal_out(private, report)
    sidecars = [suffix for suffix in (JOURNAL, WAL) if _content(private, suffix)]
    alone = private.with_name(private.name + ".alone")
    try:
        if sidecars and _content(private, ""):
            shutil.copyfile(private, alone)
        if JOURNAL in sidecars:
            _roll_back(private, report)
        if WAL in sidecars:
            _replay(private, report)
        yield Trial(private, left_out, alone if alone.exists() else None)
        if alone.exists():
            yield Trial(alone, left_out + [LEFT_OUT[suffix] for suffix in sidecars])
    finally:
        files.discard(alone)


def former_of(private: Path) -> Path:
    """Where the pages are that the WAL of ``private`` replaced, if it had one."""
    return private.with_name(private.name + ".former")


def _leave_strange_journal_out(private: Path, report: Salvage) -> list[str]:
    """Discard the copied journal if SQLite would delete the file that it names; returns what was left out, in words."""
    name = journals.named_in(private)
    if name is None:
        return []
    files.discard_journal(private)
    report.warnings.append(
        f"the journal beside it ends with the name of another file ({name}), which SQLite would delete; nothing was "
        "rolled back, and what it says was half done is in the copy"
    )
    return ["the journal beside it was left out"]


def _roll_back(private: Path, report: Salvage) -> None:
    """Let SQLite undo, on the copy, the transaction that a killed writer left half done."""
    wal, aside = private.with_name(private.name + WAL), private.with_name(private.name + ".wal")
    if wal.exists():
        wal.rename(aside)  # SQLite would replay it, and not say how
    try:
        connection = copies.open_private(private)
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            report.notes.append("a journal lay beside it; what it says was half done was undone")
        finally:
            connection.close()
    except connections.FAULTS as error:
        report.notes.append(f"a journal lay beside it, and could not be rolled back ({connections.told(error)})")
    files.discard_sidecars(private)
    if aside.exists():
        aside.rename(wal)


def _replay(private: Path, report: Salvage) -> None:
    found = replay(private.with_name(private.name + WAL), private, former_of(private))
    files.discard_sidecars(private)
    report.notes.append(_said(found))
    if found.unreadable:
        report.warnings.append(
            f"the WAL is damaged: its last {wording.many(found.unreadable, 'frame')} cannot be proved, and are left out"
        )


def _said(found: Replayed) -> str:
    if found.problem:
        return f"the WAL beside it could not be used: {found.problem}"
    unfinished = (
        f"; {wording.many(found.unfinished, 'frame')} of a transaction that was not committed were left"
        if found.unfinished
        else ""
    )
    return (
        f"the WAL beside it holds {wording.many(found.commits, 'commit')}, which came in "
        f"({wording.many(found.frames, 'page')}){unfinished}"
    )


def _content(private: Path, suffix: str) -> bool:
    path = private.with_name(private.name + suffix)
    return path.exists() and path.stat().st_size > 0
