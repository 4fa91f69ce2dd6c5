"""Outcomes: done, in review, blocked, scheduled, and going on after that."""

from __future__ import annotations

import json

import pytest

from kanban_shards.changes.kinds import (
    Archive,
    Block,
    Claim,
    Complete,
    Due,
    Fail,
    Link,
    Promote,
    Release,
    Reopen,
    Review,
    Schedule,
    Specify,
    Unblock,
)
from kanban_shards.coordinator.rules.links import MANY
from kanban_shards.paths import COORDINATOR
from tests.rules.game import START_S, Game


def test_complete_a_run(game: Game) -> None:
    """The run keeps summary and metadata, the task the result; the event shows the first line."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.later(60)
    body = Complete(run_id=run_id, result="result", summary="done\nin detail", metadata={"files": ["ä"]})
    assert game.apply("bingge", task_id, body) == {"status": "done", "run_id": run_id}
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["status"], task["result"], task["completed_at"]) == ("done", "result", START_S + 60)
    assert (run["status"], run["outcome"], run["ended_at"]) == ("done", "completed", START_S + 60)
    assert (run["summary"], json.loads(run["metadata"])) == ("done\nin detail", {"files": ["ä"]})
    assert game.events(task_id)[-1] == ("completed", {"result_len": 6, "summary": "done"})


def test_a_long_summary_is_cut_in_the_event(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Complete(summary="x" * 1_000))
    assert game.events(task_id)[-1][1]["summary"] == "x" * 400


@pytest.mark.parametrize("said", [{"summary": "s"}, {"result": "r"}, {"metadata": {"m": 1}}])
def test_complete_without_a_run(game: Game, said: dict) -> None:
    """What was said is kept in a run of no length; if nothing was said, there is none."""
    silent, telling = game.make(assignee="pixiel"), game.make(assignee="pixiel")
    game.apply("bingge", silent, Complete())
    game.apply("bingge", telling, Complete(**said))
    assert game.runs(silent) == []
    (run,) = game.runs(telling)
    assert (run["profile"], run["outcome"], run["started_at"], run["ended_at"]) == (
        "pixiel", "completed", START_S, START_S
    )  # fmt: skip


def test_complete_forgets_blocks_and_force(game: Game) -> None:
    parent = game.make()
    task_id = game.make(parents=(parent,))
    game.apply("bingge", task_id, Promote(force=True))
    game.apply("bingge", task_id, Block(block="capability"))
    game.apply("bingge", task_id, Complete())
    task = game.task(task_id)
    assert (task["block_kind"], task["block_recurrences"], task["forced"]) == (None, 0, None)


def test_promotion_in_the_same_entry(game: Game) -> None:
    """Those that waited for this task alone are ready; those that wait for another one too go on waiting."""
    first, second = game.make(), game.make()
    alone, both = game.make(parents=(first,)), game.make(parents=(first, second))
    elsewhere = game.make(parents=(first,), starts="triage")
    game.apply("bingge", first, Complete())
    assert [game.status(task_id) for task_id in (alone, both, elsewhere)] == ["ready", "todo", "triage"]
    assert game.events(alone)[-1] == ("promoted", None)
    assert game.kinds(both) == ["created"]
    game.apply("bingge", second, Archive())
    assert game.status(both) == "ready"


def test_promotion_is_not_a_decision(game: Game) -> None:
    """A promoted child was not decided upon: whoever had seen it before may still claim it."""
    parent = game.make()
    child = game.make(parents=(parent,))
    seen = game.vector(child)
    game.apply("bingge", parent, Complete())
    assert game.vector(child) == seen
    game.apply("pixiel", child, Claim(), seen=seen)


def test_created_cards(game: Game) -> None:
    """The tasks that a worker says it made must be there, and made by the run's profile or its claimer."""
    task_id = game.make("mafei")
    run_id = game.apply("bingge", task_id, Claim(runs_as="pixiel"))["run_id"]
    by_worker, by_claimer, foreign, never = game.make("pixiel"), game.make("bingge"), game.make("mafei"), game.id()
    body = Complete(run_id=run_id, summary="all made", created_cards=(by_worker, foreign, never))
    facts = game.refuse("pixiel", task_id, body, "phantom_cards", leaves="completion_blocked_hallucination")
    assert facts == {"phantom_cards": [foreign, never]}
    assert game.events(task_id)[-1][1] == {"phantom_cards": [foreign, never], "summary": "all made"}
    assert game.status(task_id) == "running"
    game.apply("pixiel", task_id, Complete(run_id=run_id, created_cards=(by_worker, by_claimer)))
    assert game.events(task_id)[-1][1]["verified_cards"] == [by_worker, by_claimer]


