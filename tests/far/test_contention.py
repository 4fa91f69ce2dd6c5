"""Several hosts that append to one ledger at once: no gap, nothing twice, and a slow one has its turn."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards.coordinator.ledger import Entry
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.far import Address
from tests.far import appender
from tests.far.changes import BEGINNING
from tests.far.fixtures import serve
from tests.far.server import Server
from tests.hosts.network import Link
from tests.tree import ROOT

HERE = Address("kanban", "default", "here", 1, "one")
SLOW_S = 0.025
# Overtaken, turn, append: turn and append are one each.
MOST_TRIPS = 3


@pytest.fixture
def carrier(service: str) -> Iterator[Carrier]:
    with closing(Carrier(HERE)) as opened:
        opened.begin("one")
        yield opened


def test_many_processes_make_one_chain(carrier: Carrier) -> None:
    """And nobody starves: after an overtaking each has its turn."""
    profiles, number = ("amy", "bob", "cyd"), 40
    running = [appending(profile, number) for profile in profiles]
    trips = [[int(line) for line in process.communicate()[0].split()] for process in running]
    assert [len(each) for each in trips] == [number] * len(profiles)
    entries = everything(carrier)
    end = BEGINNING
    for entry in entries:
        assert entry.continues(end)
        end = entry.point
    assert sorted(entry.change[:2] for entry in entries) == [*itertools.product(profiles, range(1, number + 1))]
    assert max(itertools.chain(*trips)) <= MOST_TRIPS


def test_a_host_far_away_beside_one_that_never_pauses(
    carrier: Carrier, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = appending("amy", 1_000_000)
    assert busy.stdout is not None
    busy.stdout.readline()
    with closing(Link(str(postgres.folder / ".s.PGSQL.5432"), SLOW_S)) as link:
        serve(tmp_path, monkeypatch, host="127.0.0.1", port=str(link.port), dbname=postgres.latest_database)
        with busy, closing(Carrier(HERE)) as slow:
            try:
                trips = list(appender.trips(slow, "bob", iter(range(1, 11))))
            finally:
                busy.kill()
    assert max(trips) <= MOST_TRIPS


def appending(profile: str, number: int) -> subprocess.Popen[str]:
    """A process that appends so many entries of ``profile``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.far.appender", profile, str(number)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def everything(carrier: Carrier) -> list[Entry]:
    """All entries there are."""
    entries = carrier.read(0).entries
    while carrier.read(len(entries)).entries:
        entries += carrier.read(len(entries)).entries
    return entries
