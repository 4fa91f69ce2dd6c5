"""What the coordinators of a board that several hosts share write for each other: where a profile lives, and that a run
gave a sign of life. On a board that is not shared there are none of these."""

from __future__ import annotations

from kanban_shards.changes.fields import ADDING, Body, Count, Host, Profile, RunBound, ShardId


class Home(Body, frozen=True):
    """A profile lives on ``host``: its shard ``shard`` is there, and only what that host collects is merged. ``was``:
    the host that it lived on before; None says that it lived nowhere yet."""

    profile: Profile
    shard: ShardId
    host: Host
    was: Host | None = None


class Alive(RunBound, frozen=True):
    """A host read a sign of life in a shard that no other host reads; ``age_ms``: how old it was, by the clock that
    stamped it."""

    rule = ADDING
    age_ms: Count
