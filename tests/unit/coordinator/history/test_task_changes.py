"""What was done to a task, in words, as far as it is kept."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.kinds import KINDS
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory
from kanban_shards.coordinator.history.sentences import VERBS, sentence
from kanban_shards.errors import InvalidTaskId, Refused, UnknownTask
from kanban_shards.paths import COORDINATOR, BoardPaths
from kanban_shards.storage.locks import FileLock
from tests.simulation.changes import WRITABLE, Pool, drawn
from tests.unit.verbs import MISSING, Shell


@pytest.fixture
def task(home: str) -> str:
    """A task that bob blocks while amy, who owns it, has not seen it, and that cyd may not archive."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob, Gateway("cyd", home=home) as cyd:
        task_id = amy.create("Write it\nand more", body="…")
        amy.sync()
        stale = cyd.board.task(task_id)
        before = amy.board.task(task_id)
        bob.block(task_id, "needs a key")
        amy.edit(before, priority=3)
        with pytest.raises(Refused):
            cyd.archive(stale)
        amy.comment(task_id, "there\x1b[2J it is")
        amy.sync()
    return task_id


def test_who_did_what_and_with_what_they_had_not_seen(paths: BoardPaths, task: str) -> None:
    with ReplayedHistory(paths) as history:
        changes = history.of_task(task).changes
    assert [each.sentence for each in changes] == [
        "amy created it: Write it",
        "bob blocked it: needs a key",
        "amy changed its priority; had not seen bob's change 1 (block)",
        f"cyd could not archive it: {changes[3].why}",
        "amy commented: there [2J it is",
    ]
    assert [each.missed for each in changes] == [{}, {}, {"bob": 1}, {"amy": 2, "bob": 1}, {}]
    assert (changes[3].verdict, changes[3].reason) == ("refused", "stale")
    assert [each.position for each in changes] == [1, 2, 3, 4, 5]


def test_claims_that_chose_it_and_the_plan_that_made_it(home: str, paths: BoardPaths) -> None:
    with Gateway("amy", home=home) as amy:
        root = amy.create("all of it", starts="triage")
        (part,) = amy.decompose(root, [{"title": "a part", "assignee": "bob"}])
        with Gateway("bob", home=home) as bob:
            bob.complete(bob.claim_next(), summary="done")
        amy.delete(part)
    with ReplayedHistory(paths) as history:
        told = [each.sentence for each in history.of_task(part).changes]
        assert told == [
            f"amy created it as a part of {root}",
            "bob claimed it as the next one for 15 min, run 1",
            "bob completed it: done",
            "amy deleted it",
        ]
        assert "amy split it into 1 task" in [each.sentence for each in history.of_task(root).changes]


def test_after_a_compaction_what_was_refused_is_left(paths: BoardPaths, home: str, task: str) -> None:
    with closing(FileLock(paths.coordinator_lock)) as lock:
        assert lock.try_acquire()
        compact(paths, lock, time.time_ns() // 1_000_000 + 1)
    with Gateway("amy", home=home) as amy:
        before = amy.board.task(task)
        with Gateway("bob", home=home) as bob:
            bob.edit(task, title="Rewrite it")
        amy.unblock(before)
    with ReplayedHistory(paths) as history:
        found = history.of_task(task)
    assert found.dropped_upto == 5
    assert "position 5 was dropped" in found.dropped_sentence()
    assert [each.kind for each in found.changes] == ["archive", "edit", "unblock"]
    assert found.changes[-1].missed == {"bob": 2}  # and not what it had seen before


def test_what_there_is_not(paths: BoardPaths, task: str) -> None:
    with ReplayedHistory(paths) as history:
        with pytest.raises(UnknownTask):
            history.of_task(MISSING)
        with pytest.raises(InvalidTaskId):
            history.of_task("nonsense")


@pytest.mark.parametrize("kind", WRITABLE)
def test_each_kind_is_a_sentence(kind: str) -> None:
    """Of any sense or none, applied or refused, on one line."""
    if kind not in VERBS:
        return
    chance = random.Random(kind)
    for _ in range(20):
        _, body = drawn(kind, Pool(("amy", "bob")), chance)
        for why in (None, "no"):
            told = sentence("amy", kind, body, {"run_id": 3}, why, {"bob": "change 4"})
            assert told.startswith("amy ")
            assert told.isprintable()
            assert told.endswith(": no") if why else told.endswith("; had not seen bob's change 4")


def test_every_kind_that_is_about_a_task_has_words() -> None:
    assert KINDS.keys() - VERBS.keys() == {"settings", "gc", "import", "home"}
    assert sentence(COORDINATOR, "expire", KINDS["expire"](run_id=3, last_sign_ms=1), {}, None, {}) == (
        "the coordinator ended run 3, whose lease ran out"
    )
    assert sentence(COORDINATOR, "expire", KINDS["expire"](run_id=3, last_sign_ms=1, unheard_s=120), {}, None, {}) == (
        "the coordinator ended run 3, which no host renewed for 2 min"
    )
    assert sentence(COORDINATOR, "alive", KINDS["alive"](run_id=3, age_ms=90_000), {}, None, {}) == (
        "the coordinator renewed run 3, which gave a sign 1 min 30 s before"
    )


def test_the_command(task: str, kanban_merge: Callable[..., subprocess.CompletedProcess]) -> None:
    ended = kanban_merge("history", task)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert len(lines) == 5
    assert lines[1].split("  ")[-1] == "bob blocked it: needs a key"
    told = json.loads(kanban_merge("history", task, "--json").stdout)
    assert [each["kind"] for each in told["changes"]] == ["create", "block", "edit", "archive", "comment"]
    assert kanban_merge("history", MISSING).returncode == 1


def test_list_and_show_as_it_was(shell: Shell, task: str) -> None:
    assert [row["status"] for row in shell.json("list", "--at", 1)] == ["ready"]
    assert [row["status"] for row in shell.json("list", "--at", 2)] == ["blocked"]
    assert shell.json("list", "--at", "2h ago") == []
    assert shell.json("list", "--at", "2001-01-01") == []
    assert shell.json("show", task, "--at", 1)["task"]["status"] == "ready"
    assert shell.says("list", "--at", 2).splitlines()[0].startswith("As it stood at position 2, ")
    assert "position 9 yet" in shell.refuses(1, "list", "--at", 9)
    assert "There is no task" in shell.refuses(1, "show", task, "--at", 0)
    for wrong in ("x", "ago", "0h ago", "-1", "", "99999999999999999999", "2h"):
        assert "--at" in shell.refuses(2, "list", "--at", wrong), wrong