def test_review(game: Game) -> None:
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.apply("bingge", task_id, Review(run_id=run_id, summary="look", metadata={"a": 1}))
    (run,) = game.runs(task_id)
    assert (run["status"], run["outcome"], run["summary"], run["metadata"]) == ("done", "review", "look", '{"a": 1}')
    assert game.events(task_id)[-1] == ("status", {"status": "review", "summary": "look"})


def test_a_reviewed_task_is_not_terminal(game: Game) -> None:
    """Its children wait until somebody completes it."""
    task_id = game.make()
    child = game.make(parents=(task_id,))
    game.apply("bingge", task_id, Review())
    assert game.status(child) == "todo"
    game.apply("bingge", task_id, Complete())
    assert game.status(child) == "ready"


@pytest.mark.parametrize("kind", [None, "needs_input", "capability", "transient"])
def test_block_and_the_recurrence_breaker(game: Game, kind: str | None) -> None:
    """Blocked once, a person unblocks; blocked again for the same kind of reason, the task goes to triage."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.apply("bingge", task_id, Block(run_id=run_id, reason="why", block=kind))
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["status"], task["block_kind"], task["block_recurrences"]) == ("blocked", kind, 1)
    assert (run["status"], run["outcome"], run["summary"]) == ("blocked", "blocked", "why")
    assert game.events(task_id)[-1] == ("blocked", {"reason": "why", "kind": kind, "recurrences": 1})
    game.apply("bingge", task_id, Unblock())
    assert game.task(task_id)["block_recurrences"] == 1
    game.apply("bingge", task_id, Block(reason="again", block=kind))
    assert (game.status(task_id), game.task(task_id)["block_recurrences"]) == ("triage", 2)
    payload = {"reason": "again", "kind": kind, "recurrences": 2, "limit": 2}
    assert game.events(task_id)[-1] == ("block_loop_detected", payload)
    assert [run["outcome"] for run in game.runs(task_id)] == ["blocked", "blocked"]


def test_another_kind_of_block_counts_anew(game: Game) -> None:
    task_id = game.make()
    for kind in ("needs_input", "capability", None, "needs_input"):
        game.apply("bingge", task_id, Block(block=kind))
        assert (game.status(task_id), game.task(task_id)["block_recurrences"]) == ("blocked", 1)
        game.apply("bingge", task_id, Unblock())
    assert game.runs(task_id) == []


def test_completion_ends_the_recurrence(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Block(block="transient"))
    game.apply("bingge", task_id, Complete())
    game.apply("bingge", task_id, Reopen())
    game.apply("bingge", task_id, Block(block="transient"))
    assert game.status(task_id) == "blocked"


def test_created_blocked_is_not_a_recurrence(game: Game) -> None:
    task_id = game.make(starts="blocked")
    game.apply("bingge", task_id, Unblock())
    game.apply("bingge", task_id, Block())
    assert game.status(task_id) == "blocked"


def test_block_for_a_dependency(game: Game) -> None:
    """The task waits for its parents, and goes on without a person when they are terminal."""
    task_id, parent = game.make(), game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.apply("bingge", task_id, Link(parent=parent))
    answer = game.apply("bingge", task_id, Block(run_id=run_id, reason="needs it", block="dependency"))
    assert answer == {"status": "todo", "run_id": run_id}
    assert (game.task(task_id)["block_kind"], game.task(task_id)["block_recurrences"]) == ("dependency", 0)
    assert game.runs(task_id)[0]["outcome"] == "blocked"
    assert game.events(task_id)[-1] == ("dependency_wait", {"reason": "needs it", "kind": "dependency"})
    game.apply("bingge", parent, Complete())
    assert game.status(task_id) == "ready"


def test_block_for_a_dependency_without_a_run(game: Game) -> None:
    """What was said is kept, and a task that waits for nobody is ready at once."""
    task_id = game.make()
    assert game.apply("bingge", task_id, Block(reason="hm", block="dependency"))["status"] == "ready"
    assert [(run["outcome"], run["summary"]) for run in game.runs(task_id)] == [("blocked", "hm")]


def test_schedule_and_due(game: Game) -> None:
    """At its time the coordinator lets the task go on: ready, or waiting for its parents."""
    parent, task_id, waiting = game.make(), game.make(), game.make()
    game.apply("bingge", waiting, Link(parent=parent))
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    due_s = START_S + 100
    game.apply("bingge", task_id, Schedule(run_id=run_id, reason="tomorrow", due_s=due_s))
    game.apply("bingge", waiting, Schedule(due_s=due_s))
    (run,) = game.runs(task_id)
    assert (run["status"], run["outcome"], run["summary"]) == ("scheduled", "scheduled", "tomorrow")
    assert game.events(task_id)[-1] == ("scheduled", {"reason": "tomorrow", "due": due_s})
    game.later(100)
    game.apply(COORDINATOR, task_id, Due(due_s=due_s))
    game.apply(COORDINATOR, waiting, Due(due_s=due_s))
    assert (game.status(task_id), game.status(waiting)) == ("ready", "todo")
    assert game.events(task_id)[-1] == ("unblocked", {"reason": "due"})
    assert game.events(waiting)[-1] == ("unblocked", {"reason": "due", "status": "todo"})
    game.refuse(COORDINATOR, task_id, Due(due_s=due_s), "wrong_status")


def test_due_for_another_time(game: Game) -> None:
    """A task that was unblocked and scheduled anew waits for its new time."""
    task_id = game.make()
    game.apply("bingge", task_id, Schedule(due_s=START_S + 10))
    game.apply("bingge", task_id, Unblock(reason="sooner"))
    game.apply("bingge", task_id, Schedule(due_s=START_S + 99))
    game.refuse(COORDINATOR, task_id, Due(due_s=START_S + 10), "wrong_status")
    game.apply(COORDINATOR, task_id, Due(due_s=START_S + 99))


def test_scheduled_without_a_time_waits_for_a_person(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Schedule(reason="later"))
    assert [run["outcome"] for run in game.runs(task_id)] == ["scheduled"]
    assert game.rows("SELECT 1 FROM merge_tasks WHERE due_s IS NOT NULL") == []
    game.apply("pixiel", task_id, Unblock(reason="now"))
    assert game.events(task_id)[-1] == ("unblocked", {"reason": "now", "by": "pixiel"})


def test_unblock_waits_for_open_parents_only(game: Game) -> None:
    """An archived parent is terminal here too; an open one sends the task to todo."""
    archived, parent = game.finished(), game.make()
    free, bound = game.make(parents=(archived,), starts="blocked"), game.make(parents=(parent,), starts="blocked")
    game.apply("bingge", free, Unblock())
    game.apply("bingge", bound, Unblock())
    assert (game.status(free), game.status(bound)) == ("ready", "todo")
    assert game.events(bound)[-1] == ("unblocked", {"by": "bingge", "status": "todo"})


def test_promote(game: Game) -> None:
    """By hand only where nothing holds the task, unless forced; the event says whether a gate was."""
    parent, archived = game.make(), game.finished()
    child = game.make(parents=(parent,))
    blocked = game.make(parents=(archived,), starts="blocked")
    game.refuse("bingge", child, Promote(), "parents_open")
    game.apply("bingge", blocked, Promote(reason="go", force=True))
    game.apply("bingge", child, Promote(reason="urgent", force=True))
    assert game.events(blocked)[-1] == ("promoted_manual", {"actor": "bingge", "reason": "go", "forced": False})
    assert game.events(child)[-1] == ("promoted_manual", {"actor": "bingge", "reason": "urgent", "forced": True})
    assert [game.task(task_id)["forced"] for task_id in (blocked, child)] == [None, 1]


def test_a_forced_gate_stays_open(game: Game) -> None:
    """Through claims, failures, blocks and schedules; until the task is done."""
    child = game.make(parents=(game.make(),), max_retries=9)
    game.apply("bingge", child, Promote(force=True))
    for end in (lambda run: Release(run_id=run), lambda run: Fail(run_id=run, outcome="crashed"),
                lambda run: Block(run_id=run), lambda run: Schedule(run_id=run)):  # fmt: skip
        run_id = game.apply("bingge", child, Claim())["run_id"]
        game.apply("bingge", child, end(run_id))
        if game.status(child) != "ready":
            game.apply("bingge", child, Unblock())
        assert game.status(child) == "ready"
    game.apply("bingge", child, Complete())
    game.refuse("bingge", child, Reopen(), "parents_open")


@pytest.mark.parametrize("status", ["ready", "running"])
def test_a_new_parent_is_a_new_gate(game: Game, status: str) -> None:
    """What was forced were the gates of then."""
    child = game.make(parents=(game.make(),))
    game.apply("bingge", child, Promote(force=True))
    if status == "running":
        run_id = game.apply("bingge", child, Claim())["run_id"]
    game.apply("bingge", child, Link(parent=game.make()))
    if status == "running":
        game.apply("bingge", child, Release(run_id=run_id))
    assert game.status(child) == "todo"


def test_a_worker_that_waits_ends_the_force(game: Game) -> None:
    """Whoever says that the task depends on its parents puts the gate back."""
    child = game.make(parents=(game.make(),))
    game.apply("bingge", child, Promote(force=True))
    assert game.apply("bingge", child, Block(block="dependency"))["status"] == "todo"
    game.apply("bingge", child, Schedule())
    game.apply("bingge", child, Unblock())
    assert game.status(child) == "todo"


def test_triage_ends_the_force(game: Game) -> None:
    child = game.make(parents=(game.make(),))
    game.apply("bingge", child, Promote(force=True))
    for _ in range(2):
        game.apply("bingge", child, Block())
        if game.status(child) == "blocked":
            game.apply("bingge", child, Unblock())
    assert game.apply("bingge", child, Specify())["status"] == "todo"


def test_a_completion_by_somebody_else_says_by_whom(game: Game) -> None:
    task_id = game.make(assignee="pixiel")
    game.apply("mafei", task_id, Complete(summary="seen everything"))
    assert dict(game.events(task_id))["completed"]["by"] == "mafei"


def test_artifacts_are_in_the_event(game: Game) -> None:
    """As they are said; what metadata says of them is metadata."""
    task_id = game.make()
    game.apply("bingge", task_id, Complete(summary="s", metadata={"artifacts": ["/m"]}, artifacts=("/a.pdf", "/b.pdf")))
    assert game.events(task_id)[-1][1]["artifacts"] == ["/a.pdf", "/b.pdf"]


def test_cards_as_they_are_shown(game: Game) -> None:
    """Made by somebody else, but shown as the assignee's or as made by the task, or waiting for it: as in Hermes."""
    task_id = game.make(assignee="pixiel")
    good = (
        game.make("mafei", created_by="pixiel"),
        game.make("mafei", created_by=task_id),
        game.make("mafei", parents=(task_id,)),
    )
    bad = game.make("mafei", created_by="mafei")
    missing = game.id()
    left = "completion_blocked_hallucination"
    game.refuse("bingge", task_id, Complete(created_cards=good, card_check="made"), "phantom_cards", leaves=left)
    facts = game.refuse(
        "bingge",
        task_id,
        Complete(created_cards=(*good, bad, missing), card_check="shown"),
        "phantom_cards",
        leaves=left,
    )
    assert facts["phantom_cards"] == [bad, missing]
    game.apply("bingge", task_id, Complete(created_cards=good, card_check="shown"))
    assert game.events(task_id)[-1][1]["verified_cards"] == list(good)


