"""Settings: limits of the whole board."""

from __future__ import annotations

import msgspec

from coordinator.ledger import Entry
from coordinator.state import BoardState
from shards.bodies import Settings


def settings(board: BoardState, entry: Entry, body: Settings) -> tuple[None, dict[str, int | None]]:
    """Set the limits that are given; the newest word counts."""
    for name, value in msgspec.structs.asdict(body).items():
        if value is not msgspec.UNSET:
            board.set_setting(name, value)
    return None, board.settings()
