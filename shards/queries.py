"""Queries: which tasks, in which order, and from where on, as the statement of one page.

A page begins after the last task of the one before it, by the values that it is ordered by (a keyset, no OFFSET), so
that it costs what it shows, wherever it is, and nothing is shown twice or left out because the board moved meanwhile.
In the usual order each status is read by its own index (migrations/board.py, ``merge_order``), and the beginnings are
merged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from kanban_shards.paths import spellings
from kanban_shards.records import STATUSES, Status, Task

Value = str | int | None
TASKS = "SELECT t.*, m.owner, m.epoch, m.vector, m.run_claimer FROM tasks t JOIN merge_tasks m ON m.task_id = t.id"


class Key(NamedTuple):
    """What tasks are ordered by. As SQLite orders them, NULL is less than every value."""

    expression: str
    descending: bool = False

    @property
    def order(self) -> str:
        """As a term of ORDER BY."""
        return f"{self.expression} DESC" if self.descending else self.expression


_PRIORITY, _CREATED, _ID = Key("t.priority", descending=True), Key("t.created_at"), Key("t.id")
# `list --sort`: the names that Hermes gives its orders. Each ends with the id, so that no two tasks are at one place.
SORTS: dict[str, tuple[Key, ...]] = {
    "priority-desc": (_PRIORITY, _CREATED, _ID),
    "priority": (Key("t.priority"), _CREATED, _ID),
    "created": (_CREATED, _ID),
    "created-desc": (Key("t.created_at", descending=True), _ID),
    "status": (Key("t.status"), _PRIORITY, _CREATED, _ID),
    "assignee": (Key("t.assignee"), _PRIORITY, _CREATED, _ID),
    "title": (Key("t.title"), _ID),
    "updated": (Key("(SELECT max(id) FROM task_events e WHERE e.task_id = t.id)", descending=True), _ID),
}
_BY_STATUS = "priority-desc"


class TaskQuery(msgspec.Struct, frozen=True):
    """Which tasks, and in which order. What is None, empty or False filters nothing.

    ``statuses``: in one of these; none: in any but archived, and with ``include_archived`` in any. ``assignee``: as it
    is said, or as profiles are spelled; ``unassigned``: nobody's. ``session_id``: the chat that it came from.
    ``workflow_template_id``, ``current_step_key``: what an import brought. ``text``: in its id, title or body, small
    and capital letters of ASCII alike. ``parent``: it waits for this task. ``created_since_s``, ``created_before_s``:
    seconds since 1970. ``sort``: a key of SORTS.

    Raises ValueError for an order or a status that there is not.
    """

    statuses: tuple[Status, ...] = ()
    include_archived: bool = False
    assignee: str | None = None
    unassigned: bool = False
    tenant: str | None = None
    session_id: str | None = None
    workflow_template_id: str | None = None
    current_step_key: str | None = None
    text: str | None = None
    parent: str | None = None
    created_since_s: int | None = None
    created_before_s: int | None = None
    sort: str = _BY_STATUS

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise ValueError(f"{self.sort!r} is no order of tasks; there are {', '.join(SORTS)}")
        if strange := [status for status in self.statuses if status not in STATUSES]:
            raise ValueError(f"{strange[0]!r} is no status of a task; there are {', '.join(STATUSES)}")

    @property
    def keys(self) -> tuple[Key, ...]:
        """What the tasks are ordered by."""
        return SORTS[self.sort]

    @property
    def meant(self) -> tuple[Status, ...]:
        """The statuses that tasks may have."""
        if self.statuses:
            return tuple(dict.fromkeys(self.statuses))
        return tuple(status for status in STATUSES if self.include_archived or status != "archived")


class TaskPage(msgspec.Struct, frozen=True):
    """Some of the tasks that a query finds, in its order. ``after``: what the next page begins after, for
    ``Board.page``; None if there are no more."""

    tasks: list[Task]
    after: str | None


class Statement(NamedTuple):
    """SQL, and what is put in its places."""

    sql: str
    given: dict[str, Value]


def page(query: TaskQuery, after: str | None, limit: int | None) -> Statement:
    """The first ``limit`` tasks (None: all) behind the place ``after`` (None: the beginning). The columns are those of
    a task, then the values that it is ordered by, ``k0``, ``k1`` …

    Raises ValueError for an ``after`` that is no place in this order.
    """
    given: dict[str, Value] = {"limit": -1 if limit is None else limit}
    places = ["1"]
    if after is not None:
        values = _place(query.keys, after)
        given |= {f"after{number}": value for number, value in enumerate(values)}
        places = list(_behind(query.keys, values))
    filters = list(_filters(query, given))
    columns = ", ".join(f"{key.expression} AS k{number}" for number, key in enumerate(query.keys))
    inner = ", ".join(key.order for key in query.keys)
    outer = ", ".join(f"k{number} DESC" if key.descending else f"k{number}" for number, key in enumerate(query.keys))

    def part(*conditions: str) -> str:
        where = " AND ".join([*conditions, *filters])
        return f"SELECT t.id, {columns} FROM tasks t WHERE {where} ORDER BY {inner} LIMIT :limit"

    if query.sort == _BY_STATUS:
        parts = [part(f"t.status = '{status}'", place) for status in query.meant for place in places]
    else:
        statuses = ", ".join(f"'{status}'" for status in query.meant)
        parts = [part(f"t.status IN ({statuses})", f"({' OR '.join(places)})")]
    together = " UNION ALL ".join(f"SELECT * FROM ({each})" for each in parts)
    sql = (
        f"WITH found AS ({together} ORDER BY {outer} LIMIT :limit) "
        "SELECT t.*, m.owner, m.epoch, m.vector, m.run_claimer, found.* FROM found "
        f"CROSS JOIN tasks t ON t.id = found.id CROSS JOIN merge_tasks m ON m.task_id = t.id ORDER BY {outer}"
    )
    return Statement(sql, given)


def counts(query: TaskQuery) -> Statement:
    """How many tasks each status has of those that the query finds."""
    given: dict[str, Value] = {}
    statuses = ", ".join(f"'{status}'" for status in query.meant)
    where = " AND ".join([f"t.status IN ({statuses})", *_filters(query, given)])
    return Statement(f"SELECT t.status, count(*) FROM tasks t WHERE {where} GROUP BY 1", given)


def place_of(values: Sequence[Value]) -> str:
    """The place of the task that is ordered by ``values``."""
    return json.dumps(values, separators=(",", ":"))


def _place(keys: Sequence[Key], after: str) -> list[Value]:
    values: object = None
    with suppress(ValueError, RecursionError):
        values = json.loads(after)
    if isinstance(values, list) and len(values) == len(keys):
        plain: list[Value] = [value for value in values if value is None or type(value) in (str, int)]
        if len(plain) == len(keys):
            return plain
    raise ValueError(f"{after!r} is no place in this order of tasks")


def _behind(keys: Sequence[Key], values: Sequence[Value]) -> Iterator[str]:
    """Conditions that together are true of what comes behind ``values`` in the order of ``keys``, each of which an
    index by these keys can seek: the first ones equal, and the next one behind its own."""
    for number in reversed(range(len(keys))):
        equal = [f"{key.expression} IS :after{each}" for each, key in enumerate(keys[:number])]
        for beyond in _beyond(keys[number], f":after{number}", values[number]):
            yield "(" + " AND ".join([*equal, beyond]) + ")"


def _beyond(key: Key, place: str, value: Value) -> Iterator[str]:
    """Conditions for what comes behind ``value`` in the order of one key. NULL is less than everything."""
    if key.descending and value is not None:
        yield f"{key.expression} < {place}"
        yield f"{key.expression} IS NULL"
    elif not key.descending:
        yield f"{key.expression} IS NOT NULL" if value is None else f"{key.expression} > {place}"


def _filters(query: TaskQuery, given: dict[str, Value]) -> Iterator[str]:
    """The conditions besides status and place; what is put in their places becomes part of ``given``."""
    for column in ("tenant", "session_id", "workflow_template_id", "current_step_key"):
        if (value := getattr(query, column)) is not None:
            given[column] = value
            yield f"t.{column} = :{column}"
    if query.assignee is not None:
        given["assignee"], given["spelled"] = spellings(query.assignee)
        yield "t.assignee IN (:assignee, :spelled)"
    if query.unassigned:
        yield "t.assignee IS NULL"
    if query.text:
        given["text"] = "%" + "".join(f"\\{each}" if each in "\\%_" else each for each in query.text) + "%"
        yield r"(t.title LIKE :text ESCAPE '\' OR t.body LIKE :text ESCAPE '\' OR t.id LIKE :text ESCAPE '\')"
    if query.parent is not None:
        given["parent"] = query.parent
        yield "t.id IN (SELECT child_id FROM task_links WHERE parent_id = :parent)"
    if query.created_since_s is not None:
        given["since"] = query.created_since_s
        yield "t.created_at >= :since"
    if query.created_before_s is not None:
        given["before"] = query.created_before_s
        yield "t.created_at < :before"
