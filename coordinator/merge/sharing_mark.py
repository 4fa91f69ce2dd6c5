"""The mark in a host's ledger that it is a copy of a shared one: so a board whose ``shared.json`` is gone is not merged
by this host alone, which would split the ledger.

It is set once the service was followed, and taken off by whoever leaves it on purpose. Where the ledger is lost as
well, what is left beside the board tells that it was shared, but not where.
"""

from __future__ import annotations

from contextlib import closing, suppress

import msgspec

from kanban_shards.board import Board
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.errors import BoardMissing, Damaged, SharingForgotten, SharingGone
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, read_sharing
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


def known(paths: BoardPaths) -> Sharing | None:
    """Where the board is shared, by what lies there, or if that is gone, by its ledger; None if it is not. Raises
    SharingStrange, and the StorageErrors of a ledger."""
    return read_sharing(paths) or look(paths)


def check(paths: BoardPaths, ledger: FileLedger) -> None:
    """For a board without ``shared.json``: raise SharingGone if it had one."""
    if (sharing := marked(ledger)) is not None:
        raise gone(paths, sharing)


def lost(paths: BoardPaths) -> SharingGone | SharingForgotten | None:
    """What to say of a board without ``shared.json`` that is shared; None if it is not. Raises the StorageErrors of a
    board, and those of a ledger that is not damaged."""
    held = 0
    with suppress(Damaged):
        if not files.is_empty(paths.ledger):
            with closing(FileLedger(paths.ledger)) as ledger:
                if (sharing := marked(ledger)) is not None:
                    return gone(paths, sharing)
                held = ledger.head().position
    return forgotten(paths, held)


def gone(paths: BoardPaths, sharing: Sharing) -> SharingGone:
    """What to say of a board whose ledger is a copy, and that does not say of which."""
    words = [sharing.service, "--host", sharing.host]
    words += ["--trust-network"] * sharing.trust_network + ["--ephemeral"] * sharing.ephemeral
    return SharingGone(path=paths.shared, words=" ".join(words))


def forgotten(paths: BoardPaths, held: int = 0) -> SharingForgotten | None:
    """What to say of a board that was shared, whose ``shared.json`` is gone, and whose ledger lacks what it shows; None
    if it was not shared, or this host left. Then there is no note of what was heard, and who leaves makes the shards of
    all profiles; before, those of other hosts are not here.

    ``held``: where the ledger ends; 0 if it is lost. Raises the StorageErrors of a board that cannot be read."""
    with suppress(BoardMissing), Board(paths) as board:
        homes = board.homes()
        here = {profile for profile, _ in paths.shards()}
        if held < board.position() and (paths.heard.exists() or not homes.keys() <= here):
            hosts = {home.host for profile, home in homes.items() if profile in here}
            return SharingForgotten(path=paths.shared, host=hosts.pop() if len(hosts) == 1 else "NAME")
    return None
