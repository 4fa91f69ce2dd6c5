"""Cost: what deciding a change costs because of others. Whatever becomes of a task is decided for each that waits for
it, too, so a small change may be as much work as thousands of others, and every other profile waits for that.

What a change costs by itself is said where it is defined (``Body.weight``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kanban_shards.changes.codec import KIND_OF, Change, decode_body
from kanban_shards.changes.fields import NAMED_PER_CHANGE
from kanban_shards.changes.kinds import Archive, Complete, Delete, Reopen
from kanban_shards.coordinator.merge.collector import Collected
from kanban_shards.coordinator.merge.shard_reader import Budget
from kanban_shards.coordinator.state.board_state import BoardState

# Each leads into or out of a status that others wait for.
_SETTLING = frozenset(KIND_OF[body] for body in (Complete, Archive, Delete, Reopen))


def leave_what_costs_too_much(collected: Collected, board: BoardState) -> None:
    """Keep of each shard's changes as many as its share of a pass pays for, and at least one; the rest is for the next
    pass. ``board``: as it stands before the pass."""
    whole = [change for changes in collected.changes.values() for change in changes]
    if not any(change.kind in _SETTLING for change in whole):
        return
    share = Budget.of_each(len(collected.changes)).changes
    more = _made_to_wait(whole)
    for profile, changes in collected.changes.items():
        kept = _affordable(changes, share, board, more)
        if kept < len(changes):
            del changes[kept:]
            collected.unfinished.add(profile)


def _affordable(changes: list[Change], share: int, board: BoardState, more: Counter[str]) -> int:
    weight = 0
    for number, change in enumerate(changes):
        if weight > share:
            return number
        if change.kind in _SETTLING:
            waiting = board.count_children(change.task_id, share * NAMED_PER_CHANGE) + more[change.task_id]
            weight += waiting // NAMED_PER_CHANGE
    return len(changes)


def _made_to_wait(changes: Iterable[Change]) -> Counter[str]:
    """For each task, how many will wait for it by what is in this very pass."""
    found: Counter[str] = Counter()
    for change in changes:
        if '"parent' in change.body:
            body = decode_body(change.kind, change.body)
            found.update(getattr(body, "parents", ()))
            found.update([body.parent] if hasattr(body, "parent") else [])
    return found
