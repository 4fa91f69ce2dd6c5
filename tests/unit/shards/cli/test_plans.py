"""Verbs on plans: triage, swarms, dispatching and the board's limits."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import Complete, Create
from kanban_shards.cli.verbs.dispatch import Dispatch
from kanban_shards.errors import Undecided
from kanban_shards.paths import BoardPaths
from kanban_shards.records import Run
from tests.ids import new_task_id
from tests.unit.verbs import MISSING, Shell, append_unmerged


@pytest.fixture
def triage(shell: Shell) -> str:
    return shell.create("an idea", "--triage", "--tenant", "t")


def test_specify(shell: Shell, triage: str, tmp_path) -> None:
    (tmp_path / "words").write_text("in full")
    flags = ("--title", "a plan", "--body-file", tmp_path / "words", "--assignee", "bob", "--author", "cara")
    said = shell.says("specify", triage, *flags)
    assert said == f"Specified {triage} → ready — retitled: 'a plan'\n"
    found = shell.task(triage)
    assert (found["task"]["title"], found["task"]["body"], found["task"]["assignee"]) == ("a plan", "in full", "bob")
    assert found["comments"][0]["author"] == "cara"
    ended = shell.run("specify", triage, "--json")
    answer = json.loads(ended.stdout)
    assert (ended.exit_code, answer["ok"]) == (1, False)
    assert "is ready" in answer["reason"]


def test_specify_is_one_json_object_per_line(shell: Shell, triage: str) -> None:
    other, third = shell.create("another", "--triage"), shell.create("third", "--triage", "--tenant", "t")
    lines = shell.says("specify", "--all", "--tenant", "t", "--json").splitlines()
    answers = {answer["task_id"]: answer for answer in map(json.loads, lines)}
    assert answers.keys() == {triage, third}
    assert answers[triage] == {
        "task_id": triage, "ok": True, "reason": "specified", "new_title": None, "status": "ready",
    }  # fmt: skip
    assert shell.status(other) == "triage"
    assert shell.json("specify", "--all", "--tenant", "t") == {"specified": 0, "total": 0}
    assert shell.says("specify", "--all", "--tenant", "t") == "No triage tasks.\n"


def test_specify_refuses_what_makes_no_sense(shell: Shell, triage: str) -> None:
    for words in ((), (triage, "--all"), ("--all", "--title", "x"), (triage, "--body", "x", "--body-file", "-")):
        shell.refuses(2, "specify", *words)
    assert "no task" in shell.refuses(1, "specify", MISSING)
    assert "is not a task id" in shell.refuses(2, "specify", "t_")
    assert shell.status(triage) == "triage"


def test_decompose(shell: Shell, triage: str, tmp_path) -> None:
    plan = [
        {"title": "draft", "body": "b", "assignee": "bob", "priority": 3, "skills": ["writing"]},
        {"title": "check", "parents": [0], "assignee": "none"},
    ]
    (tmp_path / "plan").write_text(json.dumps(plan))
    answer = shell.json("decompose", triage, "--plan", tmp_path / "plan", "--root-assignee", "cara")
    draft, check = answer.pop("child_ids")
    assert answer == {"task_id": triage, "ok": True, "fanout": True, "new_title": None, "reason": "decomposed"}
    found = shell.task(triage)
    assert (found["task"]["status"], found["task"]["assignee"], found["comments"][0]["author"]) == (
        "todo", "cara", "amy",
    )  # fmt: skip
    assert found["parents"] == sorted([draft, check])
    assert (shell.status(draft), shell.task(check)["parents"]) == ("ready", [draft])
    assert shell.task(draft)["task"]["skills"] == ["writing"]
    assert shell.task(check)["task"]["assignee"] is None


def test_decompose_without_promoting(shell: Shell, triage: str) -> None:
    said = shell.says("decompose", triage, "--plan", "-", "--no-promote", stdin='[{"title": "x"}]')
    (child,) = shell.task(triage)["parents"]
    assert said == f"Decomposed {triage} → 1 task ({child}); root promoted to todo\n"
    assert shell.status(child) == "todo"
    assert "is todo" in shell.refuses(1, "decompose", triage, "--plan", "-", stdin='[{"title": "x"}]')


def test_decompose_all(shell: Shell, triage: str) -> None:
    """One plan for each; a task without one, or with one that is refused, stays in triage."""
    circle, without = shell.create("c", "--triage", "--tenant", "t"), shell.create("w", "--triage", "--tenant", "t")
    other = shell.create("o", "--triage")
    plans = {triage: [{"title": "x"}], circle: [{"title": "y", "parents": [0]}], other: [{"title": "z"}]}
    words = ("decompose", "--all", "--tenant", "t", "--plan", "-")
    ended = shell.run(*words, "--json", stdin=json.dumps(plans))
    answers = {answer["task_id"]: answer for answer in map(json.loads, ended.stdout.splitlines())}
    assert ended.exit_code == 0
    assert {task_id: answer["ok"] for task_id, answer in answers.items()} == {
        triage: True, circle: False, without: False,
    }  # fmt: skip
    assert "says nothing of" in answers[without]["reason"]
    assert [shell.status(task_id) for task_id in (circle, without, other)] == ["triage"] * 3
    shell.says("archive", circle, without)
    assert shell.says(*words, "--json", stdin="{}") == '{"decomposed": 0, "total": 0}\n'
    for wrong in ("[]", '{"t_": 1}', '{"t_0123456789abcdef": []}'):
        assert "cannot be written" in shell.refuses(2, "decompose", "--all", "--plan", "-", stdin=wrong)
    shell.refuses(2, "decompose", triage, "--all", "--plan", "-", stdin="{}")
    shell.refuses(2, "decompose", "--plan", "-", stdin="[]")


@pytest.mark.parametrize(
    ("plan", "code", "said"),
    [
        ("nonsense", 2, "not JSON"),
        ("{}", 2, "a JSON list of tasks"),
        ("[]", 2, "a JSON list of tasks"),
        ("[1]", 2, "task 0 is not an object"),
        ('[{"title": "x"}, {"body": "y"}]', 2, "task 1 is not an object with a title"),
        ('[{"title": "x", "id": "t_0123456789abcdef"}]', 2, "task 0 has id"),
        ('[{"title": "x", "priority": "high"}]', 2, "cannot be written"),
        ('[{"title": "x", "parents": [1]}]', 1, "a number beyond"),
        ('[{"title": "x", "parents": [1]}, {"title": "y", "parents": [0]}]', 1, "wait for each other"),
    ],
)
def test_a_plan_is_applied_whole_or_not_at_all(shell: Shell, triage: str, plan: str, code: int, said: str) -> None:
    assert said in shell.refuses(code, "decompose", triage, "--plan", "-", stdin=plan)
    assert [task["id"] for task in shell.json("list")] == [triage]
    assert shell.status(triage) == "triage"


SWARM = ("--worker", "bob:Look it up:search,web", "--worker", "cara:Write", "--verifier", "dan", "--synthesizer", "eve")


def test_swarm(shell: Shell) -> None:
    made = shell.json("swarm", "answer it", *SWARM, "--tenant", "t", "--priority", 2, "--created-by", "boss")
    assert list(made) == ["root_id", "worker_ids", "verifier_id", "synthesizer_id"]
    root, verifier = shell.task(made["root_id"]), shell.task(made["verifier_id"])
    assert (root["task"]["status"], root["task"]["created_by"]) == ("done", "boss")
    assert root["runs"][0]["metadata"] == {"kind": "kanban_swarm_v1", "goal": "answer it", "worker_count": 2}
    key, value = root["comments"][0]["body"].split(" ", 1)
    note = {"key": "topology", "value": made | {"goal": "answer it"}}
    assert (key, json.loads(value)) == ("[swarm:blackboard]", note)
    first, second = (shell.task(worker)["task"] for worker in made["worker_ids"])
    assert (first["assignee"], first["title"], first["skills"]) == ("bob", "Look it up", ["search", "web"])
    assert (second["status"], second["tenant"], second["priority"]) == ("ready", "t", 2)
    assert (verifier["task"]["status"], verifier["task"]["assignee"]) == ("todo", "dan")
    assert verifier["parents"] == sorted(made["worker_ids"])
    assert shell.task(made["synthesizer_id"])["parents"] == [made["verifier_id"]]


def test_swarm_with_a_key_is_made_once(shell: Shell) -> None:
    made = shell.json("swarm", "answer it", *SWARM, "--idempotency-key", "k")
    assert shell.json("swarm", "answer it", *SWARM, "--idempotency-key", "k", profile="bob") == made
    said = shell.says("swarm", "answer it", *SWARM, "--idempotency-key", "k")
    assert said.splitlines() == [
        f"Swarm root: {made['root_id']}",
        f"Workers: {', '.join(made['worker_ids'])}",
        f"Verifier: {made['verifier_id']}",
        f"Synthesizer: {made['synthesizer_id']}",
    ]
    assert len(shell.json("list")) == 5


def test_a_swarm_that_was_cut_short_is_finished(shell: Shell, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def failing_create(self, title: str, **fields) -> str:
        if len(made) == 3:
            raise SystemExit(9)
        made.append(create(self, title, **fields))
        return made[-1]

    create = Gateway.create
    with monkeypatch.context() as cut:
        cut.setattr(Gateway, "create", failing_create)
        assert shell.run("swarm", "answer it", *SWARM, "--idempotency-key", "k").exit_code == 9
    whole = shell.json("swarm", "answer it", *SWARM, "--idempotency-key", "k")
    assert [whole["root_id"], *whole["worker_ids"]] == made
    assert len(shell.json("list")) == 5


def test_swarm_refuses_what_makes_no_sense(shell: Shell) -> None:
    assert "is not a worker" in shell.refuses(2, "swarm", "x", "--worker", "bob", *SWARM)
    shell.refuses(2, "swarm", " ", *SWARM)
    shell.refuses(2, "swarm", "x", "--verifier", "v", "--synthesizer", "s")
    shell.refuses(2, "swarm", "x", *SWARM[:-2])


@pytest.mark.parametrize("words", [("specify", "{}", "--body-file"), ("decompose", "{}", "--plan")])
def test_a_file_that_is_no_text(shell: Shell, tmp_path, words: tuple[str, ...]) -> None:
    file = tmp_path / "latin-1.txt"
    file.write_bytes("für später".encode("latin-1"))
    task_id = shell.create("x", "--triage")
    assert f"{file} is not text" in shell.refuses(2, *(word.format(task_id) for word in words), file)


@pytest.mark.parametrize("word", ["²", "-1", "x", "9" * 30])
def test_what_is_no_limit(shell: Shell, word: str) -> None:
    task_id = shell.create("x")
    assert "is not a whole number from 0 on" in shell.refuses(2, "limits", f"--max-in-progress={word}")
    assert "is not a whole number from 1 on" in shell.refuses(2, "edit", task_id, f"--max-retries={word}")
    assert "is not a whole number from 0 to 36500" in shell.refuses(2, "gc", f"--log-retention-days={word}")


def test_dispatch_claims_for_the_assignees(shell: Shell, paths: BoardPaths, tmp_path) -> None:
    first = shell.create("x", "--assignee", "bob", "--priority", 1)
    second = shell.create("y", "--assignee", "cara", "--workspace", "worktree:/src")
    terminal = new_task_id()  # an older version took any assignee
    append_unmerged(paths, "amy", terminal, Create(title="t", assignee="A Terminal"))
    nobody = shell.create("z")
    planned = shell.json("dispatch", "--dry-run", profile=None)
    assert [each["task_id"] for each in planned["spawned"]] == [first, second]
    assert planned["spawned"][0]["run_id"] is None
    assert shell.status(first) == "ready"
    found = shell.json("dispatch", "--max", 1)
    (spawned,) = found["spawned"]
    assert (spawned["task_id"], spawned["assignee"]) == (first, "bob")
    assert spawned["workspace"] == str(tmp_path / "kanban" / "workspaces" / first)
    assert (found["skipped_unassigned"], found["skipped_nonspawnable"]) == ([], [])  # it looked no further
    assert (planned["skipped_unassigned"], planned["skipped_nonspawnable"]) == ([nobody], [terminal])
    shell.says("spawned", first, 4321, "--run", spawned["run_id"])
    shell.says("complete", first, "--run", spawned["run_id"], profile="bob")
    said = shell.says("dispatch")
    assert f"{second}  cara" in said
    assert f"Skipped (unassigned): {nobody}" in said
    assert shell.says("dispatch").startswith("Nothing to start.")


def test_dispatch_opens_reviews(shell: Shell) -> None:
    task_id = shell.create("x", "--assignee", "bob")
    shell.says("review", task_id)
    assert shell.json("dispatch")["spawned"][0]["task_id"] == task_id


def test_dispatch_keeps_to_the_limits(shell: Shell) -> None:
    """And asks for nothing that they rule out: a refusal is an entry of the ledger."""
    ids = {shell.create(f"x{number}", "--assignee", "bob") for number in range(3)}
    other = shell.create("y", "--assignee", "cara")
    shell.says("limits", "--max-in-progress-per-profile", 1)
    for flags in (("--dry-run",), ()):
        found = shell.json("dispatch", *flags)
        started = {each["task_id"] for each in found["spawned"]}
        assert (len(started), len(started & ids), other in started) == (2, 1, True)
        assert [each["current"] for each in found["skipped_per_profile_capped"]] == [1, 1]
    shell.says("limits", "--max-in-progress-per-profile", "none", "--max-in-progress", 3)
    assert len(shell.json("dispatch")["spawned"]) == 1
    assert shell.says("dispatch") == "Nothing to start.\n"


def test_dispatch_tells_what_was_refused(shell: Shell) -> None:
    task_id = shell.create("x", "--assignee", "bob")
    shell.says("dispatch", "--failure-limit", 5)
    assert shell.json("limits")["failure_limit"] == 5
    shell.says("fail", task_id, "rate_limited")
    (refused,) = shell.json("dispatch")["refused"]
    assert (refused["task_id"], refused["reason"]) == (task_id, "cooling_down")
    assert "Not started (t_" in shell.says("dispatch")


@pytest.mark.parametrize("place", ["/proc/none/of/that", "~nobody-of-that-name/x", "/a\0b"])
def test_dispatch_ends_a_run_that_has_no_place(shell: Shell, home: str, place: str) -> None:
    """And tells of the others, which are to be started."""
    with Gateway("amy", home=home) as gateway:
        lost = gateway.create("x", assignee="bob", priority=1, workspace_kind="dir", workspace_path=place)
    task_id = shell.create("y", "--assignee", "cara")
    found = shell.json("dispatch")
    assert [each["task_id"] for each in found["spawned"]] == [task_id]
    assert [(each["task_id"], each["reason"]) for each in found["refused"]] == [(lost, "spawn_failed")]
    assert shell.status(lost) == "ready"
    assert shell.json("runs", lost)[-1]["outcome"] == "spawn_failed"
    shell.json("dispatch", "--dry-run")
    assert f"Not started ({lost})" in shell.says("dispatch")
    assert shell.status(lost) == "blocked"


def test_dispatch_tells_what_was_claimed_before_an_error(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those tasks run, and nobody else starts them."""
    first, second = shell.create("x", "--assignee", "bob", "--priority", 1), shell.create("y", "--assignee", "cara")
    claimed = Gateway.claim

    def claim(gateway: Gateway, task_id: str, **how: str) -> Run:
        if task_id == second:
            raise Undecided(seq=2, profile="amy", waited_s=30, why="a coordinator is stopped")
        return claimed(gateway, task_id, **how)

    monkeypatch.setattr(Gateway, "claim", claim)
    ended = shell.run("dispatch", "--json")
    found = json.loads(ended.stdout)
    assert (ended.exit_code, [each["task_id"] for each in found["spawned"]]) == (4, [first])
    assert [(each["task_id"], each["reason"]) for each in found["refused"]] == [(second, "Undecided")]


