"""Boards: opened, made and removed, by Hermes's functions of these names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kanban_shards.errors import BoardInUse, BoardMissing, BoardRenamed, CoordinatorRunning, UnknownBoard
from kanban_shards.hermes import identity
from kanban_shards.hermes.connection import BoardConnection, Statements
from kanban_shards.hermes.lending import borrow_made
from kanban_shards.hermes.tick import current_tick
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths
from kanban_shards.unmerged import has_unmerged

# Blocked by failures, of which they may have more by now.
_RECOVERABLE = (
    "SELECT id FROM tasks t WHERE status = 'blocked' AND consecutive_failures < coalesce(max_retries, ?) AND (SELECT "
    "kind FROM task_events e WHERE e.task_id = t.id AND kind IN ('blocked', 'unblocked', 'gave_up') ORDER BY id DESC "
    "LIMIT 1) = 'gave_up'"
)
# In todo, and waiting for nothing but the end of that.
_HELD = (
    "SELECT t.id FROM tasks t JOIN merge_tasks m ON m.task_id = t.id WHERE t.status = 'todo' AND m.due_s IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM task_links l JOIN tasks p ON p.id = l.parent_id WHERE l.child_id = t.id "
    "AND p.status NOT IN ('done', 'archived'))"
)


def connected(hermes: Hermes, db_path: Path | None = None, *, board: str | None = None) -> BoardConnection:
    """The board, open for reading; made if it is missing, as Hermes does."""
    paths = identity.board_at(hermes.now.kanban_db_path(board) if db_path is None else Path(db_path))
    return _opened(paths)


def init_db(hermes: Hermes, db_path: Path | None = None, *, board: str | None = None) -> Path:
    """Make the board's files where they are missing; returns where its file is."""
    path = hermes.now.kanban_db_path(board) if db_path is None else Path(db_path)
    _opened(identity.board_at(path)).close()
    return path


def recompute_ready(hermes: Hermes, conn: BoardConnection, failure_limit: int | None = None) -> int:
    """How many tasks go on: those that their failures had blocked, because by now they may have more, and, in a
    dispatcher's tick, those that are held although they wait for none. Else nothing is left to promote: that is part of
    whatever a task waited for. What others wrote is merged first."""
    if has_unmerged(conn.paths, dict(conn.execute("SELECT profile, seq FROM merge_watermarks").fetchall())):
        identity.writer_of(conn.paths).merge_now()
    limit = hermes.now.DEFAULT_FAILURE_LIMIT if failure_limit is None else int(failure_limit)
    able = [row["id"] for row in conn.execute(_RECOVERABLE, (limit,)).fetchall()]
    held = [row["id"] for row in conn.execute(_HELD).fetchall()] if current_tick() else []
    if not able and not held:
        return 0
    from kanban_shards.hermes.runs import let_go, recovered

    return sum(recovered(conn, task_id, limit) for task_id in able) + sum(let_go(conn, task_id) for task_id in held)


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
    identity.close_kept(BoardPaths.of(root, named).folder)
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
    BoardRenamed for a named one whose folder is not there, which Hermes makes first, and StorageError."""
    try:
        return BoardConnection(paths, _statements_of)
    except BoardMissing:
        if paths.slug != DEFAULT_BOARD and not paths.folder.is_dir():
            raise BoardRenamed(path=paths.folder, slug=paths.slug) from None
        paths.make_folder()
    return BoardConnection(paths, _statements_of, borrow_made)
