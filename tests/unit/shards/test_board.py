"""The board, for reading: by anyone, at any time, and nothing is written by it."""

from __future__ import annotations

import threading

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.bell import Ringer
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.errors import BoardMissing, UnknownBoard
from kanban_shards.paths import BoardPaths
from kanban_shards.queries import SORTS


def test_no_board_yet(home: str, paths: BoardPaths) -> None:
    with pytest.raises(BoardMissing, match="the first task that is created"):
        Board.open(home=home)
    with pytest.raises(UnknownBoard):
        Board.open(home=home, board="typo")
    assert list(paths.folder.iterdir()) == []


def test_filters(gateway: Gateway) -> None:
    first = gateway.create("b", assignee="bob", tenant="acme", session_id="s", priority=1)
    second = gateway.create("a", assignee="cleo", starts="triage", priority=2)
    gateway.sync()
    board = gateway.board
    assert [task.id for task in board.tasks()] == [second, first]
    assert [task.id for task in board.tasks(limit=1)] == [second]
    ways = [("assignee", "bob"), ("tenant", "acme"), ("session_id", "s"), ("status", "ready"), ("sort", "priority")]
    for found in (dict([way]) for way in ways):
        assert board.tasks(**found)[0].id == first
    assert board.tasks(assignee="bob", status="triage") == []
    assert {tuple(sorted(task.id for task in board.tasks(sort=sort))) for sort in SORTS} == {
        tuple(sorted([first, second]))
    }


def test_what_is_not_there(gateway: Gateway) -> None:
    gateway.create("x")
    gateway.sync()
    board = gateway.board
    assert board.task("t_00000000") is None
    assert board.run(99) is None
    assert board.verdict("amy", 99) is None
    assert board.runs("t_00000000") == board.comments("t_00000000") == board.events(after=99) == []


def test_events_in_pages(gateway: Gateway) -> None:
    """A cursor that follows the ids sees each event once."""
    task_id = gateway.create("x")
    for number in range(5):
        gateway.comment(task_id, str(number))
    gateway.sync()
    board, cursor, seen = gateway.board, 0, []
    while page := board.events(after=cursor, limit=2):
        seen += page
        cursor = page[-1].id
    assert seen == board.events()
    assert [event.kind for event in seen] == ["created"] + ["commented"] * 5
    assert board.last_event_id() == cursor
    assert len(board.events(kinds=["commented"], task_id=task_id)) == 5


def test_stats(gateway: Gateway) -> None:
    gateway.claim(gateway.create("x", assignee="amy"))
    gateway.create("y")
    gateway.sync()
    stats = gateway.board.stats()
    assert stats["by_status"] == {"ready": 1, "running": 1}
    assert stats["by_assignee"] == {"amy": {"running": 1}, "(unassigned)": {"ready": 1}}
    assert stats["oldest_ready_age_seconds"] >= 0


def test_follow(home: str, gateway: Gateway) -> None:
    """Each event comes as it is merged; the bell wakes the follower."""
    gateway.create("x")
    gateway.sync()
    with Board.open(home=home) as board:
        bell = board.bell()
        events = board.follow(bell, after=0)
        assert next(events).kind == "created"
        writer = threading.Thread(target=lambda: (gateway.create("y"), gateway.sync()))
        writer.start()
        assert next(events).id == 2
        writer.join()
        bell.close()


def test_a_rebuilt_board_is_read_by_who_has_it_open(home: str, paths: BoardPaths, gateway: Gateway) -> None:
    task_id = gateway.create("x")
    gateway.sync()
    with Board.open(home=home) as board:
        before = board.task(task_id)
        lock = locks.take(paths, locks.COMMAND, 0)
        rebuild(paths, lock)
        lock.close()
        assert board.task(task_id) == before
        gateway.claim(task_id)
        assert board.task(task_id).status == "running"


def test_a_closed_board_opens_again(home: str, gateway: Gateway) -> None:
    task_id = gateway.create("x")
    gateway.sync()
    board = Board.open(home=home)
    board.close()
    assert board.task(task_id).title == "x"
    with board.reading() as connection:
        assert connection.execute("SELECT count(*) FROM tasks").fetchone()[0] == 1
    board.close()
    board.close()


def test_threads_share_a_board(home: str, gateway: Gateway) -> None:
    task_ids = [gateway.create(str(number)) for number in range(5)]
    gateway.sync()
    wrong: list[object] = []
    with Board.open(home=home) as board:

        def read() -> None:
            for number, task_id in enumerate(task_ids * 20):
                task = board.task(task_id)
                if task is None or task.title != str(number % 5):
                    wrong.append(task)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert wrong == []


def test_a_waiting_bell_is_rung_by_a_pass(gateway: Gateway, paths: BoardPaths) -> None:
    bell = gateway.board.bell()
    gateway.create("x")
    gateway.sync()
    assert bell.wait(30)
    bell.close()
    ringer = Ringer()
    assert not ringer.ring(bell.path)
    ringer.close()
