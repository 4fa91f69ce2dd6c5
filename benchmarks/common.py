"""What the benchmarks share: a daemon, boards of a given size, and how figures are printed."""

from __future__ import annotations

import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

from coordinator.lock import COMMAND, DAEMON, holder, take
from coordinator.passes import Coordinator
from shards import sqlite
from shards.bodies import Body, Create
from shards.locks import FileLock
from shards.names import DEFAULT_BOARD, BoardPaths, new_task_id
from shards.shard import Shard
from shards.vectors import Eyes


def say(what: str, figure: str, compared: str = "") -> None:
    """One line of a benchmark's output."""
    click.echo(f"{what:<46} {figure:>16}  {compared}".rstrip())


def spread(values: Sequence[float], unit: str = "ms", scale: float = 1_000) -> str:
    """The median and the 99th percentile of ``values``."""
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered) * scale:.2f} {unit}, p99 {p99 * scale:.2f} {unit}"


@contextmanager
def running_daemon(paths: BoardPaths) -> Iterator[psutil.Process]:
    """A daemon process that serves the board, ready."""
    command = [sys.executable, "-m", "coordinator", "--home", str(paths.folder), "daemon", "--quiet"]
    process = psutil.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while not (paths.coordinator_bell.exists() and (found := holder(paths)) and found.role == DAEMON):
            if process.poll() is not None:
                raise click.ClickException(f"the daemon ended with exit code {process.returncode}")
        yield process
    finally:
        process.terminate()
        process.wait()


def fill_shard(paths: BoardPaths, profile: str, changes: Sequence[tuple[str, Body]]) -> None:
    """Append ``changes`` in one go, without waiting for the disk: this part is not what is measured."""
    shard = Shard(paths, profile)
    with shard._writing(Eyes()) as connection:
        connection.execute("PRAGMA synchronous=OFF")
    for task_id, body in changes:
        shard.append(task_id, body, Eyes())
    shard.close()


def make_board(folder: Path, tasks: int) -> BoardPaths:
    """A board with ``tasks`` ready tasks, merged."""
    paths = BoardPaths.of(folder, DEFAULT_BOARD)
    paths.make_folder()
    creates = [(new_task_id(), Create(title=f"task {number}", assignee="bingge")) for number in range(tasks)]
    fill_shard(paths, "default", creates)
    with coordinator_of(paths) as coordinator:
        coordinator.make_passes()
    return paths


@contextmanager
def coordinator_of(paths: BoardPaths) -> Iterator[Coordinator]:
    """This process as the coordinator."""
    lock = take(paths, COMMAND, wait_s=5)
    try:
        with Coordinator(paths, lock) as coordinator:
            yield coordinator
    finally:
        lock.close()


def one_commit(folder: Path) -> sqlite3.Connection:
    """A file that is written as a shard is, to measure what one commit of this disk costs."""
    lock = FileLock(folder / "commit.lock")
    lock.acquire(1)
    connection = sqlite.open_writer(folder / "commit.db", sqlite.SHARD, lock)
    connection.execute("INSERT OR REPLACE INTO liveness VALUES (1, 0)")
    return connection
