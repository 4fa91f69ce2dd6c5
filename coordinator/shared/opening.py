"""The way from this host to the ledger that it shares."""

from __future__ import annotations

from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.far import Address, Far
from kanban_shards.sharing import Sharing


def address_of(sharing: Sharing, rules: int) -> Address:
    """Where the ledger is that ``sharing`` names, for a host that decides by that version of the rules."""
    return Address(
        service=sharing.service,
        board=sharing.board,
        host=sharing.host,
        rules=rules,
        ledger_id=sharing.ledger_id,
        trusts_network=sharing.trust_network,
    )


def open_far(sharing: Sharing, rules: int) -> Far:
    """The way there, for whoever closes it. Nothing is asked yet."""
    return Carrier(address_of(sharing, rules))
