"""Upgrading: the ledger is decided by the rules of this version from now on, once all hosts run it."""

from __future__ import annotations

from typing import NamedTuple

from kanban_shards.coordinator import rules
from kanban_shards.coordinator.hosts.following import OpenFar, reached, shared
from kanban_shards.coordinator.shared.far import Standing
from kanban_shards.paths import BoardPaths


class Upgrade(NamedTuple):
    """``before``, ``now``: the versions of the rules. ``behind``: hosts that decide by older ones, and merge nothing
    until they are upgraded."""

    before: int
    now: int
    behind: list[Standing]


def look(paths: BoardPaths, open_far: OpenFar) -> Upgrade:
    """What an upgrade would do. Raises NotShared, FarError."""
    sharing = shared(paths)
    with reached(sharing, open_far) as far:
        before, hosts = far.read(0).rules, far.meet(None)
    behind = [each for each in hosts if each.rules < rules.VERSION and each.host != sharing.host]
    return Upgrade(before, rules.VERSION, behind)


def upgrade(paths: BoardPaths, open_far: OpenFar) -> None:
    """Have the ledger decided by this version's rules. Raises NotShared, OtherRules if it has newer ones, FarError."""
    with reached(shared(paths), open_far) as far:
        far.raise_rules()
