"""Several hosts of one board in this process: each a home, a shard or more, a coordinator, and its link to one service.

There is no thread and no daemon: a pass is made when a test says so, and a host that is killed is one whose coordinator
is closed where it stands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kanban_shards.board import Board
from kanban_shards.changes.fields import Body
from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.merge.coordinator import Coordinator, Report
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard
from kanban_shards.sharing import Sharing, write_sharing
from kanban_shards.storage.locks import FileLock
from tests.evidence import board_tables, ledger_entries
from tests.far.fake import FakeFar, Service

LEDGER_ID = "0123456789abcdef0123456789abcdef"


class Host:
    """One host: ``name``, in ``folder``, sharing ``service``. ``rules``: the version of its rules."""

    def __init__(self, folder: Path, name: str, service: Service, rules: int = 1) -> None:
        folder.mkdir()
        self.name = name
        self.paths = BoardPaths(folder)
        self.sharing = Sharing(service="fake", board="default", ledger_id=LEDGER_ID, host=name)
        write_sharing(self.paths, self.sharing)
        self.far: FakeFar = service.far(name, LEDGER_ID, rules=rules)
        self.lock = FileLock(self.paths.coordinator_lock)
        self.board = Board(self.paths)
        self._shards: dict[str, Shard] = {}
        self._coordinator: Coordinator | None = None

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator that stays; opened when it is first needed."""
        if self._coordinator is None:
            assert self.lock.held or self.lock.try_acquire(), "two coordinators"
            self._coordinator = Coordinator(self.paths, self.lock, far=self.far)
        return self._coordinator

    def stop(self) -> None:
        """The coordinator ends."""
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            coordinator.close()
        self.lock.close()

    def shard(self, profile: str) -> Shard:
        """The shard that ``profile`` has here."""
        if profile not in self._shards:
            self._shards[profile] = Shard(self.paths, profile)
        return self._shards[profile]

    def write(self, profile: str, task_id: str, body: Body) -> int:
        """A change of ``profile``, by what this host's board shows; returns its seq."""
        return self.shard(profile).append(task_id, body, self.board.view(task_id, profile)).seq

    def make_pass(self) -> Report:
        """One pass."""
        return self.coordinator.make_pass()

    def follow(self) -> None:
        """Fetch and show what the service has, as a second later."""
        self.coordinator._hosts._ledger._in_doubt = True
        self.make_pass()

    def verdict(self, profile: str, seq: int) -> str | None:
        """``applied``, or the reason of a refusal; None while there is neither."""
        found = self.board.verdict(profile, seq)
        return None if found is None else found.reason or found.verdict

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Every table of its board."""
        return board_tables(self.paths)

    def entries(self) -> list[Entry]:
        """Every entry of its copy."""
        return ledger_entries(self.paths)

    def close(self) -> None:
        """Everything of this host is closed."""
        self.stop()
        for shard in self._shards.values():
            shard.close()
        self.board.close()
        self.far.close()


class Clock:
    """The service's clock, which a test moves; at first it is right, as those of the hosts are."""

    def __init__(self) -> None:
        self.now_ms = time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@contextmanager
def hosts(folder: Path, *names: str) -> Iterator[tuple[Service, list[Host]]]:
    """A service, and a host of each name that shares its ledger."""
    service = Service(Clock())
    with ExitStack() as opened:
        there = []
        for name in names:
            there.append(Host(folder / name, name, service))
            opened.callback(there[-1].close)
        there[0].far.begin(LEDGER_ID)
        yield service, there


def assert_alike(*hosts: Host) -> None:
    """They show the same position and the same rows of every table, and their copies hold the same entries."""
    first, *others = hosts
    for other in others:
        assert other.entries() == first.entries()
        assert other.tables() == first.tables()
