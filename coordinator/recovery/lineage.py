"""Belonging: whether a backup and what lies in a board's folder are of one history.

What is lost or damaged a backup may replace, and an older copy. What is sound and of another history is another
board's, or went another way since, and nobody asked for its end; so a restore refuses before it changes anything.

Two histories are one as far as they agree at the end of the shorter one, because digests are chained. Where one of them
was compacted behind that point there is no digest, but the board's verdict says which change it was, and when.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.errors import AnotherBoard
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.shard_reader import (
    LATEST_MS,
    Quarantine,
    base_of,
    locked_shard,
    read_all,
    shard_id_of,
)
from kanban_shards.coordinator.merge.snapshots import read_start
from kanban_shards.coordinator.recovery.histories import stop_at_damage
from kanban_shards.errors import InvalidName
from kanban_shards.paths import BoardPaths, check_profile
from kanban_shards.storage import connections, sqlite

_ENTRY = "SELECT profile, seq, at_ms FROM merge_verdicts WHERE position = ?"
_BOARD_AND_LEDGER = (
    "kanban.db and kanban-ledger.db (the shards as well, if it is another board), with what SQLite put beside them,"
)


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
        told = (self.digest, other.digest)
        if None in told:
            told = (self.entry, other.entry)
        return None if None in told else told[0] != told[1]


@dataclass(frozen=True)
class _History:
    """A history as a ledger tells it, a board, or both, where the ledger is the longer one."""

    ledger: FileLedger | None
    board: sqlite3.Connection | None = None

    def length(self) -> int:
        return self.ledger.head()[0] if self.ledger else read_start(self.board).position

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
            return _History(None, board).differs(copied)
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
        why = read_all(shard, profile, lambda other: base if other == profile else (LATEST_MS, ""), changes)
        if why is None and connections.integrity(shard, paths.shard(profile)) == "ok":
            digests = dict([base, *((change.seq, change.digest) for change in changes)])
            return _Digests(shard_id_of(shard, profile), digests)
    return None
