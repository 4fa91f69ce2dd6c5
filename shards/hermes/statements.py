"""Statements of Hermes's that write, taken for the verbs that they are.

The dashboard writes ten statements of its own, ``create_task`` inserts, and the dispatcher assigns what nobody has. The
verb is done when its statement is executed, so that the statement's count of rows is the verdict; a create is sent when
its transaction is committed, since its parents come after it. The events that Hermes then inserts, the verb has written
already: each is taken once, and one that no verb has written is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from kanban_shards.changes.kinds import Assign, Edit, Reopen, ReopenedStatus
from kanban_shards.errors import Refused, UnknownTask
from kanban_shards.hermes.connection import BoardConnection, refusal
from kanban_shards.hermes.creating import create
from kanban_shards.hermes.identity import writer_of
from kanban_shards.hermes.runs import HOLD_S
from kanban_shards.hermes.verbs import shown
from kanban_shards.paths import is_task_id

_EDITED = re.compile(
    r"UPDATE tasks SET ((?:title|body|priority) = \?(?:, (?:title|body|priority) = \?)*) WHERE id = \?"
)
_MOVED = (
    "UPDATE tasks SET status = ?, claim_lock = CASE WHEN ? = 'running' THEN claim_lock ELSE NULL END, claim_expires = "
    "CASE WHEN ? = 'running' THEN claim_expires ELSE NULL END, worker_pid = CASE WHEN ? = 'running' THEN worker_pid "
    "ELSE NULL END WHERE id = ?"
)
_CHILD_MOVED = "UPDATE tasks SET status = 'todo' WHERE id = ? AND status = 'ready'"
_TAKEN_UP = "UPDATE tasks SET assignee = ? WHERE id = ? AND (assignee IS NULL OR assignee = '')"
_INSERTED = re.compile(r"INSERT (?:OR IGNORE )?INTO (\w+) \(([^()]*)\) VALUES \(([^()]*)\)")
_BOUNDARY = re.compile(r"(BEGIN|COMMIT|END|ROLLBACK)\b")
# How Hermes wants its own file kept. This program keeps the board as it does.
_KEEPING = re.compile(
    r"PRAGMA (busy_timeout|cell_size_check|foreign_keys|journal_mode|secure_delete|synchronous|wal_autocheckpoint)"
    r" ?= ?\w+"
)
_MOVES_TO: dict[str, ReopenedStatus] = {
    "todo": "todo",
    "triage": "triage",
    "scheduled": "scheduled",
    "ready": "ready",
}


class _Insert(NamedTuple):
    """A row that a statement inserts."""

    table: str
    row: dict[str, Any]


class BoardStatements:
    """The writing statements of one connection."""

    def __init__(self, connection: BoardConnection) -> None:
        self._connection = connection
        self._in_transaction = False
        self._creating: dict[str, Any] | None = None
        self._parents: list[str] = []
        # Events that a verb of this transaction wrote, and Hermes is about to.
        self._written: Counter[tuple[str, str]] = Counter()
        self._moved: set[str] = set()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What Hermes writes in one transaction. A create in it is sent at the end of the block, unless that fails."""
        if self._in_transaction:
            raise refusal("BEGIN inside of a transaction")
        self._in_transaction = True
        try:
            yield
            if self._creating is not None:
                create(self._connection.paths, self._creating, self._parents)
        finally:
            self._in_transaction = False
            self._creating = None
            self._parents = []
            self._written.clear()
            self._moved.clear()

    def execute(self, sql: str, parameters: Sequence[Any]) -> int:
        """Do what the statement says; returns how many rows that changed. Raises WriteRefused."""
        if inserted := _as_insert(sql, parameters):
            return self._insert(sql, inserted)
        if edited := _EDITED.fullmatch(sql):
            return self._edit(re.findall(r"\w+(?= = \?)", edited[1]), parameters)
        if sql == _MOVED:
            return self._move(parameters[0], parameters[-1])
        if sql == _CHILD_MOVED and self._moved:
            return 0  # the move has sent the children back
        if sql == _TAKEN_UP:
            return self._assign(*parameters)
        if _BOUNDARY.match(sql) or _KEEPING.fullmatch(sql):
            return -1
        raise refusal(sql)

    def event(self, task_id: str, kind: str) -> bool:
        """Whether a verb of this transaction wrote the event; each one counts once."""
        if self._creating is not None and (task_id, kind) == (self._creating["id"], "created"):
            return True
        if not self._written[task_id, kind]:
            return False
        self._written[task_id, kind] -= 1
        return True

    def ended_run(self, task_id: str) -> int | None:
        """The run that a move of this transaction ended, or else the task's last one. Raises WriteRefused where no move
        was."""
        if task_id not in self._moved:
            raise refusal("UPDATE task_runs, as _end_run does")
        runs = writer_of(self._connection.paths).board.runs(task_id)
        return runs[-1].id if runs else None

    def _insert(self, sql: str, inserted: _Insert) -> int:
        row = inserted.row
        if inserted.table == "task_events" and self.event(row["task_id"], row["kind"]):
            return 1
        if inserted.table == "tasks" and self._in_transaction and self._creating is None:
            self._creating = row
            return 1
        creating = self._creating
        if inserted.table == "task_links" and creating is not None and row["child_id"] == creating["id"]:
            self._parents.append(row["parent_id"])
            return 1
        raise refusal(sql)

    def _edit(self, names: list[str], parameters: Sequence[Any]) -> int:
        task_id = parameters[-1]
        fields = dict(zip(names, parameters, strict=False))
        if not is_task_id(task_id):
            return 0
        try:
            writer_of(self._connection.paths).ask(task_id, Edit(**fields))
        except UnknownTask:
            return 0
        self._written[task_id, "edited"] += 1
        if "priority" in fields:
            self._written[task_id, "reprioritized"] += 1
        return 1

    def _move(self, status: str, task_id: str) -> int:
        writer = writer_of(self._connection.paths)
        found = shown(writer.paths, lambda: writer.board.task(task_id))
        if found is None or (status not in _MOVES_TO and found.status != status):
            return 0
        if found.status != status:
            try:
                hold_s = HOLD_S if status == "todo" else None
                writer.ask(task_id, Reopen(to=_MOVES_TO[status], hold_s=hold_s))
            except (Refused, UnknownTask):
                return 0
        self._moved.add(task_id)
        self._written[task_id, "status"] += 1
        return 1

    def _assign(self, assignee: str, task_id: str) -> int:
        writer = writer_of(self._connection.paths)
        found = shown(writer.paths, lambda: writer.board.task(task_id))
        if found is None or found.assignee:
            return 0
        try:
            writer.ask(task_id, Assign(assignee=assignee))
        except (Refused, UnknownTask):
            return 0
        self._written[task_id, "assigned"] += 1
        return 1


def _as_insert(sql: str, parameters: Sequence[Any]) -> _Insert | None:
    """The row that ``sql`` inserts, if it inserts one: a value is a parameter, NULL or a word in quotes."""
    shape = _shape_of(sql)
    if shape is None:
        return None
    given = iter(parameters)
    row = {column: next(given) if value == "?" else _literal(value) for column, value in shape.columns}
    return _Insert(shape.table, row)


class _Shape(NamedTuple):
    """What a statement inserts: into which table, and of each column what is said of its value."""

    table: str
    columns: tuple[tuple[str, str], ...]


@lru_cache(maxsize=64)
def _shape_of(sql: str) -> _Shape | None:
    found = _INSERTED.fullmatch(sql)
    return _Shape(found[1], tuple(zip(_split(found[2]), _split(found[3]), strict=True))) if found else None


def _literal(value: str) -> str | None:
    return None if value == "NULL" else value.strip("'")


def _split(listed: str) -> list[str]:
    return [each.strip() for each in listed.split(",")]
