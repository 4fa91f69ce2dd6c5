"""How many changes a coordinator takes in, and how many a rebuild replays, in a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import coordinator_of, drawn_create, fill_shard, say
from benchmarks.figures import FIGURES
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import AddComment, Claim, Complete, Subscribe
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths

LEAST_A_SECOND, LEAST_VERIFIED_A_SECOND = 25_000, 20_000
PROFILES = ("default", "bingge", "pixiel", "mafei")


def measure(folder: Path, changes: int) -> None:
    """Print the rates for ``changes`` changes of four profiles: create, subscribe, comment, claim, complete."""
    paths = BoardPaths.of(folder, DEFAULT_BOARD)
    for profile in PROFILES:
        fill_shard(paths, profile, list(_work(profile, changes // len(PROFILES))))
    with coordinator_of(paths) as coordinator:
        started = time.perf_counter()
        merged = coordinator.make_passes().decided
        merged_a_second = merged / (time.perf_counter() - started)
        say("merged a second", f"{merged_a_second:,.0f}", f"{merged:,} changes")
    lock = take(paths, COMMAND, wait_s=5)
    try:
        started = time.perf_counter()
        replayed = rebuild(paths, lock).entries
        rebuilt_a_second = replayed / (time.perf_counter() - started)
        say("rebuilt a second", f"{rebuilt_a_second:,.0f}", f"{replayed:,} entries")
    finally:
        lock.close()
    found = verify(paths)
    verified_a_second = found.entries / found.seconds
    say("verified a second", f"{verified_a_second:,.0f}", f"{found.rows:,} rows, clean={found.clean}")
    FIGURES.asked("merged a second", merged_a_second, least=LEAST_A_SECOND)
    FIGURES.asked("rebuilt a second", rebuilt_a_second, least=LEAST_A_SECOND)
    FIGURES.asked("verified a second", verified_a_second, least=LEAST_VERIFIED_A_SECOND)


def _work(profile: str, count: int) -> Iterator[tuple[str, Body]]:
    for number in range(count // 5):
        task_id, create = drawn_create(profile, title=f"task {number}", priority=number % 5)
        yield task_id, create
        yield task_id, Subscribe(platform="telegram", chat_id="42")
        yield task_id, AddComment(text="on it")
        yield task_id, Claim()
        yield task_id, Complete(summary="done", result="it works")
