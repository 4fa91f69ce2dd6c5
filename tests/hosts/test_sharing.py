"""Two homes become hosts of one board, and leave it again: by the commands, with real daemons and a real server."""

from __future__ import annotations

import json
import shutil

import pytest

from kanban_shards import Gateway, Refused
from kanban_shards.coordinator import rules
from kanban_shards.errors import Undecided
from kanban_shards.migrations.far import VERSIONS
from tests.far.server import Server
from tests.hosts.machines import Machine, assert_alike, settled
from tests.until import until


def test_two_hosts_share_a_board_and_one_leaves(pair: list[Machine]) -> None:
    laptop, server = pair
    first = laptop.create("ann", "First")
    said = json.loads(laptop.share("--dry-run", "--json").stdout)
    assert (said["did"], said["sent"], said["dry_run"]) == ("begun", 1, True)
    assert not laptop.paths.shared.exists()
    said = json.loads(laptop.share("--json").stdout)
    assert (said["did"], said["sent"], said["fetched"]) == ("begun", 1, 0)
    assert json.loads(laptop.share("--json").stdout)["did"] == "known", "what is done twice is done once"
    said = json.loads(server.share("--json").stdout)
    assert said["did"] == "joined" and said["fetched"] >= 1
    assert [each["host"] for each in said["hosts"]] == ["laptop"]
    for host in pair:
        host.start()
    with laptop.gateway("ann") as ann, server.gateway("bob") as bob:
        second = bob.create("Second", assignee="ann")
        settled(pair)
        assert {row["id"] for row in laptop.tables()["tasks"]} == {first, second}
        ann.claim(second)
        settled(pair)
        with pytest.raises(Refused, match="taken"):
            bob.claim(second)
        file = laptop.folder / "notes.txt"
        file.write_text("of the laptop")
        ann.attach(first, file)
    settled(pair)
    assert_alike(pair)
    assert "notes.txt (13 bytes, on laptop" in server.kanban("bob", "show", first).stdout
    assert "on the host laptop, at" in server.kanban("bob", "context", first).stdout
    assert "on laptop" in server.kanban("bob", "assignees").stdout
    assert "lives on:" in server.kanban("bob", "show", second).stdout
    assert laptop.folder.name not in laptop.kanban("ann", "assignees").stdout
    assert not [each for each in server.json("doctor", ok=None)["findings"] if each["check"] == "attachments" and
                each["level"] != "ok"], "bytes at home are not lost"  # fmt: skip

    until(lambda: len(shared(laptop)["hosts"]) == 2, "both hosts in the status of one")
    assert shared(laptop)["homes"] == {"ann": "laptop", "bob": "server"}
    (away,) = [each for each in laptop.json("status", ok=None)["shards"] if each["profile"] == "bob"]
    assert away["state"].startswith("elsewhere") and away["last_problem"] == "on server"
    assert not laptop.json("status")["problems"], "a shard on another host is not lost"
    assert laptop.merge("verify").returncode == 0

    server.kill()
    left = json.loads(server.merge("unshare", "--json").stdout)
    assert left["shards"] == ["ann"] and left["without"] is None
    assert not server.paths.shared.exists() and not server.paths.heard.exists()
    assert server.merge("verify").returncode == 0
    alone = server.create("ann", "Only here")
    laptop.create("ann", "Only there")
    assert alone not in {row["id"] for row in laptop.tables()["tasks"]}
    assert server.json("status")["problems"] == []


