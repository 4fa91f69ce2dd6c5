"""Held rows: what an entry wrote is seen by the next one at once, and by SQL as soon as SQL is asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from kanban_shards.coordinator.state.board_state import WORTH_UNGUARDING, BoardState
from kanban_shards.coordinator.state.write_buffer import HeldLog, HeldTable
from kanban_shards.storage import sqlite

CHAT = {"task_id": "t_00000001", "platform": "telegram", "chat_id": "42", "thread_id": ""}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    scratch = sqlite.open_scratch(sqlite.BOARD)
    yield scratch
    scratch.close()


@pytest.fixture
def board(connection: sqlite3.Connection) -> BoardState:
    state = BoardState(connection)
    state.open()
    return state


def make(board: BoardState, task_id: str = "t_00000001") -> None:
    board.add_task({"id": task_id, "title": "a", "status": "ready", "created_at": 1}, "amy", "amy")


def rows(board: BoardState, table: str) -> list[tuple]:
    return board._execute(f"SELECT * FROM {table}").fetchall()


def test_a_held_row_is_the_row_that_sqlite_makes_of_it(board: BoardState) -> None:
    """Defaults are read from the schema, so what a rule sees does not depend on whether the row is written."""
    board._begin()
    make(board)
    held = dict(board._tasks.get("t_00000001"))
    board._end()
    board._write_held()
    board._forget()
    assert board._tasks.get("t_00000001") == held
    assert (held["workspace_kind"], held["priority"], held["epoch"]) == ("scratch", 0, 1)


def test_an_undone_entry_leaves_nothing(board: BoardState) -> None:
    board._begin()
    make(board)
    board.add_event("t_00000001", "created")
    board._undo()
    board._end()
    assert board.task("t_00000001") is None
    assert rows(board, "tasks") == rows(board, "task_events") == []
    assert board.last_event_id() == 0


def test_an_undone_entry_that_was_written_already_leaves_nothing(board: BoardState) -> None:
    """A rule that read a table in the middle of what it wrote, and refused then."""
    board._begin()
    make(board, "t_00000001")
    board._end()
    board._begin()
    task = board.task("t_00000001")
    task["status"] = "running"
    board.save(task)
    make(board, "t_00000002")
    assert len(rows(board, "tasks")) == 2
    board._undo()
    board._end()
    assert board.task("t_00000001")["status"] == "ready"
    assert board.task("t_00000002") is None
    assert [row[0] for row in rows(board, "tasks")] == ["t_00000001"]


def test_a_refusal_keeps_what_earlier_entries_wrote(board: BoardState) -> None:
    board._begin()
    make(board)
    board.add_event("t_00000001", "created")
    board._end()
    board._begin()
    board.add_link("t_00000001", "t_00000002")
    board._undo()
    board._end()
    assert len(rows(board, "tasks")) == len(rows(board, "task_events")) == 1
    assert rows(board, "task_links") == []


def test_a_subscription_is_one_although_it_is_not_written(board: BoardState) -> None:
    columns = {**CHAT, "created_at": 1, "last_event_id": 0}
    for is_new in (True, False):
        board._begin()
        assert board.add_subscription(columns) is is_new
        board._end()
    board._begin()
    assert board.move_cursor(tuple(CHAT.values()), 7) == 7
    assert board.move_cursor(tuple(CHAT.values()), 3) == 7
    assert board.remove_subscription(tuple(CHAT.values()))
    assert not board.remove_subscription(tuple(CHAT.values()))
    board._end()
    assert rows(board, "kanban_notify_subs") == []


def test_a_transaction_that_is_abandoned_holds_nothing(board: BoardState) -> None:
    board._begin()
    make(board)
    board._end()
    board.abandon()
    board.open()
    assert board.task("t_00000001") is None
    assert rows(board, "tasks") == []


def test_a_row_is_written_once_with_what_became_of_it() -> None:
    table = HeldTable()
    table.add(1, {"id": 1, "status": "ready"})
    table.settle()
    table.change(1, {"status": "done"})
    table.settle()
    new, changed = table.take()
    assert (list(new), changed) == ([{"id": 1, "status": "done"}], {})
    table.change(1, {"status": "archived"})
    table.change(2, {"status": "done"})
    table.settle()
    new, changed = table.take()
    assert (list(new), changed) == ([], {1: {"status": "archived"}, 2: {"status": "done"}})


def test_only_what_is_settled_is_taken() -> None:
    log = HeldLog("INSERT")
    log.add((1,))
    log.settle()
    log.add((2,))
    assert log.take() == [(1,)]
    log.undo()
    log.add((3,))
    log.settle()
    assert log.take() == [(3,)]


def test_a_strangers_trigger_stays_while_the_guards_are_down(connection: sqlite3.Connection) -> None:
    """Whoever keeps a full-text index of the board does so by triggers, and misses no row of a large batch."""
    connection.execute('CREATE TABLE "seen events" (id)')
    then = 'BEGIN INSERT INTO "seen events" VALUES (new.id); END'
    connection.execute(f'CREATE TRIGGER "their own" AFTER INSERT ON task_events {then}')
    before = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    state = BoardState(connection)
    state.open(WORTH_UNGUARDING)
    state.add_event("t_00000001", "created")
    state._end()
    state.commit(0, "")
    assert connection.execute('SELECT count(*) FROM "seen events"').fetchone() == (1,)
    assert connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall() == before
