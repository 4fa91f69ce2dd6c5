"""Which indexes a board is made without, and that no rule misses them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding
from kanban_shards.coordinator.merge.replay import replay, replayed
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.state import indexes
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from tests.rules.test_version import entries_of_the_history

_LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+\b")


def _schema(board: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(board.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def _statements_of_rules() -> list[str]:
    """One of each kind that deciding the whole history takes, as it was executed."""
    seen: list[str] = []
    with closing(sqlite.open_scratch(sqlite.BOARD)) as scratch:
        state = BoardState(scratch)
        scratch.set_trace_callback(seen.append)
        for entry in entries_of_the_history():  # one by one, so that nothing is known from memory
            replay(state, [entry])
            state.forget()
    asked = (sql for sql in seen if sql.startswith(("SELECT", "WITH", "UPDATE", "DELETE")))
    return list({_LITERAL.sub("?", sql): sql for sql in asked}.values())


def _scans(board: sqlite3.Connection, sql: str) -> list[str]:
    """The tables that the statement would read from end to end."""
    return sorted(
        row[3].split(" USING")[0] for row in board.execute(f"EXPLAIN QUERY PLAN {sql}") if row[3].startswith("SCAN")
    )


def test_no_statement_of_a_rule_reads_more_without_them() -> None:
    statements = _statements_of_rules()
    assert len(statements) > 40
    with (
        closing(sqlite.open_scratch(sqlite.BOARD)) as whole,
        closing(sqlite.open_scratch(sqlite.BOARD)) as bare,
    ):
        assert len(indexes.leave_out(bare)) == len(indexes.FOR_READERS)
        for sql in statements:
            assert _scans(bare, sql) == _scans(whole, sql), sql


def test_the_check_finds_an_index_that_a_rule_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "FOR_READERS", ("idx_runs_task", "idx_tasks_idempotency"))
    with pytest.raises(AssertionError):
        test_no_statement_of_a_rule_reads_more_without_them()


def test_a_board_that_is_made_again_has_every_index(paths: BoardPaths) -> None:
    paths.make_folder()
    with Gateway("amy", home=paths.folder) as amy, holding(paths, COMMAND) as lock:
        amy.create("a task")
        with Coordinator(paths, lock) as coordinator:
            coordinator.make_passes()
        with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board:
            before = _schema(board)
        rebuild(paths, lock)
        with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board:
            assert _schema(board) == before
        with closing(FileLedger(paths.ledger)) as ledger, replayed(paths, ledger) as (scratch, entries):
            assert entries == 1 and _schema(scratch) == before


def test_a_board_with_rows_keeps_its_indexes() -> None:
    with closing(sqlite.open_scratch(sqlite.BOARD)) as board:
        replay(BoardState(board), entries_of_the_history())
        before = _schema(board)
        assert indexes.leave_out(board) == []
        assert _schema(board) == before
