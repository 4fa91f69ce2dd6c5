"""What somebody sees who works on a shared board while something breaks: the table of docs/hosts.md, with real daemons,
a real server, and a network that is cut and goes silent."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable

import psycopg
import pytest

from kanban_shards.errors import Undecided
from tests.far.server import Server
from tests.hosts.machines import Machine, assert_alike, is_waiting, settled
from tests.hosts.network import Link
from tests.until import until

# Until who asks is told why nobody decides: docs/hosts.md.
TOLD_WITHIN_S = 2.0
# On top of that, for a machine on which much else is tested.
BUSY_S = 3.0


@pytest.mark.parametrize("breaks", [Link.cut, Link.silence])
def test_a_network_that_is_away_delays_nothing_but_verdicts(
    sharing: list[Machine], breaks: Callable[[Link], None]
) -> None:
    laptop, server = sharing
    with laptop.gateway("ann") as ann, server.gateway("bob") as bob:
        task = ann.create("Wanted by both")
        settled(sharing)
        breaks(laptop.link)
        until(lambda: outage(laptop), "an outage in the status")
        began_s = time.monotonic()
        other = ann.create("Written on a train")
        ann.comment(task, "as ever")
        assert time.monotonic() - began_s < 1, "what is written waits for nobody"
        assert [each.title for each in ann.board.tasks()] == ["Wanted by both"], "and what was there can be read"
        began_s = time.monotonic()
        with pytest.raises(Undecided, match="shared ledger in kanban has not answered since"):
            ann.claim(task)
        assert time.monotonic() - began_s < TOLD_WITHIN_S + BUSY_S
        bob.claim(task)
        laptop.link.heal()
        settled(sharing)
        assert {each.id for each in bob.board.tasks()} == {task, other}
        [lost] = ann.board.refusals()
        assert (lost.profile, lost.kind) == ("ann", "claim"), "the order of arrival decides, and it is told"
    until(lambda: not outage(laptop), "no outage in the status")
    said = [line for line in laptop.log().splitlines() if "has not answered since" in line]
    assert ["over:" in line for line in said] == [False, True], "one outage is said once, and that it is over"
    assert_alike(sharing)


def test_a_tail_that_the_server_lost_is_put_back(sharing: list[Machine], postgres: Server) -> None:
    laptop, server = sharing
    with laptop.gateway("ann") as ann, server.gateway("bob") as bob:
        tasks = [ann.create(f"task {number}") for number in range(3)]
        settled(sharing)
        end = laptop.position()
        lose_tail(postgres, laptop, 3)
        tasks.append(bob.create("written then"))
        settled(sharing)
        assert {each.id for each in ann.board.tasks()} == {*tasks}
    assert laptop.position() > end
    assert_alike(sharing)


def test_a_ledger_that_went_another_way_is_followed_when_somebody_says_so(
    sharing: list[Machine], postgres: Server
) -> None:
    laptop, server = sharing
    with laptop.gateway("ann") as ann:
        settled(sharing)
        server.kill()
        ann.create("only here")
        until(lambda: not is_waiting(laptop), "a pass")  # where ann lives is said by an append before that
    laptop.kill()
    lose_tail(postgres, laptop, laptop.position() - server.position())
    server.start()
    with server.gateway("bob") as bob:
        bob.create("in its place")
        until(lambda: server.position() >= laptop.position(), "a pass")
    laptop.start()
    until(lambda: outage(laptop), "an outage in the status")
    said = laptop.json("status", ok=6)
    assert any("holds another entry" in each["sentence"] for each in said["problems"])
    with laptop.gateway("ann") as ann, pytest.raises(Undecided, match=r"holds another entry .*share --again"):
        ann.claim(ann.create("meanwhile"))
    laptop.kill()
    done = json.loads(laptop.merge("share", "--again", "--json").stdout)
    assert (done["how"], len(done["set_aside"])) == ("parted", 2) and done["changes"] >= 1
    laptop.start()
    settled(sharing)
    assert {row["title"] for row in server.tables()["tasks"]} == {"only here", "in its place", "meanwhile"}
    assert_alike(sharing)


def test_tables_that_were_dropped_are_filled_again_when_somebody_says_so(
    sharing: list[Machine], postgres: Server
) -> None:
    laptop, server = sharing
    with laptop.gateway("ann") as ann:
        ann.create("before")
        settled(sharing)
        postgres.sql("DROP TABLE kanban_ledger, kanban_entry, kanban_host, kanban_schema", laptop.database)
        with pytest.raises(Undecided, match="shared ledger in kanban"):
            ann.claim(ann.create("meanwhile"))
    laptop.kill()
    assert json.loads(laptop.merge("share", "--again", "--json").stdout)["how"] == "gone"
    laptop.start()
    settled(sharing)
    assert {row["title"] for row in server.tables()["tasks"]} == {"before", "meanwhile"}
    assert_alike(sharing)


def test_a_host_that_was_restored_goes_on(sharing: list[Machine]) -> None:
    laptop, server = sharing
    with laptop.gateway("ann") as ann:
        ann.create("in the backup")
        settled(sharing)
    backup = laptop.json("backup")["path"]
    with server.gateway("bob") as bob:
        bob.create("after it")
        settled(sharing)
    laptop.kill()
    kept = laptop.folder / "kept"
    shutil.copytree(backup, kept)
    shutil.rmtree(laptop.home)
    laptop.home.mkdir()
    assert "`kanban-merge share kanban --host laptop` puts it back" in laptop.merge("restore", kept).stdout
    assert not laptop.paths.shared.exists(), "the home was lost, with what said that it shares"
    assert [row["title"] for row in laptop.tables()["tasks"]] == ["in the backup"]
    assert laptop.merge("verify").returncode == 0
    refused = laptop.share(ok=1).stderr  # it has no note of what it said last, as a copy of another home has none
    assert "one of them is a copy of the other" in refused
    laptop.a_minute_passes_in_silence()
    assert json.loads(laptop.share("--json").stdout)["did"] == "known"
    laptop.start()
    with laptop.gateway("ann") as ann:
        ann.create("and on")
        settled(sharing)
        assert {each.title for each in ann.board.tasks()} == {"in the backup", "after it", "and on"}
    assert_alike(sharing)


def test_a_profile_of_a_host_that_is_lost_moves(sharing: list[Machine]) -> None:
    """What the lost host had written, and nobody merged, is refused where it comes back, and kept."""
    laptop, server = sharing
    with laptop.gateway("ann") as ann:
        ann.create("merged")
        settled(sharing)
        laptop.link.cut()
        ann.create("never merged")
    laptop.kill()
    server.kill()
    assert server.json("move", "ann") == {"profile": "ann", "was": "laptop", "moved": True, "changes": 1}
    assert server.json("move", "ann")["moved"] is False, "what is done twice is done once"
    server.start()
    with server.gateway("ann") as ann:
        ann.create("written there")
        ann.sync()
    laptop.link.heal()
    laptop.start()
    until(lambda: laptop.position() == server.position(), "all that the other host did")
    assert {row["title"] for row in laptop.tables()["tasks"]} == {"merged", "written there"}
    assert_alike(sharing)
    [shard] = [each for each in laptop.json("status", ok=6)["shards"] if each["profile"] == "ann"]
    assert "quarantined" in shard["state"] and "lives on server" in shard["last_problem"]
    assert "lives on server" in laptop.kanban("ann", "create", "and on", ok=None).stderr


def test_a_clock_that_is_wrong_ends_no_run(pair: list[Machine]) -> None:
    """Ten minutes ahead: entries are stamped by the server's clock, and signs of life measured by each host's own."""
    laptop, server = pair
    laptop.clock_ahead_s = 600
    for host in pair:
        host.join()
        host.start()
    with server.gateway("bob") as bob:
        task = bob.create("long")
        bob.claim(task, lease_s=60)
        settled(pair)
    task_id = laptop.create("ann", "by a wrong clock")
    settled(pair)
    entries = {row["seq"]: row["at_ms"] for row in server.tables()["merge_verdicts"] if row["profile"] == "ann"}
    assert all(abs(at_ms / 1_000 - time.time()) < 120 for at_ms in entries.values())
    assert {row["id"]: row["status"] for row in laptop.tables()["tasks"]} == {task: "running", task_id: "ready"}
    assert not [row for row in laptop.tables()["task_events"] if row["kind"] == "expired"]
    assert_alike(pair)


# --- how -----------------------------------------------------------------------------------------------------------


def outage(host: Machine) -> object:
    """What ``status`` says that keeps the host from the ledger."""
    return host.json("status", ok=None)["shared"]["outage"]


def lose_tail(postgres: Server, host: Machine, entries: int) -> None:
    """Have the server lose its last entries, as a failover without a synchronous standby does."""
    with psycopg.connect(host=str(postgres.folder), user="postgres", dbname=host.database) as session:
        [(end,)] = session.execute("SELECT position FROM kanban_ledger FOR UPDATE").fetchall()
        session.execute("DELETE FROM kanban_entry WHERE position > %s", (end - entries,))
        session.execute(
            "UPDATE kanban_ledger SET (position, digest) = (SELECT coalesce(max(position), 0), "
            "coalesce((array_agg(digest ORDER BY position DESC))[1], '') FROM kanban_entry)"
        )