def test_a_card_that_is_not_there_without_a_run(game: Game) -> None:
    """It passed before a check could be named, and does so whenever an old ledger is replayed; not for a gateway."""
    missing = game.id()
    old, new = game.make(), game.make()
    game.apply("bingge", old, Complete(created_cards=(missing,)))
    left = "completion_blocked_hallucination"
    game.refuse("bingge", new, Complete(created_cards=(missing,), card_check="made"), "phantom_cards", leaves=left)


def test_a_promotion_shows_its_actor(game: Game) -> None:
    """And the profile that wrote it, always."""
    first, second = game.make(starts="blocked"), game.make(starts="blocked")
    game.apply("bingge", first, Promote(actor="Olga"))
    game.apply("bingge", second, Promote())
    assert game.events(first)[-1][1] == {"actor": "Olga", "reason": None, "forced": False, "by": "bingge"}
    assert game.events(second)[-1][1] == {"actor": "bingge", "reason": None, "forced": False}


@pytest.mark.parametrize("held", [Block(block="dependency", hold_s=60), Reopen(to="todo", hold_s=60)])
def test_a_task_that_is_held_in_todo(game: Game, held: Block | Reopen) -> None:
    """It waits for nobody, and goes on when the time has come, unless it was linked to an open parent meanwhile."""
    free, linked, settled, forced = (game.make() for _ in range(4))
    parent, gone = game.make(), game.make()
    for task_id in (free, linked, settled, forced):
        game.apply("bingge", task_id, held)
        assert (game.status(task_id), game.task(task_id)["due_s"]) == ("todo", game.now_s + 60)
    game.apply("bingge", linked, Link(parent=parent))
    game.apply("bingge", settled, Link(parent=gone))
    game.apply("bingge", gone, Complete())
    game.apply("bingge", forced, Promote())
    due_s = game.task(free)["due_s"]
    game.later(60)
    for task_id, status in ((free, "ready"), (linked, "todo")):
        game.apply(COORDINATOR, task_id, Due(due_s=due_s))
        assert (game.status(task_id), game.task(task_id)["due_s"]) == (status, None)
    for task_id in (settled, forced):
        assert (game.status(task_id), game.task(task_id)["due_s"]) == ("ready", None)
        game.refuse(COORDINATOR, task_id, Due(due_s=due_s), "wrong_status")
    assert game.kinds(free)[-1] == "promoted"
    game.apply("bingge", parent, Complete())
    assert game.status(linked) == "ready"


