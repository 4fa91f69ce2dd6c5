"""The health of a board: what is read of it, and what of that is a problem. Real files, really damaged."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from kanban_shards import Gateway, Refused
from kanban_shards.coordinator.health import read as healths
from kanban_shards.coordinator.health.problems import findings, problems
from kanban_shards.coordinator.health.read import ShardHealth, read_health, read_sizes, read_undelivered
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import QUARANTINED
from kanban_shards.errors import BoardMissing, Damaged, StorageError
from kanban_shards.health import FAULT, NOTE, OK, WARNING
from kanban_shards.heard import note_heard
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, write_sharing
from kanban_shards.storage import connections, files, sqlite
from tests.untyped import write_untyped

# Spills half a transaction into the file, and is gone before the commit.
KILLED = """
import os, sqlite3, sys
shard = sqlite3.connect(sys.argv[1], isolation_level=None)
shard.execute("PRAGMA journal_mode=PERSIST")
shard.execute("PRAGMA cache_size=1")
shard.execute("BEGIN IMMEDIATE")
shard.executemany("INSERT INTO liveness VALUES (?, 1)", [(run,) for run in range(1_000, 9_000)])
os._exit(9)
"""


@contextmanager
def nobody_merges(paths: BoardPaths, role: str = locks.COMMAND) -> Iterator[None]:
    """What is written meanwhile stays in the shards."""
    lock = locks.take(paths, role, 5)
    try:
        yield
    finally:
        lock.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch):
    """``later(seconds)``: the clock goes on by that much, or back."""
    real = time.time_ns

    def move(seconds: float) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: real() + int(seconds * 1e9))

    return move


def levels(paths: BoardPaths) -> dict[str, str]:
    """The worst level of each check."""
    found: dict[str, str] = {}
    for each in sorted(findings(read_health(paths)), key=lambda each: (OK, NOTE, WARNING, FAULT).index(each.level)):
        found[each.check] = each.level
    return found


def sentences(paths: BoardPaths) -> str:
    return "\n".join(each.sentence for each in problems(read_health(paths)))


def test_a_board_in_order(paths: BoardPaths, gateway: Gateway) -> None:
    gateway.claim(gateway.create("a task"))
    gateway.settle()
    health = read_health(paths)
    assert (health.position, health.ledger_head, health.open_runs, health.coordinator) == (2, 2, 1, None)
    (amy,) = health.shards
    assert (amy.profile, amy.head, amy.merged, amy.waiting, amy.lag_s, amy.state) == ("amy", 2, 2, 0, 0, "ok")
    assert amy.rate_per_minute == 0.4
    assert set(levels(paths).values()) == {OK}


def test_what_is_merged_while_it_looks_is_no_fault(
    paths: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.claim(gateway.create("a task"))
    look = healths.look

    def look_while_another_writes(*asked):
        gateway.claim(gateway.create("meanwhile"))
        return look(*asked)

    monkeypatch.setattr(healths, "look", look_while_another_writes)
    health = read_health(paths)
    assert (health.position, health.ledger_head) == (4, 4)
    assert problems(health) == []


def test_no_board(paths: BoardPaths) -> None:
    with pytest.raises(BoardMissing):
        read_health(paths)


def test_what_waits_and_for_how_long(paths: BoardPaths, gateway: Gateway, later) -> None:
    gateway.claim(gateway.create("merged"))
    with nobody_merges(paths):
        gateway.create("waits")
        gateway.create("waits, too")
        (amy,) = read_health(paths).shards
        assert (amy.head, amy.merged, amy.waiting) == (4, 2, 2)
        assert 0 <= amy.lag_s < 30
        assert levels(paths)["shards"] == OK
        later(120)
        assert 120 <= read_health(paths).shards[0].lag_s < 150
        assert "2 changes waiting since 2 min" in sentences(paths)
    assert levels(paths)["shards"] == NOTE, "without a coordinator nobody promised to merge it"


def test_the_rate_of_a_busy_board(paths: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of the newest entries alone, over the time that those took."""
    monkeypatch.setattr(healths, "RATE_ENTRIES", 5)
    with nobody_merges(paths):
        for number in range(20):
            gateway.create(str(number))
    gateway.sync()
    assert read_health(paths).shards[0].rate_per_minute == pytest.approx(5 * 60, rel=0.9)


