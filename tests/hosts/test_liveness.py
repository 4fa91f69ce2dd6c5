"""Who ends a run on a shared board: a host that read its signs of life, or any, where none renewed it for two leases.

Hosts have clocks of their own, minutes wrong. The service's is right here, and nobody asks it more often than it moves.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kanban_shards import Gateway, gateway, settling
from kanban_shards.changes.kinds import Claim, Complete
from kanban_shards.coordinator.ledger import Entry, Point
from kanban_shards.coordinator.merge import other_hosts
from kanban_shards.coordinator.shared.errors import Unreachable
from tests.far.fake import FakeFar
from tests.hosts.hosts import LEDGER_ID, assert_alike, hosts
from tests.hosts.times import Times
from tests.hosts.worlds import LEASE_S, World, at_work, said_of_runs


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The laptop's clock is ten minutes behind, the server's ten ahead."""
    with at_work(tmp_path, monkeypatch, laptop=-600_000, server=600_000) as there:
        yield there


def test_a_worker_that_gives_signs_is_kept_alive_by_its_own_host(world: World) -> None:
    """By ages of that host's clock, however wrong it is; the others hear of it two or three times a lease."""
    task_id, run_id = world.claimed(world.laptop, "ann")
    world.live(4 * LEASE_S, (world.laptop, "ann", run_id))
    assert world.server.board.task(task_id).status == "running"
    heard = said_of_runs(world.server)
    assert set(heard) == {"alive"} and 8 <= len(heard) <= 12
    now_s = world.times.now_ms // 1_000
    assert now_s < world.server.board.run(run_id).claim_expires <= now_s + LEASE_S


def test_a_silent_worker_is_ended_by_its_own_host_after_one_lease(world: World) -> None:
    """Ten minutes behind or ahead, its host counts the seconds since the claim by the ledger's clock."""
    for host, profile in ((world.laptop, "ann"), (world.server, "bob")):
        task_id, _ = world.claimed(host, profile)
        world.live(LEASE_S - 5)
        assert host.board.task(task_id).status == "running"
        world.live(15)
        assert host.board.task(task_id).status == "ready"
        assert host.board.runs(task_id)[0].error == f"no sign of life for {LEASE_S} s"
    assert said_of_runs(world.laptop) == ["expire", "expire"]


def test_foreign_run(world: World) -> None:
    """A run that ann claims on the laptop for bob, who lives on the server, is kept alive by what the server reads; and
    when that is nothing, it ends: after two leases, once, whichever host says so."""
    task_id, run_id = world.claimed(world.laptop, "ann", runs_as="bob")
    world.live(4 * LEASE_S, (world.server, "bob", run_id))
    assert world.laptop.board.task(task_id).status == "running"
    heard_s = world.laptop.board.run(run_id).last_heartbeat_at
    while world.laptop.board.task(task_id).status == "running":
        world.live(5)
    silent_s = world.times.now_ms // 1_000 - heard_s
    assert 2 * LEASE_S <= silent_s <= 2 * LEASE_S + 15
    assert world.laptop.board.runs(task_id)[0].error == "no host that hears its worker renewed it for 120 s"
    assert said_of_runs(world.laptop).count("expire") == 1


def test_a_worker_whose_profile_never_wrote_is_heard(world: World) -> None:
    """Cyd has a shard on the server with signs of life and no change, so no host has said where cyd lives."""
    task_id, run_id = world.claimed(world.laptop, "ann", runs_as="cyd")
    world.live(4 * LEASE_S, (world.server, "cyd", run_id))
    assert world.laptop.board.task(task_id).status == "running"
    assert world.laptop.board.home_of("cyd") is None