def test_dispatch_counts_what_passed_meanwhile(shell: Shell, paths: BoardPaths) -> None:
    """What other processes wrote is merged first."""
    parent = shell.create("parent")
    shell.create("child", "--parent", parent, "--assignee", "bob")
    append_unmerged(paths, "bob", parent, Complete())
    found = shell.json("dispatch")
    assert (found["promoted"], len(found["spawned"])) == (1, 1)


def test_two_dispatchers_start_each_task_once(shell: Shell, home: str) -> None:
    ids = {shell.create(f"x{number}", "--assignee", f"w{number}") for number in range(4)}

    def dispatched(profile: str) -> list[str]:
        with Board.open(home=home) as board, Gateway(profile, home=home) as gateway:
            found = Dispatch(board)
            found.claim(gateway, None)
        return [each["task_id"] for each in found.spawned]

    with ThreadPoolExecutor(2) as threads:
        started = [task_id for each in threads.map(dispatched, ("d1", "d2")) for task_id in each]
    assert sorted(started) == sorted(ids)


def test_limits(shell: Shell) -> None:
    shell.says("init", profile=None)
    unset = {"max_in_progress": None, "max_in_progress_per_profile": None, "failure_limit": None}
    assert shell.json("limits", profile=None) == unset
    assert shell.json("limits", "--max-in-progress", 5, "--failure-limit", 3) == unset | {
        "max_in_progress": 5, "failure_limit": 3,
    }  # fmt: skip
    assert shell.json("limits", "--failure-limit", "none")["failure_limit"] is None
    said = shell.says("limits", profile=None)
    assert "max-in-progress              5" in said
    assert "failure-limit                2 (nothing else is set)" in said
    assert "NAME limits" in shell.refuses(2, "limits", "--max-in-progress", 1, profile=None)
    for flags in (("--failure-limit", "0"), ("--max-in-progress", "-1"), ("--max-in-progress", "many")):
        shell.refuses(2, "limits", *flags)


def test_daemon_moved(shell: Shell) -> None:
    said = shell.refuses(2, "daemon", "--interval", 5, "--verbose", "--pidfile", "x", profile=None)
    assert "kanban-merge daemon" in said
