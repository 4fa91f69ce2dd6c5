"""Lineage: whether two files share a history, and where they part.

A shard against the ledger, change by change: where they part, the shard was damaged or replaced after its merge. A
backup against what a board's folder holds: what is lost or damaged a backup may replace, and an older copy too. What
is intact and of another history is another board's, or went another way since, and nobody asked for its end; so a
restore refuses before it changes anything.

Two histories are one as far as they agree at the end of the shorter one, because digests are chained. Where one of them
was compacted after that point there is no digest, but the board's verdict says which change it was, and when.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kanban_shards.changes.codec import LATEST_SEQ, Change
from kanban_shards.coordinator.errors import AnotherBoard
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.shard_reader import (
    Quarantine,
    base_of,
    locked_shard,
    read_all,
    shard_id_of,
)
from kanban_shards.coordinator.merge.snapshots import read_start, start_of
from kanban_shards.errors import (
    CannotOpen,
    Damaged,
    DiskFull,
    FileBusy,
    InvalidName,
    LegacyBoard,
    NewerSchema,
    StorageError,
)
from kanban_shards.paths import BoardPaths, check_profile
from kanban_shards.storage import connections, sqlite

_IS_OF = "SELECT 1 FROM meta WHERE profile = ?"
_CHANGES = (
    "SELECT meta.profile, seq, task_id, kind, body, seen, at_ms, digest FROM meta CROSS JOIN changes "
    "WHERE meta.profile = ? ORDER BY seq"
)
_ENTRY = "SELECT profile, seq, at_ms FROM merge_verdicts WHERE position = ?"
_BOARD_AND_LEDGER = (
    "kanban.db and kanban-ledger.db (the shards as well, if it is another board), with what SQLite put beside them,"
)
# What is the matter with a file's surroundings, or with this program, is no damage; nor is a board of Hermes's.
NO_DAMAGE = (CannotOpen, DiskFull, FileBusy, LegacyBoard, NewerSchema)


@contextmanager
def stop_at_damage() -> Iterator[None]:
    """Suppress damage: the caller keeps what was read so far."""
    try:
        yield
    except NO_DAMAGE:
        raise
    except StorageError:
        pass


# --- a shard and the ledger ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LedgerHistory:
    """What the ledger holds of a profile where a replay starts: seq and digest there, and the changes after it."""

    start: tuple[int, str]
    changes: list[Change]


@dataclass
class ShardHistory:
    """What a shard holds: the seq and digest up to which changes were dropped, and the changes after it, unchecked."""

    base: tuple[int, str] = (0, "")
    changes: list[Change] = field(default_factory=list)

    def read(self, shard: sqlite3.Connection, path: Path, profile: str) -> None:
        """Read as much as can be read of an open shard; nothing if it is another profile's."""
        with connections.explained(path):
            if shard.execute(_IS_OF, (profile,)).fetchone():
                with suppress(Quarantine):
                    self.base = base_of(shard)
            self.changes.extend(Change(*row) for row in shard.execute(_CHANGES, (profile,)))

    def differs_at(self, merged: LedgerHistory) -> int | None:
        """The first change that was merged and is not here as it was; None if all are, or were dropped."""
        held = {change.seq: change for change in self.changes}
        digests = {change.seq: change.digest for change in merged.changes}
        if digests.get(self.base[0], self.base[1]) != self.base[1]:
            return self.base[0]
        kept = (change for change in merged.changes if change.seq > self.base[0])
        return next((change.seq for change in kept if held.get(change.seq) != change), None)


def history_of(paths: BoardPaths, profile: str, whole: bool = False) -> ShardHistory:
    """What the profile's shard holds. Raises FileBusy, and what a shard that cannot be read raises; Damaged, if it is
    to be ``whole``, for anything that SQLite finds fault with."""
    path, held = paths.shard(profile), ShardHistory()
    with locked_shard(paths, profile) as shard:
        held.read(shard, path, profile)
        problem = connections.integrity(shard, path) if whole else "ok"
    if problem != "ok":
        raise Damaged(path=path, problem=problem)
    return held


def merged_of(paths: BoardPaths, profile: str) -> LedgerHistory:
    """What the ledger holds of the profile. Raises SnapshotMissing, and what files that cannot be read raise."""
    with closing(FileLedger(paths.ledger)) as ledger:
        start = start_of(paths, ledger)
        changes = ledger.changes_of(profile, start.position)
    return LedgerHistory(start.watermarks.get(profile, (0, "")), changes)


def differing_change(paths: BoardPaths, profile: str) -> int | None:
    """The first change of the profile that was merged and is not in its shard as it was; None if all are.

    Raises FileBusy, Damaged if SQLite finds fault with the shard, and the StorageErrors of a ledger or a shard that
    cannot be read.
    """
    merged = merged_of(paths, profile)  # before the shard, which may be written and merged meanwhile
    return history_of(paths, profile, whole=True).differs_at(merged)


