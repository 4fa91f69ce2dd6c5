"""Runs: claimed, alive, handed over between two profiles, given back, taken away."""

from __future__ import annotations

import pytest

from kanban_shards.changes.kinds import (
    AddComment,
    Archive,
    Assign,
    Block,
    Claim,
    ClaimNext,
    Complete,
    Delete,
    Edit,
    Fail,
    Link,
    Progress,
    Promote,
    Reclaim,
    Release,
    Reopen,
    Review,
    Schedule,
    Spawned,
)
from tests.rules.game import START_S, Game

RUN_BOUND = [
    lambda run: Spawned(run_id=run, pid=1),
    lambda run: Progress(run_id=run, note="n"),
    lambda run: Release(run_id=run, reason="r"),
    lambda run: Fail(run_id=run, outcome="crashed", error="e"),
    lambda run: Complete(run_id=run, result="r", summary="s", metadata={"m": 1}),
    lambda run: Review(run_id=run, summary="s"),
    lambda run: Block(run_id=run, reason="r"),
    lambda run: Schedule(run_id=run, reason="r"),
]


def test_claim_opens_a_run(game: Game) -> None:
    """The task runs, its run has the lease, and the run's profile owns it in a new epoch."""
    task_id = game.make("bingge", assignee="pixiel", max_runtime_seconds=60)
    body = Claim(runs_as="pixiel", lease_s=100, claimer="host:7")
    run_id = game.apply("bingge", task_id, body)["run_id"]
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["status"], task["current_run_id"], task["claim_lock"]) == ("running", run_id, "host:7")
    assert (task["claim_expires"], task["started_at"]) == (START_S + 100, START_S)
    assert (task["owner"], task["epoch"], task["run_claimer"]) == ("pixiel", 1, "bingge")
    assert (run["status"], run["outcome"], run["profile"], run["ended_at"]) == ("running", None, "pixiel", None)
    assert (run["claim_lock"], run["max_runtime_seconds"]) == ("host:7", 60)
    lock = {"lock": "host:7", "expires": START_S + 100, "run_id": run_id, "profile": "pixiel", "by": "bingge"}
    assert game.events(task_id)[-1] == ("claimed", lock)
    facts = game.refuse("bingge", task_id, Claim(), "wrong_status")
    assert (facts["owner"], facts["run_id"]) == ("pixiel", run_id)


def test_started_at_is_the_first_start(game: Game) -> None:
    task_id = game.make()
    for _ in range(2):
        run_id = game.apply("bingge", task_id, Claim())["run_id"]
        game.apply("bingge", task_id, Release(run_id=run_id))
        game.later(10)
    assert game.task(task_id)["started_at"] == START_S
    assert [run["started_at"] for run in game.runs(task_id)] == [START_S, START_S + 10]


def test_one_winner(game: Game) -> None:
    """Two that had seen the same claim at once: the first in the ledger wins, the second is told who did."""
    task_id = game.make("bingge")
    seen = game.vector(task_id)
    game.apply("pixiel", task_id, Claim(), seen=seen)
    facts = game.refuse("mafei", task_id, Claim(), "stale", seen=seen)
    assert (facts["owner"], facts["missed"]) == ("pixiel", {"pixiel": 1})


def test_ownership_follows_the_run(game: Game) -> None:
    """From creator to assignee to the run's profile and back, an epoch each; nobody else moves without looking."""
    task_id = game.make("bingge")
    owners = [("bingge", 1)]
    for profile, body in [("bingge", Assign(assignee="pixiel")), ("mafei", Claim())]:
        game.apply(profile, task_id, body)
        owners.append((game.task(task_id)["owner"], game.task(task_id)["epoch"]))
    run_id = game.task(task_id)["current_run_id"]
    game.refuse("pixiel", task_id, Edit(title="x"), "stale", seen={})
    game.apply("mafei", task_id, Edit(title="mine"), seen={})
    game.apply("mafei", task_id, Release(run_id=run_id), seen={})
    owners.append((game.task(task_id)["owner"], game.task(task_id)["epoch"]))
    assert owners == [("bingge", 1), ("pixiel", 2), ("mafei", 3), ("pixiel", 4)]
    game.refuse("mafei", task_id, Edit(title="x"), "stale", seen={})
    game.apply("pixiel", task_id, Edit(title="x"), seen={})


def test_owner_never_stale(game: Game) -> None:
    """The worker saw nothing of what an operator did meanwhile, and its word on its own run counts."""
    task_id = game.make("bingge", assignee="pixiel")
    run_id = game.apply("bingge", task_id, Claim(runs_as="pixiel"))["run_id"]
    game.apply("mafei", task_id, Edit(priority=9))
    game.apply("pixiel", task_id, Progress(run_id=run_id, note="still here"), seen={})
    game.apply("bingge", task_id, Spawned(run_id=run_id, pid=1), seen={})
    game.apply("pixiel", task_id, Complete(run_id=run_id), seen={})


