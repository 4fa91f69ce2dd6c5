"""Merge once: everything that is there now, here or by the daemon if one runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import tenacity

from kanban_shards import wording
from kanban_shards.bell import Ringer
from kanban_shards.board import Board
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import LOST_SHARD, MISSING, Collected, Skipped, look
from kanban_shards.coordinator.merge.coordinator import Coordinator, Passes, Report
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, DAEMON
from kanban_shards.errors import CoordinatorRunning, Undecided
from kanban_shards.homes import homes_elsewhere
from kanban_shards.inline_merge import CUT_OFF_S, why_cut_off, why_undecided
from kanban_shards.paths import COORDINATOR, BoardPaths

ASK_DAEMON_S = 30.0
LOOK_EVERY_S = 0.1
# A shard is busy for one commit; for so long, because a process that holds its lock is stopped.
BUSY_S = 5.0
BUSY_PAUSE_S = 0.005

_NAMED = ("profile", "seq", "task_id", "kind")
_SHOWN = (*_NAMED, "reason", "sentence")

# So many refused changes are named; the others are counted.
REFUSED_NAMED = 1_000

Found = TypeVar("Found", Passes, Collected)


@dataclass(frozen=True)
class MergeReport:
    """What was merged: how many changes of each profile, the refused ones (REFUSED_NAMED at most, and how many there
    are besides), the shards left, and through which daemon, if not here."""

    changes: dict[str, int]
    refused: list[dict[str, Any]]
    skipped: list[Skipped]
    daemon: str | None = None
    refused_beyond: int = 0


class _NoDaemon(Exception):
    """There is none, or it ended before it was through."""


def merge_once(paths: BoardPaths) -> MergeReport:
    """Merge everything that is there now; here if there is no daemon, or if it ends meanwhile. A shard that is busy is
    waited for, BUSY_S seconds, and then is among those left.

    Raises UnknownBoard, CoordinatorRunning, Undecided if the daemon does not get there in ASK_DAEMON_S seconds, and
    the StorageErrors of files that cannot be used.
    """
    paths.require_folder()
    merged = _merged(paths)
    with Board(paths) as board:
        merged.skipped.extend(_missing(paths, board))
    return merged


def _merged(paths: BoardPaths) -> MergeReport:
    try:
        return _ask_daemon(paths)
    except _NoDaemon:
        pass
    try:
        return _pass_here(paths)
    except CoordinatorRunning as error:
        try:
            return _ask_daemon(paths)  # which began between the look and the lock
        except _NoDaemon:
            raise error from None


def _pass_here(paths: BoardPaths) -> MergeReport:
    merged: Counter[str] = Counter()
    refused: list[dict[str, Any]] = []
    beyond = 0

    def note(report: Report) -> None:
        nonlocal beyond
        merged.update(decision.entry.change.profile for decision in report.decisions)
        named = report.refused[: REFUSED_NAMED - len(refused)]
        beyond += len(report.refused) - len(named)
        refused.extend(
            {
                **{name: getattr(each.entry.change, name) for name in _NAMED},
                "reason": each.reason,
                "sentence": each.sentence,
            }
            for each in named
        )

    with locks.holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        skipped = _while_busy(lambda: coordinator.make_passes(note)).skipped
    return MergeReport(dict(merged), refused, skipped, refused_beyond=beyond)


def _ask_daemon(paths: BoardPaths) -> MergeReport:
    """Ring, and wait until every shard's present head has its verdict."""
    daemon = _daemon(paths)
    with Board(paths) as board:
        before, watermarks = board.position(), board.watermarks()
        there = _while_busy(lambda: look(paths, board.watermarks))
        heads = {profile: changes[-1].seq for profile, changes in there.changes.items()}
        _wait_for(paths, board, heads)
        changes = {
            profile: seq - watermarks.get(profile, (0, ""))[0]
            for profile, (seq, _) in board.watermarks().items()
            if seq > watermarks.get(profile, (0, ""))[0]
        }
        refused = [
            {name: getattr(each, name) for name in _SHOWN}
            for each in reversed(board.refusals(after=before, limit=REFUSED_NAMED))
        ]
        beyond = board.count_refusals(after=before) - len(refused)
    return MergeReport(changes, refused, there.skipped, str(daemon), max(0, beyond))


def _while_busy(act: Callable[[], Found]) -> Found:
    """What ``act`` finds when no shard is busy any more, or when BUSY_S are over."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: found.busy),
        stop=tenacity.stop_after_delay(BUSY_S),
        wait=tenacity.wait_exponential(multiplier=BUSY_PAUSE_S, max=LOOK_EVERY_S),
    )
    try:
        return attempts(act)
    except tenacity.RetryError as error:
        found: Found = error.last_attempt.result()
        return found


def _missing(paths: BoardPaths, board: Board) -> Iterator[Skipped]:
    """Shards of which something was merged, and that are gone, not on another host."""
    elsewhere = homes_elsewhere(board)
    for profile, (seq, _) in board.watermarks().items():
        path = paths.folder / f"kanban.{profile}.db"
        if profile != COORDINATOR and not path.exists() and profile not in elsewhere:
            yield Skipped(
                profile, path, MISSING, LOST_SHARD.format(changes=wording.many(seq, "change"), profile=profile)
            )


def _wait_for(paths: BoardPaths, board: Board, heads: dict[str, int]) -> None:
    began_s, began_ms = time.monotonic(), time.time_ns() // 1_000_000

    def is_over(_: tenacity.RetryCallState) -> bool:
        waited_s = time.monotonic() - began_s
        return waited_s >= ASK_DAEMON_S or (waited_s >= CUT_OFF_S and bool(why_cut_off(paths, began_ms)))

    def reached() -> bool:
        now = board.watermarks()
        done = all(now.get(profile, (0, ""))[0] >= seq for profile, seq in heads.items())
        if not done:
            _daemon(paths)  # it may have ended
        return done

    def ring(_: tenacity.RetryCallState) -> None:
        ringer.ring(paths.coordinator_bell)

    def listen(longest_s: float) -> None:
        bell.wait(longest_s)

    bell, ringer = board.bell(), Ringer()
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: not done),
        stop=is_over,
        wait=tenacity.wait_fixed(LOOK_EVERY_S),
        before_sleep=ring,
        sleep=listen,
    )
    try:
        attempts(reached)
    except tenacity.RetryError as error:
        profile, seq = next(iter(heads.items()))
        why = why_cut_off(paths, began_ms) or why_undecided(paths)
        waited_s = round(time.monotonic() - began_s, 1)
        raise Undecided(profile=profile, seq=seq, waited_s=waited_s, why=why) from error
    finally:
        bell.close()
        ringer.close()


def _daemon(paths: BoardPaths) -> locks.Holder:
    """The daemon that serves the board. Raises _NoDaemon."""
    holder = locks.holder(paths)
    if holder is None or holder.role != DAEMON:
        raise _NoDaemon
    return holder
