"""One SQLite file for all profiles, written in plain SQL: what "one file, flock" and "one writer, queue" keep.

Each verb writes what Hermes's board keeps of it: the row itself, the run, and an event.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.peers import Outcome

BUSY_S = 120.0  # as long as hermes-agent waits
_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT, assignee TEXT, status TEXT NOT NULL, created_by TEXT,
    created_at INTEGER NOT NULL, started_at INTEGER, completed_at INTEGER, claim_lock TEXT, current_run_id INTEGER,
    result TEXT);
CREATE TABLE IF NOT EXISTS task_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, profile TEXT, status TEXT NOT NULL,
    started_at INTEGER NOT NULL, ended_at INTEGER, outcome TEXT, summary TEXT);
CREATE TABLE IF NOT EXISTS task_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, run_id INTEGER, kind TEXT NOT NULL, payload TEXT,
    created_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS task_comments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, author TEXT NOT NULL, body TEXT NOT NULL,
    created_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS kanban_notify_subs (
    task_id TEXT NOT NULL, platform TEXT NOT NULL, chat_id TEXT NOT NULL, notifier_profile TEXT,
    created_at INTEGER NOT NULL, last_event_id INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (task_id, platform, chat_id));
CREATE INDEX IF NOT EXISTS idx_tasks_assignee_status ON tasks (assignee, status);
CREATE INDEX IF NOT EXISTS idx_events_task ON task_events (task_id, created_at);
CREATE INDEX IF NOT EXISTS idx_runs_task ON task_runs (task_id, started_at);
CREATE INDEX IF NOT EXISTS idx_comments_task ON task_comments (task_id, created_at);
"""


class SharedFile:
    """One connection to the file. The verbs write inside a transaction that the caller opens."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        self.connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One commit for what the block writes."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def create(self, profile: str, title: str, body: str) -> str:
        """A ready task of the profile; returns its id."""
        task_id = f"t_{secrets.token_hex(8)}"
        self.connection.execute(
            "INSERT INTO tasks (id, title, body, assignee, status, created_by, created_at)"
            " VALUES (?, ?, ?, ?, 'ready', ?, ?)",
            (task_id, title, body, profile, profile, _now()),
        )
        self._event(task_id, None, "created")
        return task_id

    def subscribe(self, profile: str, task_id: str, chat_id: str) -> None:
        """Tell a chat what becomes of the task."""
        self.connection.execute(
            "INSERT OR IGNORE INTO kanban_notify_subs (task_id, platform, chat_id, notifier_profile, created_at)"
            " VALUES (?, 'telegram', ?, ?, ?)",
            (task_id, chat_id, profile, _now()),
        )

    def comment(self, profile: str, task_id: str, text: str) -> None:
        """Say something about the task."""
        self.connection.execute(
            "INSERT INTO task_comments (task_id, author, body, created_at) VALUES (?, ?, ?, ?)",
            (task_id, profile, text, _now()),
        )
        self._event(task_id, None, "commented")

    def claim(self, profile: str, task_id: str) -> int | None:
        """Open a run; returns its id, or None if the task is not ready."""
        taken = self.connection.execute(
            "UPDATE tasks SET status = 'running', claim_lock = ?, started_at = coalesce(started_at, ?)"
            " WHERE id = ? AND status = 'ready' AND claim_lock IS NULL",
            (profile, _now(), task_id),
        )
        if taken.rowcount != 1:
            return None
        run_id = self.connection.execute(
            "INSERT INTO task_runs (task_id, profile, status, started_at) VALUES (?, ?, 'running', ?)",
            (task_id, profile, _now()),
        ).lastrowid
        self.connection.execute("UPDATE tasks SET current_run_id = ? WHERE id = ?", (run_id, task_id))
        self._event(task_id, run_id, "claimed")
        return run_id

    def complete(self, task_id: str, run_id: int, summary: str) -> bool:
        """Close the run; returns whether it was still the task's open one."""
        done = self.connection.execute(
            "UPDATE tasks SET status = 'done', completed_at = ?, result = ?, claim_lock = NULL, current_run_id = NULL"
            " WHERE id = ? AND current_run_id = ?",
            (_now(), summary, task_id, run_id),
        )
        self.connection.execute(
            "UPDATE task_runs SET status = 'done', outcome = 'completed', summary = ?, ended_at = ? WHERE id = ?",
            (summary, _now(), run_id),
        )
        self._event(task_id, run_id, "completed")
        return done.rowcount == 1

    def list(self) -> int:
        """Read all tasks; returns how many."""
        return len(self.connection.execute("SELECT * FROM tasks ORDER BY created_at").fetchall())

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _event(self, task_id: str, run_id: int | None, kind: str) -> None:
        self.connection.execute(
            "INSERT INTO task_events (task_id, run_id, kind, created_at) VALUES (?, ?, ?, ?)",
            (task_id, run_id, kind, _now()),
        )


def read_outcome(path: Path) -> Outcome:
    """What can be read of a board with Hermes's tables; of a damaged one, whatever comes before the damage."""
    found = Outcome(integrity=read_integrity(path))
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        for task_id, title, status in _rows(connection, "SELECT id, title, status FROM tasks"):
            found.tasks[task_id] = (title, status)
        found.comments.update(text for (text,) in _rows(connection, "SELECT body FROM task_comments"))
        found.subscribed.update(task for (task,) in _rows(connection, "SELECT task_id FROM kanban_notify_subs"))
    return found


def read_integrity(path: Path) -> str:
    """What SQLite's own check says of the file: "ok", or the first fault."""
    with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
        try:
            (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.Error as error:
            return str(error)
    return said


def _rows(connection: sqlite3.Connection, sql: str) -> Iterator[tuple]:
    try:
        yield from connection.execute(sql)
    except sqlite3.Error:  # counted as lost, and as corrupt by the integrity check
        return


def _now() -> int:
    return int(time.time())
