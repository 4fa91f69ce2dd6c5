"""Healing: what a daemon makes again by itself, because it can be made from the other files without a loss.

The board is made from the ledger. A ledger that is missing, empty or damaged is made from board and shards, if that
leads to the digest which the board shows. An older copy of a ledger is a person's doing and left to a person, and so
is a shard: it may hold what nobody else has. Whatever lay there is kept beside the new file.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from pathlib import Path

from coordinator.errors import BreaksAgain, LedgerBehind, NothingToRepair
from coordinator.passes import Progress, make_board
from coordinator.repair import repair_ledger
from shards.errors import Damaged, StorageError
from shards.locks import FileLock
from shards.names import BoardPaths

log = logging.getLogger("kanban-merge")

HEALINGS = 3
WITHIN_S = 3_600.0


class Healer:
    """Makes the board or the ledger of one board again, each at most HEALINGS times in WITHIN_S seconds.

    ``where`` begins each line that it says.
    """

    def __init__(self, paths: BoardPaths, where: str) -> None:
        self._paths = paths
        self._where = where
        self._healed: dict[Path, deque[float]] = {}

    def heal(self, error: StorageError, lock: FileLock, progress: Progress) -> None:
        """Make the file that ``error`` is about again, and say so; no connection of this process has it open.

        ``lock``: the coordinator's, held. Raises ``error`` where nothing can be made, BreaksAgain, BeyondRepair, and
        the StorageErrors of the files that it would be made from.
        """
        if isinstance(error, Damaged) and error.path == self._paths.board:
            self._count(error)
            aside = make_board(self._paths, lock, progress)
            self._say(f"{self._paths.board} was damaged ({error.problem}), and is made again from its ledger", aside)
        elif error.path == self._paths.ledger and _lacks_everything(error):
            self._count(error)
            try:
                done = repair_ledger(self._paths, lock)
            except NothingToRepair:
                raise error from None
            what = f"damaged ({error.problem})" if isinstance(error, Damaged) else "missing"
            made = f"made again from board and shards, with {done.rows} entries"
            self._say(f"{self._paths.ledger} was {what}, and is {made}", done.set_aside)
        else:
            raise error

    def _count(self, error: StorageError) -> None:
        now = time.monotonic()
        times = self._healed.setdefault(error.path, deque(maxlen=HEALINGS))
        if len(times) == HEALINGS and now - times[0] < WITHIN_S:
            raise BreaksAgain(path=error.path, times=HEALINGS, problem=getattr(error, "problem", "it is missing"))
        times.append(now)

    def _say(self, done: str, aside: Path | None) -> None:
        log.warning("%s%s%s", self._where, done, f"; the former file is kept as {aside}" if aside else "")


def _lacks_everything(error: StorageError) -> bool:
    return isinstance(error, Damaged) or (isinstance(error, LedgerBehind) and error.held == 0)
