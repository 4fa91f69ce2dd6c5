"""Deliveries by real processes: killed between sending and acknowledging, and several at once."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import tenacity

from kanban_shards import Gateway
from kanban_shards.records import DELIVERED_KINDS
from tests.processes.test_idempotent_create import ACTOR, heard

CHATS = ("41", "42", "43")
DEADLINE_S = 60


def awaited(look):
    """What ``look`` finds, as soon as it finds something."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda found: not found),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(DEADLINE_S),
    )
    return attempts(look)


def tell(gateway: Gateway, task_id: str) -> int:
    """An event that chats are told of; returns its id."""
    gateway.schedule(task_id)
    gateway.unblock(task_id)
    return gateway.board.events(task_id=task_id, kinds=("unblocked",))[-1].id


def test_killed_between_sending_and_acknowledging(home, start, assert_clean) -> None:
    """It is sent again, with the same key, once the lease is over; what was acknowledged is not."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("x")
        amy.subscribe(task_id, platform="telegram", chat_id="42")
        tell(amy, task_id)
        second = tell(amy, task_id)
        killed = start(ACTOR, "send", home, "amy", 1)
        sent = heard(killed)
        killed.kill()
        killed.wait()
        again = awaited(lambda: list(amy.deliveries(lease_s=1)))[0]
        assert again.key == sent["key"]
        assert again.attempt > sent["attempt"]
        again.acknowledge()
        killed = start(ACTOR, "send", home, "amy", 3_600)
        assert heard(killed)["key"].endswith(f":{second}")
        killed.stdin.write("acknowledge\n")
        killed.stdin.flush()
        assert heard(killed) == {"acknowledged": True}
        killed.kill()
        killed.wait()
        assert list(amy.deliveries()) == []
        amy.sync()
        assert list(amy.deliveries()) == []
        assert [chat.last_event_id for chat in amy.board.subscriptions(task_id)] == [second]
    assert_clean()


def test_each_event_once_and_in_order(home, start, daemon, tmp_path, assert_clean) -> None:
    """Two gateways of one profile and one of another tell three chats while things happen: each event reaches its
    chat once, in order, from the profile that the chat belongs to."""
    told = tmp_path / "told"
    expected = defaultdict(list)
    with Gateway("amy", home=home) as amy:
        tasks = {chat: amy.create(f"for {chat}") for chat in CHATS}
        owners = dict(zip(CHATS, ("amy", "amy", "bob"), strict=True))
        for chat, task_id in tasks.items():
            amy.subscribe(task_id, platform="telegram", chat_id=chat, notifier_profile=owners[chat])
        processes = [start(ACTOR, "notify", home, profile, told) for profile in ("amy", "amy", "bob")]
        for process in processes:
            heard(process)
        for _ in range(10):
            for chat, task_id in tasks.items():
                expected[chat].append(tell(amy, task_id))
        count = sum(len(events) for events in expected.values())
        awaited(lambda: sum(len(line["events"]) for line in lines(told)) >= count)
        for process in processes:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
        assert not any(amy.board.events(after=max(map(max, expected.values())), kinds=DELIVERED_KINDS))
    found = defaultdict(list)
    for line in lines(told):
        assert line["by"] == owners[line["chat"]]
        found[line["chat"]] += line["events"]
    assert found == expected
    assert_clean()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
