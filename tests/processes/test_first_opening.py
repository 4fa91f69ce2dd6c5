"""Many processes that open a board which is not there yet, at the same instant."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Queue

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.merge import coordinator
from kanban_shards.inline_merge import make_files
from kanban_shards.paths import BoardPaths

ROUNDS = 12
WHO = ("make", "make", "write", "look", "look")


def _rounds(who: str, number: int, home: Path, together: Barrier, found: Queue) -> None:
    """What one process does in each round, all of them at once; it says what went wrong, or that nothing did."""
    wrong: list[str] = []
    for round_ in range(ROUNDS):
        paths = BoardPaths(home / str(round_))
        together.wait(60)
        try:
            if who == "make":
                make_files(paths)
            elif who == "write":
                with Gateway(f"amy{number}", paths=paths) as gateway:
                    gateway.make("a task")
            else:
                _look(paths)
        except Exception as error:
            wrong.append(f"{who} in round {round_}: {error!r}")
    found.put(wrong)


def _look(paths: BoardPaths) -> None:
    """Read as any tool reads, from before the board is there until it is."""
    while True:
        try:
            with closing(sqlite3.connect(f"file:{paths.board}?mode=ro", uri=True, timeout=10)) as connection:
                connection.execute("SELECT count(*) FROM tasks").fetchone()
                return
        except sqlite3.OperationalError as error:
            if "unable to open" not in str(error):
                raise


def test_nobody_meets_half_a_board(tmp_path: Path) -> None:
    """Of those who make it each finds it made, and who only looks finds none or a whole one."""
    for round_ in range(ROUNDS):
        (tmp_path / str(round_)).mkdir()
    spawn = get_context("spawn")
    together, found = spawn.Barrier(len(WHO)), spawn.Queue()
    given = [(who, number, tmp_path, together, found) for number, who in enumerate(WHO)]
    processes = [spawn.Process(target=_rounds, args=each) for each in given]
    for process in processes:
        process.start()
    wrong = [each for _ in processes for each in found.get(timeout=120)]
    for process in processes:
        process.join(60)
    assert wrong == []


def test_a_board_gets_its_name_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is made, there is no file at its name; and what a killed maker left is made anew."""
    paths = BoardPaths(tmp_path)
    seen: list[bool] = []
    put_in_place = coordinator.make_first_board

    def watched(of: BoardPaths, lock: object) -> None:
        seen.append(paths.board.exists())
        put_in_place(of, lock)
        seen.append(paths.board.exists())

    (tmp_path / "kanban.db.making").write_bytes(b"half")
    monkeypatch.setattr(coordinator, "make_first_board", watched)
    threads = [threading.Thread(target=make_files, args=(paths,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False, True]
    assert not list(tmp_path.glob("*.making*"))
