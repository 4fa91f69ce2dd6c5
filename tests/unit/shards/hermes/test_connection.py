"""The connection that Hermes gets: what it reads, which statements it takes for verbs, and which it refuses."""

from __future__ import annotations

import json
import sqlite3

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import AddComment
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.hermes import identity
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.creating import Duplicate, new_task_id
from kanban_shards.hermes.errors import WriteRefused
from kanban_shards.paths import BoardPaths

PRIORITY = "UPDATE tasks SET priority = ? WHERE id = ?"
EVENT = "INSERT INTO task_events (task_id, kind, payload, created_at) VALUES (?, {}, {}, ?)"
EVENT_OF_RUN = "INSERT INTO task_events (task_id, run_id, kind, payload, created_at) VALUES (?, ?, 'status', ?, ?)"
# As it stands in the dashboard, blanks and all.
MOVE = """UPDATE tasks SET status = ?,
            claim_lock = CASE WHEN ? = 'running' THEN claim_lock ELSE NULL END,
            claim_expires = CASE WHEN ? = 'running' THEN claim_expires ELSE NULL END,
            worker_pid = CASE WHEN ? = 'running' THEN worker_pid ELSE NULL END
          WHERE id = ?"""
CHILD = "UPDATE tasks SET status = 'todo' WHERE id = ? AND status = 'ready'"
DEFAULT_ASSIGNEE = "UPDATE tasks SET assignee = ? WHERE id = ? AND (assignee IS NULL OR assignee = '')"
INSERT_TASK = """
    INSERT INTO tasks (
        id, title, body, assignee, status, priority, created_by, created_at, workspace_kind, workspace_path, skills,
        goal_mode, idempotency_key
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
INSERT_LINK = "INSERT OR IGNORE INTO task_links (parent_id, child_id) VALUES (?, ?)"


def kinds(conn: BoardConnection, task_id: str) -> list[str]:
    """The events of the task, by their kinds."""
    rows = conn.execute("SELECT kind FROM task_events WHERE task_id = ? ORDER BY id", (task_id,))
    return [row["kind"] for row in rows.fetchall()]


def column(conn: BoardConnection, task_id: str, name: str) -> object:
    """What the board shows of the task."""
    return conn.execute(f"SELECT {name} FROM tasks WHERE id = ?", (task_id,)).fetchone()[0]


def row_of(new_id: str, *, status: str = "ready", key: str | None = None) -> tuple:
    """What Hermes's create_task inserts."""
    return (new_id, "T", "b", "mafei", status, 7, None, 1, "scratch", None, json.dumps(["x"]), 1, key)


def test_it_is_a_connection_that_reads(conn: BoardConnection, task_id: str) -> None:
    assert isinstance(conn, sqlite3.Connection)
    row = conn.execute("SELECT id, status FROM tasks").fetchone()
    assert dict(row) == {"id": task_id, "status": "ready"}
    assert conn.cursor().execute("SELECT count(*) AS n FROM tasks").fetchone()["n"] == 1
    assert conn.execute("PRAGMA table_info(tasks)").fetchone()["name"] == "id"
    assert conn.execute("WITH a AS (SELECT 1 AS x) SELECT x FROM a").fetchone()["x"] == 1
    assert conn.execute("SELECT 1").rowcount == -1


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE tasks SET status = 'done'",
        "UPDATE tasks SET title = ?, status = ? WHERE id = ?",
        "UPDATE tasks SET priority = ? WHERE id = ? OR 1",
        "DELETE FROM tasks",
        "INSERT INTO tasks (id, title) VALUES ('t_00000000', 'x')",
        "INSERT INTO task_events (task_id, kind, payload, created_at) VALUES ('t_00000000', 'completed', NULL, 1)",
        "INSERT INTO task_comments (task_id, author, body, created_at) VALUES ('t_00000000', 'a', 'b', 1)",
        "REPLACE INTO tasks (id) VALUES ('x')",
        "WITH a AS (SELECT 1) DELETE FROM tasks",
        "CREATE TABLE more (id)",
        "ATTACH DATABASE ':memory:' AS other",
        "VACUUM",
        "VACUUM INTO '/nowhere/at/all'",
        "DROP TABLE tasks",
        "",
        CHILD,
        EVENT.format("'edited'", "NULL"),
    ],
)
def test_each_other_write_is_refused_and_named(conn: BoardConnection, task_id: str, sql: str) -> None:
    with pytest.raises(WriteRefused) as refused:
        conn.execute(sql, ("t_00000000", 1)[: sql.count("?")])
    assert " ".join(sql.split())[:40] in str(refused.value)
    assert isinstance(refused.value, sqlite3.OperationalError)
    assert kinds(conn, task_id) == ["created"]


