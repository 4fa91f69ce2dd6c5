"""Moving: a profile lives on this host from now on, because the one that it lived on is gone, or is to be left.

Its shard is made here first, of what was merged, and then an entry says that it lives here. Killed in between, it still
lives where it lived, and the move is repeated.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from kanban_shards.changes.homes import Home
from kanban_shards.coordinator.hosts.errors import LivesNowhere
from kanban_shards.coordinator.hosts.following import OpenFar, reached, shared
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.shard_reader import shard_id_of
from kanban_shards.coordinator.recovery.repair import Repaired, make_shard
from kanban_shards.errors import Refused
from kanban_shards.paths import BoardPaths, check_profile
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock


class Moved(NamedTuple):
    """``was``: the host on which the profile lived; this one if nothing had to be done. ``made``: its shard here."""

    was: str
    made: Repaired | None


def move(paths: BoardPaths, lock: FileLock, profile: str, open_far: OpenFar) -> Moved:
    """Have the profile live on this host. ``lock``: the coordinator's, held.

    Raises InvalidName, NotShared, LivesNowhere, Refused if it moved elsewhere meanwhile, FarError, the StorageErrors of
    files.
    """
    sharing = shared(paths)
    check_profile(profile)
    with reached(sharing, open_far) as far:
        with Coordinator(paths, lock, far=far) as coordinator:
            coordinator.make_passes()
            home = coordinator.board.home_of(profile)
        if home is None:
            raise LivesNowhere(profile=profile, board=paths)
        if home.host == sharing.host:
            return Moved(home.host, None)
        made = make_shard(paths, lock, profile)
        with closing(sqlite.open_reader(made.path, sqlite.SHARD)) as shard:
            shard_id = shard_id_of(shard, profile) or ""
        settled = Home(profile=profile, shard=shard_id, host=sharing.host, was=home.host)
        with Coordinator(paths, lock, far=far) as coordinator:
            [decision] = coordinator.write([("", settled)])
    if not decision.applied:
        raise Refused(reason=decision.reason, sentence=decision.sentence, answer=decision.answer or {})
    return Moved(home.host, made)
