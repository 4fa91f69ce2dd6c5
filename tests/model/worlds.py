"""What the tests of invariants share: a small world, ids of tasks, and what became of a change."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import settings

from tests.evidence import Evidence
from tests.simulation.changes import Pool, any_kind, drawn
from tests.simulation.world import World

TASK, PARENT, OTHER, OLD_PARENT = (f"t_{number:016x}" for number in range(1, 5))
quick = settings(max_examples=30, deadline=None, derandomize=True, database=None)


@contextmanager
def a_world() -> Iterator[World]:
    """Three profiles with two processes each: its ``writers`` are ann, ann, bob, bob, cyd, cyd."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), random.Random(0)) as world:
        yield world


def verdict_of(evidence: Evidence, profile: str, seq: int) -> str:
    """``applied``, or the reason of the refusal."""
    row = evidence.verdicts[profile, seq]
    return row["reason"] or row["verdict"]


def some_work(world: World, seed: int = 0, changes: int = 30) -> None:
    """Changes of every kind by everybody."""
    chance = random.Random(seed)
    pool = Pool(tuple(sorted({writer.profile for writer in world.writers})))
    for number in range(changes):
        world.write(chance.choice(world.writers), *drawn(any_kind(chance), pool, chance), fresh=number % 3 > 0)
