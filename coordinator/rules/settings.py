"""Settings: limits of the whole board."""

from __future__ import annotations

import msgspec

from kanban_shards.changes.kinds import Settings
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.state.board_state import BoardState


def settings(board: BoardState, entry: Entry, body: Settings) -> tuple[None, dict[str, int]]:
    """Set the limits that are given; the newest word counts."""
    for name, value in msgspec.structs.asdict(body).items():
        if value is not msgspec.UNSET:
            board.set_setting(name, value)
    return None, board.settings()
