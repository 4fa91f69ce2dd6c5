"""``shared.json``: what it may say, and that whatever else lies there is one sentence."""

from __future__ import annotations

import os
import stat

import msgspec
import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.errors import InvalidName, NoServiceName, SharingStrange, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import (
    LONGEST,
    Sharing,
    check_service,
    host_meant,
    read_sharing,
    remove_sharing,
    write_sharing,
)

SHARED = Sharing(service="kanban", board="default", ledger_id="0123456789abcdef" * 2, host="laptop")


def test_a_board_without_it_is_not_shared(paths: BoardPaths) -> None:
    assert read_sharing(paths) is None


def test_what_is_written_is_read(paths: BoardPaths) -> None:
    write_sharing(paths, SHARED)
    assert read_sharing(paths) == SHARED
    assert os.listdir(paths.folder) == ["shared.json"], "and nothing is left of how it was written"
    assert stat.S_IMODE(paths.shared.stat().st_mode) == 0o600
    remove_sharing(paths)
    remove_sharing(paths)
    assert read_sharing(paths) is None


def test_a_write_that_fails_leaves_what_was_there(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sharing(paths, SHARED)
    monkeypatch.setattr(os, "rename", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        write_sharing(paths, msgspec.structs.replace(SHARED, host="server"))
    assert read_sharing(paths) == SHARED
    assert os.listdir(paths.folder) == ["shared.json"]


SAID = msgspec.to_builtins(SHARED)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"null", b"[]", b'"kanban"', b"{", b"{}", b"\xff", b"\x00", b"[" * 4000, b" " * (LONGEST + 1),
        *(msgspec.json.encode({**SAID, **wrong}) for wrong in (
            {"password": "s3cret"}, {"service": "postgresql://amy:s3cret@db/kanban"}, {"service": "kanban\n"},
            {"service": ""}, {"board": "../other"}, {"board": None}, {"ledger_id": "1"}, {"ledger_id": 7},
            {"host": "@coordinator"}, {"host": "a" * 65}, {"trust_network": 1},
        )),
        *(msgspec.json.encode({name: value for name, value in SAID.items() if name != lacks}) for lacks in
          ("service", "board", "ledger_id", "host")),
    ],
)  # fmt: skip
def test_nonsense_is_one_sentence(paths: BoardPaths, text: bytes) -> None:
    paths.shared.write_bytes(text)
    with pytest.raises(SharingStrange, match=r"does not say where this board is shared") as raised:
        read_sharing(paths)
    assert len(str(raised.value)) < 1000 and "\n" not in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_what_is_no_file_is_not_read(paths: BoardPaths, make) -> None:
    """A pipe would be waited for, and a link leads to what its maker may not read."""
    make(paths.shared)
    with pytest.raises(SharingStrange, match="a folder, a pipe, a link or a device"):
        read_sharing(paths)


def test_a_link_that_leads_nowhere_is_no_board_of_one_host(paths: BoardPaths) -> None:
    """Somebody shared this board, or wants it to stand still: nothing is merged by this host alone."""
    with Gateway("ann", home=paths.home) as ann:
        ann.create("before")
        ann.settle()
        paths.shared.symlink_to("nowhere")
        ann.create("behind")
    with locks.holding(paths, locks.COMMAND) as lock, pytest.raises(SharingStrange):
        Coordinator(paths, lock)
    paths.shared.unlink()
    with Board(paths) as board:
        assert [task.title for task in board.tasks()] == ["before"]


@pytest.mark.parametrize("name", ["kanban", "Kanban.prod-2_x", "0"])
def test_a_service_is_named(name: str) -> None:
    assert check_service(name) == name


@pytest.mark.parametrize("name", ["", "postgresql://amy:s3cret@db/kanban", "host=db password=s3cret", "a/b", "a\n"])
def test_an_address_is_no_service_and_is_not_repeated(name: str) -> None:
    with pytest.raises(NoServiceName) as raised:
        check_service(name)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("system", "host"),
    [("Laptop", "laptop"), ("web1.example.org", "web1-example-org"), ("-x", "x"), ("ü", "host"), ("a" * 80, "a" * 64)],
)
def test_a_host_is_called_as_its_system_is(system: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", system, "", "", "")))
    assert host_meant(None) == host
    assert host_meant("server") == "server"


def test_a_said_host_is_a_name() -> None:
    with pytest.raises(InvalidName, match="cannot name a host"):
        host_meant("no name")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_what_another_user_wrote_is_not_believed(paths: BoardPaths) -> None:
    """Whoever may write in the folder could have this user log in elsewhere, over a network that nobody vouches for."""
    write_sharing(paths, msgspec.structs.replace(SHARED, trust_network=True))
    os.chown(paths.shared, 65534, -1)
    with pytest.raises(SharingStrange, match="it belongs to nobody"):
        read_sharing(paths)
    os.chown(paths.folder, 65534, -1)
    assert read_sharing(paths) is not None, "the folder's owner may say it"


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_what_others_may_write_is_not_believed(paths: BoardPaths, mode: int) -> None:
    write_sharing(paths, SHARED)
    paths.shared.chmod(mode)
    with pytest.raises(SharingStrange, match="others may write it"):
        read_sharing(paths)
