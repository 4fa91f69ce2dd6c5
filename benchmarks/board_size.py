"""A pass costs the number of its changes, not the size of the board."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from benchmarks.common import coordinator_of, make_board, say, spread
from coordinator.passes import Coordinator
from shards import Board
from shards.bodies import Claim
from shards.shard import Shard
from shards.vectors import Eyes


def measure(folder: Path, small: int, large: int, passes: int) -> None:
    """Print the time of a pass that merges one claim, into boards of ``small`` and ``large`` tasks, in turn."""
    boards = {size: make_board(folder / str(size), size) for size in (small, large)}
    times: dict[int, list[float]] = {size: [] for size in boards}
    with coordinator_of(boards[small]) as first, coordinator_of(boards[large]) as second:
        working = {small: first, large: second}
        shards = {size: Shard(paths, "bingge") for size, paths in boards.items()}
        tasks = {size: _task_ids(working[size], passes) for size in boards}
        for number in range(passes):
            for size in boards:
                shards[size].append(tasks[size][number % len(tasks[size])], Claim(), Eyes())
                started = time.perf_counter()
                working[size].make_pass()
                times[size].append(time.perf_counter() - started)
        for shard in shards.values():
            shard.close()
    for size in boards:
        say(f"one change into {size:,} tasks", "", spread(times[size]))
    say("the large board", f"{statistics.median(times[large]) / statistics.median(times[small]):.2f}", "of the small")


def _task_ids(coordinator: Coordinator, count: int) -> list[str]:
    with Board(coordinator.paths) as board:
        return [task.id for task in board.tasks(limit=count)]
