"""Rounds: a pass decides what fits its time, fairly, and nothing that one profile asks holds up the others for long."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.codec import Change
from kanban_shards.changes.kinds import (
    Archive,
    Claim,
    Complete,
    Decompose,
    Delete,
    Link,
    PlannedChild,
    Promote,
    Reopen,
    Schedule,
    Unlink,
)
from kanban_shards.coordinator.merge import collector as collect
from kanban_shards.coordinator.merge import coordinator as passing
from kanban_shards.coordinator.merge import expiry, rounds
from kanban_shards.coordinator.merge.collector import QUARANTINED, Collector
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.coordinator.merge.rounds import Rounds
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.coordinator.rules import links
from kanban_shards.coordinator.state import links as rows
from kanban_shards.paths import BoardPaths
from tests.rules.game import Game, dump

LATER_S = 2_000_000_000


@pytest.fixture
def coordinator(paths: BoardPaths) -> Iterator[Coordinator]:
    with closing(take(paths, COMMAND, 1)) as lock, Coordinator(paths, lock) as made:
        yield made


def change(profile: str, seq: int, cost_of_it: int = 1, at_ms: int = 0) -> Change:
    """A change of which only its place and its cost are looked at."""
    return Change(profile, seq, "", "", str(cost_of_it), "{}", at_ms, f"{profile}{seq}")


def drawn(collected: dict[str, list[Change]], turn: int = 0) -> Rounds:
    return Rounds(collected, lambda each: int(each.body), turn)


def names(changes: list[Change]) -> list[tuple[str, int]]:
    return [(each.profile, each.seq) for each in changes]


def test_one_round_where_there_is_little() -> None:
    """In the order of their times, each shard's in its own."""
    found = drawn({"amy": [change("amy", 1, at_ms=5), change("amy", 2, at_ms=1)], "bob": [change("bob", 1, at_ms=3)]})
    assert names(found.next()) == [("bob", 1), ("amy", 1), ("amy", 2)]
    assert found.is_over and not found.are_left and found.next() == []


def test_a_clock_that_is_behind_takes_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FIRST_WEIGHT", 4)
    found = drawn({"eve": [change("eve", seq) for seq in range(1, 9)], "amy": [change("amy", 1, at_ms=9)]})
    assert names(found.next()) == [("eve", 1), ("eve", 2), ("amy", 1)]


def test_what_costs_much_comes_behind_the_others_and_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FIRST_WEIGHT", 30)
    collected = {
        "eve": [change("eve", 1, 10_000), change("eve", 2, 10_000)],
        "mal": [change("mal", 1, 10_000)],
        "amy": [change("amy", seq, 5) for seq in (1, 2, 3)],
    }
    found = drawn({profile: list(changes) for profile, changes in collected.items()})
    assert [names(found.next()) for _ in range(5)] == [
        [("amy", 1), ("amy", 2)],
        [("eve", 1)],
        [("amy", 3)],
        [("mal", 1)],
        [("eve", 2)],
    ]
    assert names(drawn({"eve": collected["eve"], "mal": collected["mal"]}, turn=1).next()) == [("mal", 1)]


def test_a_pass_ends_when_its_time_is_over_but_not_before_something_costly_had_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "FIRST_WEIGHT", 10)
    monkeypatch.setattr(rounds, "PASS_S", 0)
    found = drawn({"amy": [change("amy", seq) for seq in range(1, 30)], "eve": [change("eve", 1, 99)]})
    assert {each.profile for each in found.next()} == {"amy"}
    assert not found.is_over
    assert names(found.next()) == [("eve", 1)]
    assert found.is_over and found.are_left