# --- a backup and a board's folder ---------------------------------------------------------------------------------


def check_same_board(paths: BoardPaths, copy: BoardPaths) -> None:
    """Raise AnotherBoard if what is sound at ``paths`` is of another history than the backup ``copy``, a sound one: its
    ledger; where that does not tell, its board; where neither does, its shards. Raises LegacyBoard for a board that
    Hermes writes."""
    with stop_at_damage():
        sqlite.open_reader(paths.board, sqlite.BOARD).close()
    with ExitStack() as opened:
        ledger = opened.enter_context(closing(FileLedger(copy.ledger)))
        board = opened.enter_context(closing(sqlite.open_reader(copy.board, sqlite.BOARD)))
        opened.enter_context(connections.explained(copy.board))
        copied = _History(ledger, board)
        for path, differs in ((paths.ledger, _ledger_differs), (paths.board, _board_differs)):
            found = differs(path, copied)
            if found:
                raise AnotherBoard(path=path, backup=copy.folder, away=_BOARD_AND_LEDGER)
            if found is not None:
                return
    others = [path for profile, path in copy.shards() if _shard_differs(paths, copy, profile)]
    if others:
        away = ", ".join(path.name for path in others)
        raise AnotherBoard(path=paths.folder / others[0].name, backup=copy.folder, away=away)


class _Point(NamedTuple):
    """What is known of a position: the digest there, and whose change it was, which one and when. None: not known."""

    digest: str | None
    entry: tuple[str, int, int] | None

    def differs(self, other: _Point) -> bool | None:
        if self.digest is not None and other.digest is not None:
            return self.digest != other.digest
        if self.entry is not None and other.entry is not None:
            return self.entry != other.entry
        return None


@dataclass(frozen=True)
class _History:
    """A history as a ledger has it, a board, or both, where the ledger is the longer one."""

    ledger: FileLedger | None = None
    board: sqlite3.Connection | None = None

    def length(self) -> int:
        if self.ledger:
            return self.ledger.head()[0]
        return read_start(self.board).position if self.board else 0

    def at(self, position: int) -> _Point:
        digest = entry = None
        if self.board:
            shown = read_start(self.board)
            digest = shown.digest if shown.position == position else None
            entry = self.board.execute(_ENTRY, (position,)).fetchone()
        if self.ledger and position >= self.ledger.base()[0]:
            digest = self.ledger.digest_at(position)
        if self.ledger and position > self.ledger.base()[0]:
            found = next(self.ledger.after(position - 1))
            entry = found.change.profile, found.change.seq, found.at_ms
        return _Point(digest, entry)

    def differs(self, other: _History) -> bool | None:
        """Whether the two part before the end of the shorter one; None if they do not tell, as an empty one."""
        length = self.length()
        if not length:
            return None
        position = min(length, other.length())
        return self.at(position).differs(other.at(position))


def _ledger_differs(path: Path, copied: _History) -> bool | None:
    """Whether the ledger is of another history; None if there is no sound one, or one that does not tell."""
    with stop_at_damage(), closing(FileLedger(path)) as ledger:
        ledger.check_whole()
        return _History(ledger).differs(copied)
    return None


def _board_differs(path: Path, copied: _History) -> bool | None:
    """Whether the board is of another history; None if there is no sound one, or one that does not tell."""
    with stop_at_damage(), closing(sqlite.open_reader(path, sqlite.BOARD)) as board, connections.explained(path):
        if connections.integrity(board, path) == "ok":
            return _History(board=board).differs(copied)
    return None


def _shard_differs(paths: BoardPaths, copy: BoardPaths, profile: str) -> bool:
    """Whether both shards are sound, and the one in place is another one, with other changes. One that was made again
    (`kanban-merge repair`) is another one, too, but with the same changes."""
    here, copied = _digests(paths, profile), _digests(copy, profile)
    if not here or not copied or here.shard_id == copied.shard_id:
        return False
    seq = min(max(here.digests), max(copied.digests))
    return seq > 0 and (seq not in here.digests or here.digests[seq] != copied.digests.get(seq))


class _Digests(NamedTuple):
    """Which shard it is, and the digest at each seq that it holds."""

    shard_id: str | None
    digests: dict[int, str]


def _digests(paths: BoardPaths, profile: str) -> _Digests | None:
    """Those of a shard that is sound by itself, whatever was merged of it; None for any other."""
    changes: list[Change] = []
    with suppress(InvalidName, Quarantine), stop_at_damage(), locked_shard(paths, check_profile(profile)) as shard:
        base = base_of(shard)
        why = read_all(shard, profile, lambda other: base if other == profile else (LATEST_SEQ, ""), changes)
        if why is None and connections.integrity(shard, paths.shard(profile)) == "ok":
            digests = dict([base, *((change.seq, change.digest) for change in changes)])
            return _Digests(shard_id_of(shard, profile), digests)
    return None
