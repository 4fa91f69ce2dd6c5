"""The way from this host to the ledger that it shares."""

from __future__ import annotations

from kanban_shards.coordinator.shared.errors import FarError
from kanban_shards.coordinator.shared.far import Far
from kanban_shards.sharing import Sharing


def open_far(sharing: Sharing, rules: int) -> Far:
    """The ledger that ``sharing`` names, for a host that decides by that version of the rules."""
    raise FarError(path=sharing.service, problem=f"this version, with rules {rules}, has no way there yet")