def test_additions_need_not_look(game: Game) -> None:
    """Whoever had seen nothing may add; adding is not deciding, so it makes nobody stale."""
    task_id, parent = game.make(), game.make()
    seen = game.vector(task_id)
    game.apply("pixiel", task_id, AddComment(text="hm"), seen={})
    game.apply("mafei", task_id, Link(parent=parent), seen={})
    assert game.vector(task_id) == seen
    game.apply("mafei", task_id, Edit(title="x"), seen=seen)


@pytest.mark.parametrize("bound", RUN_BOUND)
def test_a_run_has_two_authors(game: Game, bound) -> None:
    """The profile that it runs as and the one that claimed it, and nobody else, whatever they had seen."""
    for author in ("pixiel", "bingge"):
        task_id = game.make("mafei")
        run_id = game.apply("bingge", task_id, Claim(runs_as="pixiel"))["run_id"]
        facts = game.refuse("mafei", task_id, bound(run_id), "not_your_run")
        assert (facts["owner"], facts["run_id"]) == ("pixiel", run_id)
        game.apply(author, task_id, bound(run_id), seen={})


@pytest.mark.parametrize("bound", RUN_BOUND)
def test_what_comes_late_is_refused_and_kept(game: Game, bound) -> None:
    """After the run is over, and also while the next one is open; what it carried is an event of the task."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    assert game.expire(task_id, run_id).applied
    body = bound(run_id)
    carries = [name for name in ("result", "summary", "metadata", "reason", "note", "error") if
               getattr(body, name, None) is not None]  # fmt: skip
    leaves = "late_refused" if carries else None
    game.refuse("bingge", task_id, body, "late", leaves=leaves)
    second = game.apply("bingge", task_id, Claim())["run_id"]
    facts = game.refuse("bingge", task_id, body, "late", leaves=leaves)
    assert facts["run_id"] == second
    if carries:
        kind, payload = game.events(task_id)[-1]
        assert (kind, payload["by"]) == ("late_refused", "bingge")
        assert {name: payload[name] for name in carries} == {name: getattr(body, name) for name in carries}
        assert game.rows("SELECT run_id FROM task_events ORDER BY id DESC LIMIT 1") == [{"run_id": run_id}]
    assert game.status(task_id) == "running"


def test_late_for_each_end_of_a_run(game: Game) -> None:
    """However the run ended, its worker's result comes late."""
    ends = [
        lambda run: Archive(), lambda run: Reclaim(), lambda run: Complete(), lambda run: Block(),
        lambda run: Schedule(), lambda run: Review(), lambda run: Reopen(to="triage"), lambda run: Release(run_id=run),
    ]  # fmt: skip
    for end in ends:
        task_id = game.make()
        run_id = game.apply("bingge", task_id, Claim())["run_id"]
        game.apply("bingge", task_id, end(run_id))
        game.refuse("bingge", task_id, Complete(run_id=run_id, result="r"), "late", leaves="late_refused")


def test_spawned_and_progress(game: Game) -> None:
    """The worker's process and where it is; a word of progress keeps the lease."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim(lease_s=50))["run_id"]
    game.apply("bingge", task_id, Spawned(run_id=run_id, pid=4_242))
    game.later(30)
    game.apply("bingge", task_id, Progress(run_id=run_id, note="halfway"))
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["worker_pid"], run["worker_pid"]) == (4_242, 4_242)
    assert task["claim_expires"] == run["claim_expires"] == START_S + 80
    assert task["last_heartbeat_at"] == run["last_heartbeat_at"] == START_S + 30
    assert game.events(task_id)[-2:] == [("spawned", {"pid": 4_242}), ("heartbeat", {"note": "halfway"})]


def _ended(game: Game, task_id: str) -> dict:
    """The newest run, closed, and nothing of it left on the task."""
    task, run = game.task(task_id), game.runs(task_id)[-1]
    left = ("current_run_id", "claim_lock", "claim_expires", "worker_pid", "run_profile", "run_claimer", "lease_s")
    assert {task[name] for name in left} == {None}
    assert (run["claim_lock"], run["claim_expires"], run["ended_at"]) == (None, None, game.now_s)
    return run


def test_release_gives_back(game: Game) -> None:
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim(claimer="host:1"))["run_id"]
    game.later(5)
    assert game.apply("bingge", task_id, Release(run_id=run_id, reason="no time")) == {"status": "ready"}
    run = _ended(game, task_id)
    assert (run["status"], run["outcome"], run["error"]) == ("reclaimed", "reclaimed", "no time")
    payload = {"manual": True, "reason": "no time", "by": "bingge", "prev_lock": "host:1"}
    assert game.events(task_id)[-1] == ("reclaimed", payload)


def test_reclaim_takes_away(game: Game) -> None:
    """An operator who has seen the run ends it; one who has not is refused. The failures are forgiven."""
    task_id = game.make(assignee="pixiel", max_retries=9)
    run_id = game.apply("pixiel", task_id, Claim())["run_id"]
    game.apply("pixiel", task_id, Fail(run_id=run_id, outcome="crashed", error="boom"))
    seen = game.vector(task_id)
    game.apply("pixiel", task_id, Claim())
    game.refuse("bingge", task_id, Reclaim(), "stale", seen=seen)
    game.apply("bingge", task_id, Reclaim(reason="stuck"))
    task, run = game.task(task_id), _ended(game, task_id)
    assert (task["status"], task["consecutive_failures"], task["last_failure_error"]) == ("ready", 0, None)
    assert (run["outcome"], run["error"]) == ("reclaimed", "manual_reclaim: stuck")
    game.refuse("bingge", task_id, Reclaim(), "wrong_status")


def test_expire(game: Game) -> None:
    """The coordinator ends a run whose lease ran out; that is no failure of the task."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim(lease_s=30))["run_id"]
    game.later(31)
    assert game.expire(task_id, run_id).applied
    task, run = game.task(task_id), _ended(game, task_id)
    assert (task["status"], task["consecutive_failures"]) == ("ready", 0)
    assert (run["status"], run["outcome"], run["error"]) == ("reclaimed", "reclaimed", "no sign of life for 30 s")
    assert game.events(task_id)[-1][0] == "reclaimed"
    assert game.expire(task_id, run_id).reason == "late"


