"""A busy gateway: what several threads of one process append at the same time shares a commit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.common import make_board, running_daemon, say, spread
from kanban_shards import Gateway


def measure(folder: Path, threads: int, comments: int) -> None:
    """Print how many of ``comments`` are acknowledged in a second when one thread makes them, and when ``threads`` do,
    in turn, and how long each call took."""
    paths = make_board(folder, 1)
    with running_daemon(paths), Gateway("bingge", home=folder) as kanban:
        (task,) = kanban.board.tasks()
        alone, alone_s = _burst(kanban, task.id, 1, comments)
        together, together_s = _burst(kanban, task.id, threads, comments)
    say("comments in a second, by one thread", f"{comments / alone_s:,.0f}", spread(alone))
    ratio = alone_s / together_s
    say(f"by {threads} threads of one gateway", f"{comments / together_s:,.0f} ({ratio:.1f} times)", spread(together))


def _burst(kanban: Gateway, task_id: str, threads: int, comments: int) -> tuple[list[float], float]:
    def comment(number: int) -> float:
        started = time.perf_counter()
        kanban.comment(task_id, f"comment {number}")
        return time.perf_counter() - started

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        took = list(pool.map(comment, range(comments)))
    return took, time.perf_counter() - started
