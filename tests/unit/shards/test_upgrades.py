"""A newer program migrates a file that an older process has open; and what a board keeps over Hermes and back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import QUARANTINED
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import SchemaMoved
from kanban_shards.paths import BoardPaths
from kanban_shards.queries import TaskQuery
from kanban_shards.storage import sqlite
from tests.legacy import write_legacy

TASK = {"id": "t_0123456789abcdef", "title": "Hermes's", "status": "ready", "created_at": 1_700_000_000}


def _migrate(path: Path, role: sqlite.Role) -> int:
    """As a newer program does, with a column more; returns how many rows a later writer must leave alone."""
    table = "changes" if role is sqlite.SHARD else "entries" if role is sqlite.LEDGER else "tasks"
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"ALTER TABLE {table} ADD COLUMN newer TEXT")
        file.execute(f"PRAGMA user_version={role.schema + 1}")
    return _rows(path, table)


def _rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_a_gateway_of_before_writes_no_more(paths: BoardPaths, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        task = amy.create("of before")
        amy.sync()
        before = _migrate(paths.shard("amy"), sqlite.SHARD)
        for write in (lambda: amy.comment(task, "late"), lambda: amy.claim(task), lambda: amy.edit(task, title="x")):
            with pytest.raises(SchemaMoved, match="restart this process") as raised:
                write()
            assert (raised.value.path, raised.value.exit_code) == (paths.shard("amy"), 3)
        assert _rows(paths.shard("amy"), "changes") == before


def test_a_gateway_of_before_looks_no_more_at_a_board(paths: BoardPaths, home: str) -> None:
    """So nothing that asks for what the board shows is written. What only adds need not look: its shard is still of
    before, and a newer program reads those."""
    with Gateway("amy", home=home) as amy:
        task = amy.create("of before")
        amy.sync()
        _migrate(paths.board, sqlite.BOARD)
        before = _rows(paths.shard("amy"), "changes")
        for write in (lambda: amy.claim(task), lambda: amy.edit(task, title="x")):
            with pytest.raises(SchemaMoved, match="restart this process") as raised:
                write()
            assert (raised.value.path, raised.value.exit_code) == (paths.board, 3)
        assert _rows(paths.shard("amy"), "changes") == before


def test_a_reader_of_before_reads_no_more(paths: BoardPaths, home: str) -> None:
    with Gateway("amy", home=home) as amy:
        amy.create("of before")
        amy.sync()
    with Board(paths) as board:
        assert len(board.tasks()) == 1
        _migrate(paths.board, sqlite.BOARD)
        with pytest.raises(SchemaMoved):
            board.tasks()


@pytest.mark.parametrize("which", ["board", "ledger"])
def test_a_coordinator_of_before_merges_no_more(paths: BoardPaths, home: str, which: str) -> None:
    """Its lock keeps newer coordinators out, but not whoever took the lock file for stale."""
    with Gateway("amy", home=home) as amy:
        amy.create("of before")
        amy.sync()
    path, role = {"ledger": (paths.ledger, sqlite.LEDGER), "board": (paths.board, sqlite.BOARD)}[which]
    with locks.holding(paths, locks.COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.make_pass()
        _migrate(path, role)
        with pytest.raises(SchemaMoved, match="restart this process"):
            coordinator.make_pass()


def test_a_coordinator_of_before_leaves_a_newer_shard(paths: BoardPaths, home: str) -> None:
    """That shard alone, with a sentence; a newer coordinator reads it."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        amy.create("of before")
        amy.sync()
        bob.create("of bob's")
        bob.sync()
    with locks.holding(paths, locks.COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.make_pass()
        _migrate(paths.shard("amy"), sqlite.SHARD)
        (left,) = coordinator.make_pass().skipped
    assert (left.profile, left.state, "restart this process" in left.why) == ("amy", QUARANTINED, True)


@pytest.mark.parametrize("words", [(), ("--original",)])
def test_limits_outlive_the_way_to_hermes_and_back(
    home: str, paths: BoardPaths, kanban, kanban_merge, words: tuple[str, ...]
) -> None:
    write_legacy(paths.board, {"tasks": [TASK]})
    limits = {"failure_limit": 3, "max_in_progress": 8}
    assert kanban_merge("adopt").returncode == 0
    assert kanban("-p", "amy", "limits", "--max-in-progress", 8, "--failure-limit", 3).returncode == 0
    gone = kanban_merge("restore-legacy", *words)
    assert "so are its limits, until it is adopted again: failure_limit 3, max_in_progress 8" in gone.stdout
    assert json.loads(kanban_merge("adopt", "--json").stdout)["limits"] == limits
    paths.ledger.unlink()
    assert kanban_merge("repair", "--ledger").returncode == 0, "the board keeps that change, too"
    assert kanban_merge("verify").returncode == 0
    with Board(paths) as board:
        assert board.settings() == limits


def test_no_limits_are_said_of_a_board_without(home: str, paths: BoardPaths, kanban_merge) -> None:
    write_legacy(paths.board, {"tasks": [TASK]})
    assert "the limits of before" not in kanban_merge("adopt").stdout
    assert "its limits" not in kanban_merge("restore-legacy").stdout


def test_a_board_and_a_snapshot_of_before_are_brought_up_to_date(paths: BoardPaths, home: str) -> None:
    """The board by whoever makes the next pass; the snapshot, which nobody writes, wherever a replay starts from it."""
    with Gateway("amy", home=home) as amy:
        for number in range(3):
            amy.create(f"task {number}")
        amy.sync()
    with locks.holding(paths, locks.COMMAND) as lock:
        compact(paths, lock, 2**53)
    for path in (paths.board, paths.snapshot):
        _as_first_made(path)
    with ReplayedHistory(paths) as history, history.board_at(position=3) as past:
        assert len(past.page(TaskQuery(), limit=9).tasks) == 3
    with Board(paths) as board:
        assert len(board.page(TaskQuery(), limit=2).tasks) == 2  # before anybody brought it up to date
        assert board.workers() == board.workers(board.tasks()[0].id) == []
        assert (board.homes(), board.home_of("amy")) == ({}, None)
    with Gateway("amy", home=home) as amy:
        amy.create("one more")
        amy.sync()
    with locks.holding(paths, locks.COMMAND) as lock:
        rebuild(paths, lock)
    assert verify(paths).clean
    with closing(sqlite3.connect(paths.board)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (sqlite.BOARD.schema,)
        assert file.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'merge_order'").fetchone() == (1,)
        assert file.execute("SELECT count(*) FROM tasks").fetchone() == (4,)


def _as_first_made(path: Path) -> None:
    """The file as the first schema of a board had it."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP INDEX merge_order")
        file.execute("DROP TABLE merge_homes")
        file.execute("DROP TABLE merge_files")
        file.execute("ALTER TABLE merge_tasks DROP COLUMN grace_s")
        file.execute("DELETE FROM _sqlite_migrations WHERE name NOT IN ('m001_tables', 'm002_keep_out')")
        file.execute("PRAGMA user_version=1")
