"""Boards that Hermes might have written: drawn at random, of every version, with everything wrong that can be."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from kanban_shards.coordinator.hermes.legacy import LATER_COLUMNS, Legacy
from kanban_shards.migrations.board import HERMES_INDEXES, HERMES_TABLES

# Columns of ``tasks`` that came after 0.14.0, and what 0.13 called others.
AFTER_0_14 = (
    "branch_name", "project_id", "model_override", "goal_mode", "goal_max_turns", "session_id", "block_kind",
    "block_recurrences",
)  # fmt: skip
IN_0_13 = {"consecutive_failures": "spawn_failures", "last_failure_error": "last_spawn_error"}
VERSIONS = ("0.13", "0.14", "0.19", "0.20")
STATUSES = ("triage", "todo", "scheduled", "ready", "running", "blocked", "review", "done", "archived", "cancelled")
CREATED_S = 1_690_000_000


def write_legacy(path: Path, tables: dict[str, list[dict[str, Any]]], version: str = "0.19") -> None:
    """Write a board as that version of Hermes would have it. What its tables have no column for is left out."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for table, declared in HERMES_TABLES.items():
            if table == "task_attachments" and version < "0.15":
                continue
            columns = [_as_in(version, table, part) for part in _columns(declared)]
            connection.execute(f"CREATE TABLE {table} ({', '.join(filter(None, columns))})")
        for name, target in HERMES_INDEXES.items():
            if not (version < "0.15" and name in ("idx_tasks_session_id", "idx_attachments_task")):
                connection.execute(f"CREATE INDEX {name} ON {target}")
        for table, rows in tables.items():
            there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for row in rows if there else ():
                given = {name: value for name, value in row.items() if name in there}
                watermarks = ", ".join("?" * len(given))
                connection.execute(
                    f"INSERT INTO {table} ({', '.join(given)}) VALUES ({watermarks})", list(given.values())
                )


def rows_of(path: Path) -> dict[str, list[tuple]]:
    """Every row of Hermes's tables in a file that no process has open, in one order, with its columns' names."""
    with closing(sqlite3.connect(path)) as connection:
        found = {}
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        for table in (name for name in (*HERMES_TABLES, "sqlite_sequence") if name in there):
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description]
            found[table] = sorted((tuple(zip(names, row, strict=True)) for row in cursor), key=repr)
        return found


def legacy_rows(chance: random.Random, profiles: Sequence[str], wrong: bool = True) -> Legacy:
    """Some tasks and what belongs to them; ``wrong``: with what no Hermes would write, too."""
    tables: dict[str, list[dict[str, Any]]] = {table: [] for table in HERMES_TABLES}
    ids = [f"t_{chance.getrandbits(32):08x}" for _ in range(chance.randrange(1, 9))]
    for number, task_id in enumerate(ids):
        _draw_task(chance, tables, task_id, CREATED_S + number, profiles, wrong)
    for _ in range(chance.randrange(2 * len(ids))):
        low, high = sorted(chance.choices(range(len(ids)), k=2))
        pair = (ids[low], ids[high]) if not wrong or chance.random() < 0.8 else (ids[high], ids[low])
        row = {"parent_id": pair[0], "child_id": pair[1]}
        if (wrong or low != high) and row not in tables["task_links"]:
            tables["task_links"].append(row)
    if wrong:
        tables["task_links"].append({"parent_id": "t_00000bad", "child_id": ids[0]})
        tables["task_events"].append(_event(tables, "t_00000bad", "created", None))
    else:
        _settle(tables)
    return Legacy(f"{chance.getrandbits(64):x}", tables)


