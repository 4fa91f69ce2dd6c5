"""Two hosts at work on one board, with one service's time and clocks of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from kanban_shards.changes.kinds import Claim, Create
from kanban_shards.paths import COORDINATOR
from tests.hosts.hosts import Host, assert_alike, hosts
from tests.hosts.times import Times
from tests.ids import new_task_id

LEASE_S = 60


class World(NamedTuple):
    """Ann lives on the laptop, and bob on the server."""

    times: Times
    laptop: Host
    server: Host

    def both(self, *hosts: Host) -> None:
        """A pass of each, now."""
        for host in hosts or (self.laptop, self.server):
            self.times.on(host).follow()

    def live(self, seconds: int, *alive: tuple[Host, str, int], hosts: tuple[Host, ...] = ()) -> None:
        """So many seconds go by, in which passes are made, and each of ``alive`` (host, profile, run) gives a sign
        every ten."""
        for second in range(0, seconds, 5):
            for host, profile, run_id in alive if second % 10 == 0 else ():
                self.times.on(host).shard(profile).heartbeat(run_id, host.board.view("", profile))
            self.times.later(5)
            self.both(*hosts)

    def claimed(self, by: Host, profile: str, runs_as: str | None = None, lease_s: int = LEASE_S) -> tuple[str, int]:
        """A task that is running; its id, and its run's."""
        task_id = new_task_id()
        self.times.on(by).write(profile, task_id, Create(title="work"))
        by.make_pass()
        by.write(profile, task_id, Claim(lease_s=lease_s, runs_as=runs_as))
        by.make_pass()
        self.both()
        return task_id, by.board.runs(task_id)[0].id


@contextmanager
def at_work(folder: Path, monkeypatch: pytest.MonkeyPatch, **wrong_ms: int) -> Iterator[World]:
    """The two, of which each made a task; in the end they are alike. ``wrong_ms``: by how much the clock of a host is
    ahead."""
    with hosts(folder, "laptop", "server") as (service, (laptop, server)):
        there = World(Times(service, monkeypatch), laptop, server)
        there.times.wrong_ms |= wrong_ms
        for host, profile in ((laptop, "ann"), (server, "bob")):
            there.times.on(host).write(profile, new_task_id(), Create(title="first"))
            host.make_pass()
        there.both()
        yield there
        there.both()
        assert_alike(laptop, server)


def said_of_runs(host: Host) -> list[str]:
    """What coordinators said of runs, in order."""
    kinds = [entry.change.kind for entry in host.entries() if entry.change.profile == COORDINATOR]
    return [kind for kind in kinds if kind in ("alive", "expire")]
