"""Former files: what one holds that the file in its place lacks, so that nothing goes unsaid when it is set aside."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from itertools import zip_longest
from pathlib import Path

from kanban_shards.coordinator.errors import BoardAhead
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.snapshots import read_start
from kanban_shards.coordinator.recovery.lineage import stop_at_damage
from kanban_shards.errors import Damaged
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite
from kanban_shards.storage.locks import FileLock

# Tasks by their ids, each with its title.
Tasks = dict[str, str]

_ON_A_BOARD = "SELECT id, title FROM tasks ORDER BY rowid"
_IN_A_LEDGER = (
    "SELECT task_id, coalesce(json_extract(body, '$.title'), json_extract(body, '$.task.title'), '') FROM entries "
    "WHERE kind IN ('create', 'import_task') UNION ALL "
    "SELECT json_extract(value, '$.id'), json_extract(value, '$.title') "
    "FROM entries, json_each(body, '$.children') WHERE kind = 'decompose'"
)
_KNOWN = "SELECT id FROM tasks UNION SELECT task_id FROM merge_tombstones UNION SELECT task_id FROM merge_kept"
_NOT_REPLAYED = ("_sqlite_migrations",)


def check_not_ahead(paths: BoardPaths, ledger: FileLedger) -> None:
    """Raise BoardAhead if the board can be read and stands where ``ledger`` does not lead. One from before the ledger
    begins cannot be judged, and passes."""
    shown = None
    with (
        stop_at_damage(),
        closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board,
        connections.explained(paths.board),
    ):
        shown = read_start(board)
    if shown is None or shown.position < ledger.base()[0]:
        return
    if shown.position > ledger.head()[0] or ledger.digest_at(shown.position) != shown.digest:
        raise BoardAhead(path=paths.board, shown=shown.position)


def tasks_in(path: Path, role: sqlite.Role) -> Tasks:
    """The tasks that a board, a snapshot or a ledger tells of, as far as it can be read; none if it is not there."""
    found: Tasks = {}
    with stop_at_damage(), closing(sqlite.open_reader(path, role)) as file, suppress(*connections.FAULTS):
        file.text_factory = lambda raw: raw.decode("utf-8", "replace")  # a title with a flipped bit is one all the same
        found.update(file.execute(_IN_A_LEDGER if role is sqlite.LEDGER else _ON_A_BOARD))
    return found


def lacking_on(board: sqlite3.Connection, tasks: Tasks) -> Tasks:
    """Those of ``tasks`` that ``board`` neither has, nor had, nor refused."""
    known = {task_id for (task_id,) in board.execute(_KNOWN)}
    return {task_id: title for task_id, title in tasks.items() if task_id not in known}


def lacking(paths: BoardPaths, tasks: Tasks) -> Tasks:
    """The same for the board that is in place."""
    with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board, connections.explained(paths.board):
        return lacking_on(board, tasks)


def replace_board(paths: BoardPaths, made: sqlite3.Connection, lock: FileLock) -> Path | None:
    """Put what ``made`` shows in the place of the board, inside its file if that can be opened; returns where the
    former one lies, if it was there and another. ``lock``: the coordinator's, held. Raises ForeignFile, DiskFull."""
    if files.is_empty(paths.board):
        return copies.put_copy(made, paths.board, sqlite.BOARD, lock)
    with suppress(Damaged):
        with closing(sqlite.open_writer(paths.board, sqlite.BOARD, lock)) as board:
            if _is_same(board, made):
                with connections.explained(paths.board):
                    copies.copy_over(made, board)  # its indexes may be damaged all the same
                return None
        return copies.overwrite(made, paths.board, sqlite.BOARD, lock)
    return copies.put_copy(made, paths.board, sqlite.BOARD, lock)


def tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every table that a replay fills, with the columns of its primary key, to order by."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    keys = []
    for (name,) in names:
        if name in _NOT_REPLAYED:
            continue
        columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
        keys.append((name, ", ".join(column[1] for column in columns if column[5]) or "1"))
    return keys


def _is_same(board: sqlite3.Connection, other: sqlite3.Connection) -> bool:
    """Whether both hold the same rows in every table; not, if one cannot be read."""
    with suppress(*connections.FAULTS):
        for table, key in tables(other):
            sql = f"SELECT * FROM {table} ORDER BY {key}"
            if any(one != two for one, two in zip_longest(board.execute(sql), other.execute(sql))):
                return False
        return True
    return False
