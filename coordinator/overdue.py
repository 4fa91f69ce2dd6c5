"""Overdue runs: what the coordinator decides by itself because time passed.

A run whose lease ran out without a sign of life ends, and its task is ready again. Only the coordinator says so, in
an entry of its own, and never while a shard of the run's two profiles may still hold a sign of life that was not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from coordinator.collect import Collected, Collector
from coordinator.state import BoardState
from shards.changes import KIND_OF, Change, Expire, chain, encode_body, genesis
from shards.names import COORDINATOR


def overdue_runs(board: BoardState, collector: Collector, collected: Collected, now_ms: int) -> Iterator[Change]:
    """A change of the coordinator's own for each run that is over, to be appended behind what was collected."""
    unread = {left.profile for left in collected.left}
    seq, digest = board.watermark(COORDINATOR)
    digest = digest or genesis(COORDINATOR, "")
    for task_id, run_id, run_profile, run_claimer, lease_s in board.running_out(now_ms // 1000):
        profiles = {run_profile, run_claimer}
        if collected.more or profiles & (unread | collected.changes.keys()):
            continue
        signs = [collector.last_sign_ms(profile, run_id) for profile in profiles]
        if None in signs or max(signs) + lease_s * 1000 >= now_ms:
            continue
        seq += 1
        text = encode_body(Expire(run_id=run_id, last_sign_ms=max(signs)))
        digest = chain(digest, COORDINATOR, seq, task_id, KIND_OF[Expire], text, "{}", now_ms)
        yield Change(COORDINATOR, seq, task_id, KIND_OF[Expire], text, "{}", now_ms, digest)
