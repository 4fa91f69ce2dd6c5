"""Boards: opened, made and removed, by Hermes's functions of these names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kanban_shards.errors import BoardInUse, BoardMissing, CoordinatorRunning, UnknownBoard
from kanban_shards.hermes import identity
from kanban_shards.hermes.connection import BoardConnection, Statements, open_board
from kanban_shards.hermes.errors import as_hermes_catches
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.paths import BoardPaths
from kanban_shards.unmerged import has_unmerged

# A board that another process is making is there within a moment.
MADE_WITHIN_S = 10.0
LOOK_EVERY_S = 0.02


def connected(hermes: Hermes, db_path: Path | None = None, *, board: str | None = None) -> BoardConnection:
    """The board, open for reading; made if it is missing, as Hermes does."""
    paths = identity.board_at(hermes.now.kanban_db_path(board) if db_path is None else Path(db_path))
    return _opened(paths)


def init_db(hermes: Hermes, db_path: Path | None = None, *, board: str | None = None) -> Path:
    """Make the board's files where they are missing; returns where its file is."""
    path = hermes.now.kanban_db_path(board) if db_path is None else Path(db_path)
    _opened(identity.board_at(path)).close()
    return path


@contextmanager
def write_txn(hermes: Hermes, conn: BoardConnection) -> Iterator[BoardConnection]:
    """What Hermes writes in one transaction; see shards/hermes/statements.py."""
    with as_hermes_catches(), conn.statements.transaction():
        yield conn


def append_event(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    kind: str,
    payload: dict[str, Any] | None = None,
    *,
    run_id: int | None = None,
) -> None:
    """An event that Hermes adds to what it wrote. A verb has written it already, or has no need of it."""
    conn.statements.event(task_id, kind)


def end_run(hermes: Hermes, conn: BoardConnection, task_id: str, **said: Any) -> int | None:
    """The run that the dashboard's move of the task has ended already."""
    return conn.statements.ended_run(task_id)


def recompute_ready(hermes: Hermes, conn: BoardConnection, failure_limit: int | None = None) -> int:
    """Nothing is left to promote: that is part of whatever a task waited for. What others wrote is merged first."""
    if has_unmerged(conn.paths, dict(conn.execute("SELECT profile, seq FROM merge_watermarks").fetchall())):
        identity.writer_of(conn.paths).merge_now()
    return 0


def remove_board(hermes: Hermes, slug: str, *, archive: bool = True) -> dict[str, Any]:
    """Put the board away, or delete it, while nobody is inside of its files. Raises ValueError for a board that there
    is not, and while a daemon or another process works on it."""
    from kanban_shards import boards

    named = hermes.now._normalize_board_slug(slug)
    if not named:
        raise ValueError("board slug is required")
    if named == hermes.now.DEFAULT_BOARD:
        raise ValueError("the 'default' board cannot be removed")
    root = hermes.now.kanban_home()
    identity.close_writers(BoardPaths.of(root, named).folder)
    try:
        kept = boards.remove_board(root, named, delete=not archive)
    except UnknownBoard as error:
        raise ValueError(f"board {named!r} does not exist") from error
    except (BoardInUse, CoordinatorRunning) as error:
        raise ValueError(str(error)) from error
    return {"slug": named, "action": "archived" if archive else "deleted", "new_path": str(kept or "")}


def _statements_of(conn: BoardConnection) -> Statements:
    from kanban_shards.hermes.statements import BoardStatements  # which a command that only reads does without

    return BoardStatements(conn)


def _opened(paths: BoardPaths) -> BoardConnection:
    """The board at ``paths``. It is made here, or by a coordinator that runs already, if there is none. Raises
    StorageError."""
    try:
        return open_board(paths, _statements_of)
    except BoardMissing:
        paths.make_folder()
    from kanban_shards import inline_merge

    until_s = time.monotonic() + MADE_WITHIN_S
    while True:
        try:
            inline_merge.make_files(paths)
        except CoordinatorRunning:
            if time.monotonic() > until_s:
                raise
            time.sleep(LOOK_EVERY_S)
        try:
            return open_board(paths, _statements_of)
        except BoardMissing:
            if time.monotonic() > until_s:
                raise