def test_many_and_scripts_are_refused(conn: BoardConnection) -> None:
    with pytest.raises(WriteRefused):
        conn.executemany(PRIORITY, [(1, "t_00000000")])
    with pytest.raises(WriteRefused):
        conn.executescript("CREATE TABLE more (id)")
    with pytest.raises(WriteRefused):
        conn.cursor().executemany(PRIORITY, [(1, "t_00000000")])


def test_what_begins_and_ends_a_transaction_is_not_sqlites(conn: BoardConnection) -> None:
    for sql in ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK", "PRAGMA journal_mode=DELETE", "PRAGMA synchronous = FULL"):
        conn.execute(sql)
    assert not conn.in_transaction
    assert conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


@pytest.mark.parametrize(
    "sql",
    ["PRAGMA query_only(0)", "PRAGMA query_only = 0", "PRAGMA writable_schema(1)", "PRAGMA wal_checkpoint(TRUNCATE)",
     "PRAGMA journal_mode(DELETE)", "PRAGMA optimize", "PRAGMA main.user_version(7)", "PRAGMA",
     "PRAGMA locking_mode=EXCLUSIVE"],
)  # fmt: skip
def test_a_pragma_that_is_not_known_is_refused(conn: BoardConnection, sql: str) -> None:
    with pytest.raises(WriteRefused, match="PRAGMA"):
        conn.execute(sql)


def test_a_priority(conn: BoardConnection, task_id: str) -> None:
    with conn.statements.transaction():
        assert conn.execute(PRIORITY, (9, task_id)).rowcount == 1
        conn.execute(EVENT.format("'reprioritized'", "?"), (task_id, '{"priority": 9}', 1))
    assert column(conn, task_id, "priority") == 9
    assert kinds(conn, task_id).count("reprioritized") == 1


def test_an_event_counts_once(conn: BoardConnection, task_id: str) -> None:
    with pytest.raises(WriteRefused), conn.statements.transaction():
        conn.execute(PRIORITY, (9, task_id))
        conn.execute(EVENT.format("'reprioritized'", "?"), (task_id, "{}", 1))
        conn.execute(EVENT.format("'reprioritized'", "?"), (task_id, "{}", 1))


def test_title_and_body(conn: BoardConnection, task_id: str) -> None:
    for sets, values in (("title = ?, body = ?", ("New", "words")), ("body = ?", ("other",)), ("title = ?", ("T",))):
        with conn.statements.transaction():
            assert conn.execute(f"UPDATE tasks SET {sets} WHERE id = ?", [*values, task_id]).rowcount == 1
            conn.execute(EVENT.format("'edited'", "NULL"), (task_id, 1))
    assert (column(conn, task_id, "title"), column(conn, task_id, "body")) == ("T", "other")


@pytest.mark.parametrize("unknown", ["t_0123456789abcdef", "nonsense", ""])
def test_no_such_task(conn: BoardConnection, unknown: str) -> None:
    assert conn.execute(PRIORITY, (9, unknown)).rowcount == 0
    assert conn.execute(MOVE, ("ready", "ready", "ready", "ready", unknown)).rowcount == 0
    assert conn.execute(DEFAULT_ASSIGNEE, ("amy", unknown)).rowcount == 0


