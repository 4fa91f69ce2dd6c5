"""``create --from``: many tasks from a file, in one commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kanban_shards.cli.rows import NAMES, read_rows
from tests.unit.verbs import MISSING, Shell

LINES = """{"ref": "prd", "title": "Write it", "assignee": "Amy", "priority": 5, "max_runtime": "2h", "skills": ["a"]}

{"title": "Draw it", "parents": ["prd"], "triage": false, "idempotency_key": "draw"}
"""
TABLE = (
    'ref,title,assignee,priority,parents,triage\nprd,"Write, it",amy,5,,\nx,"Draw\nit",bob,,prd,\n,Third,,,prd x,yes\n'
)


def test_json_lines(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(LINES, encoding="utf-8")
    assert "2 tasks would be made" in shell.says("create", "--from", file, "--dry-run")
    assert shell.run("list").exit_code in (0, 3) and "Write it" not in shell.run("list").output
    made = shell.json("create", "--from", file)
    assert [each["title"] for each in made] == ["Write it", "Draw it"]
    first, second = (shell.task(each["id"]) for each in made)
    assert (first["task"]["assignee"], first["task"]["priority"], first["task"]["skills"]) == ("amy", 5, ["a"])
    assert (second["parents"], second["task"]["status"]) == ([first["task"]["id"]], "todo")


def test_csv_from_standard_input(shell: Shell) -> None:
    ended = shell.run("create", "--from", "-", stdin=TABLE)
    assert ended.exit_code == 0 and "Created 3 tasks." in ended.stderr
    ids = [line.split()[1] for line in ended.stdout.splitlines()]
    assert sorted(shell.task(ids[2])["parents"]) == sorted(ids[:2])
    assert shell.status(ids[2]) == "triage" and shell.task(ids[1])["task"]["title"] == "Draw\nit"


def test_said_again_with_keys_it_makes_nothing_twice(shell: Shell) -> None:
    lines = (
        '{"ref": "a", "title": "a", "idempotency_key": "1"}\n{"title": "b", "parents": ["a"], "idempotency_key": "2"}'
    )
    first = shell.json("create", "--from", "-", stdin=lines)
    more = f'{lines}\n{{"title": "c", "parents": ["a"]}}'
    again = shell.json("create", "--from", "-", stdin=more)
    assert [each["created"] for each in again] == [False, False, True]
    assert [each["id"] for each in again[:2]] == [each["id"] for each in first]
    assert shell.task(again[2]["id"])["parents"] == [first[0]["id"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Line 1: there is no task"),
        ('{"title": "a"}\n{"title": ', "Line 2: it is no JSON"),
        ('{"title": "a"}\n[]', "Line 2: it is no JSON object"),
        ('{"title": " "}', "Line 1: it has no title"),
        ('{"title": "a", "colour": "red"}', "Line 1: colour is no field"),
        ('{"title": "a", "priority": "high"}', "Line 1: priority is no whole number"),
        ('{"title": "a", "max_runtime": "5q"}', "Line 1: '5q' is not a span of time"),
        ('{"title": "a", "assignee": "a b"}', "Line 1: 'a b' cannot name a profile"),
        ('{"title": "a", "parents": ["b"]}\n{"title": "b", "ref": "b"}', "Line 1: 'b' is no task's id, and no ref"),
        ('{"title": "a", "ref": "x"}\n{"title": "b", "ref": "x"}', "Line 2: the ref 'x'"),
        ('title,body\na\n', "Line 2: it has another number of fields"),
        ("body\nx\n", "Line 2: it has no title"),
        ('{"title": "a", "triage": "maybe"}', "Line 1: triage is neither true nor false"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_and_nothing_written(shell: Shell, text: str, said: str) -> None:
    shell.create("there")
    assert said in shell.refuses(2, "create", "--from", "-", stdin=f"{text}")
    assert [task["title"] for task in shell.json("list")] == ["there"]


def test_a_device_without_an_end_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kanban_shards.cli.params.LONGEST_TEXT", 1_000)
    assert "is longer than 1000 characters" in shell.refuses(2, "create", "--from", "/dev/zero")
    assert "is longer than 1000 characters" in shell.refuses(2, "create", "x", "--body-file", "/dev/zero")


def test_what_does_not_go_together(shell: Shell) -> None:
    shell.create("there")
    for words in (("x", "--from", "-"), ("--from", "-", "--priority", "3"), ("x", "--dry-run"), ()):
        shell.refuses(2, "create", *words, stdin='{"title": "a"}')
    parent = json.dumps({"title": "a", "parents": [MISSING]})
    shell.refuses(1, "create", "--from", "-", stdin=parent)
    shell.refuses(1, "create", "--from", "-", "--dry-run", stdin=parent)
    assert [task["title"] for task in shell.json("list")] == ["there"]


def test_the_names_are_those_of_the_help(shell: Shell) -> None:
    said = shell.says("create", "--help")
    assert not [name for name in NAMES if name not in said]
    assert [row.title for row in read_rows("title\na\nb\n")] == ["a", "b"]
