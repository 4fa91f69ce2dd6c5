"""What the benchmarks share: a daemon, boards of a given size, and how figures are printed."""

from __future__ import annotations

import math
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.figures import FIGURES
from kanban_shards.changes.codec import KIND_OF, chain, encode_body
from kanban_shards.changes.fields import Body
from kanban_shards.changes.identities import new_task
from kanban_shards.changes.kinds import Create
from kanban_shards.changes.vectors import View, encode
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, DAEMON, holder, take
from kanban_shards.known_end import read_end
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths
from kanban_shards.shard_file import ShardFile
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.locks import FileLock


def say(what: str, figure: str, compared: str = "") -> None:
    """One line of a benchmark's output, which is a row on the page of figures."""
    FIGURES.line(what, figure, compared)


def spread(values: Sequence[float], unit: str = "ms", scale: float = 1_000) -> str:
    """The median and the 99th percentile of ``values``."""
    return f"p50 {statistics.median(values) * scale:.2f} {unit}, p99 {percentile(values, 99) * scale:.2f} {unit}"


def percentile(values: Sequence[float], percent: float) -> float:
    """So many percent of ``values`` are no greater; nan if there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@contextmanager
def running_daemon(paths: BoardPaths, *options: str) -> Iterator[psutil.Process]:
    """A daemon process that serves the board, ready. ``options``: more words of its command line."""
    command = [
        sys.executable,
        "-m",
        "kanban_shards.coordinator",
        "--home",
        str(paths.folder),
        "daemon",
        "--quiet",
        *options,
    ]
    process = psutil.Popen(command, stdin=subprocess.DEVNULL)
    try:
        while not is_served_by(paths, process.pid):
            if process.poll() is not None:
                raise click.ClickException(f"the daemon ended with exit code {process.returncode}")
        yield process
    finally:
        if process.is_running():
            process.terminate()
        process.wait()


def is_served_by(paths: BoardPaths, pid: int) -> bool:
    """Whether that process is the board's daemon, ready."""
    found = holder(paths)
    return found is not None and (found.pid, found.role) == (pid, DAEMON) and paths.coordinator_bell.exists()


def fill_shard(paths: BoardPaths, profile: str, changes: Iterable[tuple[str, Body]]) -> None:
    """Append ``changes`` in one transaction: what is not measured should not take long. Each author has seen what it
    wrote before."""
    shard = ShardFile(paths, profile)
    with shard.writing(View()) as connection, connections.transaction(connection):
        rows = _chained(profile, changes, *read_end(connection, shard.path).last)
        connection.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    shard.close()


def _chained(profile: str, changes: Iterable[tuple[str, Body]], seq: int, digest: str) -> Iterator[tuple]:
    last: dict[str, int] = {}
    at_ms = time.time_ns() // 1_000_000
    for task_id, body in changes:
        seq += 1
        seen = encode({profile: last[task_id]} if task_id in last else {})
        row = (seq, task_id, KIND_OF[type(body)], encode_body(body), seen, at_ms)
        digest = chain(digest, profile, *row)
        last[task_id] = seq
        yield (*row, digest)


def make_board(folder: Path, tasks: int) -> BoardPaths:
    """A board with ``tasks`` ready tasks, merged."""
    paths = BoardPaths.of(folder, DEFAULT_BOARD)
    paths.make_folder()
    creates = (drawn_create("default", title=f"task {number}", assignee="bingge") for number in range(tasks))
    fill_shard(paths, "default", creates)
    with coordinator_of(paths) as coordinator:
        coordinator.make_passes()
    return paths


def drawn_create(profile: str, **fields: Any) -> tuple[str, Create]:
    """The id of a new task of ``profile``, and the change that makes it."""
    new = new_task(profile)
    return new.id, Create(salt=new.salt, **fields)


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
