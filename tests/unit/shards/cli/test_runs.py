"""Verbs on runs, and on tasks that wait or are put away."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import Edit
from kanban_shards.paths import BoardPaths
from tests.unit.verbs import MISSING, Shell, append_unmerged


@pytest.fixture
def task_id(shell: Shell) -> str:
    return shell.create("x")


def _claimed(shell: Shell, task_id: str, profile: str = "amy") -> int:
    return shell.json("claim", task_id, profile=profile)["run"]["id"]


def test_claim_says_where_to_work(shell: Shell, task_id: str, tmp_path) -> None:
    first, second = shell.says("claim", task_id).splitlines()
    workspace = tmp_path / "kanban" / "workspaces" / task_id
    assert first.startswith(f"Claimed {task_id}")
    assert second == f"Workspace: {workspace}"
    assert workspace.is_dir()
    assert "is taken" in shell.refuses(1, "claim", task_id, profile="bob")
    elsewhere = shell.create("y", "--workspace", f"dir:{tmp_path}/work/here")
    assert shell.json("claim", elsewhere)["workspace"] == f"{tmp_path}/work/here"
    assert (tmp_path / "work" / "here").is_dir()
    in_git = shell.create("z", "--workspace", f"worktree:{tmp_path}/tree")
    assert shell.says("claim", in_git).endswith(f"Workspace: {tmp_path}/tree\n")
    assert not (tmp_path / "tree").exists()


def test_claim_next(shell: Shell, task_id: str) -> None:
    better = shell.create("better", "--priority", 1)
    assert shell.json("claim", "--next", "--ttl", 60)["task"]["id"] == better
    assert shell.json("claim", "--next", "--runs-as", "bob")["run"]["profile"] == "bob"
    assert shell.json("claim", "--next") == {"ok": True, "run": None, "held_up_by": None}
    assert shell.says("claim", "--next") == "Nothing is ready for you.\n"
    shell.says("limits", "--max-in-progress", 2)
    shell.create("one more")
    full = "2 runs are open, and 2 are allowed on this board"
    assert shell.json("claim", "--next")["held_up_by"] == full
    assert shell.says("claim", "--next") == f"Tasks are ready, but {full}; `kanban limits` shows it.\n"


def test_heartbeat(shell: Shell, task_id: str) -> None:
    assert "claim it first" in shell.refuses(1, "heartbeat", task_id)
    run_id = _claimed(shell, task_id)
    assert shell.says("heartbeat", task_id).startswith(f"Heartbeat recorded for {task_id}")
    assert shell.json("heartbeat", task_id, "--note", "half") == {"ok": True, "task_id": task_id, "run_id": run_id}
    assert "belongs to amy" in shell.refuses(1, "heartbeat", task_id, profile="bob")
    assert shell.task(task_id)["events"][-1]["payload"] == {"note": "half"}


def test_spawned(shell: Shell, task_id: str) -> None:
    run_id = _claimed(shell, task_id)
    answer = shell.json("spawned", task_id, 4321)
    assert answer == {"ok": True, "task_id": task_id, "run_id": run_id, "pid": 4321}
    assert shell.task(task_id)["runs"][0]["worker_pid"] == 4321
    assert "belongs to amy" in shell.refuses(1, "spawned", task_id, 1, profile="bob")
    assert "There is no run 99" in shell.refuses(1, "spawned", task_id, 1, "--run", 99)
    other = shell.create("y")
    assert "is not a run of" in shell.refuses(2, "spawned", other, 1, "--run", run_id)
    shell.refuses(2, "spawned", task_id, 0)


def test_complete(shell: Shell, task_id: str) -> None:
    run_id = _claimed(shell, task_id)
    child = shell.create("child", "--parent", task_id)
    stranger = shell.create("stranger", profile="bob")
    assert "was not made by" in shell.refuses(1, "complete", task_id, "--created-card", stranger)
    said = shell.says("complete", task_id, "--result", "r", "--run", run_id, "--created-card", child)
    assert said == f"Completed {task_id}\n"
    found = shell.task(task_id)
    assert (found["latest_summary"], found["task"]["result"]) == ("r", "r")
    assert shell.status(child) == "ready"
    assert "cannot be completed" in shell.refuses(1, "complete", task_id)
    assert shell.json("complete", child, "--metadata", '{"tests_run": 12}')["status"] == "done"


def test_whose_run_was_ended_is_said(shell: Shell, task_id: str) -> None:
    """An operator may end it; not without hearing of it."""
    run_id = _claimed(shell, task_id, "bob")
    ended = f"  (run {run_id} of bob ended with it)\n"
    assert shell.says("block", task_id, "wait") == f"Blocked {task_id}: wait{ended}"
    shell.says("unblock", task_id)
    run_id = _claimed(shell, task_id, "bob")
    assert shell.says("complete", task_id) == f"Completed {task_id}  (run {run_id} of bob ended with it)\n"


def test_complete_several(shell: Shell, task_id: str) -> None:
    other = shell.create("y")
    for flags in (("--summary", "s"), ("--metadata", "{}"), ("--run", "1"), ("--created-card", other)):
        assert "belong to one task" in shell.refuses(2, "complete", task_id, other, *flags)
    ended = shell.run("complete", task_id, MISSING, "t_", other, task_id, "--result", "r")
    assert (ended.exit_code, ended.stdout) == (2, f"Completed {task_id}\nCompleted {other}\n")
    assert len(ended.stderr.splitlines()) == 2


def test_review(shell: Shell, task_id: str) -> None:
    _claimed(shell, task_id)
    answer = shell.json("review", task_id, "--summary", "look", "--metadata", '{"a": 1}')
    assert (answer["status"], shell.status(task_id)) == ("review", "review")
    _claimed(shell, task_id, "bob")
    assert "Completed" in shell.says("complete", task_id, profile="bob")
    assert "handed in for review" in shell.refuses(1, "review", task_id)


def test_release_and_reclaim(shell: Shell, task_id: str) -> None:
    _claimed(shell, task_id, "bob")
    assert "belongs to bob" in shell.refuses(1, "release", task_id)
    assert shell.json("release", task_id, "no", "time", profile="bob")["status"] == "ready"
    assert shell.task(task_id)["runs"][-1]["error"] == "no time"
    assert "claim it first" in shell.refuses(1, "release", task_id)
    assert "has no open run" in shell.refuses(1, "reclaim", task_id)
    _claimed(shell, task_id, "bob")
    assert shell.says("reclaim", task_id, "--reason", "stuck").startswith(f"Reclaimed {task_id}")
    assert shell.task(task_id)["runs"][-1]["error"] == "manual_reclaim: stuck"


def test_fail_until_the_breaker_trips(shell: Shell, task_id: str) -> None:
    for failures, status in ((1, "ready"), (2, "blocked")):
        run_id = _claimed(shell, task_id)
        answer = shell.json("fail", task_id, "crashed", "no", "memory", "--exit-code", 137)
        assert (answer["run_id"], answer["failures"], answer["status"]) == (run_id, failures, status)
    assert shell.task(task_id)["runs"][-1]["error"] == "no memory"
    assert "claim it first" in shell.refuses(1, "fail", task_id, "crashed")
    shell.refuses(2, "fail", task_id, "bored")


def test_a_rate_limit_cools_down(shell: Shell, task_id: str) -> None:
    _claimed(shell, task_id)
    shell.says("fail", task_id, "rate_limited", "--cooldown", "1h")
    assert "waits out a rate limit" in shell.refuses(1, "claim", task_id)


def test_block_says_where_the_task_went(shell: Shell, task_id: str) -> None:
    said = shell.says("block", task_id, "no", "key", "--kind", "needs_input")
    assert said == f"Blocked {task_id}: no key\n"
    assert shell.says("unblock", task_id, "--reason", "here it is") == f"Unblocked {task_id}: here it is\n"
    said = shell.says("block", task_id, "again", "--kind", "needs_input")
    assert said == f"{task_id} → triage (unblock loop detected — needs a human decision): again\n"
    assert shell.said_of(task_id) == ["BLOCKED: no key", "UNBLOCK: here it is", "BLOCKED: again"]
    parent = shell.create("parent")
    child = shell.create("child")
    _claimed(shell, child)
    shell.says("link", parent, child)
    assert shell.says("block", child, "--kind", "dependency") == f"{child} → todo (dependency wait)\n"
    assert shell.json("block", parent, "--kind", "dependency")["status"] == "ready"


def test_a_refused_block_leaves_no_comment(shell: Shell, task_id: str) -> None:
    shell.says("complete", task_id)
    assert "cannot be blocked" in shell.refuses(1, "block", task_id, "why")
    assert "cannot be scheduled" in shell.refuses(1, "schedule", task_id, "why")
    assert "cannot be unblocked" in shell.refuses(1, "unblock", task_id, "--reason", "why")
    assert shell.said_of(task_id) == []


def test_block_several(shell: Shell, task_id: str) -> None:
    """The ids behind ``--ids`` end where the next option begins."""
    second, third = shell.create("y"), shell.create("z")
    answers = shell.json("block", task_id, "why", "--ids", second, third, second, "--kind", "capability")
    assert [answer["task_id"] for answer in answers] == [task_id, second, third]
    assert shell.said_of(third) == ["BLOCKED: why"]
    assert "belongs to one task" in shell.refuses(2, "block", task_id, "--ids", second, "--run", 1)
    shell.refuses(2, "block", task_id, "--kind", "boredom")
    shell.refuses(2, "block", task_id, "--ids")


def test_a_run_that_is_over_blocks_nothing(shell: Shell, task_id: str) -> None:
    run_id = _claimed(shell, task_id)
    shell.says("reclaim", task_id)
    assert "is over" in shell.refuses(1, "block", task_id, "why", "--run", run_id)
    assert shell.status(task_id) == "ready"


def test_schedule(shell: Shell, task_id: str) -> None:
    tomorrow = datetime.now().replace(microsecond=0) + timedelta(days=1)
    said = shell.says("schedule", task_id, "after", "the", "night", "--at", tomorrow.isoformat())
    assert said == f"Scheduled {task_id} until {tomorrow}: after the night\n"
    assert shell.said_of(task_id) == ["SCHEDULED: after the night"]
    assert shell.task(task_id)["events"][-2]["payload"]["due"] == int(tomorrow.timestamp())
    second, third = shell.create("y"), shell.create("z")
    before = int(time.time())
    shell.says("schedule", second, "--ids", third, "--in", "2h")
    assert before + 7_200 <= shell.task(third)["events"][-1]["payload"]["due"] <= time.time() + 7_200
    assert shell.says("unblock", second, third) == f"Unblocked {second}\nUnblocked {third}\n"
    assert shell.json("schedule", second)["status"] == "scheduled"
    for flags in (("--at", "soon"), ("--in", "soon"), ("--at", "1", "--in", "1h")):
        shell.refuses(2, "schedule", third, *flags)


def test_a_time_that_has_come_lets_the_task_go_on(shell: Shell, task_id: str) -> None:
    shell.says("schedule", task_id, "--at", 1)
    shell.says("create", "whatever makes the next pass")
    assert shell.status(task_id) == "ready"


def test_promote(shell: Shell, task_id: str) -> None:
    child = shell.create("child", "--parent", task_id)
    keys = ["task_id", "promoted", "dry_run", "forced", "reason", "error"]
    for flags in (("--dry-run",), ()):
        ended = shell.run("promote", child, *flags, "--json")
        answer = json.loads(ended.stdout)
        assert (ended.exit_code, list(answer), answer["promoted"]) == (1, keys, False)
        assert "waits for" in answer["error"]
    assert shell.says("promote", child, "--force", "--dry-run") == f"Would promote {child} -> ready (dry)\n"
    assert shell.status(child) == "todo"
    assert shell.says("promote", child, "in", "a", "hurry", "--force") == f"Promoted {child} -> ready: in a hurry\n"
    assert shell.task(child)["events"][-1]["payload"] == {"actor": "amy", "reason": "in a hurry", "forced": True}
    _claimed(shell, child)


def test_promote_several_of_which_one_is_no_id(shell: Shell) -> None:
    """Nothing is done then: it would not be told of what was."""
    blocked = shell.create("y", "--initial-status", "blocked")
    shell.refuses(2, "promote", blocked, "--ids", "xx")
    assert shell.status(blocked) == "blocked"


def test_claim_where_the_place_cannot_be_made(shell: Shell, home: str) -> None:
    """The run is open and its number is told, or nobody could end it."""
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("x", workspace_kind="dir", workspace_path="/proc/none/of/that")
    ended = shell.run("claim", task_id, "--json")
    value = json.loads(ended.stdout)
    assert (ended.exit_code, value["workspace"]) == (6, None)
    assert value["workspace_problem"].startswith("/proc/none/of/that cannot be used: it cannot be made")
    shell.says("fail", task_id, "spawn_failed", "--run", value["run"]["id"])
    assert "it cannot be made" in shell.run("claim", task_id).stdout


def test_promote_several(shell: Shell, task_id: str) -> None:
    blocked = shell.create("y", "--initial-status", "blocked")
    ended = shell.run("promote", blocked, "--ids", task_id, MISSING, blocked, "--json")
    assert ended.exit_code == 1
    assert [(each["task_id"], each["promoted"]) for each in json.loads(ended.stdout)] == [
        (blocked, True), (task_id, False), (MISSING, False),
    ]  # fmt: skip
    said = shell.refuses(1, "promote", task_id, "--ids", MISSING, "--dry-run", profile=None)
    assert [line.startswith("cannot promote t_") for line in said.splitlines()] == [True, True]


def test_archive_and_delete(shell: Shell, task_id: str) -> None:
    child = shell.create("child", "--parent", task_id)
    assert "archive it before" in shell.refuses(1, "archive", "--rm", task_id)
    assert shell.says("archive", task_id) == f"Archived {task_id}\n"
    assert shell.status(child) == "ready"
    assert "is archived already" in shell.refuses(1, "archive", task_id)
    answers = shell.json("archive", child, shell.create("y"))
    assert [answer["status"] for answer in answers] == ["archived", "archived"]
    assert shell.says("archive", "--rm", task_id, child) == f"Deleted {task_id}\nDeleted {child}\n"
    assert "There is no task" in shell.refuses(1, "show", task_id)
    shell.refuses(2, "archive")
    shell.refuses(2, "archive", task_id, "--rm", child)


def test_a_shell_script(kanban, task_id: str) -> None:
    """As real processes: what a script greps, and the exit codes it relies on."""
    claimed = kanban("-p", "amy", "claim", task_id)
    workspace = claimed.stdout.split("Workspace: ")[1].strip()
    assert (claimed.returncode, Path(workspace).is_dir()) == (0, True)
    assert kanban("-p", "bob", "claim", task_id).returncode == 1
    made = kanban("-p", "amy", "create", "next", "--parent", task_id).stdout
    child = re.fullmatch(r"Created\s+(t_[0-9a-f]+)\b.*\n", made)[1]
    blocked = kanban("-p", "amy", "block", task_id, "no", "key", "--ids", child)
    assert (blocked.returncode, blocked.stdout) == (1, f"Blocked {task_id}: no key\n")
    assert "cannot be blocked" in blocked.stderr
    assert kanban("-p", "amy", "archive", task_id, child).stdout == f"Archived {task_id}\nArchived {child}\n"


def test_reopen(shell: Shell, task_id: str) -> None:
    child = shell.create("child", "--parent", task_id)
    shell.says("complete", task_id)
    assert shell.status(child) == "ready"
    assert shell.says("reopen", task_id, "--reason", "not good") == f"Reopened {task_id}  (ready)\n"
    assert shell.status(child) == "todo"
    assert shell.json("reopen", task_id, "--to", "triage")["status"] == "triage"
    assert "is triage already" in shell.refuses(1, "reopen", task_id, "--to", "triage")
    assert "reopen it to todo" in shell.refuses(1, "reopen", child)
    shell.refuses(2, "reopen", task_id, "--to", "running")


@pytest.mark.parametrize(
    "words",
    [
        ("assign", "{}", "dan"),
        ("reassign", "{}", "dan"),
        ("edit", "{}", "--title", "y"),
        ("claim", "{}"),
        ("block", "{}", "why"),
        ("schedule", "{}"),
        ("review", "{}"),
        ("complete", "{}"),
        ("archive", "{}"),
        ("reopen", "{}", "--to", "todo"),
    ],
    ids=lambda words: words[0],
)
def test_a_task_that_changed_meanwhile_is_read_again(
    shell: Shell, paths: BoardPaths, task_id: str, words: tuple[str, ...]
) -> None:
    """The first try is refused as stale; the second one has seen what the owner did."""
    append_unmerged(paths, "amy", task_id, Edit(priority=7))
    ended = shell.run(*(word.format(task_id) for word in words), profile="bob")
    assert (ended.exit_code, ended.stderr) == (0, ""), ended.output
    with Board(paths) as board:
        assert [refusal.reason for refusal in board.refusals()] == ["stale"]
        assert board.task(task_id).priority == 7
