"""Indexes that readers use and no rule does: left out of a board while it is made from nothing, as keeping each in
order row by row costs more than sorting it once."""

from __future__ import annotations

import sqlite3

# Without these, each statement of a rule finds its rows as directly (test_indexes.py).
FOR_READERS = (
    "idx_tasks_assignee_status", "idx_tasks_tenant", "idx_tasks_session_id", "idx_events_run", "idx_runs_status",
    "idx_notify_task", "merge_order",
)  # fmt: skip
_SQL = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?"


def leave_out(board: sqlite3.Connection) -> list[str]:
    """Drop FOR_READERS from a board that nobody reads yet, if it is empty: of one that is not, sorting all its rows
    may cost more than is gained. Returns the statements that ``make`` takes."""
    (position,) = board.execute("SELECT position FROM merge_state").fetchone()
    if position:
        return []
    statements = [board.execute(_SQL, (name,)).fetchone()[0] for name in FOR_READERS]
    for name in FOR_READERS:
        board.execute(f"DROP INDEX {name}")
    return statements


def make(board: sqlite3.Connection, statements: list[str]) -> None:
    """Make the indexes that ``leave_out`` dropped."""
    for sql in statements:
        board.execute(sql)
