"""What keeps and mends the files of a board works on a host's copy of a shared ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards.board import Board
from kanban_shards.changes.kinds import AddComment, Create
from kanban_shards.coordinator.backup.backup import make_backup
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.backup.restore import restore
from kanban_shards.coordinator.errors import NothingToRepair
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge import other_hosts
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.coordinator.shared import opening
from kanban_shards.coordinator.shared.errors import Unreachable
from kanban_shards.errors import LivesElsewhere
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock
from tests.far.fake import FakeFar, Service
from tests.hosts.hosts import Host, assert_alike, hosts
from tests.ids import new_task_id


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Service, Host, Host]]:
    """Two hosts that are alike, with ten tasks."""
    with hosts(tmp_path, "one", "two") as (service, (one, other)):

        def open_far(sharing: Sharing, rules: int) -> FakeFar:
            far = service.far(sharing.host, sharing.ledger_id, rules=rules)
            far.link = next(host.far.link for host in (one, other) if host.name == sharing.host)
            return far

        for module in (opening, other_hosts):
            monkeypatch.setattr(module, "open_far", open_far)
        for _ in range(10):
            one.write("ann", new_task_id(), Create(title="t"))
        one.make_pass()
        other.write("bob", new_task_id(), Create(title="t"))
        other.make_pass()
        one.follow()
        for host in (one, other):
            host.stop()
        yield service, one, other


def locked(host: Host):
    assert host.lock.held or host.lock.try_acquire()
    return host.lock


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)


@pytest.mark.parametrize("how", [damage, lambda path: path.unlink()])
def test_a_damaged_or_lost_copy_is_fetched(world, how) -> None:
    """Not made of board and shards: those of other hosts are elsewhere."""
    _, one, other = world
    how(other.paths.ledger)
    repaired = repair_ledger(other.paths, locked(other))
    assert (repaired.path, repaired.rows) == (other.paths.ledger, 13)
    with pytest.raises(NothingToRepair):
        repair_ledger(other.paths, locked(other))
    assert_alike(one, other)


def test_a_copy_that_cannot_be_fetched_stays_as_it_is(world) -> None:
    _, _, other = world
    damage(other.paths.ledger)
    before = other.paths.ledger.read_bytes()
    other.far.link.cut = True
    with pytest.raises(Unreachable):
        repair_ledger(other.paths, locked(other))
    assert other.paths.ledger.read_bytes() == before
    assert [path.name for path in other.paths.folder.glob("*.fetching*")] == []


def test_a_board_is_rebuilt_of_the_copy(world) -> None:
    _, one, other = world
    other.far.link.cut = True
    files.set_aside(other.paths.board, locked(other))
    rebuild(other.paths, locked(other))
    other.far.link.cut = False
    assert_alike(one, other)


def test_a_compacted_host_goes_on(world) -> None:
    """And its copy, when it is lost, is whole again."""
    service, one, other = world
    compact(other.paths, locked(other), service.now_ms() + 3_600_000)
    with closing(FileLedger(other.paths.ledger)) as ledger:
        assert ledger.base().position == 13
    one.write("ann", new_task_id(), Create(title="after"))
    one.make_pass()
    other.write("bob", new_task_id(), Create(title="after"))
    other.make_pass()
    one.follow()
    assert one.tables() == other.tables()
    other.stop()
    files.set_aside(other.paths.ledger, locked(other))
    other.make_pass()
    assert_alike(one, other)


def test_a_backup_is_sound_without_the_shards_of_other_hosts(world, tmp_path: Path) -> None:
    """In the backup there is no ``shared.json``. What is in its ledger alone is no damage, and no repair puts a second
    shard there. Put back elsewhere, it is a copy: whoever shares that takes the host's name from it."""
    _, one, other = world
    for host, profile in ((one, "ann"), (other, "bob")):
        host.write(profile, new_task_id(), Create(title=profile))
        host.make_pass()
    other.follow()
    backup = make_backup(other.paths, tmp_path / "backups")
    assert backup.is_good, backup.problems
    copy = BoardPaths(tmp_path / "drill")
    copy.make_folder()
    with closing(FileLock(copy.coordinator_lock)) as lock:
        lock.acquire(5)
        done = restore(copy, backup, lock)
        assert done.findings == []
        assert "it is to be looked at" in done.not_merged and "Only where that home is gone" in done.not_merged
        with pytest.raises(LivesElsewhere, match="lives on one"):
            repair_shard(copy, lock, "ann")


def test_who_verifies_asks_for_no_other_home_by_itself(world, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, other = world
    for profile in ("ann", "cleo", "dora", "eve"):
        one.write(profile, new_task_id(), Create(title=profile))
    one.make_pass()
    other.follow()
    asked = []
    monkeypatch.setattr(Board, "home_of", lambda board, profile: asked.append(profile))
    found = verify(other.paths)
    assert found.clean and set(asked) <= {"bob"}


def test_a_home_that_was_lost_is_told_how_to_share_again(world, tmp_path: Path) -> None:
    _, _, other = world
    backup = make_backup(other.paths, tmp_path / "backups")
    other.stop()
    for path in (other.paths.board, other.paths.ledger):
        files.set_aside(path, locked(other))
    other.paths.shared.unlink()
    other.paths.heard.unlink(missing_ok=True)
    said = restore(other.paths, backup, locked(other)).not_merged
    assert said is not None and "` puts it back" in said


def test_a_restored_host_goes_on(world, tmp_path: Path) -> None:
    """From its backup, and then from what the others have: board and ledger are lost."""
    _, one, other = world
    backup = make_backup(other.paths, tmp_path / "backups")
    for host, profile in ((one, "ann"), (other, "bob")):
        host.write(profile, new_task_id(), Create(title="after the backup"))
        host.make_pass()
    other.stop()
    for path in (other.paths.board, other.paths.ledger):
        files.set_aside(path, locked(other))
    restore(other.paths, backup, locked(other))
    other.make_pass()
    one.follow()
    assert_alike(one, other)
    task = next(each.change.task_id for each in other.entries() if each.change.task_id)
    other.write("bob", task, AddComment(text="and goes on"))
    report = other.make_pass()
    assert report.decisions, [each.why for each in report.skipped]
