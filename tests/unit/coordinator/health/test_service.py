"""The doctor asks the service of a shared board, and says what it hears."""

from __future__ import annotations

import time

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.health.checks import service as checks
from kanban_shards.coordinator.shared.errors import AnotherLedger, NoSharedLedger, OtherRules
from kanban_shards.health import NOTE, OK, WARNING
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, write_sharing
from tests.far.fake import FakeFar, Service

SHARED = Sharing("fake", "default", "0123456789abcdef" * 2, "laptop")


@pytest.fixture
def service(home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service of a board that was shared after its first task."""
    with Gateway("ann", home=home) as ann:
        ann.create("a task")
        ann.settle()
    write_sharing(paths, SHARED)
    there = Service(lambda: time.time_ns() // 1_000_000)
    there.far("laptop", rules=rules.VERSION).begin(SHARED.ledger_id)
    monkeypatch.setattr(checks, "open_far", lambda sharing, version: far(there, sharing, version))
    return there


def far(service: Service, sharing: Sharing, version: int) -> FakeFar:
    return service.far(sharing.host, sharing.ledger_id, rules=version)


def test_a_board_of_one_host_has_none(paths: BoardPaths) -> None:
    assert [*checks.service(paths)] == []


def test_one_that_answers(paths: BoardPaths, service: Service) -> None:
    [finding] = checks.service(paths)
    assert finding.level == OK and "fake answers within" in finding.sentence
    assert [far for far in service.fars if far.link.trips > 2] == [], "and nothing is left open"


def test_clocks_that_differ(paths: BoardPaths, service: Service) -> None:
    service.now_ms = lambda: time.time_ns() // 1_000_000 + 600_000
    _, finding = checks.service(paths)
    assert finding.level == NOTE and "behind the server's" in finding.sentence
    service.now_ms = lambda: time.time_ns() // 1_000_000 + 366 * 86_400_000
    _, finding = checks.service(paths)
    assert finding.level == WARNING and "365 d 23 h behind the server's" in finding.sentence


def test_one_that_is_silent(paths: BoardPaths, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(sharing: Sharing, version: int) -> FakeFar:
        found = far(service, sharing, version)
        found.link.silent = True
        return found

    monkeypatch.setattr(checks, "open_far", silent)
    [finding] = checks.service(paths)
    assert finding.level == WARNING and "has not answered since" in finding.sentence


def test_one_that_has_another_ledger_or_other_rules_or_none(
    paths: BoardPaths, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.ledgers["default"].rules += 1
    with pytest.raises(OtherRules):
        list(checks.service(paths))
    service.ledgers["default"].ledger_id = "f" * 32
    with pytest.raises(AnotherLedger):
        list(checks.service(paths))
    service.drop()
    with pytest.raises(NoSharedLedger):
        list(checks.service(paths))
