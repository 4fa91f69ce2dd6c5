"""Verbs on tasks: each does what it says, refuses what it must, and gives programs Hermes's keys."""

from __future__ import annotations

import json

import pytest

from kanban_shards.records import TASK_JSON_KEYS
from tests.unit.verbs import MISSING, Shell


def test_create_says_what_it_made(shell: Shell) -> None:
    assert shell.says("create", "a task", "--assignee", "bob").endswith("  (ready, assignee=bob)\n")
    assert shell.says("create", "another", "--triage").endswith("  (triage, assignee=-)\n")


def test_create_takes_every_field(shell: Shell) -> None:
    parent = shell.create("parent")
    made = shell.json(
        "create", "child", "--body", "b", "--assignee", "bob", "--parent", parent, "--workspace", "worktree:~/src",
        "--branch", "wt/x", "--project", "p_1", "--tenant", "t", "--priority", -3, "--max-runtime", "1.5h",
        "--created-by", "cara", "--skill", "one", "--skill", "two", "--max-retries", 4, "--goal",
        "--goal-max-turns", 7, "--session", "s1", "--model", "m", "--provider", "v", "--reasoning-effort", "high",
    )  # fmt: skip
    assert tuple(made) == (*TASK_JSON_KEYS, "created")
    assert (made["status"], made["assignee"], made["priority"]) == ("todo", "bob", -3)
    assert (made["workspace_kind"], made["branch_name"], made["project_id"]) == ("worktree", "wt/x", "p_1")
    assert made["workspace_path"].startswith("/")
    assert (made["created_by"], made["skills"], made["max_retries"]) == ("cara", ["one", "two"], 4)
    assert shell.task(made["id"])["parents"] == [parent]
    run = shell.json("claim", parent)["run"]
    shell.says("complete", parent, "--run", run["id"])
    assert shell.json("claim", made["id"], profile="bob")["run"]["max_runtime_seconds"] == 5_400


def test_a_worktree_without_a_path_takes_the_boards_folder(shell: Shell, tmp_path) -> None:
    shell.says("boards", "set-default-workdir", "default", tmp_path, profile=None)
    assert shell.json("create", "x", "--workspace", "worktree")["workspace_path"] == str(tmp_path)
    assert shell.json("create", "x")["workspace_path"] is None


@pytest.mark.parametrize("nobody", ["none", "-", "NULL"])
def test_nobody_is_nobody(shell: Shell, nobody: str) -> None:
    task_id = shell.create("x", "--assignee", nobody)
    assert shell.task(task_id)["task"]["assignee"] is None
    shell.says("assign", task_id, "bob")
    assert shell.says("assign", task_id, nobody) == f"Assigned {task_id} to (unassigned)\n"
    assert [task["id"] for task in shell.json("list", "--assignee", nobody)] == [task_id]
    shell.says("reassign", task_id, "bob")
    assert shell.json("reassign", task_id, nobody)["assignee"] is None


def test_one_key_is_one_task(shell: Shell) -> None:
    first = shell.create("x", "--idempotency-key", "k")
    assert shell.create("y", "--idempotency-key", "k", profile="bob") == first
    shell.says("archive", first)
    assert shell.create("z", "--idempotency-key", "k") != first


def test_a_task_that_starts_blocked_stays_blocked(shell: Shell) -> None:
    task_id = shell.create("x", "--initial-status", "blocked")
    shell.says("create", "y")
    assert shell.status(task_id) == "blocked"


@pytest.mark.parametrize(
    "flags",
    [
        ("--workspace", "dir"),
        ("--workspace", "dir:"),
        ("--workspace", "scratch:/x"),
        ("--workspace", "elsewhere"),
        ("--branch", "x"),
        ("--workspace", "worktree", "--branch", "-x"),
        ("--workspace", "worktree", "--branch", "a b"),
        ("--max-runtime", "soon"),
        ("--max-runtime", "0"),
        ("--max-runtime", "-5"),
        ("--max-runtime", "infd"),
        ("--max-retries", "0"),
        ("--initial-status", "done"),
    ],
)
def test_create_refuses_what_makes_no_sense(shell: Shell, flags: tuple[str, ...]) -> None:
    assert "Error:" in shell.refuses(2, "create", "x", *flags)


@pytest.mark.parametrize(("span", "in_s"), [("30s", 30), ("5M", 300), ("2h", 7_200), ("1d", 86_400), ("300", 300)])
def test_spans(shell: Shell, span: str, in_s: int) -> None:
    task_id = shell.create("x", "--max-runtime", span)
    assert shell.json("claim", task_id)["run"]["max_runtime_seconds"] == in_s


def test_a_parent_that_is_not_there(shell: Shell) -> None:
    assert f"no task {MISSING}" in shell.refuses(1, "create", "x", "--parent", MISSING)
    assert "is not a task id" in shell.refuses(2, "create", "x", "--parent", "t_")


