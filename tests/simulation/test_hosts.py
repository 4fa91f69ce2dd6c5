"""Seeded histories of several hosts: whatever is killed or cut when, hosts at one position show the same rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.hosts import Hosts

# ``python -m tests.simulation --hosts --seeds 0-999`` runs more of them.
SEEDS = range(12)
STEPS = 60


@pytest.mark.parametrize("seed", SEEDS)
def test_same_rows(tmp_path: Path, seed: int) -> None:
    """Every host comes to the same rows of every table, no acknowledged change is lost, and none is decided twice."""
    with Hosts(tmp_path, seed) as hosts:
        hosts.run(STEPS)


def test_histories_have_everything_in_them(tmp_path: Path) -> None:
    had: Counter[str] = Counter()
    for seed in range(100, 108):
        (folder := tmp_path / str(seed)).mkdir()
        with Hosts(folder, seed) as hosts:
            hosts.run(STEPS)
            had += hosts.had
    assert had["entries"] > 200
    for what in ("kill", "Unreachable", "tail", "ClockStrange", "believed", "alive", "expire"):
        assert had[what] > 1, had
