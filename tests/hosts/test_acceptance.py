"""The acceptance at a size for every day, and proof that it can fail. ``python -m tests.hosts.acceptance`` is the same
for as long as one likes, with two hosts or three."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.far.fixtures import NewServer
from tests.far.server import Server
from tests.hosts.acceptance import checks
from tests.hosts.acceptance.campaign import Campaign, Plan
from tests.hosts.machines import Machine, machines, settled

SECONDS = 8.0


@pytest.mark.timeout(300)
def test_two_hosts_while_everything_breaks(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server()
    server.initialize()
    server.start()
    plan = Plan(SECONDS, hosts=2, seed=random.randrange(10**6))
    outcome = Campaign(tmp_path, server, plan).play()
    assert outcome.faults == [], f"python -m tests.hosts.acceptance --minutes 0.2 --seed {plan.seed}"
    assert outcome.noted["create"] and outcome.noted["claim"] and outcome.blows


def test_what_does_not_hold_is_found(postgres: Server, tmp_path: Path) -> None:
    """Two hosts in order; then one diary too many, and a row that somebody changed on one of them."""
    with machines(tmp_path, postgres, "one", "two") as hosts:
        for host in hosts:
            host.join()
            host.start()
        with hosts[0].gateway("ann") as ann:
            task = ann.create("a task")
            run = ann.claim(task)
            settled(hosts)
        diary = tmp_path / "diary"
        lines = [{"kind": "create", "key": "k", "task": task}, {"kind": "claim", "task": task, "run": run.id}]
        write(diary, lines)
        assert checks.faults(hosts, {"ann": diary}) == []
        write(diary, [*lines, {"kind": "create", "key": "l", "task": "t_00000000"},
                      {"kind": "comment", "task": task, "seq": 99}, {"kind": "claim", "task": task, "run": 99},
                      {"kind": "complete", "task": task, "run": run.id}])  # fmt: skip
        found = checks.faults(hosts, {"ann": diary})
        assert [each.split(" ")[0] for each in found] == ["ann"] * 4
        hosts[1].kill()
        change_a_row(hosts[1])
        found = checks.faults(hosts, {})
        assert any("tasks differs on two and one" in each for each in found)
        assert any(each.startswith("verify on two") for each in found)


def write(diary: Path, lines: list[dict]) -> None:
    diary.write_text("".join(json.dumps(line) + "\n" for line in lines))


def change_a_row(host: Machine) -> None:
    """As a stranger, who switches off what keeps it out."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(host.paths.board)) as board, board:
        board.execute("UPDATE merge_state SET writing = 1")
        board.execute("UPDATE tasks SET title = 'another'")
        board.execute("UPDATE merge_state SET writing = 0")