def test_reassign_takes_a_running_task_only_if_told_to(shell: Shell) -> None:
    task_id = shell.create("x", "--assignee", "bob")
    run_id = shell.json("claim", task_id, profile="bob")["run"]["id"]
    assert "is running" in shell.refuses(1, "reassign", task_id, "cara")
    assert "is running" in shell.refuses(1, "assign", task_id, "cara")
    said = shell.says("reassign", task_id, "cara", "--reclaim", "--reason", "stuck")
    assert said == f"Reassigned {task_id} to cara (claim reclaimed)\n"
    (run,) = shell.task(task_id)["runs"]
    assert (run["outcome"], run["error"]) == ("reclaimed", "manual_reclaim: stuck")
    assert "is over" in shell.refuses(1, "complete", task_id, "--run", run_id, "--result", "r", profile="bob")
    assert shell.kinds(task_id)[-1] == "late_refused"
    assert shell.json("reassign", task_id, "dan", "--reclaim")["reclaimed"] is False
    assert "no task" in shell.refuses(1, "reassign", MISSING, "dan", "--reclaim")


def test_edit(shell: Shell) -> None:
    task_id = shell.create("x", "--tenant", "t", "--max-runtime", "1h", "--max-retries", 2)
    shell.says("edit", task_id, "--title", "y", "--priority", 5, "--max-retries", "none", "--max-runtime", "none")
    assert shell.says("edit", task_id, "--tenant", "none") == f"Edited {task_id}\n"
    task = shell.task(task_id)["task"]
    assert (task["title"], task["priority"], task["tenant"], task["max_retries"]) == ("y", 5, None, None)
    assert "when the task is done" in shell.refuses(1, "edit", task_id, "--result", "r")
    shell.says("complete", task_id, "--summary", "old")
    answer = shell.json("edit", task_id, "--result", "r", "--metadata", '{"a": 1}')
    assert answer == {"ok": True, "task_id": task_id, "fields": ["metadata", "result", "summary"]}
    found = shell.task(task_id)
    assert (found["task"]["result"], found["latest_summary"]) == ("r", "r")
    assert found["runs"][0]["metadata"] == {"a": 1}
    for flags in ((), ("--max-retries", "0"), ("--max-retries", "x"), ("--metadata", "[]"), ("--max-runtime", "x")):
        shell.refuses(2, "edit", task_id, *flags)


def test_links(shell: Shell) -> None:
    parent, child = shell.create("parent"), shell.create("child")
    assert shell.says("link", parent, child) == f"Linked {parent} -> {child}\n"
    assert shell.json("link", parent, child)["linked"] is False
    assert shell.status(child) == "todo"
    assert "wait for each other" in shell.refuses(1, "link", child, parent)
    assert shell.says("unlink", parent, child) == f"Unlinked {parent} -> {child}\n"
    assert shell.status(child) == "ready"
    assert f"did not wait for {parent}" in shell.refuses(1, "unlink", parent, child)
    assert "no task" in shell.refuses(1, "link", MISSING, child)


def test_comment(shell: Shell) -> None:
    task_id = shell.create("x")
    assert shell.says("comment", task_id, "two", "words").startswith(f"Comment added to {task_id}")
    number = shell.json("comment", task_id, "x" * 100, "--max-len", 60, "--author", "cara")["comment_id"]
    first, second = shell.task(task_id)["comments"]
    assert (first["author"], first["body"]) == ("amy", "two words")
    assert (second["id"], second["author"], len(second["body"])) == (number, "cara", 60)
    assert second["body"].endswith("\n\n[trimmed to 60 chars by --max-len]")
    shell.refuses(2, "comment", task_id, "x", "--max-len", 0)
    shell.refuses(2, "comment", task_id)
    assert "no task" in shell.refuses(1, "comment", MISSING, "x")


def test_errors_are_json_for_programs(shell: Shell) -> None:
    """On standard output, beside the sentence on standard error."""
    ended = shell.run("assign", MISSING, "bob", "--json")
    answer = json.loads(ended.stdout)
    assert (ended.exit_code, answer["ok"], answer["error"]) == (1, False, "UnknownTask")
    assert answer["message"] in ended.stderr
    assert json.loads(shell.run("create", "x", "--json", profile=None).stdout)["error"] == "NoProfile"
    assert shell.run("assign", MISSING, "bob").stdout == ""


def test_a_body_from_standard_input_or_a_file(shell: Shell, tmp_path) -> None:
    file = tmp_path / "body.md"
    file.write_text("# Plan\n\n1. ünicode\n", encoding="utf-8")
    piped = shell.json("create", "x", "--body", "-", stdin="from a pipe\nin two lines\n")
    assert piped["body"] == "from a pipe\nin two lines\n"
    assert shell.json("create", "x", "--body-file", file)["body"] == file.read_text(encoding="utf-8")
    shell.says("edit", piped["id"], "--body-file", "-", stdin="anew")
    assert shell.task(piped["id"])["task"]["body"] == "anew"
    assert "not both" in shell.refuses(2, "create", "x", "--body", "a", "--body-file", file)
    file.write_bytes(b"\xff\xfe")
    assert "not text" in shell.refuses(2, "create", "x", "--body-file", file)
