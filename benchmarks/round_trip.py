"""A claim's answer takes one round trip: shard commit, bell, collect, ledger commit, decide, apply, bell."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.common import make_board, one_commit, running_daemon, say, spread
from kanban_shards import Gateway

PAUSE_S = 0.002


def measure(folder: Path, claims: int) -> None:
    """Print the time of ``claims`` claims, one at a time, and of commits taken between them."""
    paths = make_board(folder, claims)
    disk = one_commit(folder)
    trips, commits = [], []
    with running_daemon(paths), Gateway("bingge", home=paths.folder) as kanban:
        for task in kanban.board.tasks():
            started = time.perf_counter()
            kanban.claim(task.id)
            trips.append(time.perf_counter() - started)
            time.sleep(PAUSE_S)  # the daemon is idle when the next claim comes
            started = time.perf_counter()
            disk.execute("UPDATE liveness SET at_ms = at_ms + 1")
            commits.append(time.perf_counter() - started)
            time.sleep(PAUSE_S)
    ratio = statistics.median(trips) / statistics.median(commits)
    say("one commit of this disk", "", spread(commits))
    say("claim, from call to verdict", f"{ratio:.1f} commits", spread(trips))
