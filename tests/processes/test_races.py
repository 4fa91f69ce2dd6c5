"""Several processes at the same instant."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from kanban_shards import Board, Gateway


@pytest.mark.parametrize(("count", "with_daemon"), [(1_000, True), (100, False)])
def test_one_winner(home, paths, work, said, assert_clean, request, count: int, with_daemon: bool) -> None:
    """Of two claims on a ready task exactly one is applied; the loser wrote one change, and is told who won."""
    if with_daemon:
        request.getfixturevalue("daemon")
    with Gateway("planner", home=home) as planner:
        task_ids = [planner.create(f"task {number}") for number in range(count)]
        planner.sync()
    outcomes = _race(work, said, task_ids, ("amy", "bob"))
    won: Counter[str] = Counter()
    for task_id, claims in zip(task_ids, zip(*outcomes.values(), strict=True), strict=True):
        assert {claim["task"] for claim in claims} == {task_id}
        (winner,) = [claim["won"] for claim in claims if "won" in claim]
        (lost,) = [claim for claim in claims if "won" not in claim]
        won[winner] += 1
        assert lost["answer"]["owner"] == winner
        assert winner in lost["sentence"]
    with Board.open(home=home) as board:
        assert {task.owner for task in board.tasks()} == set(won)
        assert len(board.refusals(limit=count + 1)) == count
        assert {profile: board.watermarks()[profile][0] for profile in outcomes} == dict.fromkeys(outcomes, count)
    assert_clean()


def test_contiguous(home, paths, work, said, assert_clean, daemon) -> None:
    """Processes of one profile append at the same time: each seq is given once, none is left out, all are merged."""
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("busy")
        gateway.sync()
    processes = [work("append", "amy", task_id, 50) for _ in range(4)]
    seqs = [line["seq"] for process in processes for line in said(process)]
    assert sorted(seqs) == list(range(2, 202))
    with Gateway("amy", home=home) as gateway:
        gateway.sync()
        assert len(gateway.board.comments(task_id)) == 200
        assert gateway.board.watermarks()["amy"][0] == 201
    assert_clean()


@pytest.mark.parametrize("with_daemon", [True, False])
def test_threads_share_a_gateway(home, work, said, assert_clean, request, with_daemon: bool) -> None:
    """Threads of one gateway do what they would do one after the other."""
    if with_daemon:
        request.getfixturevalue("daemon")
    done = said(work("threads", "amy", 8))
    assert [line for line in done if "error" in line] == []
    with Board.open(home=home) as board:
        assert {(line["task"], line["run"]) for line in done} == {
            (task.id, board.runs(task.id)[0].id) for task in board.tasks(status="done")
        }
        assert len(done) == 8
    assert_clean()


def _race(work, said, task_ids: list[str], profiles: tuple[str, str]) -> dict[str, list[dict]]:
    """What each profile's claims came to, when both walk the same tasks and wait for each other before each."""
    mine, theirs = os.pipe(), os.pipe()
    ends = {profiles[0]: (mine[0], theirs[1]), profiles[1]: (theirs[0], mine[1])}
    racers = [work("race", profile, *ends[profile], pass_fds=ends[profile]) for profile in profiles]
    for descriptor in (*mine, *theirs):
        os.close(descriptor)
    for racer in racers:
        racer.stdin.write(" ".join(task_ids))
        racer.stdin.close()
        racer.stdin = None
    return dict(zip(profiles, map(said, racers), strict=True))
