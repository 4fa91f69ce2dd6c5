"""Suspects: which tasks may need a person, found by a few statements, so that only these are judged.

Each condition here is one that the diagnostics of its kind cannot do without (shards/diagnostics.py), and no more: who
is suspected is judged by the events and runs of the task, which are read for some tasks at a time.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field

from kanban_shards.board import Board
from kanban_shards.queries import SORTS, TASKS
from kanban_shards.records import TERMINAL, Event, Run, Task

# So many tasks are read at a time.
TOGETHER = 200
_TASK_IDS = re.compile(r"\bt_[0-9a-f]{8,64}\b")
_ORDER = ", ".join(key.order for key in SORTS["priority-desc"])
# The tables of events and runs are read from end to end: by an index, each of their rows would be looked up.
_SUSPECTS = f"""
    WITH suspected(id) AS (
        SELECT id FROM tasks t WHERE status = 'blocked' AND {{blocked}} <= :blocked_before
        UNION SELECT id FROM tasks t WHERE status = 'ready' AND assignee != '' AND {{became_ready}} <= :ready_before
        UNION SELECT id FROM tasks WHERE status IN ('triage', 'todo', 'scheduled', 'ready', 'blocked', 'review')
            AND consecutive_failures >= :failures
        UNION SELECT task_id FROM task_runs NOT INDEXED WHERE outcome = 'crashed'
            GROUP BY task_id HAVING count(*) >= :crashes
        UNION SELECT task_id FROM task_events NOT INDEXED
            WHERE kind IN ('completion_blocked_hallucination', 'late_refused')
        UNION SELECT task_id FROM task_events NOT INDEXED WHERE kind = 'blocked' AND created_at >= :cycling_since
            GROUP BY task_id HAVING count(*) >= :cycles
        UNION SELECT value FROM json_each(:phantoms))
    SELECT t.id FROM suspected CROSS JOIN tasks t ON t.id = suspected.id
    WHERE t.status != 'archived' ORDER BY {_ORDER}"""
_SINCE = (
    "coalesce((SELECT created_at FROM task_events e WHERE e.task_id = t.id AND e.kind IN "
    "(SELECT value FROM json_each(:{kinds})) ORDER BY e.id DESC LIMIT 1), t.created_at)"
)
# What the latest completed run of a finished task says, or its result, where that may name other tasks.
_SAID = """
    WITH naming(id) AS (
        SELECT task_id FROM task_runs NOT INDEXED
            WHERE outcome = 'completed' AND instr(summary, 't_') AND (:task IS NULL OR task_id = :task)
        UNION SELECT id FROM tasks WHERE status = 'done' AND instr(result, 't_') AND (:task IS NULL OR id = :task))
    SELECT t.id, coalesce((SELECT r.summary FROM task_runs r WHERE r.task_id = t.id AND r.outcome = 'completed'
        ORDER BY r.id DESC LIMIT 1), '') || ' ' || coalesce(t.result, '')
    FROM naming CROSS JOIN tasks t ON t.id = naming.id WHERE t.status = 'done'"""
_RUNS = "SELECT * FROM task_runs WHERE task_id IN (SELECT value FROM json_each(?)) ORDER BY id"


@dataclass(frozen=True)
class Limits:
    """From when on something is suspicious.

    ``failures``: so many in a row; ``crashes``: so many attempts that crashed. ``blocked_before``, ``ready_before``:
    blocked, or ready for somebody, since then. ``cycles``: blocked so often since ``cycling_since``. Moments are
    seconds since 1970. ``blocks``, ``readies``: the kinds of events from which the two count.
    """

    failures: int
    crashes: int
    cycles: int
    cycling_since: int
    blocked_before: int
    ready_before: int
    blocks: tuple[str, ...]
    readies: tuple[str, ...]


@dataclass
class Suspect:
    """A task, with its events of the kinds that were asked for, its runs while it is worked on, and the ids that its
    latest result names and that never were."""

    task: Task
    events: list[Event] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    phantoms: list[str] = field(default_factory=list)


def suspects(board: Board, limits: Limits, kinds: Collection[str]) -> Iterator[Suspect]:
    """The tasks that are not archived and may need a person, in the usual order, with their events of ``kinds``."""
    phantoms = _phantoms(board, None)
    given = {**asdict(limits), "phantoms": json.dumps(list(phantoms))}
    given |= {"blocks": json.dumps(limits.blocks), "readies": json.dumps(limits.readies)}
    sql = _SUSPECTS.format(blocked=_SINCE.format(kinds="blocks"), became_ready=_SINCE.format(kinds="readies"))
    with board.reading() as connection:
        ids = [row[0] for row in connection.execute(sql, given)]
    for start in range(0, len(ids), TOGETHER):
        yield from _read(board, ids[start : start + TOGETHER], phantoms, kinds)


def suspect_of(board: Board, task_id: str, kinds: Collection[str]) -> Suspect | None:
    """The same of one task, suspected or not; None if there is none."""
    return next(_read(board, [task_id], _phantoms(board, task_id), kinds), None)


def _read(board: Board, ids: list[str], phantoms: dict[str, list[str]], kinds: Collection[str]) -> Iterator[Suspect]:
    """What is on the board of the tasks ``ids``, in this order, in one state; but not of one that went meanwhile."""
    named = json.dumps(ids)
    with board.reading() as connection:
        found = connection.execute(f"{TASKS} WHERE t.id IN (SELECT value FROM json_each(?))", (named,))
        tasks = {row["id"]: Task.from_row(row) for row in found}
        events = _events(connection, named, kinds)
        tried = [each.id for each in tasks.values() if each.status not in TERMINAL and each.started_at is not None]
        runs: dict[str, list[Run]] = defaultdict(list)
        for row in connection.execute(_RUNS, (json.dumps(tried),)):
            runs[row["task_id"]].append(Run.from_row(row))
    for task_id in ids:
        if task_id in tasks:
            yield Suspect(tasks[task_id], events[task_id], runs[task_id], phantoms.get(task_id, []))


def _events(connection: sqlite3.Connection, named: str, kinds: Collection[str]) -> dict[str, list[Event]]:
    sql = (
        "SELECT * FROM task_events WHERE task_id IN (SELECT value FROM json_each(?)) "
        "AND kind IN (SELECT value FROM json_each(?)) ORDER BY id"
    )
    events: dict[str, list[Event]] = defaultdict(list)
    for row in connection.execute(sql, (named, json.dumps(sorted(kinds)))):
        events[row["task_id"]].append(Event.from_row(row))
    return events


def _phantoms(board: Board, task_id: str | None) -> dict[str, list[str]]:
    """The task ids that results name and that the board never had, by the task whose result it is."""
    with board.reading() as connection:
        named = {task: set(_TASK_IDS.findall(said)) for task, said in connection.execute(_SAID, {"task": task_id})}
    known = board.known_ids(set().union(*named.values()))
    return {task: sorted(ids - known) for task, ids in named.items() if ids - known}
