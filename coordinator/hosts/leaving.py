"""Leaving: a shared board becomes one of this host alone again, with everything that the hosts wrote until then."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field

from kanban_shards.board import Board
from kanban_shards.coordinator.hosts.following import OpenFar, Progress, follow, reached, shared
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.repair import repair_shard
from kanban_shards.coordinator.shared.errors import FarError
from kanban_shards.heard import forget_heard
from kanban_shards.paths import COORDINATOR, BoardPaths
from kanban_shards.sharing import read_sharing, remove_sharing, write_sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock


@dataclass
class Left:
    """``position``: how many entries the board has now. ``shards``: profiles of other hosts, whose shards were made
    here. ``without``: why the service was left without a word; None if it was told."""

    position: int = 0
    shards: list[str] = field(default_factory=list)
    without: FarError | None = None


def unshare(
    paths: BoardPaths,
    lock: FileLock,
    open_far: OpenFar,
    anyway: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Left:
    """Fetch what is missing, hand over what is not merged yet, and share the board no more.

    ``anyway``: also if the service cannot be asked; what only other hosts have by then is not here. ``lock``: the
    coordinator's, held. Raises NotShared, FarError unless ``anyway``, the StorageErrors of files.
    """
    if read_sharing(paths) is None and (marked := sharing_mark.look(paths)) is not None:
        write_sharing(paths, marked)  # it is left as it was shared
    sharing = shared(paths)
    left = Left()
    try:
        with reached(sharing, open_far) as far:
            follow(paths, lock, far, sharing, progress)
            far.leave()
    except FarError as error:
        if not anyway:
            raise
        left.without = error
    if not files.is_empty(paths.ledger):
        with closing(FileLedger(paths.ledger, lock)) as ledger:
            ledger.note_shared(None)
    remove_sharing(paths)
    forget_heard(paths)
    with Coordinator(paths, lock) as coordinator:
        coordinator.make_passes()
        left.position = coordinator.board.position().position
    left.shards = _make_shards(paths, lock)
    return left


def _make_shards(paths: BoardPaths, lock: FileLock) -> list[str]:
    """Make the shards of which something was merged, and that lie on other hosts; returns whose they are."""
    with Board(paths) as board:
        merged = board.watermarks().keys() - {COORDINATOR}
    missing = sorted(profile for profile in merged if not paths.shard(profile).exists())
    for profile in missing:
        repair_shard(paths, lock, profile)
    return missing
