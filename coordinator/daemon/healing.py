"""Healing: what a daemon rebuilds by itself, because it can be made from the other files without a loss.

The board is made from the ledger. A ledger that is missing, empty or damaged is made from board and shards, if that
leads to the digest which the board shows. An older copy of a ledger is a person's doing and left to a person, and so
is a shard: it may hold what nobody else has. Whatever lay there is kept beside the new file.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from contextlib import closing, suppress
from pathlib import Path

from kanban_shards import wording
from kanban_shards.coordinator.errors import BreaksAgain, LedgerBehind, NothingToRepair
from kanban_shards.coordinator.merge.replay import ProgressCallback, make_board
from kanban_shards.coordinator.recovery.repair import repair_ledger
from kanban_shards.errors import Damaged, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.locks import FileLock

log = logging.getLogger("kanban-merge")

HEALINGS = 3
WITHIN_S = 3_600.0
# How often board and ledger are opened anew to check them, and up to which size each page of them is.
LOOK_EVERY_S = 5.0
LOOK_BYTES = 4 * 1024 * 1024


class Watch:
    """Board and ledger as somebody sees them who opens them now. Whoever has them open reads what is in its memory, and
    does not notice that a file was overwritten in place, while nobody else can use it."""

    def __init__(self, paths: BoardPaths) -> None:
        self._files = ((paths.board, sqlite.BOARD), (paths.ledger, sqlite.LEDGER))
        self._seen: dict[Path, tuple[int, int]] = {}
        self._next_s = 0.0

    def look(self) -> None:
        """Look at what changed, if it is time. Raises Damaged, and the other StorageErrors of a file."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + LOOK_EVERY_S
        for path, role in self._files:
            with suppress(FileNotFoundError):  # the next pass notices
                found = os.stat(path)
                if self._seen.get(path) != (found.st_size, found.st_mtime_ns):
                    _check(path, role, found.st_size)
                    self._seen[path] = found.st_size, found.st_mtime_ns


def _check(path: Path, role: sqlite.Role, size: int) -> None:
    with closing(sqlite.open_reader(path, role)) as reader, connections.explained(path):
        problem = connections.quick_check(reader) if size <= LOOK_BYTES else "ok"
    if problem != "ok":
        raise Damaged(path=path, problem=problem)


class Healer:
    """Makes the board or the ledger of one board again, each at most HEALINGS times in WITHIN_S seconds.

    ``where`` begins each line that it says.
    """

    def __init__(self, paths: BoardPaths, where: str) -> None:
        self._paths = paths
        self._where = where
        self._healed: dict[Path | str, deque[float]] = {}

    def heal(self, error: StorageError, lock: FileLock, progress: ProgressCallback) -> None:
        """Make the file that ``error`` is about again, and say so; no connection of this process has it open.

        ``lock``: the coordinator's, held. Raises ``error`` where nothing can be made, such as a board whose ledger is
        missing, BreaksAgain, BeyondRepair, and the StorageErrors of the files that it would be made from.
        """
        if isinstance(error, Damaged) and error.path == self._paths.board and not files.is_empty(self._paths.ledger):
            self._check_times(error)
            aside = make_board(self._paths, lock, progress)
            self._count(error.path)
            self._say(f"{self._paths.board} was damaged ({error.problem}), and is made again from its ledger", aside)
        elif error.path == self._paths.ledger and _lacks_everything(error):
            self._check_times(error)
            try:
                done = repair_ledger(self._paths, lock)
            except NothingToRepair:
                raise error from None
            self._count(error.path)
            what = f"damaged ({error.problem})" if isinstance(error, Damaged) else "missing"
            source = "what the hosts share" if self._paths.is_shared else "board and shards"
            made = f"made again from {source}, with {wording.many(done.rows, 'entry')}"
            self._say(f"{self._paths.ledger} was {what}, and is {made}", done.set_aside)
        else:
            raise error

    def _check_times(self, error: StorageError) -> None:
        times = self._healed.get(error.path, deque[float]())
        if len(times) == HEALINGS and time.monotonic() - times[0] < WITHIN_S:
            raise BreaksAgain(path=error.path, times=HEALINGS, problem=getattr(error, "problem", "it is missing"))

    def _count(self, path: Path | str) -> None:
        self._healed.setdefault(path, deque(maxlen=HEALINGS)).append(time.monotonic())

    def _say(self, done: str, aside: Path | None) -> None:
        log.warning("%s%s%s", self._where, done, f"; the former file is kept as {aside}" if aside else "")


def _lacks_everything(error: StorageError) -> bool:
    return isinstance(error, Damaged) or (isinstance(error, LedgerBehind) and error.held == 0)
