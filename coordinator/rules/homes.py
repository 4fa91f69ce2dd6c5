"""Homes: where profiles live, on a board that several hosts share. Whoever says it first is right; later ones must name
the host that a profile moves from."""

from __future__ import annotations

from kanban_shards.changes.homes import Home
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.records import ProfileHome


def settle(board: BoardState, entry: Entry, body: Home) -> tuple[None, None]:
    """From here on, what the profile writes on that host is merged, and on no other."""
    home = board.home_of(body.profile)
    lives_on = home.host if home else None
    if lives_on != body.was:
        lives = f"lives on {lives_on}" if lives_on else "lives nowhere yet"
        raise Refusal("second_home", f"{body.profile} {lives}", profile=body.profile, host=lives_on)
    seq, digest = board.merged(body.profile)
    board.set_home(ProfileHome(body.profile, body.shard, body.host, entry.position, seq, digest))
    if home is None and seq:  # it wrote before the board was shared, and this host is the one that shared it
        board.keep_all_files_on(body.host)
    return None, None
