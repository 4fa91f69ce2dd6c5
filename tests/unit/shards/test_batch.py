"""Batches: all in one commit or none, each change with its own verdict."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import LEASE_S
from kanban_shards.errors import InvalidChange, Refused, ShardBehind, UnknownTask
from kanban_shards.paths import BoardPaths
from tests.unit.verbs import MISSING

WRITE = """
import sys
from kanban_shards import Gateway
with Gateway("amy", home=sys.argv[1]) as amy:
    amy.create("before")
    amy.sync()
    print("ready", flush=True)
    for number in range(100):
        with amy.batch() as batch:
            for each in range(300):
                batch.create(f"batch {number}")
"""


def test_tasks_that_wait_for_each_other_with_their_chats(gateway: Gateway) -> None:
    before = gateway.create("there already")
    with gateway.batch() as batch:
        parent = batch.create("parent", priority=3)
        child = batch.create("child", parents=[parent, before])
        batch.comment(parent, "hello")
        batch.subscribe(parent, platform="telegram", chat_id="4", kinds=["completed"])
        batch.link(child, batch.create("grandchild"))
    assert [verdict.verdict for verdict in batch.verdicts] == ["applied"] * 6
    assert gateway.board.parents(child) == sorted([parent, before])
    assert gateway.board.comments(parent)[0].body == "hello"
    assert gateway.board.subscriptions(parent)[0].chat_id == "4"
    assert [task.status for task in gateway.board.tasks(sort="title")] == ["todo", "todo", "ready", "ready"]


def test_nothing_is_written_if_the_block_fails(gateway: Gateway) -> None:
    gateway.create("first")
    gateway.sync()
    with pytest.raises(ZeroDivisionError), gateway.batch() as batch:
        batch.create("never")
        raise ZeroDivisionError
    for call in (lambda batch: batch.create(" "), lambda batch: batch.create("x", priority=2**70)):
        with pytest.raises(InvalidChange), gateway.batch() as batch:
            batch.create("never")
            call(batch)
    for call in (lambda batch: batch.comment(MISSING, "x"), lambda batch: batch.create("x", parents=[MISSING])):
        with pytest.raises(UnknownTask), gateway.batch() as batch:
            batch.create("never")
            call(batch)
    gateway.sync()
    assert [task.title for task in gateway.board.tasks()] == ["first"]
    with gateway.batch() as batch:
        pass
    assert batch.verdicts == []


def test_a_refusal_takes_nothing_from_the_others(gateway: Gateway) -> None:
    done = gateway.create("done")
    gateway.complete(done)
    with pytest.raises(Refused) as refused, gateway.batch() as batch:
        first = batch.create("first")
        batch.link(first, first)
        batch.create("second")
    assert refused.value.reason == "cycle"
    assert [verdict.verdict for verdict in batch.verdicts] == ["applied", "refused", "applied"]
    assert {task.title for task in gateway.board.tasks(status="ready")} == {"first", "second"}


def test_tasks_are_made_claimed_and_completed_together(gateway: Gateway) -> None:
    there = gateway.create("there already")
    with gateway.batch() as batch:
        new = batch.create("new")
        batch.subscribe(new, platform="telegram", chat_id="4")
        batch.claim(new, lease_s=60)
        batch.claim(there, runs_as="pixiel")
    assert [(batch.runs[task].profile, batch.runs[task].lease_s) for task in (new, there)] == [
        (gateway.profile, 60),
        ("pixiel", LEASE_S),
    ]
    with gateway.batch() as ended:
        ended.complete(batch.runs[new], summary="made it", created_cards=[there], artifacts=["page.html"])
        ended.complete(there, result="done by hand")
    assert {task.id: (task.status, task.result) for task in gateway.board.tasks()} == {
        new: ("done", None),
        there: ("done", "done by hand"),
    }
    assert [run.summary for run in gateway.board.runs(new)] == ["made it"]


def test_a_claim_that_lost_leaves_the_others_their_runs(gateway: Gateway, home: str) -> None:
    first, second = gateway.create("first"), gateway.create("second")
    gateway.sync()
    with Gateway("rival", home=home) as rival:
        won = rival.claim(first)
        with pytest.raises(Refused) as refused, gateway.batch() as batch:
            batch.claim(first)
            batch.claim(second)
        assert refused.value.reason == "wrong_status"
        assert list(batch.runs) == [second]
        with pytest.raises(Refused) as late, gateway.batch() as again:
            again.complete(batch.runs[second])
            again.complete(batch.runs[second])
        assert (late.value.reason, rival.board.run(won.id)) == ("late", won)


def test_a_claim_by_a_key_that_is_taken_is_of_the_other_task(gateway: Gateway) -> None:
    held = gateway.create("held", idempotency_key="k")
    with gateway.batch() as batch:
        batch.claim(batch.create("again", idempotency_key="k"))
    assert list(batch.runs) == [held]


def test_a_key_that_is_taken_is_the_other_task(gateway: Gateway) -> None:
    held = gateway.create("held", idempotency_key="k")
    with gateway.batch() as batch:
        drawn = batch.create("again", idempotency_key="k")
        new = batch.create("new", idempotency_key="l")
    assert batch.made == {drawn: held, new: new}


def test_what_is_said_of_a_key_that_is_taken(gateway: Gateway) -> None:
    """It lands on the task that has the key, however it is named, and so does what hangs on that."""
    held, there = gateway.create("held", idempotency_key="k"), gateway.create("there already")
    with gateway.batch() as batch:
        again = batch.create("again", idempotency_key="k")
        batch.comment(again, "said of the key")
        batch.subscribe(again, platform="telegram", chat_id="4")
        child = batch.create("child", parents=[again])
        batch.comment(child, "said of the child")
        grandchild = batch.create("grandchild", parents=[child])
        batch.link(again, there)
    board = gateway.board
    assert [comment.body for comment in board.comments(held)] == ["said of the key"]
    assert [comment.body for comment in board.comments(child)] == ["said of the child"]
    assert [each.task_id for each in board.subscriptions()] == [held]
    assert (board.parents(child), board.parents(grandchild), board.parents(there)) == ([held], [child], [held])
    assert batch.made == {again: held, child: child, grandchild: grandchild}


def test_a_shard_that_is_behind_takes_none_of_it(gateway: Gateway, home: str, paths: BoardPaths) -> None:
    gateway.create("x")
    gateway.sync()
    gateway.close()
    shard = paths.shard(gateway.profile)
    shard.rename(shard.with_name("elsewhere"))
    with Gateway(gateway.profile, home=home) as again, pytest.raises(ShardBehind), again.batch() as batch:
        batch.create("never")


def test_create_tells_a_chat_in_the_same_commit(gateway: Gateway) -> None:
    task_id = gateway.create("x", subscribe={"platform": "telegram", "chat_id": "4"})
    keyed = gateway.create("y", idempotency_key="k", subscribe={"platform": "telegram", "chat_id": "5"})
    gateway.sync()
    assert sorted(each.chat_id for each in gateway.board.subscriptions()) == ["4", "5"]
    assert {each.task_id for each in gateway.board.subscriptions()} == {task_id, keyed}


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_leaves_all_of_a_batch_or_none(home: str, seed: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE, home], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.05, 0.6))  # at a moment that nobody chose
        writer.send_signal(signal.SIGKILL)
    with Gateway("amy", home=home) as amy:
        amy.merge_now()
        amy.sync()
    with Board.open(home=home) as board:
        titles = [task.title for task in board.tasks() if task.title != "before"]
    assert {titles.count(title) for title in titles} <= {300}
