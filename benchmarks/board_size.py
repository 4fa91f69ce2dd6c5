"""A pass costs the number of its changes, not the size of the board."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.common import coordinator_of, make_board, say, spread
from benchmarks.figures import FIGURES
from kanban_shards import Board
from kanban_shards.changes.kinds import Claim
from kanban_shards.changes.vectors import View
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.shard import Shard

MOST_TIMES = 2.0


def measure(folder: Path, sizes: Sequence[int], passes: int) -> None:
    """Print the time of a pass that merges one claim, into boards of ``sizes`` tasks, in turn."""
    boards = {size: make_board(folder / str(size), size) for size in sizes}
    times: dict[int, list[float]] = {size: [] for size in sizes}
    with ExitStack() as stack:
        working = {size: stack.enter_context(coordinator_of(paths)) for size, paths in boards.items()}
        shards = {size: Shard(paths, "bingge") for size, paths in boards.items()}
        tasks = {size: _task_ids(working[size], passes) for size in sizes}
        for number in range(passes):
            for size in sizes:
                shards[size].append(tasks[size][number % len(tasks[size])], Claim(), View())
                started = time.perf_counter()
                working[size].make_pass()
                times[size].append(time.perf_counter() - started)
        for shard in shards.values():
            shard.close()
    least = statistics.median(times[min(sizes)])
    for size in sizes:
        say(f"one change into {size:,} tasks", f"{statistics.median(times[size]) / least:.2f}", spread(times[size]))
    FIGURES.asked(
        f"one change into {max(sizes):,} tasks, in those into {min(sizes):,}",
        statistics.median(times[max(sizes)]) / least,
        most=MOST_TIMES,
    )


def _task_ids(coordinator: Coordinator, count: int) -> list[str]:
    with Board(coordinator.paths) as board:
        return [task.id for task in board.tasks(limit=count)]
