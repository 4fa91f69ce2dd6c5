"""A game for each test; at its end the game's ledger is replayed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rules.game import Game


@pytest.fixture
def game() -> Iterator[Game]:
    """A scratch board. When the test is over, replaying its ledger must give the same board."""
    played = Game()
    yield played
    try:
        played.check()
    finally:
        played.close()