def test_a_title_that_is_too_long(conn: BoardConnection, task_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        conn.execute("UPDATE tasks SET title = ? WHERE id = ?", ("x" * 2_000_000, task_id))
    assert column(conn, task_id, "title") == "Write it"


def test_a_move_ends_the_run(conn: BoardConnection, gateway: Gateway, task_id: str) -> None:
    run = gateway.claim(task_id)
    with conn.statements.transaction():
        assert conn.execute(MOVE, ("triage", "triage", "triage", "triage", task_id)).rowcount == 1
        assert conn.statements.ended_run(task_id) == run.id
        conn.execute(EVENT_OF_RUN, (task_id, run.id, '{"status": "triage"}', 1))
    assert column(conn, task_id, "status") == "triage"
    assert column(conn, task_id, "current_run_id") is None


def test_a_move_to_where_it_stands(conn: BoardConnection, task_id: str) -> None:
    with conn.statements.transaction():
        assert conn.execute(MOVE, ("ready", "ready", "ready", "ready", task_id)).rowcount == 1
        conn.execute(EVENT_OF_RUN, (task_id, None, '{"status": "ready"}', 1))
    assert kinds(conn, task_id) == ["created"]


def test_a_move_that_is_refused_changes_no_row(conn: BoardConnection, gateway: Gateway, task_id: str) -> None:
    child = gateway.make("Then this", parents=[task_id]).task_id
    assert conn.execute(MOVE, ("ready", "ready", "ready", "ready", child)).rowcount == 0
    assert conn.execute(MOVE, ("running", "running", "running", "running", child)).rowcount == 0
    assert column(conn, child, "status") == "todo"


def test_children_of_a_parent_that_is_reopened(conn: BoardConnection, gateway: Gateway, task_id: str) -> None:
    child = gateway.make("Then this", parents=[task_id]).task_id
    gateway.complete(task_id)
    with conn.statements.transaction():
        conn.execute(MOVE, ("ready", "ready", "ready", "ready", task_id))
        conn.execute(EVENT_OF_RUN, (task_id, None, "{}", 1))
        assert conn.execute(CHILD, (child,)).rowcount == 0
    assert column(conn, child, "status") == "todo"


def test_nobodys_task_is_assigned_once(conn: BoardConnection, gateway: Gateway, task_id: str) -> None:
    free = gateway.make("Whose is it?").task_id
    assert conn.execute(DEFAULT_ASSIGNEE, ("mafei", free)).rowcount == 1
    assert conn.execute(DEFAULT_ASSIGNEE, ("amy", free)).rowcount == 0
    assert conn.execute(DEFAULT_ASSIGNEE, ("mafei", task_id)).rowcount == 0
    assert column(conn, free, "assignee") == "mafei"


def test_a_create_is_sent_when_it_is_committed(conn: BoardConnection, task_id: str, paths: BoardPaths) -> None:
    new_id = new_task_id(None)  # type: ignore[arg-type]
    with conn.statements.transaction():
        conn.execute(INSERT_TASK, row_of(new_id))
        conn.execute(INSERT_LINK, (task_id, new_id))
        assert conn.statements.event(new_id, "created")
        assert column_or_none(conn, new_id) is None
    with Board.open(home=paths.folder) as board:
        task = board.task(new_id)
        assert task is not None
        assert (task.title, task.body, task.assignee, task.status, task.priority) == ("T", "b", "mafei", "todo", 7)
        assert (task.skills, task.goal_mode, task.created_by, board.parents(new_id)) == (["x"], True, "amy", [task_id])
    assert verify(paths).clean


@pytest.mark.parametrize(("status", "shown"), [("ready", "ready"), ("triage", "triage"), ("blocked", "blocked")])
def test_where_a_create_starts(conn: BoardConnection, status: str, shown: str) -> None:
    new_id = new_task_id(None)  # type: ignore[arg-type]
    with conn.statements.transaction():
        conn.execute(INSERT_TASK, row_of(new_id, status=status))
    assert column(conn, new_id, "status") == shown


def test_a_create_that_fails_leaves_nothing(conn: BoardConnection) -> None:
    new_id = new_task_id(None)  # type: ignore[arg-type]
    with pytest.raises(KeyError), conn.statements.transaction():
        conn.execute(INSERT_TASK, row_of(new_id))
        raise KeyError
    assert column_or_none(conn, new_id) is None


def test_a_key_that_is_held(conn: BoardConnection, gateway: Gateway) -> None:
    held = gateway.create("First", idempotency_key="k")
    with pytest.raises(Duplicate) as duplicate, conn.statements.transaction():
        conn.execute(INSERT_TASK, row_of(new_task_id(None), key="k"))  # type: ignore[arg-type]
    assert duplicate.value.task_id == held


def test_an_id_that_is_taken_is_drawn_again(conn: BoardConnection, task_id: str) -> None:
    """Hermes repeats with another id when SQLite says that a key is not unique."""
    with pytest.raises(sqlite3.IntegrityError):
        for _ in range(2):
            with conn.statements.transaction():
                conn.execute(INSERT_TASK, row_of("t_0123456789abcdef"))


def test_a_link_of_another_task_is_no_part_of_a_create(conn: BoardConnection, task_id: str) -> None:
    with pytest.raises(WriteRefused), conn.statements.transaction():
        conn.execute(INSERT_TASK, row_of(new_task_id(None)))  # type: ignore[arg-type]
        conn.execute(INSERT_LINK, (task_id, "t_0123456789abcdef"))


def test_a_transaction_in_a_transaction(conn: BoardConnection) -> None:
    with pytest.raises(WriteRefused), conn.statements.transaction(), conn.statements.transaction():
        pass


def test_a_read_shows_what_was_written_without_waiting(conn: BoardConnection, task_id: str) -> None:
    identity.write_soon(conn.paths, task_id, AddComment(text="hello"))
    assert conn.execute("SELECT body FROM task_comments").fetchone()["body"] == "hello"


def column_or_none(conn: BoardConnection, task_id: str) -> object:
    """The task's row, if there is one."""
    return conn.execute("SELECT * FROM tasks WHERE id = ?", (task_id,)).fetchone()
