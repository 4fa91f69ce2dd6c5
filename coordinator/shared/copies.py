"""A host's copy of a shared ledger, made again: where it was lost or damaged, or where the ledger went another way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.shared.far import Far
from kanban_shards.coordinator.shared.ledger import SharedLedger
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock


def fetch_copy(
    paths: BoardPaths,
    lock: FileLock,
    far: Far,
    sharing: Sharing,
    rules: int,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Path | None:
    """Make this host's copy of all that the service has, and put it in place when it is whole; returns where the former
    file lies now, if there was one. Nobody has that open.

    ``lock``: the coordinator's, held. ``rules``: the version of this host's. ``progress(fetched, total)`` may raise to
    stop. Raises FarError, and then nothing was changed.
    """
    making = paths.ledger.with_name(paths.ledger.name + ".fetching")
    try:
        files.discard(making)
        with closing(FileLedger(making, lock)) as copy:
            SharedLedger(copy, far, sharing, rules).pull(progress)
        return files.put_in_place(making, paths.ledger, lock)
    finally:
        files.discard(making)
