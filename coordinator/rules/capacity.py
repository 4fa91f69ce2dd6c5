"""Capacity: how many runs may be open at once, of the whole board and of one profile.

Decided where a claim is decided, in ledger order, so that the limits hold however many processes claim at once.
"""

from __future__ import annotations

from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.state.board_state import BoardState

# Whoever was refused for want of room is waited for this long; then its place goes to whoever asks.
TURN_KEPT_S = 60


def check_capacity(board: BoardState, profile: str) -> None:
    """Refuse one more run for ``profile`` where a limit is reached, or where the free room is another profile's turn.

    With a limit on the whole board, a profile that asked in vain has its turn before any profile with more open runs,
    so none is starved by one that asks more often. Only profiles that ask count: room is never kept for the absent.
    """
    limits = board.settings()
    own = limits.get("max_in_progress_per_profile")
    total = limits.get("max_in_progress")
    if own is None and total is None:
        return
    running = board.open_runs()
    mine = running.get(profile, 0)
    if own is not None and mine >= own:
        raise Refusal("at_capacity", f"{profile} has {mine} open runs, and {own} are allowed to one profile")
    if total is None:
        return
    free = total - sum(running.values())
    if free <= 0:
        sentence = f"{sum(running.values())} runs are open, and {total} are allowed on this board"
        raise Refusal("at_capacity", sentence, waiting=profile)
    turns = [other for other in board.waiting_for_room(board.now_s - TURN_KEPT_S) if running.get(other, 0) < mine]
    if len(turns) >= free:
        others = " and ".join(turns)
        raise Refusal("at_capacity", f"{profile} has {mine} open runs, and it is the turn of {others}", waiting=profile)
