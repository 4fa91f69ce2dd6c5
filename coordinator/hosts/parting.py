"""The ledger in the service and the one of this host went different ways, or the service has none any more: a person
decides, and this host takes the service's history, or fills it again.

What only this host had is not lost: its shards hold it, and the next pass has it decided anew.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from kanban_shards.coordinator import rules
from kanban_shards.coordinator.errors import LedgerBehind
from kanban_shards.coordinator.hosts.following import OpenFar, Progress, reached, shared
from kanban_shards.coordinator.hosts.joining import begin_and_fill
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.replay import make_board
from kanban_shards.coordinator.shared.copies import fetch_copy
from kanban_shards.coordinator.shared.errors import NoSharedLedger, Parted
from kanban_shards.coordinator.shared.far import Far
from kanban_shards.coordinator.shared.ledger import SharedLedger
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock

# How the service's ledger and this host's stand to each other.
ONE, PARTED, GONE = "one", "parted", "gone"


class Way(NamedTuple):
    """``how``: ONE, PARTED or GONE. ``position``: the first at which they differ. ``verdicts``: how many verdicts of
    this host may change. ``changes``: how many changes of this host are decided anew."""

    how: str
    position: int = 0
    verdicts: int = 0
    changes: int = 0


class Taken(NamedTuple):
    """``way``: how it was. ``position``: where the board stands now. ``decided``: how many changes of this host were
    decided. ``set_aside``: where the former ledger, snapshot and board lie."""

    way: Way
    position: int
    decided: int
    set_aside: list[Path]


def look(paths: BoardPaths, lock: FileLock, open_far: OpenFar) -> Way:
    """How the two stand to each other. If they are one, what was missing on either side is there when this returns.

    ``lock``: the coordinator's, held. Raises NotShared, FarError.
    """
    sharing = shared(paths)
    with reached(sharing, open_far) as far, closing(FileLedger(paths.ledger, lock)) as copy:
        return _way(paths, copy, far, sharing)


def _way(paths: BoardPaths, copy: FileLedger, far: Far, sharing: Sharing) -> Way:
    here = {profile for profile, _ in paths.shards()}
    try:
        SharedLedger(copy, far, sharing, rules.VERSION, here.__contains__).pull()
    except NoSharedLedger:
        return Way(GONE)
    except Parted as error:
        return Way(PARTED, error.position, error.verdicts, error.changes)
    return Way(ONE)


def take_again(
    paths: BoardPaths,
    lock: FileLock,
    open_far: OpenFar,
    progress: Progress = lambda what, done, total: None,
) -> Taken:
    """Take the history of the service's ledger, or, where it has none, fill it from this host; then merge what is not
    in it. Killed on the way, it is continued by repeating it.

    ``lock``: the coordinator's, held. Raises NotShared, FarError, BeginsLate, the StorageErrors of files.
    """
    sharing = shared(paths)
    set_aside: list[Path | None] = []

    def deciding(done: int, total: int) -> None:
        progress("decided", done, total)

    with reached(sharing, open_far) as far:
        with closing(FileLedger(paths.ledger, lock)) as copy:
            way = _way(paths, copy, far, sharing)
        if way.how == GONE:
            begin_and_fill(paths, far, sharing, progress)
        elif way.how == PARTED:
            set_aside.append(
                fetch_copy(
                    paths, lock, far, sharing, rules.VERSION, lambda done, total: progress("fetched", done, total)
                )
            )
        try:
            coordinator = Coordinator(paths, lock, deciding, far)
        except LedgerBehind:
            if paths.snapshot.exists():  # of the way that was left; what was fetched begins at the beginning
                set_aside.append(files.set_aside(paths.snapshot, lock))
            set_aside.append(make_board(paths, lock, deciding))
            coordinator = Coordinator(paths, lock, deciding, far)
        with coordinator:
            decided = coordinator.make_passes().decided
            position = coordinator.board.position().position
    return Taken(way, position, decided, [path for path in set_aside if path])
