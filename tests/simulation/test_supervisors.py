"""Seeded histories of dispatchers and worker processes: no task ever has two workers that live on one host."""

from __future__ import annotations

import random
from pathlib import Path
from unittest.mock import patch

import pytest

from kanban_shards.coordinator.rules import runs
from tests.simulation.supervisors import Supervisors
from tests.simulation.world import World

SEEDS = range(40)
STEPS = 45


def history(folder: Path, seed: int) -> Supervisors:
    """The history of ``seed``, with every invariant checked after each step."""
    chance = random.Random(f"supervisors {seed}")
    with World(folder, chance, ("ann", "bob", "dan"), 1) as world:
        supervisors = Supervisors(world, chance)
        for _ in range(STEPS):
            supervisors.step()
        world.check_all()
    return supervisors


@pytest.mark.parametrize("seed", SEEDS)
def test_one_worker(tmp_path: Path, seed: int) -> None:
    """Whoever is away, for however long, whoever makes passes and is killed, whatever numbers are given again."""
    history(tmp_path, seed)


def test_histories_have_workers_that_outlive_their_runs(tmp_path: Path) -> None:
    """Else the seeds show nothing of them."""
    outlived = 0
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        outlived += history(folder, seed).outlived
        if outlived:
            return
    raise AssertionError("no worker outlived its run")


def test_it_is_noticed_that_nobody_looks_before_a_claim(tmp_path: Path) -> None:
    """The check can fail: dispatchers that look at open runs alone start second workers."""
    with patch.object(Supervisors, "_workers_of", lambda self, evidence, task_id, host: []):
        _fails(tmp_path, "two workers of one task live")


def test_it_is_noticed_that_a_run_ends_within_its_grace(tmp_path: Path) -> None:
    """The check can fail: a rule that forgets the grace ends runs that dispatchers look after."""
    open_run = runs._open_run

    def forgetful(board, entry, body, task):
        answer = open_run(board, entry, body, task)
        task["lease_s"], task["grace_s"] = 1, 1
        return answer

    with patch.object(runs, "_open_run", forgetful):
        _fails(tmp_path, "after a sign")


def _fails(folder: Path, said: str) -> None:
    for seed in SEEDS:
        (folder / str(seed)).mkdir()
        try:
            history(folder / str(seed), seed)
        except AssertionError as error:
            assert said in str(error)
            return
    raise AssertionError("it was not noticed")
