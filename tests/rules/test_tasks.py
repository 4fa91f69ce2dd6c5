"""Tasks are made, handed over and edited."""

from __future__ import annotations

import json

import pytest

from kanban_shards.changes.kinds import (
    Archive,
    Assign,
    Claim,
    Complete,
    Create,
    Delete,
    Edit,
    Fail,
    Link,
    Reopen,
    Settings,
    Specify,
    Unblock,
)
from tests.rules.game import START_S, Game


def test_create_says_everything(game: Game) -> None:
    """Every column that Hermes's create takes is on the board, and the event has Hermes's keys."""
    fields = {
        "body": "words", "assignee": "pixiel", "priority": 7, "tenant": "acme", "workspace_kind": "worktree",
        "workspace_path": "/w", "branch_name": "b", "project_id": "p_1", "max_runtime_seconds": 60, "max_retries": 4,
        "goal_max_turns": 5, "session_id": "s", "model_override": "m", "provider_override": "o",
        "reasoning_effort": "high", "idempotency_key": "k",
    }  # fmt: skip
    task_id = game.make("bingge", title="all of it", goal_mode=True, skills=("ä", "b"), **fields)
    task = game.task(task_id)
    assert {name: task[name] for name in fields} == fields
    assert (task["title"], task["goal_mode"], json.loads(task["skills"])) == ("all of it", 1, ["ä", "b"])
    assert (task["status"], task["created_by"], task["created_at"]) == ("ready", "bingge", START_S)
    assert (task["owner"], task["epoch"], game.vector(task_id)) == ("pixiel", 1, {"bingge": 1})
    (kind, payload), *more = game.events(task_id)
    assert (kind, more) == ("created", [])
    assert payload == {
        "assignee": "pixiel", "status": "ready", "parents": [], "tenant": "acme", "branch_name": "b",
        "skills": ["ä", "b"], "goal_mode": True,
    }  # fmt: skip


def test_create_waits_for_open_parents_only(game: Game) -> None:
    """A terminal parent is done or archived, at creation too."""
    done, archived, running = game.make(), game.finished(), game.make()
    game.apply("bingge", done, Complete())
    assert game.status(game.make(parents=(done, archived))) == "ready"
    waiting = game.make(parents=(done, running, running))
    assert game.status(waiting) == "todo"
    assert game.events(waiting)[0][1]["parents"] == sorted([done, running])


def test_create_refuses_unknown_and_deleted_parents(game: Game) -> None:
    """Nobody waits for a task that is not there, or no longer."""
    gone, never = game.make(), game.id()
    game.apply("bingge", gone, Delete())
    facts = game.refuse("bingge", game.id(), Create(title="x", parents=(gone, never)), "unknown_parent")
    assert facts == {"missing": sorted([gone, never])}
    own = game.id()
    game.refuse("bingge", own, Create(title="x", parents=(own,)), "unknown_parent")


@pytest.mark.parametrize("starts", ["triage", "blocked"])
def test_created_elsewhere_stays_there(game: Game, starts: str) -> None:
    """A task that starts blocked or in triage stays there whatever becomes of its parents."""
    parent = game.make()
    child = game.make(parents=(parent,), starts=starts)
    game.apply("bingge", parent, Complete())
    assert game.status(child) == starts
    if starts == "blocked":
        assert game.kinds(child) == ["created", "blocked"]
        game.apply("bingge", child, Unblock())
        assert game.status(child) == "ready"


def test_an_id_is_never_used_again(game: Game) -> None:
    """Neither while its task is there, nor after it was deleted."""
    task_id = game.make()
    game.refuse("pixiel", task_id, Create(title="mine"), "taken_id")
    game.apply("bingge", task_id, Delete())
    game.refuse("pixiel", task_id, Create(title="mine"), "taken_id")


def test_one_live_task_per_key(game: Game) -> None:
    """The second one is told who has the key, done or not; archiving and deleting free it."""
    first = game.make(idempotency_key="k")
    again = Create(title="again", idempotency_key="k")
    assert game.refuse("pixiel", game.id(), again, "duplicate") == {"task_id": first}
    game.apply("bingge", first, Complete())
    assert game.refuse("pixiel", game.id(), again, "duplicate") == {"task_id": first}
    game.apply("bingge", first, Archive())
    second = game.make("pixiel", idempotency_key="k")
    assert game.refuse("bingge", first, Reopen(), "duplicate") == {"task_id": second}
    game.apply("pixiel", second, Delete())
    game.apply("bingge", first, Reopen())
    assert game.refuse("pixiel", game.id(), again, "duplicate") == {"task_id": first}


def test_assign_moves_ownership(game: Game) -> None:
    """The new assignee owns the task, in a new epoch; without one, its creator does."""
    task_id = game.make("bingge", assignee="pixiel")
    game.apply("pixiel", task_id, Assign(assignee="mafei"))
    assert (game.task(task_id)["owner"], game.task(task_id)["epoch"]) == ("mafei", 2)
    game.refuse("pixiel", task_id, Assign(assignee="pixiel"), "stale", seen={})
    game.apply("mafei", task_id, Assign(assignee=None), seen={})
    assert (game.task(task_id)["owner"], game.task(task_id)["epoch"]) == ("bingge", 3)
    assert game.events(task_id)[1:] == [("assigned", {"assignee": "mafei"}), ("assigned", {"assignee": None})]


def test_assign_while_running(game: Game) -> None:
    """A running task stays with its run."""
    task_id = game.make()
    game.apply("bingge", task_id, Claim())
    game.refuse("bingge", task_id, Assign(assignee="pixiel"), "wrong_status")


