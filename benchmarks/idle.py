"""What the daemon costs while nothing happens."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.common import coordinator_of, fill_shard, running_daemon, say
from shards.bodies import Create
from shards.names import DEFAULT_BOARD, BoardPaths, new_task_id


def measure(folder: Path, shards: int, seconds: float) -> None:
    """Print the share of a CPU, and the memory, that a daemon over ``shards`` quiet shards takes."""
    paths = BoardPaths.of(folder, DEFAULT_BOARD)
    for number in range(shards):
        fill_shard(paths, f"profile-{number}", [(new_task_id(), Create(title="task"))])
    with coordinator_of(paths) as coordinator:
        coordinator.make_passes()
    with running_daemon(paths) as daemon:
        time.sleep(2.0)  # the first looks at every shard are not idleness
        before, started = daemon.cpu_times(), time.perf_counter()
        time.sleep(seconds)
        after, ended = daemon.cpu_times(), time.perf_counter()
        memory = daemon.memory_info().rss
    used = (after.user + after.system - before.user - before.system) / (ended - started)
    say(f"idle daemon with {shards} shards", f"{used:.2%} CPU", f"{memory / 2**20:.0f} MiB")
