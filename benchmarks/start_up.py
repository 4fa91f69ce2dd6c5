"""What a command costs that only reads."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.common import make_board, say

TASKS = 100


def measure(folder: Path, runs: int) -> None:
    """Print the CPU of ``kanban list`` over ``runs`` runs, and of an interpreter that does nothing."""
    make_board(folder, TASKS)
    nothing = _cpu([sys.executable, "-c", "pass"], runs)
    reading = _cpu([sys.executable, "-m", "shards", "--home", str(folder), "list"], runs)
    say("python that does nothing", "", f"p50 {nothing * 1000:.0f} ms of CPU")
    say(f"kanban list of {TASKS} tasks", "", f"p50 {reading * 1000:.0f} ms of CPU")


def _cpu(command: list[str], runs: int) -> float:
    used = []
    for _ in range(runs):
        before = _children()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        used.append(_children() - before)
    return statistics.median(used)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
