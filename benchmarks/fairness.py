"""A profile's writes never wait for another profile."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import running_daemon, say
from shards import Board, Gateway
from shards.names import DEFAULT_BOARD, BoardPaths


def measure(folder: Path, gateways: int, seconds: float) -> None:
    """Print how many creates each of ``gateways`` processes got durable in ``seconds``, and how far merging fell
    behind meanwhile."""
    paths = BoardPaths.of(folder, DEFAULT_BOARD)
    with running_daemon(paths):
        begin = time.time() + 1.0
        command = [sys.executable, "-m", "benchmarks.fairness", str(folder), str(begin), str(seconds)]
        workers = [
            subprocess.Popen([*command, f"profile-{number}"], stdout=subprocess.PIPE, text=True)
            for number in range(gateways)
        ]
        written = [json.loads(worker.communicate()[0]) for worker in workers]
        with Board(paths) as board:
            merged = sum(seq for seq, _ in board.watermarks().values())
    slowest, mean = min(written), statistics.mean(written)
    say(f"{gateways} gateways, creates a second each", f"{mean / seconds:.0f}", "the mean")
    say("the slowest of them", f"{slowest / mean:.2f}", "of the mean")
    say("merged when the last one stopped", f"{merged / sum(written):.2f}", "of what was written")


def write(home: str, begin: float, seconds: float, profile: str) -> None:
    """One gateway: create tasks from ``begin`` (seconds since 1970) on, and print how many."""
    count = 0
    with Gateway(profile, home=home) as kanban:
        time.sleep(max(0.0, begin - time.time()))
        while time.time() < begin + seconds:
            kanban.create(f"task {count}")
            count += 1
        print(json.dumps(count), flush=True)


if __name__ == "__main__":
    write(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
