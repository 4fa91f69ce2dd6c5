"""The mark in a host's ledger that it is a copy of a shared one: so a board whose ``shared.json`` is gone is not merged
by this host alone, which would split the ledger.

It is set once the service was followed, and taken off by whoever leaves it on purpose.
"""

from __future__ import annotations

from contextlib import closing

import msgspec

from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.errors import SharingGone
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing
from kanban_shards.storage import files


def note(ledger: FileLedger, sharing: Sharing) -> None:
    """Mark ``ledger``, open for writing, as a copy of the one that ``sharing`` names."""
    said = msgspec.json.encode(sharing).decode()
    if ledger.shared() != said:
        ledger.note_shared(said)


def marked(ledger: FileLedger) -> Sharing | None:
    """What an open ledger is a copy of; None for one of this host alone, or a mark that says nothing."""
    said = ledger.shared()
    try:
        return None if said is None else msgspec.json.decode(said, type=Sharing)
    except (msgspec.MsgspecError, RecursionError):
        return None


def look(paths: BoardPaths) -> Sharing | None:
    """The same of the board's ledger, for whoever has not opened it. Raises the StorageErrors of a ledger."""
    if files.is_empty(paths.ledger):
        return None
    with closing(FileLedger(paths.ledger)) as ledger:
        return marked(ledger)


def check(paths: BoardPaths, ledger: FileLedger) -> None:
    """For a board without ``shared.json``: raise SharingGone if it had one."""
    if (sharing := marked(ledger)) is not None:
        raise gone(paths, sharing)


def gone(paths: BoardPaths, sharing: Sharing) -> SharingGone:
    """What to say of a board whose ledger is a copy, and that does not say of which."""
    words = [sharing.service, "--host", sharing.host]
    words += ["--trust-network"] * sharing.trust_network + ["--ephemeral"] * sharing.ephemeral
    return SharingGone(path=paths.shared, words=" ".join(words))
