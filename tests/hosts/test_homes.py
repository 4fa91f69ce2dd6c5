"""Each profile lives on one host: whoever says it first, and what becomes of a second shard of that name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import shard_file
from kanban_shards.changes.homes import Home
from kanban_shards.changes.kinds import Create
from kanban_shards.coordinator.merge.collector import QUARANTINED, look
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding
from kanban_shards.coordinator.merge.once import _missing
from kanban_shards.coordinator.merge.shard_reader import shard_id_of
from kanban_shards.coordinator.recovery.repair import make_shard, repair_shard
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.coordinator.shared.errors import Unreachable
from kanban_shards.errors import LivesElsewhere
from kanban_shards.sharing import write_sharing
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock
from tests.far.fake import Service
from tests.hosts.hosts import Host, assert_alike, hosts
from tests.ids import new_task_id


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Service, Host, Host]]:
    with hosts(tmp_path, "laptop", "server") as (service, (laptop, server)):
        yield service, laptop, server


def twins(laptop: Host, server: Host) -> None:
    """Before either hears of the other, ann writes on both, and the laptop is first."""
    for host in (laptop, server):
        host.make_pass()
        host.far.link.deaf = True
    for host in (laptop, server):
        host.write("ann", new_task_id(), Create(title=f"on the {host.name}"))
    laptop.make_pass()


def test_second_home(world) -> None:
    """It is refused before anything of it is merged, in one sentence that says where the profile lives and what to do;
    and it keeps what it holds, and everybody else goes on."""
    _, laptop, server = world
    twins(laptop, server)
    server.write("bob", new_task_id(), Create(title="of somebody else"))
    assert {each.entry.change.profile for each in server.make_pass().decisions if each.applied} == {
        "@coordinator",
        "bob",
    }
    (skipped,) = server.make_pass().skipped
    assert (skipped.profile, skipped.state) == ("ann", QUARANTINED)
    assert skipped.why == (
        "ann lives on laptop, so nothing of this shard is merged (1 change of it never was); write as ann on laptop, "
        "and move this shard away; if that host is gone for good, `kanban-merge move ann` lets ann live here, and "
        "keeps this file beside the new one"
    )
    assert [each.change.kind for each in server.entries() if each.change.profile == "ann"] == ["create"]
    assert server.board.task(server.entries()[1].change.task_id).title == "on the laptop"
    laptop.follow()
    assert laptop.board.home_of("ann").host == server.board.home_of("ann").host == "laptop"
    assert_alike(laptop, server)


def test_own_verdict(world) -> None:
    """Twin shards have changes of one number; a caller hears what became of its own, and nothing of the other's."""
    _, laptop, server = world
    twins(laptop, server)
    server.follow()
    for host, is_mine in ((laptop, True), (server, False)):
        verdict, merged = host.board.own_verdict("ann", 1)
        assert verdict.verdict == "applied"
        assert host.shard("ann").was_merged(merged) is is_mine


def test_a_shard_of_before_gets_its_home_without_a_change(tmp_path: Path) -> None:
    """A board that had a history when it was first shared: whoever holds a profile's shard says so, though nothing new
    is in it."""
    with hosts(tmp_path, "laptop", "server") as (_, (laptop, server)):
        laptop.paths.shared.unlink()
        laptop.write("ann", new_task_id(), Create(title="before"))
        with closing(FileLock(laptop.paths.coordinator_lock)) as lock:
            assert lock.try_acquire()
            with Coordinator(laptop.paths, lock) as alone:
                alone.make_passes()
        assert laptop.board.homes() == {}
        write_sharing(laptop.paths, laptop.sharing)
        laptop.make_pass()
        server.follow()
        assert {profile: home.host for profile, home in server.board.homes().items()} == {"ann": "laptop"}
        assert (server.board.home_of("ann").seq, laptop.make_pass().decisions) == (1, [])
        assert_alike(laptop, server)


def test_what_another_host_has_is_no_fault(world) -> None:
    """No shard is missing, and nothing differs, because a profile lives elsewhere."""
    _, laptop, server = world
    at_home(laptop, server)
    for host in (laptop, server):
        assert verify(host.paths).findings == []
        assert look(host.paths, host.board.watermarks).skipped == []
        assert list(_missing(host.paths, host.board)) == []
    laptop.paths.shard("ann").unlink()
    assert [*map(str, verify(laptop.paths).findings)] == [
        "kanban.ann.db: it is missing; its changes up to 1 were merged"
    ]
    assert [each.profile for each in _missing(laptop.paths, laptop.board)] == ["ann"]


def test_repair_elsewhere(world) -> None:
    """No repair makes a second shard beside one of another host, and no advice leads to one."""
    _, laptop, server = world
    at_home(laptop, server)
    server.stop()
    with holding(server.paths, COMMAND) as lock, pytest.raises(LivesElsewhere) as refused:
        repair_shard(server.paths, lock, "ann")
    with pytest.raises(LivesElsewhere) as told:
        server.write("ann", new_task_id(), Create(title="on the server"))
    assert str(told.value) == str(refused.value)
    assert str(told.value).endswith("let ann live here with `kanban-merge move ann`.")
    assert str(told.value).startswith("ann lives on laptop, and nothing of a shard that it has on this host")
    assert not server.paths.shard("ann").exists()


