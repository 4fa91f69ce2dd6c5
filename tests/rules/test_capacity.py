"""Capacity: limits on open runs, decided where a claim is decided, and a fair share of them."""

from __future__ import annotations

from collections import Counter

from kanban_shards.changes.kinds import Claim, ClaimNext, Complete, Release, Review, Settings
from kanban_shards.coordinator.rules.capacity import TURN_KEPT_S
from tests.rules.game import Game


def take(game: Game, profile: str) -> int | None:
    """The run of the next task for ``profile``; None if it may not have one now."""
    decision = game.do(profile, "", ClaimNext())
    assert decision.reason in (None, "at_capacity", "nothing_ready")
    return decision.answer["run_id"] if decision.applied else None


def test_a_limit_for_each_profile(game: Game) -> None:
    """Of whom the run is, not of who claims it."""
    game.apply("bingge", "", Settings(max_in_progress_per_profile=1))
    first, second = game.make(assignee="pixiel"), game.make(assignee="pixiel")
    run_id = game.apply("bingge", first, Claim(runs_as="pixiel"))["run_id"]
    game.refuse("pixiel", second, Claim(), "at_capacity")
    game.refuse("bingge", "", ClaimNext(runs_as="pixiel"), "at_capacity")
    game.apply("bingge", game.make(), Claim())
    game.apply("pixiel", first, Complete(run_id=run_id))
    game.apply("pixiel", second, Claim())


def test_a_limit_for_the_board(game: Game) -> None:
    """Reviews count like everything else; lifting the limit lifts it."""
    game.apply("bingge", "", Settings(max_in_progress=1))
    first, second = game.make(), game.make()
    game.apply("bingge", second, Review())
    run_id = game.apply("bingge", first, Claim())["run_id"]
    game.refuse("pixiel", second, Claim(), "at_capacity")
    game.apply("bingge", first, Release(run_id=run_id))
    game.apply("pixiel", second, Claim())
    game.refuse("bingge", first, Claim(), "at_capacity")
    game.apply("bingge", "", Settings(max_in_progress=None))
    game.apply("bingge", first, Claim())


def test_a_limit_of_zero_pauses_the_board(game: Game) -> None:
    game.apply("bingge", "", Settings(max_in_progress=0))
    game.refuse("bingge", game.make(), Claim(), "at_capacity")


def test_alone_a_profile_may_have_everything(game: Game) -> None:
    """A share is kept for others only while they have something to do."""
    game.apply("bingge", "", Settings(max_in_progress=3))
    for _ in range(4):
        game.make(assignee="bingge")
    assert [take(game, "bingge") is not None for _ in range(4)] == [True, True, True, False]


def test_no_profile_is_starved(game: Game) -> None:
    """Three profiles, three runs at once, and one of them asks ten times for each time that the others ask."""
    game.apply("bingge", "", Settings(max_in_progress=3))
    profiles = ("greedy", "modest", "shy")
    for profile in profiles:
        for _ in range(12):
            game.make(assignee=profile, priority=9 if profile == "greedy" else 0)
    open_runs: list[tuple[str, int]] = []
    finished: list[str] = []
    for _ in range(12):
        for profile in ("greedy",) * 10 + ("modest", "shy"):
            run_id = take(game, profile)
            if run_id is not None:
                open_runs.append((profile, run_id))
            assert len(open_runs) <= 3
        profile, run_id = open_runs.pop(0)
        (run,) = game.rows("SELECT task_id FROM task_runs WHERE id = ?", run_id)
        game.apply(profile, run["task_id"], Complete(run_id=run_id))
        finished.append(profile)
    assert finished[:3] == ["greedy"] * 3  # it was there first, and nobody else asked
    assert Counter(finished[3:]) == dict.fromkeys(profiles, 3)


def test_room_is_kept_for_those_who_ask_alone(game: Game) -> None:
    """Tasks that wait for a profile whose worker never comes keep no room free."""
    game.apply("bingge", "", Settings(max_in_progress=3))
    for profile in ("greedy",) * 3 + ("absent",) * 3:
        game.make(assignee=profile)
    assert [take(game, "greedy") is not None for _ in range(3)] == [True] * 3


def test_a_turn_passes(game: Game) -> None:
    """Whoever asked in vain is waited for a minute, and not for ever."""
    game.apply("bingge", "", Settings(max_in_progress=2))
    tasks = [game.make(assignee="greedy") for _ in range(4)]
    game.make(assignee="shy")
    first = take(game, "greedy")
    assert take(game, "greedy") is not None
    assert take(game, "shy") is None
    (run,) = game.rows("SELECT task_id FROM task_runs WHERE id = ?", first)
    game.apply("greedy", run["task_id"], Complete(run_id=first))
    game.refuse("greedy", tasks[2], Claim(), "at_capacity")
    game.later(TURN_KEPT_S + 1)
    game.apply("greedy", tasks[2], Claim())
