"""Seeded histories: every invariant holds after each step of each of them, and a seed is enough to see one again."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kanban_shards.changes.kinds import KINDS
from tests.simulation.__main__ import replay_command
from tests.simulation.damage import CUT, DELETED, FLIPPED, OLDER, TORN
from tests.simulation.simulator import STEPS, Simulation

SEEDS = range(100)
# A quarter of a second of this machine's time for each; ``python -m tests.simulation --seeds 0-9999`` runs longer ones.
STEPS_OF_A_SEED = 60
# Histories ``(seed, steps, harm)`` that once failed, or that a mutation of the rule fails on; they are kept for ever.
REGRESSIONS = ((35, STEPS, False), (82, STEPS, False))


@pytest.mark.parametrize(("seed", "steps", "harm"), [*((seed, STEPS_OF_A_SEED, True) for seed in SEEDS), *REGRESSIONS])
def test_every_invariant_holds(tmp_path: Path, seed: int, steps: int, harm: bool) -> None:
    """Whatever happens in the history of a seed, no invariant is broken."""
    try:
        Simulation(tmp_path, seed, steps, harm).run()
    except Exception as error:
        raise AssertionError(f"again: {replay_command(seed, steps, harm)}") from error


def test_histories_have_everything_in_them(tmp_path: Path) -> None:
    """The seeds write every kind, end in every common verdict, kill passes, and damage each file in each way."""
    ways = {DELETED, CUT, FLIPPED, TORN, OLDER}
    kinds, verdicts, damages, kills = Counter(), Counter(), Counter(), 0
    for seed in range(100):
        if seed >= 24 and {how for _, how in damages} == ways:  # the rarest; a change of the program moves them about
            break
        folder = tmp_path / str(seed)
        folder.mkdir()
        outcome = Simulation(folder, seed).run()
        kinds += outcome.kinds
        verdicts += outcome.verdicts
        damages += outcome.damages
        kills += outcome.kills
    assert kinds.keys() == KINDS.keys() - {"home", "alive"}  # no other host shares these boards
    common = {"applied", "stale", "late", "wrong_status", "not_your_run", "not_your_chat", "gone", "at_capacity"}
    assert not common - verdicts.keys()
    assert kills > 5
    assert {role for role, _ in damages} == {"board", "ledger", "shard"}
    assert {how for _, how in damages} == ways


def test_a_seed_is_one_history(tmp_path: Path) -> None:
    """The same seed gives the same history."""
    outcomes = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        outcomes.append(Simulation(tmp_path / name, 3).run())
    assert outcomes[0] == outcomes[1]


def test_the_command_says_how_to_see_it_again() -> None:
    """``python -m tests.simulation`` runs a seed, and its status tells whether it held."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *replay_command(1, 20).split()[1:]], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "1 seeds" in done.stdout and "failed: none" in done.stdout
