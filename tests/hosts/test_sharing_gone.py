"""Without its ``shared.json`` a shared board is not merged by one host alone: its ledger knows whose copy it is."""

from __future__ import annotations

import signal

import pytest

from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.storage import files
from tests.hosts.machines import Machine, assert_alike
from tests.until import until


def assert_goes_on_with(laptop: Machine, server: Machine) -> None:
    """The laptop shares again, and has what was written on either host before, meanwhile and there."""
    laptop.share()
    laptop.merge("--once")
    server.merge("--once")
    assert {row["title"] for row in laptop.tables()["tasks"]} == {"Before", "Meanwhile", "There"}
    assert_alike([laptop, server])


def test_nothing_is_merged_until_it_is_back(pair: list[Machine]) -> None:
    laptop, server = pair
    for host in pair:
        host.join()
    laptop.create("ann", "Before")
    laptop.paths.shared.unlink()
    refused = laptop.kanban("ann", "create", "Meanwhile", ok=None)
    assert "is gone, and the ledger beside it is a copy" in refused.stderr
    for words in (["--once"], ["share", "--again"], ["move", "ann"]):
        said = laptop.merge(*words, ok=3).stderr
        assert "kanban-merge share kanban --host laptop" in said and len(said.splitlines()) == 1
    laptop.merge("rebuild")  # its files may be repaired all the same
    laptop.merge("verify")
    assert "is gone, and the ledger" in str(laptop.json("status", ok=None)), laptop.json("status", ok=None)
    server.create("bob", "There")
    assert "is shared already" in laptop.merge("share", "kanban", "--host", "desk", ok=1).stderr
    assert_goes_on_with(*pair)


def test_who_leaves_without_it_leaves(pair: list[Machine]) -> None:
    laptop, server = pair
    for host in pair:
        host.join()
    server.create("bob", "There")
    laptop.paths.shared.unlink()
    left = laptop.json("unshare")
    assert left["without"] is None and left["shards"] == ["bob"]
    assert sharing_mark.look(laptop.paths) is None
    laptop.create("ann", "Alone")
    assert not laptop.paths.shared.exists()


@pytest.mark.parametrize("how", ["removed", "emptied", "damaged"])
def test_without_a_ledger_that_knows_it_nothing_is_merged_either(pair: list[Machine], how: str) -> None:
    """Made of this host's files, the ledger would be another one: here even of nothing but this host's own changes."""
    laptop, server = pair
    for host in pair:
        host.join()
    laptop.create("ann", "Before")
    lose(laptop, how)
    assert laptop.kanban("ann", "create", "Meanwhile", ok=4).returncode == 4
    cure = "kanban-merge share SERVICE --host laptop"
    for words in (["repair", "--ledger"], ["share", "--again"], ["move", "ann"]):
        said = laptop.merge(*words, ok=3).stderr
        assert cure in said and len(said.splitlines()) == 1, said
    assert cure in str(laptop.json("status", ok=None))
    server.create("bob", "There")
    assert_goes_on_with(*pair)


def test_a_daemon_does_not_make_another_ledger(pair: list[Machine]) -> None:
    laptop, _ = pair
    for host in pair:
        host.join()
    laptop.create("ann", "Before")
    lose(laptop, "removed")
    laptop.start(waits=False)
    until(lambda: "kanban-merge share SERVICE --host laptop" in (laptop.folder / "daemon.log").read_text())
    laptop.kill(signal.SIGTERM)
    assert not laptop.paths.ledger.exists()


def test_who_says_so_goes_on_alone(pair: list[Machine]) -> None:
    laptop, server = pair
    for host in pair:
        host.join()
    server.create("bob", "There")
    laptop.create("ann", "Before")
    lose(laptop, "removed")
    laptop.merge("repair", "--ledger", "--from-board")
    laptop.create("ann", "Alone")
    assert {row["title"] for row in laptop.tables()["tasks"]} == {"Before", "There", "Alone"}


def test_a_board_that_was_left_has_its_ledger_made_again(pair: list[Machine]) -> None:
    laptop, server = pair
    for host in pair:
        host.join()
    server.create("bob", "There")
    laptop.create("ann", "Before")
    laptop.merge("unshare")
    laptop.paths.ledger.unlink()
    laptop.merge("repair", "--ledger")
    laptop.create("ann", "Alone")
    assert {row["title"] for row in laptop.tables()["tasks"]} == {"Before", "There", "Alone"}


def lose(host: Machine, how: str) -> None:
    """``shared.json``, and the ledger with its mark."""
    host.paths.shared.unlink()
    for suffix in ("-wal", "-shm"):
        files.beside(host.paths.ledger, suffix).unlink(missing_ok=True)
    if how == "removed":
        host.paths.ledger.unlink()
    else:
        host.paths.ledger.write_bytes(b"" if how == "emptied" else b"nonsense" * 1024)
