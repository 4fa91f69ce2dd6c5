"""Without its ``shared.json`` a shared board is not merged by one host alone: its ledger knows whose copy it is."""

from __future__ import annotations

from kanban_shards.coordinator.merge import sharing_mark
from tests.hosts.machines import Machine, assert_alike


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
    assert "is gone, and the ledger" in str(laptop.json("status", ok=None)), laptop.json("status", ok=None)
    server.create("bob", "There")
    assert "is shared already" in laptop.merge("share", "kanban", "--host", "desk", ok=1).stderr
    laptop.share()
    laptop.merge("--once")
    server.merge("--once")
    assert {row["title"] for row in laptop.tables()["tasks"]} == {"Before", "Meanwhile", "There"}
    assert_alike(pair)


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
