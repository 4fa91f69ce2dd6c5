"""Boards to damage, with Hermes's own schema, and which of their rows lie on which pages."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from kanban_shards.coordinator.hermes.salvage.layouts import KNOWN
from kanban_shards.coordinator.hermes.salvage.pages import INDEX_LEAF, INDEX_NODE, TABLE_LEAF, TABLE_NODE, Form, Pages
from kanban_shards.migrations.board import HERMES_INDEXES, HERMES_TABLES

PAGE_BYTES = 4096
PROFILES = ("bingge", "pixiel", "mafei", None)
STATUSES = ("ready", "done", "blocked", "todo")
# Long enough to leave its page, and the pages after it.
LONG = "設計 review " * 900

Rows = dict[str, dict[tuple, tuple]]


def make_board(path: Path, tasks: int = 240, seed: int = 1) -> Path:
    """A board of ``tasks`` tasks with all that belongs to them; the last third was deleted, so it has free pages."""
    chance = random.Random(seed)
    board = sqlite3.connect(path, isolation_level=None)
    board.executescript(
        "BEGIN;" + ";".join(f"CREATE TABLE {name} ({columns})" for name, columns in HERMES_TABLES.items())
    )
    for name, target in HERMES_INDEXES.items():
        board.execute(f"CREATE INDEX {name} ON {target}")
    ids = [f"t_{number:08x}" for number in range(tasks + tasks // 2)]
    for number, task in enumerate(ids):
        add_task(board, task, chance, 1_700_000_000 + number)
        if number > 3:
            board.execute("INSERT INTO task_links VALUES (?, ?)", (ids[chance.randrange(number)], task))
    for task in ids[tasks:]:
        delete_task(board, task)
    board.execute("COMMIT")
    board.close()
    return path


def add_task(board: sqlite3.Connection, task: str, chance: random.Random, at: int) -> None:
    """A task with events, a comment, a run, a subscription and, sometimes, a text of several pages."""
    body = LONG if chance.random() < 0.05 else "é" * chance.randrange(300)
    board.execute(
        "INSERT INTO tasks (id, title, body, assignee, status, created_at, idempotency_key) VALUES (?,?,?,?,?,?,?)",
        (task, f"Title of {task}", body, chance.choice(PROFILES), chance.choice(STATUSES), at, f"key-{task}"),
    )
    run = board.execute(
        "INSERT INTO task_runs (task_id, profile, status, started_at, metadata) VALUES (?, 'bingge', 'done', ?, '{}')",
        (task, at),
    ).lastrowid
    for kind, run_id in (("created", None), ("claimed", run), ("completed", run)):
        payload = f'{{"task": "{task}"}}'
        board.execute(
            "INSERT INTO task_events (task_id, run_id, kind, payload, created_at) VALUES (?,?,?,?,?)",
            (task, run_id, kind, payload, at),
        )
    board.execute("INSERT INTO task_comments (task_id, author, body, created_at) VALUES (?, 'pixiel', ?, ?)",
                  (task, "comment " * chance.randrange(1, 20), at))  # fmt: skip
    board.execute(
        "INSERT INTO kanban_notify_subs (task_id, platform, chat_id, created_at) VALUES (?, 'telegram', ?, ?)",
        (task, str(at), at),
    )


def delete_task(board: sqlite3.Connection, task: str) -> None:
    """Remove a task as Hermes does: with all that belongs to it."""
    for table in ("task_events", "task_comments", "task_runs", "kanban_notify_subs"):
        board.execute(f"DELETE FROM {table} WHERE task_id = ?", (task,))
    board.execute("DELETE FROM task_links WHERE parent_id = ?1 OR child_id = ?1", (task,))
    board.execute("DELETE FROM tasks WHERE id = ?", (task,))


def rows_of(path: Path) -> Rows:
    """Each table's rows by what identifies them; those of tables without numbers by all they hold."""
    board = sqlite3.connect(path)
    try:
        found: Rows = {}
        for table in HERMES_TABLES:
            columns = [name for (name,) in board.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            keys = [name for (name,) in board.execute("SELECT name FROM pragma_table_info(?) WHERE pk", (table,))]
            places = [columns.index(key) for key in keys] or range(len(columns))
            selected = board.execute(f"SELECT * FROM {table}") if columns else ()  # an older release has fewer tables
            found[table] = {tuple(row[place] for place in places): row for row in selected}
        return found
    finally:
        board.close()


def pages_of_rows(path: Path) -> dict[str, dict[tuple, set[int]]]:
    """On which pages each row of a sound board lies, by the same keys as ``rows_of`` gives."""
    from kanban_shards.coordinator.hermes.salvage.pages import record
    from kanban_shards.coordinator.hermes.salvage.schema import read_schema
    from kanban_shards.coordinator.hermes.salvage.trees import TableTree, VisitedPages

    found: dict[str, dict[tuple, set[int]]] = {}
    with Pages(path, Form(PAGE_BYTES)) as pages:
        schema = read_schema(pages, VisitedPages(pages))
        for table in HERMES_TABLES:
            layout = schema.layouts[table]
            overflow = {
                (page.number, cell.key): set(cell.overflow)
                for page in map(pages.page, range(1, pages.count + 1))
                if page is not None and page.kind == TABLE_LEAF
                for cell in page.cells
            }
            for row in TableTree(pages, schema.roots[table], layout, VisitedPages(pages), ()).rows():
                named = layout.row(row.key, record(row.payload, "utf-8"))
                keys = [column.name for column in KNOWN[table].columns if column.rowid] or _KEYS[table]
                found.setdefault(table, {})[tuple(named[key] for key in keys)] = {
                    row.page, *overflow[row.page, row.key]
                }  # fmt: skip
    return found


def pages_by_kind(path: Path) -> dict[str, list[int]]:
    """The numbers of the pages of a sound board: its table and index pages, free pages, and the rest."""
    kinds = {TABLE_LEAF: "leaf", TABLE_NODE: "node", INDEX_LEAF: "index", INDEX_NODE: "index"}
    found: dict[str, list[int]] = {"leaf": [], "node": [], "index": [], "free": [], "other": []}
    with Pages(path, Form(PAGE_BYTES)) as pages:
        free, whole = pages.free()
        assert whole
        for number in range(1, pages.count + 1):
            kind = pages.bytes_of(number)[100 if number == 1 else 0]
            found["free" if number in free else kinds.get(kind, "other")].append(number)
    return found


_KEYS = {
    "tasks": ["id"],
    "task_links": ["parent_id", "child_id"],
    "kanban_notify_subs": ["task_id", "platform", "chat_id", "thread_id"],
}