def test_what_is_wrong_now_is_said_before_what_was() -> None:
    """On a terminal and on the page alike."""
    shard = ShardHealth("amy", 1, 1, 0, 0.0, 0.0, QUARANTINED, "it is damaged", "change 2 was refused")
    assert shard.problem == "it is damaged"
    assert replace(shard, why=None).problem == "change 2 was refused"


def test_refusals_are_counted_for_a_day(paths: BoardPaths, home: str, gateway: Gateway, later) -> None:
    task_id = gateway.create("a task")
    gateway.claim(task_id)
    with Gateway("bob", home=home) as bob:
        for _ in range(2):
            with pytest.raises(Refused):
                bob.claim(task_id)
    health = read_health(paths)
    assert health.refused == {"wrong_status": 2}
    assert {shard.profile: bool(shard.last_problem) for shard in health.shards} == {"amy": False, "bob": True}
    assert health.shards[1].last_problem.startswith("change 2 was refused: t_")
    assert levels(paths)["refusals"] == NOTE
    later(25 * 3_600)
    assert read_health(paths).refused == {}


def test_a_quarantined_and_a_missing_shard(paths: BoardPaths, home: str, gateway: Gateway) -> None:
    gateway.claim(gateway.create("a task"))
    with Gateway("bob", home=home) as bob:
        bob.claim(bob.create("another"))
    paths.shard("bob").unlink()
    paths.shard("eve").write_bytes(b"no database" * 1_000)
    states = {shard.profile: shard.state for shard in read_health(paths).shards}
    assert states == {"amy": "ok", "bob": "missing", "eve": "quarantined"}
    assert levels(paths)["shards"] == FAULT
    assert "shard of bob is missing, and 2 changes of it merged" in sentences(paths)
    assert "shard of eve is quarantined" in sentences(paths)
    assert "`kanban-merge repair eve`" in sentences(paths)


def test_a_ledger_that_is_lost_or_damaged(paths: BoardPaths, gateway: Gateway) -> None:
    gateway.claim(gateway.create("a task"))
    gateway.close()
    for suffix in ("", *files.SIDECARS):
        paths.ledger.with_name(paths.ledger.name + suffix).unlink(missing_ok=True)
    assert read_health(paths).ledger_head is None
    assert "kanban-merge repair --ledger" in sentences(paths)
    paths.ledger.write_bytes(b"no database" * 1_000)
    assert levels(paths)["ledger"] == FAULT
    assert "kanban-ledger.db is damaged" in sentences(paths)


def test_a_writer_that_was_killed(paths: BoardPaths, gateway: Gateway) -> None:
    """What it left half done is taken back, and the shard is read."""
    gateway.claim(gateway.create("a task"))
    gateway.close()
    subprocess.run([sys.executable, "-c", KILLED, paths.shard("amy")])
    with pytest.raises(StorageError) as hot:
        sqlite.open_reader(paths.shard("amy"), sqlite.SHARD)
    assert connections.is_hot_journal(hot.value.__cause__)
    (amy,) = read_health(paths).shards
    assert (amy.state, amy.head, amy.waiting) == ("ok", 2, 0)


