"""What the board's state knows from one transaction to the next, and when it forgets that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.kinds import Claim, Complete, Link
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.coordinator.state import board_state, session
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import BoardPaths


@pytest.fixture
def coordinator(paths: BoardPaths) -> Iterator[Coordinator]:
    paths.make_folder()
    with holding(paths, COMMAND) as lock, Coordinator(paths, lock) as opened:
        yield opened


@pytest.fixture
def amy(paths: BoardPaths, coordinator: Coordinator) -> Iterator[Gateway]:
    with Gateway("amy", home=paths.folder) as gateway:
        yield gateway


def written_by_a_stranger(paths: BoardPaths, sql: str) -> None:
    """Around the triggers, as somebody may who knows them."""
    with closing(sqlite3.connect(paths.board)) as board, board:
        board.execute("UPDATE merge_state SET writing = 1")
        board.execute(sql)
        board.execute("UPDATE merge_state SET writing = 0")


def test_rows_and_watermarks_are_read_once(paths: BoardPaths, amy: Gateway, coordinator: Coordinator) -> None:
    task_id = amy.create("a task")
    coordinator.make_pass()
    seen: list[str] = []
    coordinator._connection.set_trace_callback(seen.append)
    amy.comment(task_id, "one")
    assert coordinator.make_pass().decisions[0].applied
    assert not [sql for sql in seen if "FROM merge_watermarks" in sql or "FROM tasks t JOIN" in sql]


def test_what_a_stranger_writes_is_read(paths: BoardPaths, amy: Gateway, coordinator: Coordinator) -> None:
    """It counts as what the board shows, until somebody makes the board again; and the daemon is told."""
    task_id = amy.create("a task")
    coordinator.make_pass()
    assert not coordinator.foreign_commit()
    written_by_a_stranger(paths, f"UPDATE tasks SET status = 'blocked' WHERE id = '{task_id}'")
    amy._writer.write_unseen(task_id, Claim())
    (decision,) = coordinator.make_pass().decisions
    assert decision.reason == "wrong_status"
    assert coordinator.foreign_commit() and not coordinator.foreign_commit()


def test_a_watermark_that_a_stranger_moved_is_read(paths: BoardPaths, amy: Gateway, coordinator: Coordinator) -> None:
    amy.create("a task")
    coordinator.make_pass()
    amy.create("another")
    written_by_a_stranger(paths, "UPDATE merge_watermarks SET seq = 7")
    report = coordinator.make_pass()
    assert not report.decisions and "older copy" in report.skipped[0].why


def test_a_transaction_that_fails_leaves_nothing_known(
    paths: BoardPaths, amy: Gateway, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it decided is in the ledger, and is decided again on the rows as they were."""
    task_id = amy.create("a task")
    coordinator.make_pass()
    commit = BoardState.commit

    def fails(self: BoardState, position: int, digest: str) -> None:
        raise OSError("the disk is gone")

    amy._writer.write_unseen(task_id, Claim())
    monkeypatch.setattr(BoardState, "commit", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        coordinator.make_pass()
    monkeypatch.setattr(BoardState, "commit", commit)
    amy.comment(task_id, "later")
    coordinator.make_pass()
    task = amy.board.known_task(task_id)
    assert (task.status, [run.id for run in amy.board.runs(task_id)]) == ("running", [1])
    assert verify(paths).clean


def test_so_many_rows_are_kept(
    paths: BoardPaths, amy: Gateway, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_state, "ROWS_KEPT", 3)
    for _ in range(8):
        amy.create("a task")
        coordinator.make_pass()
        assert len(coordinator.board._tasks._known) <= 3
    assert verify(paths).clean


def _statements(coordinator: Coordinator) -> list[str]:
    seen: list[str] = []
    coordinator._connection.set_trace_callback(seen.append)
    return seen


def test_links_of_a_task_that_has_none_are_asked_for_once(amy: Gateway, coordinator: Coordinator) -> None:
    """What is asked when its id is given tells that of the one that was made here; of others, one statement for all
    that a pass brings."""
    task_id = amy.create("a task")
    coordinator.make_pass()
    made = _statements(coordinator)
    amy._writer.write_unseen(task_id, Claim())
    amy._writer.write_unseen(task_id, Complete())
    assert all(decision.applied for decision in coordinator.make_pass().decisions)
    assert not [sql for sql in made if "task_links" in sql]
    others = [amy.create(f"task {number}") for number in range(3)]
    coordinator.make_pass()
    coordinator.board.forget()
    found = _statements(coordinator)
    for other in others:
        amy._writer.write_unseen(other, Claim())
        amy._writer.write_unseen(other, Complete())
    assert all(decision.applied for decision in coordinator.make_pass().decisions)
    assert len([sql for sql in found if "task_links" in sql]) == 1


def test_a_link_to_a_task_that_had_none_is_seen(amy: Gateway, coordinator: Coordinator) -> None:
    parent, child = amy.create("first"), amy.create("then")
    coordinator.make_pass()
    amy._writer.write(child, Link(parent=parent))
    coordinator.make_pass()
    amy._writer.write_unseen(child, Claim())
    assert [decision.reason for decision in coordinator.make_pass().decisions] == ["wrong_status"]
    amy._writer.write_unseen(parent, Complete())
    coordinator.make_pass()
    assert amy.board.task(child).status == "ready"


def test_a_chat_that_hears_of_a_task_does_not_hear_twice(amy: Gateway, coordinator: Coordinator) -> None:
    task_id = amy.create("a task")
    amy.subscribe(task_id, platform="telegram", chat_id="42")
    coordinator.make_pass()
    amy.subscribe(task_id, platform="telegram", chat_id="42")
    amy.subscribe(task_id, platform="telegram", chat_id="43")
    answers = [decision.answer for decision in coordinator.make_pass().decisions]
    assert answers == [{"subscribed": False}, {"subscribed": True}]


def test_what_is_remembered_of_the_board_is_bounded(
    paths: BoardPaths, amy: Gateway, coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REMEMBERED", 5)
    for number in range(12):
        amy.create(f"task {number}")
    coordinator.make_passes()
    assert len(coordinator.board._unlinked) <= 5 and len(coordinator.board._untold) <= 5
    assert verify(paths).clean
