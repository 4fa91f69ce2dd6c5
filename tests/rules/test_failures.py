"""Failures in a row, their limits, and the breaker."""

from __future__ import annotations

import json

import pytest

from kanban_shards.changes.kinds import (
    Block,
    Claim,
    ClaimNext,
    Complete,
    Edit,
    Fail,
    Link,
    Promote,
    Recover,
    Reopen,
    Review,
    Settings,
    Unblock,
)
from tests.rules.game import Game


def fail(game: Game, task_id: str, outcome: str = "crashed", **facts) -> dict:
    """Claim the task and fail at it."""
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    return game.apply("bingge", task_id, Fail(run_id=run_id, outcome=outcome, **facts))


@pytest.mark.parametrize("outcome", ["crashed", "timed_out", "spawn_failed"])
def test_a_failure_counts(game: Game, outcome: str) -> None:
    """The run ends with its outcome, the task is ready again, the failure is counted."""
    task_id = game.make()
    assert fail(game, task_id, outcome, error="boom", exit_code=3) == {"status": "ready", "failures": 1}
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["consecutive_failures"], task["last_failure_error"]) == (1, "boom")
    assert (run["status"], run["outcome"], run["error"]) == (outcome, outcome, "boom")
    kind, payload = game.events(task_id)[-1]
    assert kind == outcome
    assert payload == {"error": "boom", "pid": None, "claimer": "bingge", "exit_code": 3, "failures": 1}


@pytest.mark.parametrize(
    ("fields", "settings", "limit", "source"),
    [
        ({}, {}, 2, "default"),
        ({}, {"failure_limit": 3}, 3, "board"),
        ({"max_retries": 1}, {"failure_limit": 3}, 1, "task"),
        ({"max_retries": 4}, {}, 4, "task"),
        ({"max_retries": 0}, {}, 1, "task"),
    ],
)
def test_the_breaker(game: Game, fields: dict, settings: dict, limit: int, source: str) -> None:
    """The task's own limit counts before the board's, and that before the default."""
    game.apply("bingge", "", Settings(**settings))
    task_id = game.make(**fields)
    for failures in range(1, limit + 1):
        assert game.status(task_id) == "ready"
        assert fail(game, task_id, error="boom")["failures"] == failures
    assert game.status(task_id) == "blocked"
    assert game.events(task_id)[-1] == (
        "gave_up",
        {
            "failures": limit,
            "effective_limit": limit,
            "limit_source": source,
            "error": "boom",
            "trigger_outcome": "crashed",
        },
    )