def test_a_lost_shard_is_made_again_at_its_home(world) -> None:
    """It is the one that lives there, also while nothing of it was merged since: so it is merged from then on."""
    _, laptop, server = world
    at_home(laptop, server)
    moved_to(server, "ann", was="laptop")
    server.stop()
    server.shard("ann").close()
    server.paths.shard("ann").unlink()
    assert [str(each).split(";")[0] for each in verify(server.paths).findings] == ["kanban.ann.db: it is missing"]
    with holding(server.paths, COMMAND) as lock:
        repair_shard(server.paths, lock, "ann")
    server.write("ann", new_task_id(), Create(title="goes on"))
    assert server.make_pass().skipped == []
    assert {task.title for task in server.board.tasks()} >= {"goes on"}
    laptop.follow()
    assert_alike(laptop, server)


def test_a_profile_that_moved(world) -> None:
    """What it left behind is no fault, and nobody writes to it; what was written there unheard of it is named, and
    never merged."""
    _, laptop, server = world
    at_home(laptop, server)
    laptop.stop()
    moved_to(server, "ann", was="laptop")
    server.write("ann", new_task_id(), Create(title="after the move"))
    server.make_pass()
    laptop.far.link.cut = True
    laptop.write("ann", new_task_id(), Create(title="what the laptop never told"))
    laptop.far.link.cut = False
    (skipped,) = laptop.make_pass().skipped
    assert (skipped.profile, skipped.state) == ("ann", QUARANTINED)
    assert skipped.why.startswith("ann lives on server, so nothing of this shard is merged (1 change of it never was)")
    with pytest.raises(LivesElsewhere, match="ann lives on server"):
        laptop.write("ann", new_task_id(), Create(title="nor now"))
    assert_alike(laptop, server)
    titles = {task.title for task in laptop.board.tasks()}
    assert titles == {"on the laptop", "on the server", "after the move"}


@pytest.mark.parametrize("verb", ["append", "append_behind_known", "append_together", "heartbeat"])
def test_whoever_has_the_shard_open_hears_of_the_move(world, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the shard looks different: neither side wrote since, so the board must be asked now and then."""
    _, laptop, server = world
    monkeypatch.setattr(shard_file, "HOME_ASKED_EVERY_S", 0.0)
    at_home(laptop, server)
    moved_to(server, "ann", was="laptop")
    laptop.follow()
    shard, task_id = laptop.shard("ann"), new_task_id()
    view, body = laptop.board.view(task_id, "ann"), Create(title="in the old place")
    with pytest.raises(LivesElsewhere, match="ann lives on server"):
        if verb == "heartbeat":
            shard.heartbeat(1, view)
        elif verb == "append_together":
            shard.append_together([(task_id, body, view)])
        elif shard.append_behind_known(task_id, body, view) is None or verb == "append":
            shard.append(task_id, body, view)
    assert shard._file.known.last is not None, "it is as this process left it"


def test_what_a_moved_profile_left_is_no_fault(world) -> None:
    _, laptop, server = world
    at_home(laptop, server)
    moved_to(server, "ann", was="laptop")
    server.write("ann", new_task_id(), Create(title="after the move"))
    server.make_pass()
    laptop.stop()
    assert laptop.make_pass().skipped == []
    assert verify(laptop.paths).findings == []


def test_whoever_collected_before_a_move_appends_nothing_behind_it(world) -> None:
    """The laptop read a change of ann's, and was overtaken by the entry that ann lives on the server now."""
    _, laptop, server = world
    at_home(laptop, server)
    laptop.far.link.deaf = True
    laptop.write("ann", new_task_id(), Create(title="a moment too late"))
    laptop.write("cyd", new_task_id(), Create(title="of somebody else"))
    moved_to(server, "ann", was="laptop")
    laptop.make_pass()
    kinds = [(entry.change.profile, entry.change.kind) for entry in laptop.entries()]
    assert kinds[-1] == ("cyd", "create") and kinds.count(("ann", "create")) == 1
    server.follow()
    assert_alike(laptop, server)


def test_two_hosts_of_one_name(world) -> None:
    """The name cannot tell them apart; before the first change which shard it is does, and then its chain."""
    service, laptop, server = world
    other = Host(server.paths.folder.parent / "pod", "laptop", service)
    try:
        for host in (laptop, other):
            host.make_pass()
            host.far.link.deaf = True
            host.write("ann", new_task_id(), Create(title=f"in {host.paths.folder.name}"))
        laptop.far.link.lose_requests = 2
        with pytest.raises(Unreachable):
            laptop.make_pass()
        other.coordinator.write([("", Home(profile="ann", shard="0" * 32, host="laptop"))])
        for host in (laptop, other):
            host.follow()
            (skipped,) = host.make_pass().skipped
            assert skipped.why.startswith("it is not the shard of ann that lives on laptop; if two hosts are called")
        assert laptop.board.tasks() == []
    finally:
        other.close()


def at_home(laptop: Host, server: Host) -> None:
    """Ann lives on the laptop, and bob on the server."""
    laptop.write("ann", new_task_id(), Create(title="on the laptop"))
    laptop.make_pass()
    server.write("bob", new_task_id(), Create(title="on the server"))
    server.make_pass()
    laptop.follow()


def moved_to(host: Host, profile: str, was: str) -> None:
    """The profile lives on ``host`` from here on, with a shard of what was merged of it."""
    host.follow()
    host.stop()
    with holding(host.paths, COMMAND) as lock:
        make_shard(host.paths, lock, profile)
        with closing(sqlite.open_reader(host.paths.shard(profile), sqlite.SHARD)) as shard:
            body = Home(profile=profile, shard=shard_id_of(shard, profile) or "", host=host.name, was=was)
        with Coordinator(host.paths, lock, far=host.far) as coordinator:
            assert [each.applied for each in coordinator.write([("", body)])] == [True]
