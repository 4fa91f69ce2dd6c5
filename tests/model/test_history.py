"""The past: at any position, the board that is shown is what the board was then, row for row."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import HistoryGone
from kanban_shards.coordinator.history import keyframes
from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.replay import replayed
from kanban_shards.past import PastBoard
from kanban_shards.paths import COORDINATOR
from tests.evidence import Shown, Standing, board_tables, dump, made_by, walk
from tests.model.worlds import a_world
from tests.simulation.changes import Pool, any_kind, drawn
from tests.simulation.world import World

LOOKS = 200


@pytest.fixture(autouse=True)
def many_keyframes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay of some entries leaves a keyframe already."""
    monkeypatch.setattr(keyframes, "LEAST_ENTRIES", 20)
    monkeypatch.setattr(keyframes, "ENTRIES_PER_PAGE", 0)


def test_every_position_is_shown_as_it_was(tmp_path: Path) -> None:
    """200 positions in any order, by one reader that keeps boards and keyframes, while the board goes on."""
    chance = random.Random(3)
    with a_world() as world, ReplayedHistory(world.paths, tmp_path / "a" / "b" / "c") as history:
        was = _work(world, chance, 150)
        _look(history, was, world, chance, LOOKS // 2)
        was |= _work(world, chance, 50)
        _look(history, was, world, chance, LOOKS // 2)
        assert list((tmp_path / "a" / "b" / "c").glob("*/*.db")), "nothing was kept, so nothing of it was tried"


def test_a_compacted_board_is_shown_from_its_snapshot_on(tmp_path: Path) -> None:
    chance = random.Random(7)
    with a_world() as world:
        was = _work(world, chance, 120)
        world.now_ms += 1_000_000
        was |= _work(world, chance, 80)
        with ReplayedHistory(world.paths, tmp_path / "a" / "b" / "c") as history:
            _look(history, was, world, chance, 20)  # keyframes from before what is dropped
            world.compact(keep_ms=500_000)
            was |= _work(world, chance, 40)
            span = history.span()
            assert 0 < span.first < span.last == max(was)
            _look(history, {position: board for position, board in was.items() if position >= span.first},
                  world, chance, LOOKS // 4)  # fmt: skip
            for gone in (0, span.first - 1):
                with pytest.raises(HistoryGone), history.board_at(position=gone):
                    pass
            with pytest.raises(HistoryGone):
                history.position_at(1)


@pytest.mark.parametrize("seed", [0, 2])
def test_the_history_of_a_task_is_what_the_oracle_saw(seed: int, tmp_path: Path) -> None:
    """Each change of each task, with its verdict and with what its author had missed."""
    chance = random.Random(seed)
    with a_world() as world, ReplayedHistory(world.paths, tmp_path) as history:
        _work(world, chance, 250)
        expected: dict[str, list[tuple[int, str | None, dict[str, int]]]] = {}
        for shown, standings in walk(world.check()):
            for task_id in dict.fromkeys([shown.task_id, *(made_by(shown) if shown.applied else [])]):
                told = (shown.entry.position, shown.reason, _missed(shown, standings.get(task_id)))
                expected.setdefault(task_id, []).append(told)
        for task_id in expected.keys() - {""}:
            changes = history.of_task(task_id).changes
            assert [(each.position, each.reason, each.missed) for each in changes] == expected[task_id], task_id
            assert [each.verdict == "applied" for each in changes] == [each.reason is None for each in changes]
            assert all(each.sentence and each.sentence.isprintable() for each in changes)
        reasons = {reason for told in expected.values() for _, reason, missed in told if missed}
        assert "stale" in reasons, "nobody missed anything, so nothing of it was tried"


def _missed(shown: Shown, task: Standing | None) -> dict[str, int]:
    """What the author of a change that decides by what it saw had not seen."""
    sees = shown.is_deciding and "run_id" not in shown.body and shown.kind not in ("create", "claim_next")
    if task is None or not sees or shown.profile == COORDINATOR or shown.kind == "import_task":
        return {}
    seen = json.loads(shown.entry.change.seen)
    return {profile: seq for profile, seq in task.vector.items() if seen.get(profile, 0) < seq}


def _work(world: World, chance: random.Random, changes: int) -> dict[int, dict]:
    """Changes of every kind by everybody; returns the board as it was after each pass, by position."""
    pool = Pool(tuple(sorted({writer.profile for writer in world.writers})))
    was = {}
    for number in range(changes):
        world.write(chance.choice(world.writers), *drawn(any_kind(chance), pool, chance), fresh=number % 3 > 0)
        world.now_ms += chance.choice((1, 1_000))
        if chance.random() < 0.3 or number == changes - 1:
            world.make_pass()
            was[world.position()] = board_tables(world.paths)
            if len(was) % 5 == 1:
                pool.learn(world.check())
    return was


def _look(history: ReplayedHistory, was: dict[int, dict], world: World, chance: random.Random, looks: int) -> None:
    """So many positions at random: what the board was where that is known, and else what a plain replay gives."""
    span = history.span()
    for _ in range(looks):
        position = chance.choice([chance.choice(sorted(was)), chance.randint(span.first, span.last)])
        with history.board_at(position=position) as board:
            assert board.position() == position
            found = dump(_database(board))
        if position in was:
            assert found == was[position], position
        else:
            with closing(FileLedger(world.paths.ledger)) as ledger, replayed(world.paths, ledger, position) as again:
                assert found == dump(again[0]), position


def _database(board: PastBoard) -> sqlite3.Connection:
    return board._open()
