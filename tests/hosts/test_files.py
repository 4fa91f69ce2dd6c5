"""Files of tasks on a shared board: their rows are everywhere, and their bytes on one host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kanban_shards import attachments
from kanban_shards.changes.kinds import Attach, Create, Delete, Detach
from kanban_shards.context import gather, render
from kanban_shards.coordinator.backup.backup import _lost_attachments
from kanban_shards.coordinator.health.checks.files import attachments as looked_at
from kanban_shards.health import OK
from tests.far.fake import Service
from tests.hosts.hosts import Host, assert_alike, hosts
from tests.ids import new_task_id


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Service, Host, Host]]:
    with hosts(tmp_path, "laptop", "server") as (service, (laptop, server)):
        yield service, laptop, server


@pytest.fixture
def task(world, tmp_path: Path) -> str:
    """A task with two files: one of ann's on the laptop, and one of bob's on the server."""
    _, laptop, server = world
    task_id = new_task_id()
    laptop.write("ann", task_id, Create(title="with files"))
    laptop.make_pass()
    server.follow()
    for host, profile in ((laptop, "ann"), (server, "bob")):
        attached(host, profile, task_id, tmp_path / f"{profile}.txt")
    laptop.follow()
    return task_id


def attached(host: Host, profile: str, task_id: str, file: Path) -> None:
    file.write_text("ten pages")
    kept = attachments.store(host.paths, task_id, file)
    host.write(profile, task_id, Attach(filename=kept.filename, stored_path=str(kept.path), size=kept.size))
    host.make_pass()


def test_bytes_at_home(world, task: str) -> None:
    """Each host knows what lies there, and says of the rest on which host it is; nothing is lost for anybody."""
    _, laptop, server = world
    for host, others in ((laptop, {"bob.txt": "server"}), (server, {"ann.txt": "laptop"})):
        found = host.board.attachments(task)
        assert {each.filename: each.host for each in found if each.host} == others
        assert {Path(each.stored_path).exists() for each in found if each.host is None} == {True}
        assert attachments.lost(host.board) == []
        (finding,) = looked_at(host.paths)
        assert finding.level == OK
        assert _lost_attachments(host.paths, host.paths, host.paths.attachments) == []
        ((name, where),) = others.items()
        assert f"- `{name}` (9 bytes): on the host {where}, at `/" in render(gather(host.board, task), 1)
        shown = [each for each in found if each.host]
        assert [each.whereabouts for each in shown] == [f"on {where}: {shown[0].stored_path}"]
    assert_alike(laptop, server)


def test_what_is_gone_at_home_is_lost(world, task: str) -> None:
    _, laptop, server = world
    for host in (laptop, server):
        for path in (laptop.paths.attachments / task).iterdir() if host is laptop else ():
            path.unlink()
    assert [each.filename for each in attachments.lost(laptop.board)] == ["ann.txt"]
    assert attachments.lost(server.board) == []


@pytest.mark.parametrize("whole", [False, True])
def test_removed_elsewhere(world, task: str, whole: bool) -> None:
    """Detached, or deleted with its task, by a profile of another host: ``gc`` removes it where it lies."""
    _, laptop, server = world
    (anns,) = [each for each in server.board.attachments(task) if each.filename == "ann.txt"]
    server.write("bob", task, Delete() if whole else Detach(attachment_id=anns.id))
    server.make_pass()
    laptop.follow()
    file = laptop.paths.attachments / task / "ann.txt"
    assert file.exists()
    assert attachments.remove_at_home(server.paths, server.board, "server") == (1 if whole else 0)
    assert attachments.remove_at_home(laptop.paths, laptop.board, "laptop") == 1
    assert not file.exists()
    assert attachments.remove_at_home(laptop.paths, laptop.board, "laptop") == 0
    assert_alike(laptop, server)


def test_a_path_that_a_profile_made_up_removes_nothing_else(world, task: str, tmp_path: Path) -> None:
    """A row says what its author wrote: a file of somebody else's on the host that it lives on."""
    _, _, server = world
    kept = tmp_path / "kept.txt"
    kept.write_text("not a file of that task")
    server.write("bob", task, Attach(filename="a.txt", stored_path=str(kept), size=1))
    server.make_pass()
    server.write("bob", task, Detach(attachment_id=server.board.attachments(task)[-1].id))
    server.make_pass()
    assert attachments.remove_at_home(server.paths, server.board, "server") == 0
    assert kept.exists()


def test_files_of_before_lie_where_the_board_was_shared_first(tmp_path: Path) -> None:
    with hosts(tmp_path, "laptop", "server") as (_, (laptop, server)):
        sharing = laptop.paths.shared.read_bytes()
        laptop.paths.shared.unlink()
        task_id = new_task_id()
        laptop.write("ann", task_id, Create(title="before"))
        attached(laptop, "ann", task_id, tmp_path / "ann.txt")
        laptop.stop()
        laptop.paths.shared.write_bytes(sharing)
        laptop.make_pass()
        server.follow()
        assert [each.host for each in server.board.attachments(task_id)] == ["laptop"]
        assert [each.host for each in laptop.board.attachments(task_id)] == [None]
        assert attachments.lost(server.board) == []
