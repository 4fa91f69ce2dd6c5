"""Two hosts that share a board, with daemons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.far.server import Server
from tests.hosts.machines import Machine, machines


@pytest.fixture
def pair(tmp_path: Path, postgres: Server) -> Iterator[list[Machine]]:
    """Two homes that share nothing yet."""
    with machines(tmp_path, postgres, "laptop", "server") as found:
        yield found


@pytest.fixture
def sharing(pair: list[Machine]) -> list[Machine]:
    """The two, sharing a board, each with its daemon."""
    for host in pair:
        host.join()
        host.start()
    return pair
