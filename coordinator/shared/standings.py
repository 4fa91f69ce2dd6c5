"""Standings: how far each host is, as it is noted here for who looks at the board, and said."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kanban_shards.coordinator.shared.far import Standing
from kanban_shards.heard import HostHeard


def as_heard(standings: Sequence[Standing], here: str, differing: Collection[str] = ()) -> list[HostHeard]:
    """``standings``, as they are noted by the host ``here``, which just said how far it is and heard them.
    ``differing``: the hosts that decided something otherwise."""
    now_ms = next((each.seen_ms for each in standings if each.host == here), 0)  # by the service's clock, as all are
    return [
        HostHeard(
            each.host,
            each.program,
            each.rules,
            each.position,
            abs(now_ms - each.seen_ms),  # a clock was ahead when it was said, so it was not said now
            each.host in differing,
            each.seen_ms,
        )
        for each in standings
    ]


def decided_otherwise(host: str, position: int) -> str:
    """What to say of a ``host`` that is at ``position`` and does not decide as this one does, without a full stop."""
    return (
        f"host {host} decided one of the entries up to {position} otherwise than this one; run `kanban-merge verify` "
        "on both, and the same version of kanban-shards"
    )
