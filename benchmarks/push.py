"""How soon a follower sees an event: from the call that causes it, over shard, ledger and board, to the event."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from queue import Queue

from benchmarks.common import make_board, running_daemon, say, spread
from kanban_shards import Board, Gateway
from kanban_shards.paths import BoardPaths

PAUSE_S = 0.005


def measure(folder: Path, events: int) -> None:
    """Print the time from ``events`` comments, one at a time, to their events in another connection."""
    paths = make_board(folder, 1)
    seen: Queue[float] = Queue()
    with running_daemon(paths), Gateway("bingge", home=folder) as kanban:
        (task,) = kanban.board.tasks()
        following = threading.Thread(target=_follow, args=(paths, kanban.board.last_event_id(), events, seen))
        following.start()
        times = []
        for _ in range(events):
            started = time.perf_counter()
            kanban.comment(task.id, "look")
            times.append(seen.get() - started)
            time.sleep(PAUSE_S)
        following.join()
    say("comment, from call to a follower", "", spread(times))


def _follow(paths: BoardPaths, after: int, events: int, seen: Queue[float]) -> None:
    with Board(paths) as board:
        bell = board.bell()
        following = board.follow(bell, after)
        for _ in range(events):
            next(following)
            seen.put(time.perf_counter())
        bell.close()
