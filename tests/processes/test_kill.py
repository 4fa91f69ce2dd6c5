"""Kill -9, at any time, any number of times, in any process."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.ledger import Entry, FileLedger

KILLS = 20
PAUSE_S = (0.05, 0.3)
# Two processes of each profile, so that a kill also hits a shard that another process is about to write.
WORKERS = ("amy", "amy", "bob", "bob")


def test_no_lost_change_and_exactly_once(home, paths, work, start_daemon, assert_clean, tmp_path) -> None:
    """Whatever is killed whenever: each acknowledged change is in the ledger once and was applied once."""
    chance = random.Random(7)
    diaries: list[Path] = []

    def start_worker(profile: str):
        diaries.append(tmp_path / f"diary-{len(diaries)}")
        return work("work", profile, diaries[-1])

    workers = [(profile, start_worker(profile)) for profile in WORKERS]
    daemon = start_daemon()
    for _ in range(KILLS):
        time.sleep(chance.uniform(*PAUSE_S))
        victim = chance.randrange(len(workers) + 1)
        if victim == len(workers):
            _kill(daemon)
            daemon = start_daemon()
        else:
            profile, process = workers[victim]
            _kill(process)
            workers[victim] = (profile, start_worker(profile))
    for process in [daemon, *(process for _, process in workers)]:
        _kill(process)
    for profile in set(WORKERS):
        with Gateway(profile, home=home) as gateway:
            gateway.sync()

    acknowledged = [json.loads(line) for diary in diaries if diary.exists() for line in diary.read_text().splitlines()]
    assert {note["kind"] for note in acknowledged} == {"create", "comment", "claim", "complete"}
    _check_ledger(acknowledged, list(FileLedger(paths.ledger).after(0)))
    with Board.open(home=home) as board:
        _check_board(acknowledged, board)
    assert_clean()


def _check_ledger(acknowledged: list[dict], entries: list[Entry]) -> None:
    dots = Counter((entry.change.profile, entry.change.seq) for entry in entries)
    assert set(dots.values()) == {1}
    written = Counter((entry.change.profile, entry.change.kind, entry.change.task_id) for entry in entries)
    for note in acknowledged:
        assert written[note["profile"], note["kind"], note["task"]] == 1, note


def _check_board(acknowledged: list[dict], board: Board) -> None:
    comments = Counter(comment.task_id for task in board.tasks() for comment in board.comments(task.id))
    for note in acknowledged:
        task = board.task(note["task"])
        if note["kind"] == "comment":
            assert comments[note["task"]] == 1
            assert board.verdict(note["profile"], note["seq"]).verdict == "applied"
        elif note["kind"] == "claim":
            assert [run.id for run in board.runs(note["task"])] == [note["run"]]
        elif note["kind"] == "complete":
            assert (task.status, board.run(note["run"]).outcome) == ("done", "completed")


def _kill(process) -> None:
    process.kill()
    process.wait()
