"""Unmerged: whether a shard holds a change that the board does not show yet, found out without the coordinator.

For whoever reads a board that nobody may be merging: a pass costs some thirty milliseconds, and this a fraction of one
for each shard. It only looks. What may be taken from a shard, and what is the matter with one, the next pass decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from kanban_shards.errors import FileBusy, InvalidName, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, leases, sqlite
from kanban_shards.storage.locks import FileLock

# How long SQLite waits for what a stranger has locked in a shard.
WAITED_MS = 0


def has_unmerged(paths: BoardPaths, merged: Mapping[str, int]) -> bool:
    """Whether a pass over the board at ``paths`` would find something. ``merged``: up to which seq the board shows each
    profile's shard.

    A shard that is being written is left out, for its writer sees to it, and so is a file that is no shard. Raises
    CannotOpen where the folder cannot be listed.
    """
    return any(_holds_more(paths, profile, path, merged.get(profile, 0)) for profile, path in paths.shards())


def _holds_more(paths: BoardPaths, profile: str, path: Path, merged: int) -> bool:
    try:
        with closing(FileLock(paths.shard_lock(profile))) as lock:
            if not lock.try_acquire():
                return False
            with leases.held_open(path, lock), closing(sqlite.open_reader(path, sqlite.SHARD, WAITED_MS)) as shard:
                (head,) = shard.execute("SELECT max(seq) FROM changes").fetchone()
    except (FileBusy, InvalidName):
        return False
    except StorageError as error:
        return connections.is_hot_journal(error.__cause__)  # a killed writer's, which a pass rolls back
    return isinstance(head, int) and head > merged
