"""Following: what a change of hosts begins with. Where the board is shared, the way to its service, and all that the
other hosts did until now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing

from kanban_shards.coordinator import rules
from kanban_shards.coordinator.hosts.errors import NotShared
from kanban_shards.coordinator.ledger import FileLedger, Point
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.shared.far import Address, Far
from kanban_shards.coordinator.shared.ledger import SharedLedger
from kanban_shards.coordinator.shared.opening import address_of
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, read_sharing
from kanban_shards.storage.locks import FileLock

OpenFar = Callable[[Address], Far]
# ``(what, done, total)``: how many entries were sent, fetched or decided.
Progress = Callable[[str, int, int], None]


def shared(paths: BoardPaths) -> Sharing:
    """Where the board is shared. Raises NotShared, SharingStrange; SharingGone if its ledger alone knows, and
    SharingForgotten if that is lost, too."""
    found = read_sharing(paths)
    if found is None:
        raise sharing_mark.lost(paths) or NotShared(board=paths)
    return found


def reached(sharing: Sharing, open_far: OpenFar) -> AbstractContextManager[Far]:
    """The way to the service of a shared board, for the length of a block. Raises FarError."""
    return closing(open_far(address_of(sharing, rules.VERSION)))


def follow(paths: BoardPaths, lock: FileLock, far: Far, sharing: Sharing, progress: Progress) -> Point:
    """Fetch what is missing here, and hand over what is not merged yet; returns where the board stands then.

    ``lock``: the coordinator's, held. Raises FarError, the StorageErrors of files.
    """
    with closing(FileLedger(paths.ledger, lock)) as copy:
        SharedLedger(copy, far, sharing, rules.VERSION).pull(lambda done, total: progress("fetched", done, total))
    with Coordinator(paths, lock, lambda done, total: progress("decided", done, total), far) as coordinator:
        coordinator.make_passes()
        return coordinator.board.position()
