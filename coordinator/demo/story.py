"""``kanban-merge demo``: several profiles work on one board, on a board of its own, and everything is checked.

The processes are real ones (coordinator/demo/worker.py): a worker for each profile and a daemon that merges. They are
started, watched, with ``chaos`` killed, and in the end stopped; coordinator/demo/check.py then holds what is in the
files against what the workers were told.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from kanban_shards.board import Board
from kanban_shards.coordinator.demo.check import Account, check
from kanban_shards.coordinator.demo.crew import DAEMON, LOOK_EVERY_S, Crew
from kanban_shards.coordinator.demo.outcome import Outcome, Picture, Screen, Show
from kanban_shards.errors import BoardMissing, UsageError
from kanban_shards.paths import BoardPaths, check_profile

START_S = 30.0
# Between two kills.
CHAOS_S = (0.3, 0.7)
# Looks that one figure of the speed is taken over.
RATE_OVER = 5


class FolderInUse(UsageError):
    template = "{folder} is not an empty folder; name a new one with --keep."
    folder: Path | str


def run_demo(profiles: list[str], seconds: float, keep: str | None, chaos: bool, screen: Screen) -> Outcome:
    """Play it, show it on ``screen``, and check it.

    ``keep``: a new or empty folder that the board is left in; None leaves nothing behind. Raises InvalidName,
    FolderInUse, StorageError.
    """
    team = list(dict.fromkeys(check_profile(profile.strip()) for profile in profiles))
    with tempfile.TemporaryDirectory(prefix="kanban-demo-", ignore_cleanup_errors=True) as scratch:
        home = _new_folder(Path(keep)) if keep else Path(scratch, "board")
        crew = Crew(Path(scratch), home, team)
        try:
            return Demo(crew, seconds, chaos, keep).play(screen)
        finally:
            crew.kill()


class Demo:
    """One performance, from the first process to the last check."""

    def __init__(self, crew: Crew, seconds: float, chaos: bool, keep: str | None) -> None:
        self._crew = crew
        self._seconds = seconds
        self._chaos = chaos
        self._keep = keep
        self._started = self._worked_s = 0.0
        self._merged_then = 0
        self._merged: list[tuple[float, int]] = []

    def play(self, screen: Screen) -> Outcome:
        """Everything. Ctrl-C ends the work early; what was written is merged and checked all the same."""
        crew, interrupted = self._crew, False
        with screen(crew.team, self._chaos) as show, Board(crew.paths) as board:
            try:
                self._begin(board, show)
                self._work(board, show)
            except KeyboardInterrupt:
                interrupted = True
            self._worked_s = time.monotonic() - self._started if self._started else 0.0
            self._merged_then = _merged(board)
            show(self._picture(board, "the workers finish what they have in hand"))
            crew.stop(*crew.team)
            for _ in crew.settling(board):
                show(self._picture(board, "the daemon merges the rest, and abandoned tasks come back"))
            crew.stop(DAEMON)
            show(self._picture(board, "everything is checked"))
            checked = check(crew.paths, crew.accounts)
            checked.problems += crew.problems
            last = self._picture(board, "over")
            show(last)
        waits = _waits(crew.accounts)
        return Outcome(
            seconds=round(self._worked_s, 2),
            merged_per_s=round(self._merged_then / self._worked_s, 1) if self._worked_s else 0.0,
            median_ms=last.median_ms,
            slowest_ms=round(max(waits), 2) if waits else None,
            profiles=last.rows,
            killed=dict(crew.killed),
            checked=checked,
            interrupted=interrupted,
            kept=self._keep and str(crew.paths.folder),
        )

    def _begin(self, board: Board, show: Show) -> None:
        """Start everybody; the clock runs once each has something on the board."""
        for name in (DAEMON, *self._crew.team):
            self._crew.start(name)
        deadline = time.monotonic() + START_S
        while any(row["merged"] == 0 for row in self._picture(board, "").rows) and time.monotonic() < deadline:
            show(self._picture(board, "everybody starts"))
            time.sleep(LOOK_EVERY_S)
            self._crew.look()
        self._started = time.monotonic()

    def _work(self, board: Board, show: Show) -> None:
        end = self._started + self._seconds
        next_kill = self._started if self._chaos else end
        while (now := time.monotonic()) < end:
            self._crew.look()
            if now >= next_kill:
                self._crew.kill_one()
                next_kill = now + random.uniform(*CHAOS_S)
            self._merged.append((now, _merged(board)))
            show(self._picture(board, "they work"))
            time.sleep(LOOK_EVERY_S)

    def _picture(self, board: Board, phase: str) -> Picture:
        picture = Picture(phase, self._seconds, killed=self._crew.killed)
        if self._started:
            picture.elapsed_s = min(time.monotonic() - self._started, self._worked_s or self._seconds)
        watermarks: dict[str, tuple[int, str]] = {}
        try:
            watermarks = board.watermarks()
            picture.merged = board.position()
            with board.reading() as connection:
                picture.expired = connection.execute(
                    "SELECT count(*) FROM merge_kept WHERE kind = 'expire'"
                ).fetchone()[0]
        except BoardMissing:
            pass  # the daemon has not made it yet
        waits = _waits(self._crew.accounts)
        picture.median_ms = round(statistics.median(waits), 2) if waits else None
        picture.rates = _rates(self._merged)
        picture.rows = [
            _row(profile, account, watermarks.get(profile, (0, ""))[0])
            for profile, account in self._crew.accounts.items()
        ]
        return picture


def _row(profile: str, account: Account, merged: int) -> dict[str, str | int]:
    return {
        "profile": profile,
        "created": account.kinds["create"],
        "claimed": len(account.runs),
        "completed": account.outcomes["complete", "applied"],
        "lost_races": account.lost_races,
        "comments": account.kinds["comment"],
        "written": len(account.written),
        "merged": merged,
        "waiting": max(0, account.newest - merged),
    }


def _rates(merged: list[tuple[float, int]]) -> list[float]:
    """Changes merged per second, over RATE_OVER looks each."""
    return [(after - before) / (then - now) for (now, before), (then, after) in pairwise(merged[::RATE_OVER])]


def _waits(accounts: dict[str, Account]) -> list[float]:
    return [wait for account in accounts.values() for wait in account.waits_ms]


def _merged(board: Board) -> int:
    try:
        return board.position()
    except BoardMissing:
        return 0


def _new_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or os.listdir(folder)):
        raise FolderInUse(folder=folder)
    BoardPaths(folder.absolute()).make_folder()
    return folder.absolute()