def test_what_a_pod_was_told_outlives_it(pair: list[Machine]) -> None:
    """Each write of an ephemeral host returns when the server has it; so nothing is lost with its files."""
    laptop, pod = pair
    laptop.join()
    laptop.start()
    pod.share("--ephemeral")
    pod.start()
    assert shared(pod)["ephemeral"] and not shared(laptop)["ephemeral"]
    assert "as server, which is ephemeral;" in pod.merge("status").stdout
    with pod.gateway("bob") as bob:
        told = [bob.create("By a pod"), bob.create("And heard of", subscribe={"platform": "irc", "chat_id": "1"})]
        with bob.batch() as batch:
            told.append(batch.create("With others"))
        bob.comment(told[0], "and commented on")
        end = pod.shared_end()
        pod.kill()
    shutil.rmtree(pod.home)
    until(lambda: laptop.position() == end, "all of it on the laptop")
    tables = laptop.tables()
    assert {row["id"] for row in tables["tasks"]} == {*told}
    assert [row["body"] for row in tables["task_comments"]] == ["and commented on"]


def test_a_pod_without_its_server_says_that_nothing_is_heard_yet(pair: list[Machine]) -> None:
    """Where another host writes on; and all of it is merged when the server is back."""
    laptop, pod = pair
    laptop.join()
    pod.share("--ephemeral")
    for host in pair:
        host.start()
    with laptop.gateway("ann") as ann, pod.gateway("bob") as bob:
        task = bob.create("There")
        for host in pair:
            host.link.cut()
        assert ann.create("Merged later")
        for write in (lambda: bob.create("b"), lambda: bob.comment(task, "c"), lambda: batched(bob, "d")):
            with pytest.raises(Undecided, match="the shared ledger in kanban"):
                write()
        for host in pair:
            host.link.heal()
        settled(pair)
        assert {task.title for task in ann.board.tasks()} == {"There", "Merged later", "b", "d"}


def batched(gateway: Gateway, title: str) -> None:
    with gateway.batch() as batch:
        batch.create(title)


def test_a_home_with_a_history_of_its_own_does_not_join(pair: list[Machine]) -> None:
    laptop, server = pair
    for host in pair:
        host.create("ann", "Here")
    laptop.join()
    refused = server.share(ok=3)
    assert "history of its own" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not server.paths.shared.exists()
    assert server.create("ann", "Goes on"), "and nothing was changed"


def test_two_hosts_have_two_names(pair: list[Machine]) -> None:
    laptop, server = pair
    laptop.share()
    assert (
        "Another host shares this board as laptop" in server.merge("share", "kanban", "--host", "laptop", ok=1).stderr
    )
    assert "is shared already" in laptop.merge("share", "kanban", "--host", "desk", ok=1).stderr
    assert "is not shared" in server.merge("unshare", ok=1).stderr


def test_a_ledger_of_before_is_upgraded(pair: list[Machine], postgres: Server) -> None:
    """Rules and tables of an earlier version, raised by one host once all have this one."""
    laptop, server = pair
    for host in pair:
        host.join()
    for table in ("entry", "host", "ledger"):
        postgres.sql(f"ALTER TABLE kanban_{table} DROP CONSTRAINT kanban_{table}_bounds", laptop.database)
    postgres.sql("UPDATE kanban_schema SET version = 1", laptop.database)
    postgres.sql("UPDATE kanban_ledger SET rules = 0", laptop.database)
    postgres.sql("UPDATE kanban_host SET rules = 0 WHERE host = 'server'", laptop.database)
    behind = "server has rules 0, and merges nothing until it is upgraded"
    assert behind in laptop.merge("share", "--upgrade", "--dry-run").stdout
    assert postgres.sql("SELECT rules FROM kanban_ledger", laptop.database) == [(0,)]
    said = laptop.json("share", "--upgrade")
    assert (said["before"], said["now"], [each["host"] for each in said["behind"]]) == (0, rules.VERSION, ["server"])
    assert postgres.sql("SELECT rules FROM kanban_ledger", laptop.database) == [(rules.VERSION,)]
    assert postgres.sql("SELECT version FROM kanban_schema", laptop.database) == [(len(VERSIONS),)]
    laptop.create("ann", "Merged by these rules")
    assert server.json("--once")["left"] == []
    assert_alike(pair)


def shared(host: Machine) -> dict:
    """What ``status`` says of the others."""
    return host.json("status", ok=None)["shared"]
