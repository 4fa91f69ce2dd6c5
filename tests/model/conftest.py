"""A world for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model.worlds import a_world
from tests.simulation.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A world of the test's own; see ``a_world``."""
    with a_world() as made:
        yield made
