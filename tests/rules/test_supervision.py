"""Supervision: what a dispatcher says that it saw, and what becomes of a run of which nobody says anything."""

from __future__ import annotations

from kanban_shards.changes.kinds import Claim, Complete, Progress, Release, Spawned, Supervise
from tests.rules.game import Game


def supervised(game: Game, **claim) -> tuple[str, int]:
    """A task that runs as pixiel's, claimed by bingge's dispatcher; returns its id and its run's."""
    task_id = game.make(assignee="pixiel")
    body = Claim(**{"runs_as": "pixiel", "lease_s": 60, "grace_s": 3_600, "claimer": "host:1", **claim})
    return task_id, game.apply("bingge", task_id, body)["run_id"]


def test_a_dispatcher_sees_the_worker(game: Game) -> None:
    """The lease begins anew, for readers too; what the worker said last stays, and so does the task vector."""
    task_id, run_id = supervised(game)
    game.apply("bingge", task_id, Spawned(run_id=run_id, pid=42))
    game.apply("pixiel", task_id, Progress(run_id=run_id, note="began"))
    said_s, vector = game.now_s, game.vector(task_id)
    game.later(100)
    assert game.apply("bingge", task_id, Supervise(run_id=run_id), seen={}) == {"claim_expires": game.now_s + 60}
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["claim_expires"], task["last_heartbeat_at"]) == (game.now_s + 60, said_s)
    assert (run["claim_expires"], run["last_heartbeat_at"]) == (game.now_s + 60, said_s)
    assert game.vector(task_id) == vector
    assert game.events(task_id)[-1] == (
        "claim_extended",
        {
            "reason": "pid_alive",
            "worker_pid": 42,
            "claim_lock": "host:1",
            "claim_expires_was": said_s + 60,
            "claim_expires_now": game.now_s + 60,
            "last_heartbeat_at": said_s,
            "by": "bingge",
        },
    )


def test_a_newer_dispatcher_of_another_profile(game: Game) -> None:
    """It says what it sees, whoever claimed; the run stays its two profiles'."""
    task_id, run_id = supervised(game)
    game.apply("mafei", task_id, Supervise(run_id=run_id), seen={})
    game.refuse("mafei", task_id, Release(run_id=run_id), "not_your_run")
    game.apply("pixiel", task_id, Complete(run_id=run_id))
    game.refuse("mafei", task_id, Supervise(run_id=run_id), "late")


def test_a_run_that_nobody_supervises(game: Game) -> None:
    """Its lease is its worker's and its claimer's: no third profile can keep it open."""
    task_id, run_id = supervised(game, grace_s=None)
    game.refuse("mafei", task_id, Supervise(run_id=run_id), "wrong_status")


def test_the_next_run_is_supervised_only_if_its_claim_says_so(game: Game) -> None:
    task_id, run_id = supervised(game)
    game.apply("pixiel", task_id, Release(run_id=run_id))
    run_id = game.apply("pixiel", task_id, Claim())["run_id"]
    game.refuse("bingge", task_id, Supervise(run_id=run_id), "wrong_status")


def test_why_it_ended(game: Game) -> None:
    """For want of signs of both, and for how long; a lease that is longer than the grace counts."""
    for fields, silent_s in (({}, 3_600), ({"lease_s": 7_200}, 7_200)):
        task_id, run_id = supervised(game, **fields)
        game.expire(task_id, run_id)
        error = f"no sign of the worker, nor of a dispatcher that sees it, for {silent_s} s"
        assert (game.status(task_id), game.runs(task_id)[0]["error"]) == ("ready", error)
        assert game.task(task_id)["grace_s"] is None


def test_where_a_worker_was_started(game: Game) -> None:
    """In the event, for whoever looks for it on that host; nothing more where it was not said."""
    task_id, run_id = supervised(game)
    game.apply("bingge", task_id, Spawned(run_id=run_id, pid=42, host="here pid:[1]", began="99"))
    assert game.events(task_id)[-1][1] == {"pid": 42, "host": "here pid:[1]", "began": "99"}
    game.apply("bingge", task_id, Spawned(run_id=run_id, pid=43))
    assert game.events(task_id)[-1][1] == {"pid": 43}