def test_lifting_the_limit_brings_back_the_default(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", "", Settings(failure_limit=1))
    game.apply("bingge", "", Settings(failure_limit=None))
    assert fail(game, task_id)["status"] == "ready"
    assert fail(game, task_id)["status"] == "blocked"


def test_a_worker_that_cannot_be_started(game: Game) -> None:
    """The run in which it was given up has Hermes's outcome for that."""
    task_id = game.make()
    fail(game, task_id, "spawn_failed")
    fail(game, task_id, "spawn_failed")
    assert [run["outcome"] for run in game.runs(task_id)] == ["spawn_failed", "gave_up"]


def test_a_protocol_violation(game: Game) -> None:
    """A worker that ends without a word is given three tries, and its runs look crashed, as Hermes's do."""
    game.apply("bingge", "", Settings(failure_limit=1))
    task_id = game.make()
    assert [fail(game, task_id, "protocol_violation", exit_code=0)["status"] for _ in range(3)] == [
        "ready",
        "ready",
        "blocked",
    ]
    assert {(run["outcome"], run["metadata"]) for run in game.runs(task_id)} == {
        ("crashed", '{"protocol_violation": true}')
    }
    kind, payload = game.events(task_id)[-2]
    assert (kind, payload["protocol_violation"], payload["exit_code"]) == ("protocol_violation", True, 0)
    assert game.events(task_id)[-1][1]["limit_source"] == "protocol"


def test_max_retries_counts_for_violations_too(game: Game) -> None:
    task_id = game.make(max_retries=1)
    assert fail(game, task_id, "protocol_violation")["status"] == "blocked"


def test_a_stale_run_is_no_failure(game: Game) -> None:
    task_id = game.make(max_retries=1)
    assert fail(game, task_id, "stale", error="silent") == {"status": "ready", "failures": 0}
    assert game.runs(task_id)[0]["outcome"] == "stale"
    assert game.kinds(task_id)[-1] == "stale"


def test_a_rate_limit_cools_down(game: Game) -> None:
    """No failure, but nobody takes the task until it is over; claim_next takes another one."""
    limited = game.make(max_retries=1, priority=9)
    assert fail(game, limited, "rate_limited", error="quota", exit_code=75) == {"status": "ready", "failures": 0}
    assert game.runs(limited)[0]["outcome"] == "rate_limited"
    assert game.kinds(limited)[-1] == "rate_limited"
    assert game.refuse("bingge", limited, Claim(), "cooling_down") == {"wait_s": 300}
    game.refuse("bingge", "", ClaimNext(), "nothing_ready")
    other = game.make()
    assert game.apply("bingge", "", ClaimNext())["task_id"] == other
    game.later(299)
    assert game.refuse("bingge", limited, Claim(), "cooling_down") == {"wait_s": 1}
    game.later(1)
    assert game.apply("bingge", "", ClaimNext())["task_id"] == limited
    assert game.task(limited)["not_before_s"] is None


def test_a_cooldown_of_its_own_length(game: Game) -> None:
    task_id = game.make()
    fail(game, task_id, "rate_limited", cooldown_s=10)
    game.later(10)
    game.apply("bingge", task_id, Claim())


def test_a_review_cools_down_too(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Review())
    fail(game, task_id, "rate_limited")
    assert game.status(task_id) == "review"
    game.refuse("bingge", task_id, Claim(), "cooling_down")


def test_reopening_ends_a_cooldown(game: Game) -> None:
    task_id = game.make()
    fail(game, task_id, "rate_limited")
    game.apply("bingge", task_id, Reopen(to="triage"))
    game.apply("bingge", task_id, Reopen(to="ready"))
    game.apply("bingge", task_id, Claim())


def test_what_makes_failures_forgotten(game: Game) -> None:
    """Completion and a person's unblock; an edit, a promotion and a rate limit do not."""
    task_id = game.make()
    fail(game, task_id)
    game.apply("bingge", task_id, Edit(title="x"))
    fail(game, task_id, "rate_limited", cooldown_s=1)
    game.later(1)
    assert game.task(task_id)["consecutive_failures"] == 1
    fail(game, task_id)
    game.apply("bingge", task_id, Promote())
    assert (game.status(task_id), game.task(task_id)["consecutive_failures"]) == ("ready", 2)
    assert fail(game, task_id)["status"] == "blocked"
    game.apply("bingge", task_id, Unblock())
    assert fail(game, task_id)["failures"] == 1
    game.apply("bingge", task_id, Complete())
    assert (game.task(task_id)["consecutive_failures"], game.task(task_id)["last_failure_error"]) == (0, None)


def test_a_failed_review_that_trips_the_breaker(game: Game) -> None:
    task_id = game.make(max_retries=1)
    game.apply("bingge", task_id, Review())
    assert fail(game, task_id)["status"] == "blocked"
    game.apply("bingge", task_id, Unblock())
    assert game.status(task_id) == "ready"


@pytest.mark.parametrize(
    ("fields", "settings", "limit", "source"),
    [
        ({}, {}, 3, "dispatcher"),
        ({}, {"failure_limit": 1}, 3, "dispatcher"),
        ({"max_retries": 2}, {}, 2, "task"),
    ],
)
def test_the_limit_of_who_says_how_it_failed(game: Game, fields: dict, settings: dict, limit: int, source: str) -> None:
    """The task's own limit counts before it, and it before the board's."""
    game.apply("bingge", "", Settings(**settings))
    task_id = game.make(**fields)
    for _ in range(limit):
        assert game.status(task_id) == "ready"
        fail(game, task_id, limit=3)
    assert game.status(task_id) == "blocked"
    payload = game.events(task_id)[-1][1]
    assert (payload["effective_limit"], payload["limit_source"]) == (limit, source)


def test_a_limit_of_one_trips_at_once(game: Game) -> None:
    task_id = game.make()
    assert fail(game, task_id, limit=1)["status"] == "blocked"


def test_failures_that_their_author_counts(game: Game) -> None:
    """They are no failures in a row; when their author has counted enough, the task is blocked, whatever its limit."""
    task_id = game.make(max_retries=9)
    for _ in range(5):
        answer = fail(game, task_id, "protocol_violation", error="said nothing", counts=False)
        assert answer == {"status": "ready", "failures": 0}
    assert game.task(task_id)["last_failure_error"] == "said nothing"
    assert fail(game, task_id, "protocol_violation", counts=False, trips=True) == {"status": "blocked", "failures": 1}
    assert game.kinds(task_id)[-1] == "gave_up"


def test_recover(game: Game) -> None:
    """A task that the breaker blocked goes on when its limit is higher by now; what it had stays counted."""
    task_id = game.make()
    for _ in range(2):
        fail(game, task_id)
    assert game.refuse("bingge", task_id, Recover(), "wrong_status") == {"status": "blocked", "failures": 2}
    game.refuse("bingge", task_id, Recover(limit=2), "wrong_status")
    assert game.apply("bingge", task_id, Recover(limit=3)) == {"status": "ready"}
    assert (game.task(task_id)["consecutive_failures"], game.kinds(task_id)[-1]) == (2, "promoted")
    assert fail(game, task_id)["status"] == "blocked"
    game.apply("bingge", task_id, Edit(max_retries=5))
    assert game.apply("bingge", task_id, Recover()) == {"status": "ready"}
    for _ in range(2):
        fail(game, task_id)
    game.refuse("bingge", task_id, Recover(limit=99), "wrong_status")


def test_recover_waits_for_parents(game: Game) -> None:
    task_id = game.make()
    for _ in range(2):
        fail(game, task_id)
    game.apply("bingge", task_id, Link(parent=game.make()))
    assert game.apply("bingge", task_id, Recover(limit=9)) == {"status": "todo"}


def test_recover_is_not_for_other_blocks(game: Game) -> None:
    """Not for one that was said, nor for one that came after the breaker's."""
    task_id = game.make()
    game.apply("bingge", task_id, Block(reason="ask Mara"))
    game.refuse("bingge", task_id, Recover(limit=9), "wrong_status")
    game.apply("bingge", task_id, Unblock())
    for _ in range(2):
        fail(game, task_id)
    game.apply("bingge", task_id, Unblock())
    game.apply("bingge", task_id, Block(reason="ask Olga"))
    game.refuse("bingge", task_id, Recover(limit=9), "wrong_status")


@pytest.mark.parametrize("outcome", ["crashed", "timed_out", "spawn_failed", "stale", "rate_limited"])
def test_what_the_dispatcher_saw_is_shown(game: Game, outcome: str) -> None:
    """In the event and with the run; what the rule says itself stays."""
    task_id = game.make()
    fail(game, task_id, outcome, error="boom", facts={"exit_kind": "signaled", "error": "another"})
    (run,) = game.runs(task_id)
    assert json.loads(run["metadata"]) == {"exit_kind": "signaled", "error": "another"}
    _, payload = game.events(task_id)[-1]
    assert (payload["exit_kind"], payload["error"]) == ("signaled", "boom")


def test_a_violation_keeps_its_mark(game: Game) -> None:
    task_id = game.make()
    fail(game, task_id, "protocol_violation", facts={"pid": 7})
    (run,) = game.runs(task_id)
    assert json.loads(run["metadata"]) == {"pid": 7, "protocol_violation": True}