def test_a_hold_means_nothing_while_a_parent_is_open(game: Game) -> None:
    """Then the parent decides, as ever."""
    parent = game.make()
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.apply("bingge", task_id, Link(parent=parent))
    game.apply("bingge", task_id, Block(run_id=run_id, block="dependency", hold_s=60))
    assert (game.status(task_id), game.task(task_id)["due_s"]) == ("todo", None)


def test_many_held_tasks_that_a_parent_frees(game: Game) -> None:
    """What is done to many at once ends their hold, too: else the coordinator would say each second that it is due."""
    parent = game.make()
    children = [game.make() for _ in range(MANY)]
    for child in children:
        game.apply("bingge", child, Block(block="dependency", hold_s=60))
        game.apply("bingge", child, Link(parent=parent))
    game.apply("bingge", parent, Complete())
    assert {(game.status(child), game.task(child)["due_s"]) for child in children} == {("ready", None)}


def test_reopen_to_scheduled(game: Game) -> None:
    """It waits until somebody unblocks it; an open run ends."""
    task_id = game.make()
    game.apply("bingge", task_id, Claim())
    assert game.apply("bingge", task_id, Reopen(to="scheduled")) == {"status": "scheduled"}
    assert (game.task(task_id)["due_s"], game.runs(task_id)[0]["outcome"]) == (None, "reclaimed")
    assert game.apply("bingge", task_id, Unblock()) == {"status": "ready"}