@pytest.mark.parametrize("time_s", [0, 60])
def test_whatever_the_rounds_the_board_is_the_ledgers(
    paths: BoardPaths, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, time_s: float
) -> None:
    """Everything is decided once, in as many passes as it takes; and a replay in other portions gives the same."""
    monkeypatch.setattr(rounds, "FIRST_WEIGHT", 5)
    monkeypatch.setattr(rounds, "PASS_S", time_s)
    with Gateway("eve", home=paths.folder) as eve, Gateway("amy", home=paths.folder) as amy:
        parent = eve.create("many wait for it")
        for gateway in (eve, amy):
            for _ in range(15):
                gateway.create("waits", parents=[parent] if gateway is eve else ())
        for _ in range(3):
            eve._writer.write(parent, Complete())
            eve._writer.write(parent, Reopen())
        first = coordinator.make_pass()
        assert {decision.entry.change.profile for decision in first.decisions} == {"amy", "eve"}
        assert first.more == (time_s == 0)
        reports = [first]
        rest = coordinator.make_passes(reports.append)
        assert len(first.decisions) + rest.decided == 37 and not any(report.refused for report in reports)
    assert verify(paths).clean


def test_a_profile_that_came_late_is_decided_before_what_is_costly_goes_on(
    paths: BoardPaths, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One costly change for each pass, whatever else its author asks; amy is never behind a second one."""
    monkeypatch.setattr(rounds, "PASS_S", 0)
    monkeypatch.setattr(rounds, "FIRST_WEIGHT", 20)
    with Gateway("eve", home=paths.folder) as eve, Gateway("amy", home=paths.folder) as amy:
        parent = eve.create("many wait for it")
        for _ in range(60):
            eve.create("waits", parents=[parent])
        coordinator.make_passes()
        for _ in range(4):
            eve._writer.write(parent, Complete())
            eve._writer.write(parent, Reopen())
        for _ in range(8):
            amy.create("of amy's")
            report = coordinator.make_pass()
            assert [decision.entry.change.profile for decision in report.decisions] == ["amy", "eve"]
        assert not coordinator.make_pass().decisions


def test_many_that_are_due_or_over_come_in_parts(
    paths: BoardPaths, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "AT_ONCE", 5)
    monkeypatch.setattr(passing, "AT_ONCE", 5)
    with Gateway("amy", home=paths.folder) as amy:
        for _ in range(12):
            task_id = amy.create("later")
            amy._writer.write(task_id, Schedule(due_s=LATER_S))
            amy._writer.write(amy.create("runs"), Claim(lease_s=60))
        coordinator.make_passes()
        monkeypatch.setattr(coordinator._clock, "now_ms", lambda: (LATER_S + 1) * 1000)
        kinds = []
        while True:
            report = coordinator.make_pass()
            kinds.append(sorted({(each.entry.change.kind) for each in report.decisions}))
            assert len(report.decisions) <= 10
            if not report.more:
                break
        assert {task.status for task in amy.board.tasks()} == {"ready"}
        assert len(kinds) >= 3
    assert verify(paths).clean


# --- what deciding costs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [1, 10_000])
def test_many_children_are_promoted_as_few_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, many: int) -> None:
    """Both ways to do it give one board, row for row: also of those that wait for another one, are forced, or run."""
    tables = []
    for limit in (many, 10_000 if many == 1 else 1):
        monkeypatch.setattr(links, "MANY", limit)
        with closing(Game()) as game:
            _play(game)
            game.check()
            tables.append(dump(game._connection))
    assert tables[0] == tables[1]


def _play(game: Game) -> None:
    parent, other = game.make(), game.make()
    children = [game.make(parents=(parent,)) for _ in range(4)]
    game.apply("bingge", children[1], Link(parent=other))
    game.apply("bingge", children[2], Promote(force=True))
    game.apply("bingge", children[3], Promote(force=True))
    game.apply("bingge", children[3], Claim())
    game.apply("bingge", parent, Complete())
    assert [game.status(child) for child in children] == ["ready", "todo", "ready", "running"]
    game.apply("bingge", parent, Reopen())
    assert [game.status(child) for child in children] == ["todo", "todo", "ready", "running"]
    game.apply("bingge", parent, Archive())
    game.apply("bingge", parent, Delete())
    game.apply("bingge", other, Delete())
    assert [game.status(child) for child in children] == ["ready", "ready", "ready", "running"]
    plan = game.make(starts="triage")
    first, second = game.id(), game.id()
    planned = (PlannedChild(first, "first"), PlannedChild(second, "second", parents=(0,)))
    game.apply("bingge", plan, Decompose(children=planned))
    assert [game.status(task_id) for task_id in (plan, first, second)] == ["todo", "ready", "todo"]


def test_a_refusal_behind_many_leaves_nothing() -> None:
    """What was written for many at once is undone with the entry."""
    with closing(Game()) as game:
        parent = game.make()
        children = [game.make(parents=(parent,)) for _ in range(links.MANY)]
        game.apply("bingge", parent, Complete())
        assert {game.status(child) for child in children} == {"ready"}
        game.refuse("bingge", parent, Complete(), "wrong_status")
        assert {game.status(child) for child in children} == {"ready"}
        game.check()


def test_circles_are_found_from_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the way is, and where a search stops to try the other side."""
    monkeypatch.setattr(rows, "SEARCHED_FIRST", 2)
    with closing(Game()) as game:
        chain = [game.make()]
        for _ in range(12):
            chain.append(game.make(parents=(chain[-1],)))
        lone = game.make()
        for end in (1, 2, 5, 12):
            game.refuse("bingge", chain[0], Link(parent=chain[end]), "cycle")
        game.refuse("bingge", chain[3], Link(parent=chain[9]), "cycle")
        assert game.apply("bingge", chain[0], Link(parent=lone)) == {"linked": True}
        game.refuse("bingge", lone, Link(parent=chain[12]), "cycle")
        assert game.apply("bingge", chain[9], Link(parent=chain[3])) == {"linked": True}


def test_a_task_that_waits_for_many_is_not_looked_through_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished in any order, reopened and unlinked: what is remembered decides nothing."""
    monkeypatch.setattr(rows, "WORTH_REMEMBERING", 0)
    with closing(Game()) as game:
        parents = [game.make() for _ in range(6)]
        child = game.make(parents=tuple(parents))
        for parent in (*parents[:4], parents[5]):
            game.apply("bingge", parent, Complete())
            assert game.status(child) == "todo"
        game.apply("bingge", parents[0], Reopen())
        game.apply("bingge", parents[4], Complete())
        assert game.status(child) == "todo"
        game.apply("bingge", child, Unlink(parent=parents[0]))
        assert game.status(child) == "ready"
        game.check()


# --- files that are no shards ----------------------------------------------------------------------------------------


def test_thousands_of_files_that_are_no_shards(
    paths: BoardPaths, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is named, as ever; they are judged in as many passes as it takes, behind the shards that are known, and then
    a few of them in each pass."""
    with Gateway("amy", home=paths.folder) as amy:
        amy.create("first")
        coordinator.make_passes()
        for number in range(40):
            paths.shard(f"x{number}").write_bytes(b"no shard" * 1_000)
            os.utime(paths.shard(f"x{number}"), (1_700_000_000, 1_700_000_000))
        monkeypatch.setattr(collect, "COLLECTING_S", -1)
        monkeypatch.setattr(coordinator._collector, "_read_if_room", patient := _Counted(coordinator._collector))
        assert coordinator.make_pass().more
        monkeypatch.setattr(collect, "COLLECTING_S", 60)
        whole = coordinator.make_passes()
        assert {left.state for left in whole.skipped} == {QUARANTINED} and len(whole.skipped) == 40
        patient.profiles.clear()
        amy.create("second")
        report = coordinator.make_pass()
        assert [decision.entry.change.profile for decision in report.decisions] == ["amy"] and len(report.skipped) == 40
        assert patient.profiles[0] == "amy" and len(patient.profiles) <= 1 + collect.LOOKED_AT_AGAIN
        for _ in range(3):
            coordinator.make_pass()
        assert len(set(patient.profiles)) == 41, "each has its turn"
        patient.profiles.clear()
        paths.shard("x39").unlink()
        with Gateway("x39", home=paths.folder) as real:
            real.create("a shard now")
            assert [decision.entry.change.profile for decision in coordinator.make_pass().decisions] == ["x39"]


class _Counted:
    """``Collector._read_if_room``, and of whom it was called."""

    def __init__(self, collector: Collector) -> None:
        self._read = collector._read_if_room
        self.profiles: list[str] = []

    def __call__(self, profile: str, *given: object) -> bool:
        self.profiles.append(profile)
        return self._read(profile, *given)
