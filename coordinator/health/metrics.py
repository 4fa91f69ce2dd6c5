"""Metrics: figures about boards in Prometheus's text format.

No process that has a board open opens a network port, so a file is the way to a Prometheus server: node_exporter's
textfile collector reads it. It is replaced whole, so that no half of it is ever read.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from kanban_shards.board import Board
from kanban_shards.coordinator.health.hosts import SharedHealth
from kanban_shards.coordinator.health.problems import problems
from kanban_shards.coordinator.health.read import (
    ELSEWHERE,
    WORKING,
    Health,
    read_health,
    read_sizes,
    read_undelivered,
)
from kanban_shards.coordinator.merge.collector import QUARANTINED
from kanban_shards.errors import BoardMissing, ExtraMissing, KanbanError
from kanban_shards.health import FAULT, WARNING
from kanban_shards.paths import BoardPaths
from kanban_shards.records import STATUSES
from kanban_shards.storage.folders import write_whole

# Name, meaning, and labels beside ``board``, of each figure; all are gauges, each begins with ``kanban_``.
FIGURES = {
    "board_readable": ("1 if the board can be read; without it there is nothing else about it.", ()),
    "board_position": ("Entries of the ledger that the board shows.", ()),
    "ledger_head": ("Entries of the ledger.", ()),
    "coordinator_up": ("1 if a process holds the coordinator's lock, and is neither stopped nor gone.", ()),
    "open_runs": ("Runs that are open.", ()),
    "runs_past_lease": ("Open runs whose lease is over without a heartbeat.", ()),
    "tasks": ("Tasks.", ("status",)),
    "shard_head": ("Changes in the shard.", ("profile",)),
    "shard_merged": ("Changes of the shard that have a verdict.", ("profile",)),
    "shard_waiting": ("Changes of the shard that have none yet.", ("profile",)),
    "shard_lag_seconds": ("Age of the oldest change that waits; 0 if none does.", ("profile",)),
    "shard_quarantined": ("1 if the shard cannot be merged on and needs a person.", ("profile",)),
    "refused_last_day": ("Changes refused in the last 24 hours.", ("reason",)),
    "dead_letters": ("Notifications that could not be delivered.", ()),
    "undelivered_chats": ("Chats that were not told something yet.", ("profile",)),
    "file_bytes": ("Bytes on the disk, by what they are of.", ("file",)),
    "set_aside_bytes": ("Bytes of damaged files that were set aside.", ()),
    "shared_heard_seconds": ("When the ledger that several hosts share answered last, in seconds since 1970.", ()),
    "shared_outage": ("1 if something keeps this host from the ledger that it shares.", ()),
    "host_position": ("Entries of the shared ledger that a host has decided.", ("host",)),
    "host_silent_seconds": ("For how long a host had not been heard when this one was last.", ("host",)),
    "host_differs": ("1 if a host decided something otherwise than this one.", ("host",)),
    "problems": ("What is wrong now and needs a person, as in `kanban-merge doctor`.", ("level",)),
    "looked_at_seconds": ("When this was written, in seconds since 1970.", ()),
}


class Metrics:
    """The figures of some boards. Raises ExtraMissing where prometheus-client is not installed."""

    def __init__(self) -> None:
        try:
            from prometheus_client import CollectorRegistry, Gauge
        except ImportError as error:
            raise ExtraMissing(package="prometheus-client", extra="metrics") from error
        self._registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"kanban_{name}", meaning, ("board", *labels), registry=self._registry)
            for name, (meaning, labels) in FIGURES.items()
        }

    def add(self, paths: BoardPaths) -> None:
        """The figures of a board. One that cannot be read is not readable, and hides no other. Raises BoardMissing."""
        try:
            health = read_health(paths)
            with Board(paths) as board:
                counted, dead = board.stats()["by_status"], len(board.dead_letters())
            undelivered = read_undelivered(paths)
        except BoardMissing:
            raise
        except KanbanError:
            self._set(paths, "board_readable", 0)
            return
        self._set(paths, "board_readable", 1)
        self._of_health(health)
        for status in STATUSES:
            self._set(paths, "tasks", counted.get(status, 0), status)
        self._set(paths, "dead_letters", dead)
        for each in undelivered:
            self._set(paths, "undelivered_chats", each.chats, each.profile)
        sizes = read_sizes(paths)
        for file in ("board", "ledger", "shards"):
            self._set(paths, "file_bytes", getattr(sizes, file), file)
        self._set(paths, "set_aside_bytes", sizes.aside)

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry).decode()

    def values(self) -> list[dict[str, Any]]:
        """Everything, for programs: name, labels and value of each figure."""
        return [
            {"name": sample.name, "labels": sample.labels, "value": sample.value}
            for family in self._registry.collect()
            for sample in family.samples
        ]

    def write(self, path: Path) -> None:
        """Everything into the file ``path``, whole or not at all. Every user may read it: whoever collects it is
        another one. Raises StorageError."""
        write_whole(path, self.text(), for_all=True)

    def _of_health(self, health: Health) -> None:
        paths = health.paths
        self._set(paths, "board_position", health.position)
        if health.ledger_head is not None:
            self._set(paths, "ledger_head", health.ledger_head)
        self._set(paths, "coordinator_up", health.coordinator_state in (WORKING, ELSEWHERE))
        self._set(paths, "open_runs", health.open_runs)
        self._set(paths, "runs_past_lease", len(health.past_lease))
        self._set(paths, "looked_at_seconds", time.time())
        for shard in health.shards:
            if shard.head is not None:
                self._set(paths, "shard_head", shard.head, shard.profile)
            self._set(paths, "shard_merged", shard.merged, shard.profile)
            self._set(paths, "shard_waiting", shard.waiting, shard.profile)
            self._set(paths, "shard_lag_seconds", shard.lag_s, shard.profile)
            self._set(paths, "shard_quarantined", shard.state == QUARANTINED, shard.profile)
        if health.shared is not None:
            self._of_hosts(paths, health.shared)
        for reason, count in health.refused.items():
            self._set(paths, "refused_last_day", count, reason)
        levels = [problem.level for problem in problems(health)]
        for level in (WARNING, FAULT):
            self._set(paths, "problems", levels.count(level), level)

    def _of_hosts(self, paths: BoardPaths, shared: SharedHealth) -> None:
        self._set(paths, "shared_outage", shared.outage is not None)
        if shared.heard is not None:
            self._set(paths, "shared_heard_seconds", shared.heard.at_ms / 1_000)
            for each in shared.heard.hosts:
                self._set(paths, "host_position", each.position, each.host)
                self._set(paths, "host_silent_seconds", each.ago_ms / 1_000, each.host)
                self._set(paths, "host_differs", each.differs, each.host)

    def _set(self, paths: BoardPaths, name: str, value: float, *labels: str) -> None:
        self._gauges[name].labels(paths.slug, *labels).set(value)