def _draw_task(chance, tables, task_id, created_s, profiles, wrong) -> None:
    status = chance.choice(STATUSES if wrong else STATUSES[:-1])
    who = [*profiles, None, *(["Not A Profile"] if wrong else [])]
    task = {
        "id": task_id,
        "title": chance.choice(["看板", "a task", "x" * 300]),
        "body": chance.choice([None, "text\nof lines", ""]),
        "assignee": chance.choice(who),
        "status": status,
        "priority": chance.randrange(-3, 9),
        "created_by": chance.choice([*who, "user"]),
        "created_at": created_s,
        "workspace_kind": "scratch",
        "consecutive_failures": chance.randrange(3),
        "idempotency_key": chance.choice(["key-1", "key-2"]) if wrong and chance.random() < 0.4 else None,
        "skills": chance.choice([None, '["kanban-worker"]']),
        "goal_mode": 0,
        "block_recurrences": 0,
        "current_run_id": None,
    }  # fmt: skip
    tables["tasks"].append(task)
    tables["task_events"].append(_event(tables, task_id, "created", {"status": status}))
    for _ in range(chance.randrange(3)):
        _run(chance, tables, task, chance.choice(profiles), ended=not wrong or chance.random() < 0.8)
    if status == "running" and (not wrong or chance.random() < 0.8):
        _run(chance, tables, task, chance.choice([*profiles, None]), ended=False)
    if wrong and chance.random() < 0.2:
        task["current_run_id"] = 999
    for _ in range(chance.randrange(3)):
        number = len(tables["task_comments"]) + 1
        tables["task_comments"].append(
            {"id": number, "task_id": task_id, "author": "user", "body": "said", "created_at": created_s}
        )
    if chance.random() < 0.5:
        tables["kanban_notify_subs"].append(
            {"task_id": task_id, "platform": "telegram", "chat_id": "42", "thread_id": "", "user_id": None,
             "notifier_profile": chance.choice(profiles), "created_at": created_s,
             "last_event_id": chance.choice([0, len(tables["task_events"])])}
        )  # fmt: skip
    if chance.random() < 0.3:
        number = len(tables["task_attachments"]) + 1
        tables["task_attachments"].append(
            {"id": number, "task_id": task_id, "filename": "a.txt", "stored_path": f"/nowhere/{number}/a.txt",
             "size": 3, "created_at": created_s}
        )  # fmt: skip


def _run(chance, tables, task, profile, ended) -> None:
    number, started = len(tables["task_runs"]) + 1, task["created_at"]
    run = {"id": number, "task_id": task["id"], "profile": profile, "status": "running", "started_at": started}
    if ended:
        run |= {"status": "done", "ended_at": started + 9, "outcome": "completed", "metadata": '{"tokens": 1}'}
    else:
        lock, expires = "host:1", started + 900
        run |= {"claim_lock": lock, "claim_expires": expires}
        task |= {"claim_lock": lock, "claim_expires": expires, "current_run_id": number, "started_at": started}
    tables["task_runs"].append(run)
    tables["task_events"].append(_event(tables, task["id"], "claimed", {"run_id": number}, number))


def _event(tables, task_id, kind, payload, run_id=None) -> dict[str, Any]:
    return {
        "id": len(tables["task_events"]) + 1,
        "task_id": task_id,
        "run_id": run_id,
        "kind": kind,
        "payload": None if payload is None else json.dumps(payload),
        "created_at": CREATED_S,
    }


def _settle(tables) -> None:
    """Tasks wait while a parent is open, as Hermes keeps it."""
    status = {task["id"]: task["status"] for task in tables["tasks"]}
    for task in tables["tasks"]:
        parents = [link["parent_id"] for link in tables["task_links"] if link["child_id"] == task["id"]]
        if task["status"] in ("ready", "todo"):
            waits = any(status[parent] not in ("done", "archived") for parent in parents)
            task["status"] = "todo" if waits else "ready"


def _columns(declared: str) -> list[str]:
    columns, key, rest = " ".join(declared.split()).partition(", PRIMARY KEY (")
    return columns.split(", ") + ([f"PRIMARY KEY ({rest}"] if key else [])


def _as_in(version: str, table: str, part: str) -> str | None:
    name = part.split()[0]
    if version < "0.20" and name in LATER_COLUMNS.get(table, ()):
        return None
    if table == "tasks" and version < "0.15" and name in AFTER_0_14:
        return None
    if table == "tasks" and version < "0.14" and name in IN_0_13:
        return part.replace(name, IN_0_13[name], 1)
    return part
