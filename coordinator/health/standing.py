"""How a board stands, as its faces show it: what ``status`` reads and judges, with backups and sizes beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from kanban_shards.board import Board
from kanban_shards.coordinator.backup.manifest import backups_in, store_of
from kanban_shards.coordinator.health.doctor import deliveries
from kanban_shards.coordinator.health.problems import findings
from kanban_shards.coordinator.health.read import COMMIT_MS, read_health, read_sizes
from kanban_shards.coordinator.merge.shard_reader import heartbeat_ms
from kanban_shards.errors import KanbanError
from kanban_shards.health import BackupStanding, BoardStanding, ShardStanding
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, sqlite

NOBODY = "nobody stays; whoever needs a verdict merges"


def standing(paths: BoardPaths) -> BoardStanding:
    """How the board stands now. Raises BoardMissing and the StorageErrors of a board that cannot be read."""
    health, sizes = read_health(paths), read_sizes(paths)
    with Board(paths) as board:
        dead_letters = sum(not letter.resend for letter in board.dead_letters())
    return BoardStanding(
        coordinator=str(health.coordinator or NOBODY),
        position=health.position,
        open_runs=health.open_runs,
        refused=sum(health.refused.values()),
        dead_letters=dead_letters,
        size_bytes=sizes.board + sizes.ledger + sizes.shards,
        shards=[
            ShardStanding(
                shard.profile,
                shard.head,
                shard.merged,
                shard.waiting,
                shard.lag_s,
                shard.rate_per_minute,
                shard.state,
                shard.problem,
            )
            for shard in health.shards
        ],
        backups=[
            BackupStanding(backup.folder.name, backup.manifest.made_ms, backup.manifest.position, backup.is_good)
            for backup in backups_in(store_of(paths, None))
        ],
        findings=[*findings(health), *deliveries(paths)],
        shared="" if health.shared is None else health.shared.in_words(health.at_ms),
    )


def last_heartbeats(paths: BoardPaths, runs: Iterable[tuple[int, str]]) -> dict[int, float]:
    """When each of ``runs``, ``(run, profile)``, last gave a heartbeat, in seconds since 1970, where its shard can be
    read and holds one that is not in the future. A heartbeat is no change, so the board does not show it. Raises
    nothing."""
    by_profile: dict[str, list[int]] = {}
    for run_id, profile in runs:
        by_profile.setdefault(profile, []).append(run_id)
    found: dict[int, float] = {}
    for profile, run_ids in by_profile.items():
        found.update(_heartbeats(paths, profile, run_ids))
    return found


def _heartbeats(paths: BoardPaths, profile: str, run_ids: list[int]) -> dict[int, float]:
    """Read without the shard's lock: a reader changes nothing, and waits for a commit at most."""
    try:
        path, now_s = paths.shard(profile), time.time()
        with (
            closing(sqlite.open_reader(path, sqlite.SHARD, COMMIT_MS)) as shard,
            connections.explained(path, waited_ms=COMMIT_MS),
            connections.one_state(shard),
        ):
            given = {run_id: (heartbeat_ms(shard, run_id) or 0) / 1_000 for run_id in run_ids}
    except KanbanError:
        return {}
    return {run_id: at_s for run_id, at_s in given.items() if 0 < at_s <= now_s}
