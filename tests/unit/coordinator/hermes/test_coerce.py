"""What an old board holds that this one cannot: each case has an end that is meant, and is named by id."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kanban_shards import Board
from kanban_shards.changes.codec import encode_body
from kanban_shards.changes.fields import LIMIT_BYTES, TEXT_LIMIT
from kanban_shards.changes.imported import ROWS, ImportRows, ImportTask, TaskRow
from kanban_shards.coordinator.hermes import legacy as hermes
from kanban_shards.coordinator.hermes.importer import import_board
from kanban_shards.coordinator.hermes.legacy import Legacy
from kanban_shards.coordinator.hermes.plan import Plan, plan
from kanban_shards.coordinator.hermes.target import EmptyTarget
from kanban_shards.migrations.board import HERMES_TABLES
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from tests.legacy import write_legacy
from tests.unit.coordinator.hermes.test_importer import checked

NOW_S = 1_700_000_000
A, B, C = "t_0000000a", "t_0000000b", "t_0000000c"


def legacy(**tables: list[dict[str, Any]]) -> Legacy:
    return Legacy("d", {table: tables.get(table, []) for table in HERMES_TABLES})


def task(task_id: Any = A, **values: Any) -> dict[str, Any]:
    return {"id": task_id, "title": "a task", "status": "done", "created_at": 5, **values}


def event(number: Any, kind: Any = "created", task_id: str = A, **values: Any) -> dict[str, Any]:
    return {"id": number, "task_id": task_id, "kind": kind, "created_at": 5, **values}


def planned(**tables: list[dict[str, Any]]) -> Plan:
    return plan(legacy(**tables), "old.db", EmptyTarget(), NOW_S)


def brought(found: Plan, task_id: str = A) -> ImportTask:
    return dict(found.tasks)[task_id][0]


def rows(found: Plan, table: str, task_id: str = A) -> list:
    return [row for body in dict(found.tasks)[task_id][1:] for row in getattr(body, table)]


def changed(found: Plan) -> list[tuple[Any, str]]:
    return [(note.id, note.what) for note in found.notes.changed]


def lost(found: Plan) -> list[tuple[Any, str]]:
    return [(note.id, note.what) for note in found.notes.lost]


@pytest.mark.parametrize(
    ("column", "was", "now"),
    [
        ("priority", "7", 7),
        ("priority", 3.0, 3),
        ("priority", "high", None),
        ("created_at", None, 0),
        ("created_at", "soon", 0),
        ("created_at", "soon 1700000000", 0),
        ("created_at", -5, 0),
        ("created_at", 1_700_000_000.75, 1_700_000_000),
        ("created_at", 1_700_000_000_250, 1_700_000_000),  # milliseconds
        ("started_at", 1_700_000_000_000_000, 1_700_000_000),  # microseconds
        ("started_at", 1_700_000_000_000_000_000, 1_700_000_000),  # nanoseconds
        ("created_at", "1700000000.5", 1_700_000_000),
        ("created_at", "2023-11-14T22:13:20Z", 1_700_000_000),
        ("created_at", "2023-11-14 22:13:20", 1_700_000_000),  # as SQLite writes it, which means UTC
        ("completed_at", "2023-11-14T23:13:20.250+01:00", 1_700_000_000),
        ("completed_at", "9" * 400, None),
        ("completed_at", float("inf"), None),
        ("completed_at", b"2023", None),
        ("consecutive_failures", None, 0),
        ("title", None, "(no title)"),
        ("title", "  ", "(no title)"),
        ("title", 12, "12"),
        ("body", b"caf\xc3\xa9", "café"),
        ("body", "bad \udcff byte", "bad \ufffd byte"),
        ("workspace_kind", None, "scratch"),
        ("skills", "review", '["review"]'),
        ("skills", "[1]", '["[1]"]'),
        ("status", "cancelled", "triage"),
    ],
)
def test_a_value_of_a_wrong_type(column: str, was: Any, now: Any) -> None:
    found = planned(tasks=[task(**{column: was})])
    assert getattr(brought(found).task, column) == now
    assert [told for told in changed(found) if told[0] == A and column in told[1]], changed(found)
    assert lost(found) == []


def test_a_payload_that_is_no_object_is_kept_as_text() -> None:
    found = planned(tasks=[task()], task_events=[event(1, payload="{broken"), event(2, payload="[1]"), event(3)])
    payloads = [row.payload and json.loads(row.payload) for row in rows(found, "task_events")]
    assert payloads == [{"text": "{broken"}, {"text": "[1]"}, None]
    assert [number for number, _ in changed(found)] == [1, 2]


def test_payloads_that_only_python_can_read() -> None:
    odd = ['{"run_id": [1], "x": NaN}', '{"due": 1e99, "forced": {}}', '{"due": ' + "9" * 400 + "}", "[" * 99_999]
    kinds = ("claimed", "promoted_manual", "scheduled")
    events = [event(number, kind, payload=text) for number, (kind, text) in enumerate(
        ((kind, text) for kind in kinds for text in odd), 1)]  # fmt: skip
    for status in ("ready", "scheduled", "running"):
        found = planned(tasks=[task(status=status)], task_events=events)
        assert len(rows(found, "task_events")) == len(events)
        assert brought(found).due_s is None


def test_chats_that_are_one_here() -> None:
    chats = [{"task_id": A, "platform": "telegram", "chat_id": chat, "created_at": 5, "thread_id": thread}
             for chat, thread in (("42", ""), (b"42", ""), ("42", None), ("43", ""))]  # fmt: skip
    found = planned(tasks=[task()], kanban_notify_subs=chats)
    assert [row.chat_id for row in rows(found, "kanban_notify_subs")] == ["42", "43"]
    assert found.counts["kanban_notify_subs"].lost == len(lost(found)) == 2


def test_an_id_that_is_none() -> None:
    """A task gets one made of what it had, a row the next number; both are named."""
    found = planned(
        tasks=[task("Task 1"), task(A)],
        task_links=[{"parent_id": "Task 1", "child_id": A}],
        task_events=[event("e-1", task_id="Task 1"), event(4)],
    )
    (made,) = {task_id for task_id, _ in found.tasks} - {A}
    assert brought(found).parents == (made,)
    assert [row.id for row in rows(found, "task_events", made)] == [5]
    assert [told[0] for told in changed(found)] == ["Task 1", "e-1"]
    assert found.begin.ids["task_events"] == 5


def test_rows_of_a_task_that_is_not_there() -> None:
    found = planned(
        tasks=[task()],
        task_links=[{"parent_id": "t_00000bad", "child_id": A}],
        task_events=[event(1, task_id="t_00000bad")],
        kanban_notify_subs=[{"task_id": "t_00000bad", "platform": "telegram", "chat_id": "1"}],
    )
    assert [told[0] for told in lost(found)] == [1, "t_00000bad telegram 1 -", f"t_00000bad → {A}"]
    assert found.counts["task_events"].lost == found.counts["task_links"].lost == 1


def test_tasks_that_would_wait_for_each_other() -> None:
    """One link of each circle goes; the others stay."""
    found = planned(
        tasks=[task(A, status="todo"), task(B, status="todo"), task(C, status="todo")],
        task_links=[{"parent_id": p, "child_id": c} for p, c in [(A, B), (B, C), (C, A), (B, B)]],
    )
    assert sorted(told[0] for told in lost(found)) == [f"{B} → {B}", f"{C} → {A}"]
    assert [task_id for task_id, _ in found.tasks] == [A, B, C]
    assert found.counts["task_links"].imported == 2


def test_the_newest_live_task_keeps_the_key() -> None:
    found = planned(
        tasks=[task(A, idempotency_key="k", created_at=1), task(B, idempotency_key="k", created_at=2),
               task(C, idempotency_key="k", created_at=3, status="archived")],
    )  # fmt: skip
    assert {task_id: brought(found, task_id).task.idempotency_key for task_id in (A, B, C)} == {A: None, B: "k", C: "k"}
    assert [told[0] for told in changed(found)] == [A]


def test_statuses_that_cannot_stand() -> None:
    found = planned(
        tasks=[task(A, status="ready"), task(B, status="ready"), task(C, status="todo")],
        task_links=[{"parent_id": A, "child_id": B}],
    )
    assert changed(found) == [
        (C, "status was 'todo', now 'ready': no parent is open"),
        (B, "status was 'ready', now 'todo': a parent is open"),
    ]


def test_what_was_forced_stays_forced() -> None:
    forced = event(1, "promoted_manual", B, payload='{"forced": true}')
    found = planned(
        tasks=[task(A, status="ready"), task(B, status="ready")],
        task_links=[{"parent_id": A, "child_id": B}],
        task_events=[forced],
    )
    assert brought(found, B).forced
    assert changed(found) == []


@pytest.mark.parametrize(
    ("current", "runs", "goes_on", "closed"),
    [
        (1, [(1, None)], 1, []),
        (None, [(1, 9)], None, []),
        (9, [(1, None), (2, None)], 2, [1]),
        (1, [(1, 9), (2, None)], 2, []),
        (1, [(1, None), (2, None)], 1, [2]),
    ],
)
def test_a_running_task_has_one_open_run(current, runs, goes_on, closed) -> None:
    found = planned(
        tasks=[task(status="running", current_run_id=current, assignee="bob")],
        task_runs=[
            {"id": number, "task_id": A, "status": "running", "started_at": 5, "ended_at": ended}
            for number, ended in runs
        ],
    )
    body = brought(found)
    assert (body.run and body.run.id, body.run_profile) == (goes_on, "bob")
    ended = {row.id: row.outcome for row in rows(found, "task_runs")}
    assert [number for number, outcome in ended.items() if outcome == "reclaimed"] == closed
    assert set(closed) <= {told[0] for told in changed(found)}


def test_what_is_left_of_a_claim() -> None:
    found = planned(tasks=[task(status="ready", claim_lock="h:1", worker_pid=7, current_run_id=4)])
    assert brought(found).task.claim_lock is None
    assert changed(found) == [(A, "claim_lock, worker_pid, current_run_id emptied: no run is open")]


@pytest.mark.parametrize(
    ("created_by", "creator"), [("ann", "ann"), ("user", "user"), (None, "default"), ("Not One", "default")]
)
def test_who_counts_as_the_maker(created_by: str | None, creator: str) -> None:
    assert brought(planned(tasks=[task(created_by=created_by)])).creator == creator


def test_a_text_that_is_larger_than_a_change() -> None:
    """It is cut, and said by how much; every change of the plan can be written."""
    text = '"看板\n' * 600_000
    found = planned(
        tasks=[task(body=text, result="r" * 900_000)],
        task_comments=[{"id": 1, "task_id": A, "author": "ann", "body": text, "created_at": 5}],
        task_events=[event(number, payload=json.dumps({"x": "y" * 9_000})) for number in range(1, 400)],
    )
    bodies = dict(found.tasks)[A]
    assert len(bodies) > 10
    assert max(len(encode_body(body).encode()) for body in bodies) <= LIMIT_BYTES
    assert len(rows(found, "task_events")) == 399
    (comment,) = rows(found, "task_comments")
    assert text.startswith(comment.body)
    assert len(comment.body.encode()) > TEXT_LIMIT // 3
    assert {told[0] for told in lost(found)} == {A, 1}


def test_a_text_of_a_mebibyte_comes_whole() -> None:
    """As a worker may write one here, too."""
    text = '"\n' * (TEXT_LIMIT // 2)
    found = planned(tasks=[task(title="t" * 5_000, body=text, result="r" * TEXT_LIMIT)])
    assert (brought(found).task.body, brought(found).task.result) == (text, "r" * TEXT_LIMIT)
    assert lost(found) == []


def test_columns_and_tables_that_are_not_known(tmp_path: Path) -> None:
    source = tmp_path / "old.db"
    write_legacy(source, {"tasks": [task(A), task(B)]})
    with closing(sqlite.open_raw(source, "rw")) as connection:
        connection.execute("ALTER TABLE tasks ADD COLUMN mood TEXT")
        connection.execute("UPDATE tasks SET mood = 'well' WHERE id = ?", (A,))
        connection.execute("CREATE TABLE extras (x)")
        connection.execute("INSERT INTO extras VALUES (1)")
    done = import_board(source, BoardPaths(tmp_path / "here"))
    assert [(note.table, note.what) for note in done.notes.lost] == [
        ("tasks", "the column mood is not known here: 1 value"),
        ("extras", "the table is not known here: 1 row"),
    ]


def test_everything_at_once_is_a_sound_board(tmp_path: Path) -> None:
    """A file of Hermes 0.13, with its own names for columns and events."""
    source, paths = tmp_path / "old.db", BoardPaths(tmp_path / "here")
    tables = {"tasks": [task(status="blocked", spawn_failures=2, last_spawn_error="no such file")],
              "task_events": [event(3, "spawn_auto_blocked"), event(8, "ready")]}  # fmt: skip
    write_legacy(source, tables, "0.13")
    import_board(source, paths)
    checked(paths)
    with Board(paths) as board:
        shown = board.task(A)
        assert (shown.consecutive_failures, shown.last_failure_error, shown.goal_mode) == (2, "no such file", False)
        assert [(each.id, each.kind) for each in board.events(task_id=A)] == [(3, "gave_up"), (8, "promoted")]


def test_the_rows_have_the_columns_of_the_tables() -> None:
    """What an import can bring is what the board's tables hold."""
    for table, row in {**ROWS, "tasks": TaskRow}.items():
        columns = {column.name for column in hermes.columns_of(table)} - {"task_id"}
        assert set(row.__struct_fields__) == columns - ({"id"} if table == "tasks" else set()), table
    assert set(ImportRows.__struct_fields__) == set(ROWS)