def test_another_assignee_starts_afresh(game: Game) -> None:
    """What the breaker and a rate limit stopped for one profile goes on for another; for the same one it does not."""
    task_id = game.make(assignee="pixiel", max_retries=1)
    run_id = game.apply("pixiel", task_id, Claim())["run_id"]
    game.apply("pixiel", task_id, Fail(run_id=run_id, outcome="crashed", error="boom"))
    assert game.kinds(task_id)[-2:] == ["crashed", "gave_up"]
    game.apply("bingge", task_id, Assign(assignee="pixiel"))
    assert (game.status(task_id), game.task(task_id)["consecutive_failures"]) == ("blocked", 1)
    game.apply("bingge", task_id, Assign(assignee="mafei"))
    task = game.task(task_id)
    assert (task["status"], task["consecutive_failures"], task["last_failure_error"]) == ("ready", 0, None)
    assert game.kinds(task_id)[-2:] == ["assigned", "promoted"]
    run_id = game.apply("mafei", task_id, Claim())["run_id"]
    game.apply("mafei", task_id, Fail(run_id=run_id, outcome="rate_limited"))
    game.apply("bingge", task_id, Assign(assignee="bingge"))
    game.apply("bingge", task_id, Claim())


def test_another_assignee_waits_for_parents_too(game: Game) -> None:
    """A breaker that opens again does not open the gate of the parents."""
    task_id, parent = game.make(assignee="pixiel", max_retries=1), game.make()
    run_id = game.apply("pixiel", task_id, Claim())["run_id"]
    game.apply("pixiel", task_id, Fail(run_id=run_id, outcome="crashed"))
    game.apply("bingge", task_id, Link(parent=parent))
    game.apply("bingge", task_id, Assign(assignee="mafei"))
    assert game.status(task_id) == "todo"


def test_a_person_s_block_outlives_an_assignment(game: Game) -> None:
    """Only what the breaker blocked goes on by itself."""
    task_id = game.make(starts="blocked")
    game.apply("bingge", task_id, Assign(assignee="mafei"))
    assert game.status(task_id) == "blocked"


def test_edit_fields(game: Game) -> None:
    """Fields change, None clears them, what is not named stays."""
    task_id = game.make(body="old", tenant="t", max_retries=2)
    game.apply("bingge", task_id, Edit(title="new", body=None, priority=-3, max_runtime_seconds=5))
    task = game.task(task_id)
    assert (task["title"], task["body"], task["priority"]) == ("new", None, -3)
    assert (task["max_runtime_seconds"], task["tenant"], task["max_retries"]) == (5, "t", 2)
    assert game.events(task_id)[1:] == [
        ("edited", {"fields": ["body", "max_runtime_seconds", "priority", "title"]}),
        ("reprioritized", {"priority": -3}),
    ]


def test_edit_the_result_of_a_done_task(game: Game) -> None:
    """Result, summary and metadata are those of the newest completed run; before, there is nothing to edit."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    for field in ("result", "summary"):
        game.refuse("bingge", task_id, Edit(title="half", **{field: "x"}), "wrong_status")
    game.apply("bingge", task_id, Complete(run_id=run_id, summary="first", result="r", metadata={"a": 1}))
    game.apply("bingge", task_id, Edit(result="better", summary="second", metadata={"b": "ü"}))
    (run,) = game.runs(task_id)
    assert (run["summary"], run["metadata"]) == ("second", '{"b": "ü"}')
    assert game.task(task_id)["result"] == "better"
    fields = ["metadata", "result", "summary"]
    assert game.events(task_id)[-1] == ("edited", {"fields": fields, "result_len": 6, "summary": "second"})
    game.apply("bingge", task_id, Edit(metadata=None))
    assert game.runs(task_id)[0]["metadata"] is None


def test_specify(game: Game) -> None:
    """A task in triage gets its words, and leaves: ready, or waiting for its parents."""
    parent = game.make()
    task_id = game.make(starts="triage", parents=(parent,))
    game.apply("bingge", task_id, Specify(title="clear", body="steps", assignee="pixiel", author="planner"))
    task = game.task(task_id)
    assert (task["title"], task["body"], task["assignee"]) == ("clear", "steps", "pixiel")
    assert (task["status"], task["owner"], task["epoch"]) == ("todo", "pixiel", 2)
    assert game.events(task_id)[-1] == (
        "specified", {"changed_fields": ["assignee", "body", "title"], "by": "bingge"}
    )  # fmt: skip
    (comment,) = game.rows("SELECT author, body FROM task_comments WHERE task_id = ?", task_id)
    assert comment["author"] == "planner"
    game.apply("bingge", parent, Complete())
    assert game.status(task_id) == "ready"


def test_specify_without_a_change(game: Game) -> None:
    """Nothing changed, nothing is commented."""
    task_id = game.make(starts="triage")
    assert game.apply("bingge", task_id, Specify(author="planner")) == {"status": "ready", "changed_fields": []}
    assert game.kinds(task_id) == ["created", "specified", "promoted"]
    assert not game.rows("SELECT 1 FROM task_comments")


def test_settings(game: Game) -> None:
    """Limits are set and lifted one by one; the newest word counts."""
    assert game.apply("bingge", "", Settings(max_in_progress=3, failure_limit=5)) == {
        "failure_limit": 5,
        "max_in_progress": 3,
    }
    assert game.apply("pixiel", "", Settings(max_in_progress=None, max_in_progress_per_profile=1)) == {
        "failure_limit": 5,
        "max_in_progress_per_profile": 1,
    }
    assert game.apply("pixiel", "", Settings()) == {"failure_limit": 5, "max_in_progress_per_profile": 1}