@pytest.mark.parametrize(
    "end",
    [
        lambda game, task, run: game.apply("bingge", task, Release(run_id=run)),
        lambda game, task, run: game.apply("bingge", task, Reclaim()),
        lambda game, task, run: game.expire(task, run),
        lambda game, task, run: game.apply("bingge", task, Fail(run_id=run, outcome="crashed")),
        lambda game, task, run: game.apply("bingge", task, Fail(run_id=run, outcome="stale")),
        lambda game, task, run: game.apply("bingge", task, Fail(run_id=run, outcome="rate_limited")),
    ],
)
def test_where_a_task_goes_back_to(game: Game, end) -> None:
    """Ready; todo if a parent was linked meanwhile; review if the run was a review."""
    plain, waiting, reviewed, parent = game.make(), game.make(), game.make(), game.make()
    game.apply("bingge", reviewed, Review())
    for task_id, expected in [(plain, "ready"), (waiting, "todo"), (reviewed, "review")]:
        run_id = game.apply("bingge", task_id, Claim())["run_id"]
        if task_id == waiting:
            game.apply("bingge", task_id, Link(parent=parent))
            assert game.status(waiting) == "running"
        end(game, task_id, run_id)
        assert game.status(task_id) == expected
        _ended(game, task_id)


def test_claim_of_a_review(game: Game) -> None:
    """The reviewer's run says where it came from, and finishes the task."""
    task_id = game.make("bingge", assignee="pixiel")
    run_id = game.apply("pixiel", task_id, Claim())["run_id"]
    game.apply("pixiel", task_id, Review(run_id=run_id, summary="please look"))
    review_id = game.apply("mafei", task_id, Claim())["run_id"]
    assert game.events(task_id)[-1][1]["source_status"] == "review"
    assert game.task(task_id)["reviewing"] == 1
    game.apply("mafei", task_id, Complete(run_id=review_id, summary="fine"))
    assert [(run["status"], run["outcome"]) for run in game.runs(task_id)] == [
        ("done", "review"),
        ("done", "completed"),
    ]


def test_claim_next_takes_the_best(game: Game) -> None:
    """Assigned to it or to nobody; by priority, then age; nothing of others, nothing that is not ready."""
    old, foreign = game.make(assignee="pixiel"), game.make(assignee="mafei", priority=99)
    game.later(1)
    young, anyones = game.make(assignee="pixiel"), game.make(priority=1)
    waiting = game.make(assignee="pixiel", priority=50, parents=(foreign,))
    taken = [game.apply("pixiel", "", ClaimNext())["task_id"] for _ in range(3)]
    assert taken == [anyones, old, young]
    game.refuse("pixiel", "", ClaimNext(), "nothing_ready")
    assert game.apply("bingge", "", ClaimNext(runs_as="mafei"))["task_id"] == foreign
    assert (game.task(foreign)["run_profile"], game.task(foreign)["run_claimer"]) == ("mafei", "bingge")
    assert game.status(waiting) == "todo"


def test_claim_next_needs_not_look(game: Game) -> None:
    """The coordinator looks for it; and its choice is a decision that others must have seen."""
    task_id = game.make("bingge")
    seen = game.vector(task_id)
    game.apply("pixiel", "", ClaimNext(), seen={})
    game.refuse("mafei", task_id, Edit(title="x"), "stale", seen=seen)


def test_claim_with_open_parents(game: Game) -> None:
    """Not possible, unless somebody forced the gate."""
    parent = game.make()
    child = game.make(parents=(parent,))
    game.refuse("bingge", child, Claim(), "wrong_status")
    game.apply("bingge", child, Promote(force=True))
    game.apply("bingge", child, Claim())


def test_delete_under_a_running_worker(game: Game) -> None:
    """The run goes with the task; its worker is told so."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.apply("bingge", task_id, Delete())
    assert game.runs(task_id) == []
    game.refuse("bingge", task_id, Complete(run_id=run_id, result="r"), "gone")
