"""What the daemon costs while nothing happens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.common import coordinator_of, drawn_create, fill_shard, running_daemon, say
from benchmarks.figures import FIGURES
from kanban_shards.boards import create_board
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths

# The first looks at every shard are not idleness.
SETTLE_S = 2.0
ASKED_SHARDS, MOST_CPU = 50, 0.005


def measure(folder: Path, shards: Sequence[int], boards_served: int, seconds: float) -> None:
    """Print the share of a CPU, and the memory, that a daemon takes over so many quiet ``shards``, and then over so
    many boards."""
    for count in shards:
        paths = BoardPaths.of(folder / str(count), DEFAULT_BOARD)
        _make_quiet(paths, count)
        with running_daemon(paths) as daemon:
            used = _say_idle(f"idle daemon with {count} shards", daemon, seconds)
        if count == ASKED_SHARDS:
            FIGURES.asked(f"idle daemon with {count} shards, of a CPU", used, most=MOST_CPU)
    home = folder / "boards"
    default = BoardPaths.of(home, DEFAULT_BOARD)
    _make_quiet(default, 1)
    for number in range(boards_served - 1):
        create_board(home, f"board-{number}")
        _make_quiet(BoardPaths.of(home, f"board-{number}"), 1)
    with running_daemon(default, "--all-boards") as daemon:
        _say_idle(f"idle daemon with {boards_served} boards", daemon, seconds)


def _make_quiet(paths: BoardPaths, shards: int) -> None:
    paths.make_folder()
    for number in range(shards):
        profile = f"profile-{number}"
        fill_shard(paths, profile, [drawn_create(profile, title="task")])
    with coordinator_of(paths) as coordinator:
        coordinator.make_passes()


def _say_idle(what: str, daemon: psutil.Process, seconds: float) -> float:
    say(f"{what}, until it is ready", f"{_cpu_s(daemon) * 1000:.0f} ms of CPU")
    time.sleep(SETTLE_S)
    before_s, started = _cpu_s(daemon), time.perf_counter()
    time.sleep(seconds)
    used = (_cpu_s(daemon) - before_s) / (time.perf_counter() - started)
    say(what, f"{used:.2%} CPU", f"{daemon.memory_info().rss / 2**20:.0f} MiB")
    return used


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system
