"""Budget: what deciding a change costs, also because of others.

Completing a task also decides for every task that waits for it, and what waits for many is looked at with each of
them; so a small change may be as much work as thousands of others, and every other profile waits for that. What a
change costs by itself is said where it is defined (``Body.weight``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kanban_shards.changes.codec import KIND_OF, Change, decode_body
from kanban_shards.changes.fields import NAMED_PER_CHANGE
from kanban_shards.changes.imported import ImportTask
from kanban_shards.changes.kinds import (
    KINDS,
    Archive,
    Assign,
    Block,
    Claim,
    Complete,
    Create,
    Delete,
    Fail,
    Link,
    Promote,
    Reclaim,
    Release,
    Reopen,
    Specify,
    Unblock,
    Unlink,
)
from kanban_shards.coordinator.merge.collector import Collected
from kanban_shards.coordinator.merge.shard_reader import Budget
from kanban_shards.coordinator.state.board_state import BoardState

# Each leads into or out of a status that others wait for.
_SETTLING = frozenset(KIND_OF[body] for body in (Complete, Archive, Delete, Reopen))
# Each asks whether the task waits for one that is open.
_ASKING = frozenset(
    KIND_OF[body] for body in (Assign, Block, Claim, Fail, Promote, Reclaim, Release, Reopen, Specify, Unblock, Unlink)
)
_WEIGHED = _SETTLING | _ASKING
LINK = KIND_OF[Link]
# Nothing that is named costs as much as this, so nobody counts further.
MOST = 10_000
# A body that is shorter names nothing, or not much.
SHORT_BODY = 200
# Looking for a circle where much is on both sides; how much is not known before.
LONG_WAY = 200


def leave_what_costs_too_much(collected: Collected, board: BoardState) -> Counter[str]:
    """Keep of each shard's changes as many as its share of a pass pays for, and at least one; the rest is for the next
    pass. ``board``: as it stands before the pass. Returns how many will wait for each task by what was collected."""
    whole = [change for changes in collected.changes.values() for change in changes]
    board.look_for_links(change.task_id for change in whole if change.kind in _WEIGHED)
    if not any(change.kind in _SETTLING for change in whole):
        return Counter()
    share = Budget.of_each(len(collected.changes)).changes
    more = _made_to_wait(whole)
    for profile, changes in collected.changes.items():
        kept = _affordable(changes, share, board, more)
        if kept < len(changes):
            del changes[kept:]
            collected.unfinished.add(profile)
    return more


def weight(change: Change, board: BoardState, more: Counter[str]) -> int:
    """What deciding the change costs, in plain changes, as ``board`` stands; ``more``: how many may wait for each task
    besides."""
    around = 0
    if change.kind in _SETTLING:
        around += board.count_beside(change.task_id, MOST) + more[change.task_id]
    if change.kind in _ASKING:
        around += board.count_parents(change.task_id, MOST)
    found = 1 + around // NAMED_PER_CHANGE
    if change.kind == LINK:
        return found + LONG_WAY * sum(board.is_long_way(change.task_id, parent) for parent in _parents(change))
    is_named = KINDS[change.kind].costs > 1 or len(change.body) > SHORT_BODY
    return found + (decode_body(change.kind, change.body).weight() if is_named else 0)


def _affordable(changes: list[Change], share: int, board: BoardState, more: Counter[str]) -> int:
    costs = 0
    for number, change in enumerate(changes):
        if costs > share:
            return number
        if change.kind in _SETTLING:
            waiting = board.count_children(change.task_id, share * NAMED_PER_CHANGE) + more[change.task_id]
            costs += waiting // NAMED_PER_CHANGE
    return len(changes)


def _made_to_wait(changes: Iterable[Change]) -> Counter[str]:
    """For each task, how many will wait for it by what is in this very pass."""
    found: Counter[str] = Counter()
    for change in changes:
        if '"parent' in change.body:
            found.update(_parents(change))
    return found


def _parents(change: Change) -> tuple[str, ...]:
    """The tasks that the change names as what its own task waits for, or waited for."""
    body = decode_body(change.kind, change.body)
    if isinstance(body, Link | Unlink):
        return (body.parent,)
    return body.parents if isinstance(body, Create | ImportTask) else ()
