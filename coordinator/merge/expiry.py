"""Expiry: what the coordinator decides by itself because time passed, each in an entry of its own.

A run whose lease ran out without a heartbeat ends, and its task is ready again; never while a shard of the run's two
profiles may still hold a heartbeat that was not read. One that is supervised ends when for its grace neither its worker
nor a dispatcher that sees it gave a sign, and never in a pass that hears of such a dispatcher. A run that was claimed,
or last gave a heartbeat, at a time that has not come yet ends a lease after that was first seen. A scheduled task whose
time has come goes on, and one that is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from kanban_shards.changes.codec import KIND_OF, Change, chain, decode_body, encode_body, genesis
from kanban_shards.changes.fields import Body, run_id_of
from kanban_shards.changes.kinds import Claim, Due, Expire, Supervise
from kanban_shards.coordinator.merge.clock import DRIFT_MS, Clock
from kanban_shards.coordinator.merge.collector import Collected, Collector
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import COORDINATOR

CLAIM = KIND_OF[Claim]
SUPERVISE = KIND_OF[Supervise]
# Of a thousand that are over or due in one second, so many are decided in one pass.
AT_ONCE = 500


def own_changes(board: BoardState, bodies: Iterable[tuple[str, Body]], now_ms: int) -> Iterator[Change]:
    """Changes of the coordinator's own, ``(task_id, body)`` each, that continue those which the board shows."""
    seq, digest = board.watermark(COORDINATOR)
    digest = digest or genesis(COORDINATOR, "")
    for task_id, body in bodies:
        seq += 1
        kind, text = KIND_OF[type(body)], encode_body(body)
        digest = chain(digest, COORDINATOR, seq, task_id, kind, text, "{}", now_ms)
        yield Change(COORDINATOR, seq, task_id, kind, text, "{}", now_ms, digest)


def expired(
    board: BoardState, collector: Collector, collected: Collected, now_ms: int, clock: Clock
) -> list[tuple[str, Body]]:
    """The runs that are over, AT_ONCE of them at most. They come before all that was collected, so that a claim of the
    same pass finds the task free.

    ``clock``: which heartbeats, or which absence of any, says nothing.
    """
    return list(islice(_expired(board, collector, collected, now_ms, clock), AT_ONCE))


def due(board: BoardState, now_ms: int) -> list[tuple[str, Body]]:
    """The scheduled tasks whose time has come, AT_ONCE of them at most. They come behind what was collected, so that
    whoever planned otherwise meanwhile is not refused."""
    return [(task_id, Due(due_s=due_s)) for task_id, due_s in board.due(now_ms // 1000, AT_ONCE)]


def _expired(
    board: BoardState, collector: Collector, collected: Collected, now_ms: int, clock: Clock
) -> Iterator[tuple[str, Body]]:
    ahead = list(board.stamped_ahead(now_ms // 1000)) if clock.is_time_to_look() else []
    unread = {skipped.profile for skipped in collected.skipped} | collected.unfinished
    named = {
        (profile, change.task_id)
        for profile, changes in collected.changes.items()
        for change in changes
        if change.kind != CLAIM  # the one thing that says nothing of the run that is open
    }
    seen_alive = {
        (change.task_id, run_id_of(decode_body(change.kind, change.body)))
        for changes in collected.changes.values()
        for change in changes
        if change.kind == SUPERVISE
    }
    for task_id, run_id, run_profile, run_claimer, silent_s, stamped_s in [*board.running_out(now_ms // 1000), *ahead]:
        profiles = {run_profile, run_claimer}
        if profiles & unread or any((profile, task_id) in named for profile in profiles):
            continue
        if (task_id, run_id) in seen_alive and _is_supervised(board, task_id):
            continue
        if any(board.watermark(profile)[0] and not collector.is_there(profile) for profile in profiles):
            continue  # the shard is lost, and with it the heartbeats
        heartbeats = [collector.last_heartbeat_ms(profile, run_id) for profile in profiles]
        read_ms = [each for each in heartbeats if each is not None]
        if len(read_ms) < len(heartbeats):
            continue  # a shard was not read
        if _is_over(clock, run_id, [*read_ms, stamped_s * 1000], silent_s * 1000, now_ms):
            yield task_id, Expire(run_id=run_id, last_sign_ms=max(read_ms))


def _is_supervised(board: BoardState, task_id: str) -> bool:
    task = board.task(task_id)
    return task is not None and task["grace_s"] is not None


def _is_over(clock: Clock, run_id: int, signs_ms: list[int], silent_ms: int, now_ms: int) -> bool:
    """Whether the run gave no sign for longer than it may be silent: a lease, or its grace. Of signs that are in the
    future, it counts how long they are known."""
    ahead = max(signs_ms) > now_ms + DRIFT_MS
    if ahead and clock.seen_for_ms(run_id, max(signs_ms)) <= silent_ms:
        return False
    past = [heartbeat_ms for heartbeat_ms in signs_ms if heartbeat_ms <= now_ms + DRIFT_MS]
    return max(*past, 0, clock.relied_on_since_ms) + silent_ms < now_ms
