"""Export: what is on the board as a stock Hermes file, or as JSON Lines, whole or not at all.

The file has Hermes 0.19.0's tables, columns and indexes and nothing else. Columns that later versions of Hermes added
are there only where a row has something in them, so that nothing is lost on the way.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kanban_shards.coordinator.hermes.legacy import LATER_COLUMNS, columns_of, digest, stock_schema
from kanban_shards.coordinator.state.session import COUNTED
from kanban_shards.errors import AlreadyThere, CannotOpen
from kanban_shards.migrations.board import HERMES_TABLES
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite
from kanban_shards.storage.filesystems import GROUP_READS
from kanban_shards.storage.folders import Folder, free_name

HERMES, JSON_LINES = "hermes", "jsonl"
# In what order the rows of each table are told.
_ORDER = {
    "tasks": "id",
    "task_links": "parent_id, child_id",
    "task_comments": "id",
    "task_events": "id",
    "task_runs": "id",
    "task_attachments": "id",
    "kanban_notify_subs": "task_id, platform, chat_id, thread_id",
}


@dataclass(frozen=True)
class Exported:
    """What an export wrote: rows by table, the ledger position that the board showed, and a digest of the rows, None
    for JSON Lines."""

    path: Path
    rows: dict[str, int]
    position: int
    digest: str | None


def export(paths: BoardPaths, target: Path, format: str = HERMES) -> Exported:
    """Write what the board shows now into the new file ``target``. Never in place of a file that is there.

    Raises AlreadyThere, BoardMissing, CannotOpen, DiskFull.
    """
    if os.path.lexists(target):
        raise AlreadyThere(path=target)
    making = target.with_name(free_name(target.name))
    with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board:
        try:
            with connections.explained(paths.board), connections.one_state(board):
                (position,) = board.execute("SELECT position FROM merge_state").fetchone()
                found = _write_lines(board, making) if format == JSON_LINES else _write_board(board, making)
            files.give_name(making, target)
        finally:
            files.discard(making)
    return Exported(target, found[0], position, found[1])


def _write_board(board: sqlite3.Connection, making: Path) -> tuple[dict[str, int], str]:
    made = copies.make_foreign(making)
    with closing(made), connections.explained(making):
        with connections.transaction(made):
            for statement in stock_schema(_later_in_use(board)):
                made.execute(statement)
            rows = {table: _copy(board, made, table) for table in HERMES_TABLES}
            for name, last in board.execute("SELECT name, seq FROM sqlite_sequence").fetchall():
                if name in COUNTED and last:
                    made.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
                    made.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last))
        return rows, digest(made)


def _later_in_use(board: sqlite3.Connection) -> set[tuple[str, str]]:
    defaults = {(table, column.name): column.default for table in LATER_COLUMNS for column in columns_of(table)}
    return {
        (table, name)
        for table, names in LATER_COLUMNS.items()
        for name in names
        if board.execute(f"SELECT 1 FROM {table} WHERE {name} IS NOT ? LIMIT 1", (defaults[table, name],)).fetchone()
    }


def _copy(board: sqlite3.Connection, made: sqlite3.Connection, table: str) -> int:
    names = [row[1] for row in made.execute(f"PRAGMA table_info({table})")]
    # As they lie: Hermes shows tasks of one age in that order.
    rows = board.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY rowid")
    return made.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", rows).rowcount


def _write_lines(board: sqlite3.Connection, making: Path) -> tuple[dict[str, int], None]:
    counts = dict.fromkeys(HERMES_TABLES, 0)
    try:
        with (
            Folder.given(making.parent) as folder,
            open(folder.new_file(making.name, folder.mode_for(GROUP_READS)), "w", encoding="utf-8") as file,
        ):
            for table, row in _rows(board):
                counts[table] += 1
                file.write(json.dumps({"table": table, **row}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CannotOpen(path=making, problem=error.strerror or str(error)) from error
    return counts, None


def _rows(board: sqlite3.Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    for table, order in _ORDER.items():
        cursor = board.execute(f"SELECT * FROM {table} ORDER BY {order}")
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield table, dict(zip(names, row, strict=True))
