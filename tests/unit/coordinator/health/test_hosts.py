"""What is said of a board that several hosts share, by what was noted: nothing here asks a server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.health.metrics import Metrics
from kanban_shards.coordinator.health.problems import findings, problems
from kanban_shards.coordinator.health.read import read_health
from kanban_shards.coordinator.health.standing import standing
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge import outage
from kanban_shards.coordinator.merge.outage import Outage
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.heard import HostHeard, note_heard, silence
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, write_sharing
from kanban_shards.storage.locks import FileLock

SHARED = Sharing("kanban", "default", "0123456789abcdef" * 2, "laptop")
HOSTS = [HostHeard("laptop", "1.0", 1, 7, 0), HostHeard("server", "1.0", 1, 5, 2_000)]


@pytest.fixture(autouse=True)
def board(home: str, paths: BoardPaths) -> None:
    """A board with one task, shared since."""
    with Gateway("ann", home=home) as ann:
        ann.create("a task")
        ann.settle()
    write_sharing(paths, SHARED)


@pytest.fixture
def coordinator(paths: BoardPaths) -> Iterator[FileLock]:
    """A daemon that stays."""
    lock = locks.take(paths, locks.DAEMON, 0)
    yield lock
    lock.close()


def said(paths: BoardPaths) -> list[Finding]:
    return [each for each in findings(read_health(paths)) if each.check == "hosts"]


def test_nothing_is_said_of_a_board_of_one_host(paths: BoardPaths) -> None:
    paths.shared.unlink()
    health = read_health(paths)
    assert health.shared is None and said(paths) == [] and standing(paths).shared == ""
    assert silence(paths, time.time()) == ""


def test_a_service_that_answers(paths: BoardPaths) -> None:
    note_heard(paths, 7, HOSTS)
    [finding] = said(paths)
    assert (finding.level, "2 hosts there" in finding.sentence) == (OK, True)
    assert not problems(read_health(paths))
    assert "over kanban, by this host as laptop; last heard" in standing(paths).shared
    assert silence(paths, time.time()) == ""
    value = read_health(paths).shared.as_dict()
    assert [each["host"] for each in value["hosts"]] == ["laptop", "server"]
    assert value["last_heard_ms"] - value["hosts"][1]["seen_ms"] == 2_000


def test_nobody_who_stays_asks_it(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    [finding] = said(paths)
    assert finding.level == NOTE and "not heard yet; nobody stays here to ask it" in finding.sentence
    note_heard(paths, 7, HOSTS)
    later_ns = time.time_ns() + 720 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    [finding] = said(paths)
    assert finding.level == NOTE and "last heard 12 min ago; nobody stays here" in finding.sentence
    assert silence(paths, later_ns / 1e9) == "shared over kanban, last heard 12 min ago"


def test_a_coordinator_that_hears_nothing(paths: BoardPaths, coordinator: FileLock) -> None:
    [finding] = said(paths)
    assert finding.level == WARNING and "its log says why" in finding.sentence


@pytest.mark.parametrize(
    ("cause", "ago_s", "level", "words"),
    [
        ("unreachable", 5, NOTE, "has not answered since"),
        ("unreachable", 300, WARNING, "has not answered since"),
        ("busy", 5, NOTE, "is kept by another host"),
        ("parted", 5, FAULT, "holds another entry 7 than this host"),
        ("rules", 5, FAULT, "is decided by other rules"),
        ("other", 5, FAULT, "cannot be used since"),
    ],
)
def test_an_outage(paths: BoardPaths, coordinator: FileLock, cause: str, ago_s: int, level: str, words: str) -> None:
    now_ms = time.time_ns() // 1_000_000
    outage.note(coordinator, Outage(cause, now_ms - 1_000 * ago_s, now_ms, 7))
    [finding] = said(paths)
    assert finding.level == level and words in finding.sentence
    assert read_health(paths).shared.as_dict()["outage"] == {"cause": cause, "since_ms": now_ms - 1_000 * ago_s}


def test_what_is_to_be_said_of_other_hosts(paths: BoardPaths) -> None:
    note_heard(paths, 7, [
        HOSTS[0],
        HostHeard("server", "1.1", 1, 5, 2_000, differs=True),
        HostHeard("pod", "1.0", 1, 3, 3_600_000),
    ])  # fmt: skip
    answers, differs, silent = said(paths)
    assert answers.level == OK
    assert differs.level == FAULT and "server decided one of the entries up to 5 otherwise" in differs.sentence
    assert silent.level == NOTE and "pod was heard 1 h" in silent.sentence and "`kanban-merge move" in silent.sentence


def test_a_file_that_says_nothing_of_where(paths: BoardPaths) -> None:
    paths.shared.write_text("{}")
    [finding] = said(paths)
    assert finding.level == FAULT and "does not say where this board is shared" in finding.sentence


def test_figures(paths: BoardPaths) -> None:
    pytest.importorskip("prometheus_client")
    note_heard(paths, 7, HOSTS)
    metrics = Metrics()
    metrics.add(paths)
    found = {(each["name"], each["labels"].get("host")): each["value"] for each in metrics.values()}
    assert found["kanban_host_position", "server"] == 5
    assert found["kanban_host_silent_seconds", "server"] == 2
    assert found["kanban_host_differs", "server"] == found["kanban_shared_outage", None] == 0
    assert abs(found["kanban_shared_heard_seconds", None] - time.time()) < 30
