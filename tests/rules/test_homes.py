"""Where profiles live on a shared board, and what a host says of runs whose signs of life no other host reads."""

from __future__ import annotations

from kanban_shards.changes.homes import Alive, Home
from kanban_shards.changes.kinds import Claim, Complete, Expire, Progress
from kanban_shards.paths import COORDINATOR
from tests.rules.game import Game

LAPTOP, SERVER = "laptop", "server"
ONE, TWO = "1" * 32, "2" * 32


def homes(game: Game) -> list[tuple]:
    return [tuple(row.values()) for row in game.rows("SELECT profile, shard, host, position FROM merge_homes")]


def lives(host: str, shard: str, was: str | None = None) -> Home:
    return Home(profile="bingge", shard=shard, host=host, was=was)


def claimed(game: Game, lease_s: int = 60) -> tuple[str, int]:
    task_id = game.make(assignee="bingge")
    return task_id, game.apply("bingge", task_id, Claim(lease_s=lease_s))["run_id"]


def alive(game: Game, task_id: str, run_id: int, age_s: int) -> dict:
    return game.apply(COORDINATOR, task_id, Alive(run_id=run_id, age_ms=age_s * 1_000), seen={})


def test_the_first_home_applies(game: Game) -> None:
    game.apply(COORDINATOR, "", lives(LAPTOP, ONE))
    facts = game.refuse(COORDINATOR, "", lives(SERVER, TWO), "second_home")
    assert facts == {"profile": "bingge", "host": LAPTOP}
    assert homes(game) == [("bingge", ONE, LAPTOP, 1)]


def test_a_move_names_the_host_that_it_leaves(game: Game) -> None:
    """So of two hosts that move a profile at once, one is refused, whichever was first to think of it."""
    assert game.refuse(COORDINATOR, "", lives(SERVER, TWO, was=LAPTOP), "second_home")["host"] is None
    game.apply(COORDINATOR, "", lives(LAPTOP, ONE))
    game.apply(COORDINATOR, "", lives(SERVER, TWO, was=LAPTOP))
    game.refuse(COORDINATOR, "", lives("pod-1", ONE, was=LAPTOP), "second_home")
    assert homes(game) == [("bingge", TWO, SERVER, 3)]
    game.apply(COORDINATOR, "", lives(LAPTOP, ONE, was=SERVER))
    assert homes(game) == [("bingge", ONE, LAPTOP, 5)]


def test_a_home_says_how_far_its_profile_was(game: Game) -> None:
    """In whatever transaction it was decided, which every game plays again in portions of several sizes."""
    game.make("bingge")
    game.apply(COORDINATOR, "", lives(LAPTOP, ONE))
    game.make("bingge")
    game.apply(COORDINATOR, "", lives(SERVER, TWO, was=LAPTOP))
    (row,) = game.rows("SELECT position, seq, digest FROM merge_homes")
    assert tuple(row.values()) == (4, 2, game.entries[2].change.digest)


def test_a_sign_renews_the_lease_from_when_it_was_given(game: Game) -> None:
    """For readers, too; it is no decision, and whoever looked before may still decide."""
    task_id, run_id = claimed(game)
    game.later(40)
    vector, events = game.vector(task_id), game.kinds(task_id)
    assert alive(game, task_id, run_id, age_s=10) == {"claim_expires": game.now_s - 10 + 60}
    task, (run,) = game.task(task_id), game.runs(task_id)
    for shown in (task, run):
        assert (shown["claim_expires"], shown["last_heartbeat_at"]) == (game.now_s + 50, game.now_s - 10)
    assert (game.vector(task_id), game.kinds(task_id)) == (vector, events)


def test_an_older_sign_takes_nothing_back(game: Game) -> None:
    task_id, run_id = claimed(game)
    game.later(40)
    game.apply("bingge", task_id, Progress(run_id=run_id))
    said_s = game.now_s
    game.later(20)
    assert alive(game, task_id, run_id, age_s=50) == {"claim_expires": said_s + 60}
    assert game.task(task_id)["last_heartbeat_at"] == said_s


def test_a_sign_of_a_run_that_is_over_is_late(game: Game) -> None:
    task_id, run_id = claimed(game)
    game.apply("bingge", task_id, Complete(run_id=run_id))
    game.refuse(COORDINATOR, task_id, Alive(run_id=run_id, age_ms=0), "late")


def test_a_run_that_no_host_renewed(game: Game) -> None:
    """Its error says who could not be heard; what its worker says afterwards is refused, and kept."""
    task_id, run_id = claimed(game)
    game.apply(COORDINATOR, task_id, Expire(run_id=run_id, last_sign_ms=0, unheard_s=120))
    assert game.runs(task_id)[0]["error"] == "no host that hears its worker renewed it for 120 s"
    game.refuse("bingge", task_id, Complete(run_id=run_id, summary="ten pages"), "late", leaves="late_refused")
