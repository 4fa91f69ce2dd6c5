"""One pass over everything that is there: made here, or by the daemon if one runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import tenacity

from coordinator import lock as locks
from coordinator.collect import Left, look
from coordinator.lock import COMMAND, DAEMON
from coordinator.passes import Coordinator
from shards.bell import Ringer
from shards.board import Board
from shards.errors import Undecided
from shards.names import BoardPaths

ASK_DAEMON_S = 30.0
LOOK_EVERY_S = 0.1

_DOT = ("profile", "seq", "task_id", "kind")
_SHOWN = (*_DOT, "reason", "sentence")


@dataclass(frozen=True)
class Merged:
    """What was merged: how many changes of each profile, the refused ones, the shards left, and through which daemon,
    if not here."""

    changes: dict[str, int]
    refused: list[dict[str, Any]]
    left: list[Left]
    daemon: str | None = None


class _NoDaemon(Exception):
    """There is none, or it ended before it was through."""


def merge_once(paths: BoardPaths) -> Merged:
    """Merge everything that is there now; here if there is no daemon, or if it ends meanwhile.

    Raises UnknownBoard, CoordinatorRunning, Undecided if the daemon does not get there in ASK_DAEMON_S seconds, and
    the StorageErrors of files that cannot be used.
    """
    paths.require_folder()
    try:
        return _ask_daemon(paths)
    except _NoDaemon:
        return _pass_here(paths)


def _pass_here(paths: BoardPaths) -> Merged:
    with locks.holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        report = coordinator.make_passes()
    merged = Counter(decision.entry.profile for decision in report.decisions)
    refused = [
        {**{name: getattr(each.entry, name) for name in _DOT}, "reason": each.reason, "sentence": each.sentence}
        for each in report.refused
    ]
    return Merged(dict(merged), refused, report.left)


def _ask_daemon(paths: BoardPaths) -> Merged:
    """Ring, and wait until every shard's present head has its verdict."""
    daemon = _daemon(paths)
    with Board(paths) as board:
        before, marks = board.position(), board.watermarks()
        there = look(paths, board.watermarks)
        heads = {profile: changes[-1].seq for profile, changes in there.changes.items()}
        _wait_for(paths, board, heads)
        changes = {
            profile: seq - marks.get(profile, (0, ""))[0]
            for profile, (seq, _) in board.watermarks().items()
            if seq > marks.get(profile, (0, ""))[0]
        }
        refused = [
            {name: getattr(each, name) for name in _SHOWN}
            for each in reversed(board.refusals(after=before, limit=sum(changes.values()) or 1))
        ]
    return Merged(changes, refused, there.left, str(daemon))


def _wait_for(paths: BoardPaths, board: Board, heads: dict[str, int]) -> None:
    def reached() -> bool:
        now = board.watermarks()
        done = all(now.get(profile, (0, ""))[0] >= seq for profile, seq in heads.items())
        if not done:
            _daemon(paths)  # it may have ended
        return done

    bell, ringer = board.bell(), Ringer()
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda done: not done),
        stop=tenacity.stop_after_delay(ASK_DAEMON_S),
        wait=tenacity.wait_fixed(LOOK_EVERY_S),
        before_sleep=lambda _: ringer.ring(paths.coordinator_bell),
        sleep=bell.wait,
    )
    try:
        attempts(reached)
    except tenacity.RetryError as error:
        profile, seq = next(iter(heads.items()))
        found = locks.holder(paths)
        why = f"the coordinator is the {found.told()}" if found else "no coordinator took it"
        raise Undecided(profile=profile, seq=seq, waited_s=ASK_DAEMON_S, why=why) from error
    finally:
        bell.close()
        ringer.close()


def _daemon(paths: BoardPaths) -> locks.Holder:
    """The daemon that serves the board. Raises _NoDaemon."""
    holder = locks.holder(paths)
    if holder is None or holder.role != DAEMON:
        raise _NoDaemon
    return holder