def test_a_shard_in_order_has_a_head(paths: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector has read it, although the look at it met a commit."""
    gateway.claim(gateway.create("a task"))
    monkeypatch.setattr(healths, "_peek", lambda *_: healths._Peek())
    (amy,) = read_health(paths).shards
    assert (amy.state, amy.head, amy.merged) == (healths.HEALTHY, 2, 2)


def test_a_board_that_is_damaged(paths: BoardPaths, gateway: Gateway) -> None:
    gateway.claim(gateway.create("a task"))
    gateway.close()
    for suffix in files.SIDECARS:
        paths.board.with_name(paths.board.name + suffix).unlink(missing_ok=True)
    paths.board.write_bytes(b"no database" * 1_000)
    with pytest.raises(Damaged):
        read_health(paths)


def test_a_run_past_its_lease(paths: BoardPaths, gateway: Gateway, later) -> None:
    run = gateway.claim(gateway.create("a task"), lease_s=60)
    with nobody_merges(paths, locks.DAEMON):
        later(50)
        assert levels(paths)["runs"] == OK
        later(100)
        assert [(each.run_id, round(each.over_s) in (39, 40, 41)) for each in read_health(paths).past_lease] == [
            (run.id, True)
        ]
        assert levels(paths)["runs"] == NOTE
        later(1_000)
        assert levels(paths)["runs"] == WARNING
        gateway.heartbeat(run)
        assert levels(paths)["runs"] == OK, "the heartbeat is in the shard"


def test_leases_of_a_shared_board_are_over_by_the_services_clock(paths: BoardPaths, gateway: Gateway, later) -> None:
    """This host's is two hours ahead, and its worker's heartbeats with it."""
    run = gateway.claim(gateway.create("a task"), lease_s=60)
    true_ms = time.time_ns() // 1_000_000
    with nobody_merges(paths, locks.DAEMON):
        later(7_200)
        write_sharing(paths, Sharing(service="fake", board="default", ledger_id="0" * 32, host="here"))
        note_heard(paths, 1, [], true_ms)
        assert not read_health(paths).past_lease
        note_heard(paths, 1, [], true_ms + 100_000)
        [past] = read_health(paths).past_lease
        assert past.run_id == run.id and 35 <= past.over_s <= 45
        paths.shared.unlink()


def test_a_clock_that_went_back(paths: BoardPaths, gateway: Gateway, later) -> None:
    gateway.claim(gateway.create("a task"))
    later(-3_600)
    assert levels(paths)["clock"] == WARNING
    assert "59 min" in sentences(paths)


def test_a_run_that_was_claimed_while_the_clock_was_ahead(paths: BoardPaths, gateway: Gateway, later) -> None:
    """Named while it lasts, also when newer entries are of the right time."""
    later(3 * 365 * 86_400)
    task_id = gateway.create("a task")
    run = gateway.claim(task_id)
    later(0)
    gateway.create("later")
    gateway.sync()
    assert levels(paths)["clock"] == WARNING
    assert f"run {run.id} of {task_id}" in sentences(paths)
    assert f"`kanban reclaim {task_id}`" in sentences(paths)
    gateway.reclaim(task_id)
    assert levels(paths)["clock"] == OK


def test_a_sign_of_life_of_a_clock_that_was_ahead(paths: BoardPaths, gateway: Gateway, later) -> None:
    later(-3_600)
    task_id = gateway.create("a task")
    run = gateway.claim(task_id, lease_s=60)
    with nobody_merges(paths):
        later(86_400)
        gateway.heartbeat(run)
        later(0)
        assert levels(paths)["clock"] == WARNING
        assert f"run {run.id} of {task_id} by 23 h" in sentences(paths)


def test_a_coordinator_of_another_host(paths: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.claim(gateway.create("a task"))
    with nobody_merges(paths, locks.DAEMON):
        assert levels(paths)["coordinator"] == OK
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        assert levels(paths)["coordinator"] == OK, "a container has a name of its own"
        monkeypatch.setattr(locks, "running_system", lambda: "")
        assert levels(paths)["coordinator"] == WARNING
        assert "runs on another host: daemon process" in sentences(paths)


def test_a_lock_that_outlived_who_took_it(paths: BoardPaths, gateway: Gateway) -> None:
    gateway.claim(gateway.create("a task"))
    lock = locks.take(paths, locks.DAEMON, 5)
    lock.write_note(lock.read_note().replace(f'"pid": {locks.holder(paths).pid}', '"pid": 4194999'))
    assert levels(paths)["coordinator"] == WARNING
    assert "not by the process that said so" in sentences(paths)
    lock.close()


def test_commands_that_come_and_go(paths: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two of them the lock names one that has ended: no trouble, if the next look finds another."""
    gateway.claim(gateway.create("a task"))
    ended, working = (locks.Holder(pid, socket.gethostname(), locks.COMMAND, 1) for pid in (4_194_999, os.getpid()))
    for second in (working, None):
        looks = iter((ended, second))
        monkeypatch.setattr(healths, "holder", lambda _, looks=looks: next(looks))
        assert read_health(paths).coordinator == second


def test_chats_that_were_not_told(paths: BoardPaths, gateway: Gateway) -> None:
    """Events that no chat is told of do not count; an acknowledged one neither."""
    task_id = gateway.create("a task")
    gateway.subscribe(task_id, platform="telegram", chat_id="42")
    run = gateway.claim(task_id)
    assert read_undelivered(paths) == []
    gateway.complete(run)
    (found,) = read_undelivered(paths)
    assert (found.profile, found.chats) == ("amy", 1)
    for delivery in gateway.deliveries():
        delivery.acknowledge()
    gateway.sync()
    assert read_undelivered(paths) == []


def test_sizes(paths: BoardPaths, gateway: Gateway) -> None:
    gateway.claim(gateway.create("a task"))
    gateway.close()
    paths.folder.joinpath("kanban.db.damaged-20260101-000000-000000001").write_bytes(b"x" * 700)
    paths.folder.joinpath("kanban.db.damaged-20260101-000000-000000001-wal").write_bytes(b"x" * 77)
    sizes = read_sizes(paths)
    assert (sizes.aside, sizes.aside_files) == (777, 1)
    assert min(sizes.board, sizes.ledger, sizes.shards) > 4_096


def test_a_look_costs_what_waits(paths: BoardPaths, gateway: Gateway) -> None:
    """No statement of it walks through tasks, verdicts or events."""
    gateway.claim(gateway.create("a task"))
    given = {healths._OVERDUE: (0, 1), healths._REFUSED: (1, 0)}
    with sqlite_reader(paths) as board:
        for sql, values in given.items():
            plan = " | ".join(row[3] for row in board.execute(f"EXPLAIN QUERY PLAN {sql}", values))
            assert "SCAN" not in plan.replace("SCAN merge_kept", "").replace("SCAN k", ""), plan


@contextmanager
def sqlite_reader(paths: BoardPaths) -> Iterator:
    connection = sqlite.open_reader(paths.board, sqlite.BOARD)
    try:
        yield connection
    finally:
        connection.close()


def test_no_repair_is_advised_where_none_helps(paths: BoardPaths) -> None:
    """The sentence of what lies in a lock's place says what does."""
    with Gateway("amy", home=paths.folder) as amy:
        amy.create("a task")
    paths.shard_lock("amy").unlink()
    paths.shard_lock("amy").symlink_to("elsewhere")
    (found,) = problems(read_health(paths))
    assert "move it away" in found.sentence
    assert "kanban-merge repair" not in found.sentence


def test_times_that_are_none_stop_nobody_from_looking(paths: BoardPaths, later) -> None:
    """A flipped bit makes a text of a number, whatever the schema says."""
    with Gateway("amy", home=paths.folder) as amy:
        run = amy.claim(amy.create("a task"), lease_s=1)
        amy.heartbeat(run)
    with nobody_merges(paths), Gateway("amy", home=paths.folder) as amy:
        amy.comment(run.task_id, "waits")
    write_untyped(
        paths.shard("amy"),
        "UPDATE liveness SET at_ms = 'soon'",
        "UPDATE changes SET at_ms = 'soon' WHERE seq = (SELECT max(seq) FROM changes)",
    )
    later(60)
    health = read_health(paths)
    assert [lease.run_id for lease in health.past_lease] == [run.id]
    assert [(shard.state, shard.waiting) for shard in health.shards] == [(QUARANTINED, 1)]