def test_cut_off_host(world: World) -> None:
    """The server cannot reach the ledger. Its run goes on for two leases, and then it is anybody's; what its worker
    still says is refused when it is heard, and kept."""
    task_id, run_id = world.claimed(world.server, "bob")
    world.live(LEASE_S, (world.server, "bob", run_id))
    world.server.far.link.cut = True
    began_s = world.times.now_ms // 1_000
    only = (world.laptop,)
    while world.laptop.board.task(task_id).status == "running":
        world.live(10, (world.server, "bob", run_id), hosts=only)
        with pytest.raises(Unreachable):
            world.times.on(world.server).follow()
    assert 1.5 * LEASE_S <= world.times.now_ms // 1_000 - began_s <= 2 * LEASE_S + 10
    seq = world.server.write("bob", task_id, Complete(run_id=run_id, summary="ten pages"))
    world.times.on(world.laptop).write("ann", task_id, Claim())
    world.laptop.make_pass()
    world.server.far.link.cut = False
    world.both()
    world.both()
    assert world.server.verdict("bob", seq) == "late"
    assert world.server.board.task(task_id).owner == "ann"
    kept = [event.payload for event in world.laptop.board.events(task_id=task_id, kinds=["late_refused"])]
    assert [payload["summary"] for payload in kept] == ["ten pages"]


def test_after_an_outage_nobody_is_ended_unheard(world: World) -> None:
    """The service was away for ten leases. Whoever reaches it first hears nothing of the others' runs yet, and gives
    their hosts the time to say so."""
    ours = world.claimed(world.laptop, "ann")
    theirs = world.claimed(world.server, "bob")
    alive = ((world.laptop, "ann", ours[1]), (world.server, "bob", theirs[1]))
    for host in (world.laptop, world.server):
        host.far.link.cut = True
    for _ in range(LEASE_S):
        for host, profile, run_id in alive:
            world.times.on(host).shard(profile).heartbeat(run_id, host.board.view("", profile))
        world.times.later(10)
        for host in (world.laptop, world.server):
            with pytest.raises(Unreachable):
                world.times.on(host).follow()
    world.laptop.far.link.cut = False
    world.live(20, alive[0], alive[1], hosts=(world.laptop,))
    world.server.far.link.cut = False
    world.live(2 * LEASE_S, *alive)
    assert "expire" not in said_of_runs(world.laptop)
    for task_id, _ in (ours, theirs):
        assert world.server.board.task(task_id).status == "running"


def test_coordinators_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hosts see at once that a run is nobody's any more; one entry says so."""
    with hosts(tmp_path, "laptop", "server", "pod") as (service, there):
        laptop, server, pod = there
        world = World(Times(service, monkeypatch), laptop, server)
        task_id, _ = world.claimed(pod, "eve")
        for host in there:
            world.times.on(host).follow()
        pod.stop()
        for _ in range(2 * LEASE_S // 5):
            world.live(5)
        for host in (laptop, server):
            host.far.link.deaf = True
        world.times.later(5)
        for host in (laptop, server, pod):
            world.times.on(host).follow()
        world.both(laptop, server, pod)
        assert laptop.board.task(task_id).status == "ready"
        assert said_of_runs(laptop) == ["expire"]
        assert_alike(*there)


def test_a_worker_without_a_daemon_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gateway makes no pass for a heartbeat; on a shared board it does now and then, beside its work."""
    with hosts(tmp_path, "laptop", "server") as (service, (laptop, server)):
        times, told = Times(service, monkeypatch), threading.Event()
        true_append = FakeFar.append

        def append(far: FakeFar, entries: Sequence[Entry], behind: Point) -> None:
            true_append(far, entries, behind)
            if any(entry.change.kind == "alive" for entry in entries):
                told.set()

        monkeypatch.setattr(FakeFar, "append", append)
        monkeypatch.setattr(other_hosts, "open_far", lambda sharing, rules: service.far(sharing.host, LEDGER_ID))
        with Gateway("ann", paths=laptop.paths) as ann:
            run = ann.claim(ann.create("work"), lease_s=LEASE_S)
            times.later(LEASE_S / 2)
            ann.heartbeat(run)
            assert not told.is_set()
            monkeypatch.setattr(settling, "HEARD_EVERY_S", 0.0)
            monkeypatch.setattr(gateway, "HEARTBEAT_EVERY_S", 0.0)
            times.later(10)
            ann.heartbeat(run)
            assert told.wait(20)
            server.follow()
            assert server.board.run(run.id).last_heartbeat_at == times.now_ms // 1_000
