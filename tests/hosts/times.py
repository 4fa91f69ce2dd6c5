"""One time for everything in a test of several hosts, and the clocks of hosts, each as wrong as a test says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kanban_shards import clocks, shard
from kanban_shards.coordinator.merge import clock as merge_clock
from kanban_shards.coordinator.shared import clock as far_clock
from tests.far.fake import Service
from tests.hosts.hosts import Host


class Times:
    """``wrong_ms``: by how much the clock of a host is ahead, by its name."""

    def __init__(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        self._service = service
        self._here = ""
        self.wrong_ms: dict[str, int] = {}
        told = SimpleNamespace(time_ns=self._wall_ns, monotonic_ns=self._steady_ns)
        for module in (merge_clock, far_clock, clocks, shard):
            monkeypatch.setattr(module, "time", told)

    @property
    def now_ms(self) -> int:
        """The service's clock."""
        return self._service.now_ms()

    def later(self, seconds: float) -> None:
        """Time passes, everywhere."""
        self._service.now_ms.now_ms += int(seconds * 1_000)

    def on(self, host: Host) -> Host:
        """``host``, whose clock is looked at from here on."""
        self._here = host.name
        return host

    def _steady_ns(self) -> int:
        return self.now_ms * 1_000_000

    def _wall_ns(self) -> int:
        return (self.now_ms + self.wrong_ms.get(self._here, 0)) * 1_000_000
