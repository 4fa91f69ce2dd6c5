"""Cards: what a board looks like through filters, a column for each status, read in one state.

A column holds the cards that are shown and counts the rest, so what a look costs does not follow the board's size.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

from kanban_shards import inline_merge
from kanban_shards.board import Board
from kanban_shards.filters import NEEDS_A_PERSON, NOBODY, Filters
from kanban_shards.records import STATUSES, Status

# Shown even while they are empty, so that a board keeps its shape.
ALWAYS: tuple[Status, ...] = ("todo", "ready", "running", "blocked", "done")
MOST_LANES = 40
PARENTS_NAMED = 3

# Where a task is that waits for others.
WAITING = ("triage", "todo", "blocked")

_ORDERS = {
    "running": "t.started_at DESC, t.id",
    "done": "t.completed_at DESC, t.id",
    "archived": "t.completed_at DESC, t.id",
}
_USUAL_ORDER = "t.priority DESC, t.created_at, t.id"
_OPEN_PARENTS = (
    "SELECT l.child_id, p.id, p.title, p.status FROM task_links l JOIN tasks p ON p.id = l.parent_id "
    "WHERE l.child_id IN (SELECT value FROM json_each(?)) AND p.status NOT IN ('done', 'archived') ORDER BY 1, 2"
)


@dataclass(frozen=True)
class Named:
    """Another task, as far as a link to it says."""

    id: str
    title: str
    status: Status


@dataclass(frozen=True)
class Card:
    """A task as a card shows it. Times are in seconds since 1970.

    ``runner``: who runs it; ``until_s``: until when that run is believed alive without a heartbeat, ``lease_s`` after
    the last one. ``wakes_s``: until when it is scheduled, or waits out a rate limit. ``waits_for``: the first
    PARENTS_NAMED of ``waiting`` tasks.
    """

    id: str
    title: str
    status: Status
    assignee: str | None
    priority: int
    tenant: str | None
    owner: str
    created_s: int
    ended_s: int | None
    run_id: int | None
    runner: str | None
    claimer: str | None
    reviewing: bool
    until_s: int | None
    lease_s: int | None
    wakes_s: int | None
    needs_a_person: bool
    block_kind: str | None
    failures: int
    comments: int
    files: int
    waiting: int = 0
    waits_for: tuple[Named, ...] = ()


@dataclass(frozen=True)
class Column:
    """The cards of one status, in one lane: those that are shown, and how many there are in all."""

    lane: str
    status: Status
    cards: tuple[Card, ...]
    count: int

    @property
    def key(self) -> str:
        """What tells the columns of a page apart."""
        return f"{self.status} {self.lane}".strip()

    @property
    def mark(self) -> str:
        """The same for the same content, so that a page need not be sent what it shows already."""
        return blake2b(repr(self).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()

    @property
    def hidden(self) -> int:
        """How many are not shown."""
        return self.count - len(self.cards)


@dataclass(frozen=True)
class Lane:
    """A row of the board. ``name``: whose; NOBODY for those of nobody, "" if the board has one row."""

    name: str
    count: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Picture:
    """A board through filters. ``counts``: of each status, all lanes together. ``lanes_hidden``: how many more rows
    there are. ``needing``: how many tasks need a person. ``people``, ``tenants``: what may be filtered by."""

    position: int
    lanes: tuple[Lane, ...]
    counts: dict[Status, int]
    lanes_hidden: int
    needing: int
    people: tuple[str, ...]
    tenants: tuple[str, ...]

    @property
    def cards(self) -> list[Card]:
        """Those that are shown."""
        return list(_all(self.lanes))

    def alive(self, heartbeats: Mapping[int, float]) -> Picture:
        """The same, with the leases that these heartbeats give; see ``alive``."""
        return replace(self, lanes=_changed(self.lanes, lambda card: alive(card, heartbeats))) if heartbeats else self


def look(board: Board, filters: Filters) -> Picture:
    """The board as ``filters`` show it, in one state. Raises as every read of a board does."""
    with board.reading() as connection:
        return Picture(
            position=board.position(),
            people=_names(connection, "assignee"),
            tenants=_names(connection, "tenant"),
            needing=_needing(connection),
            **_lanes(connection, filters),
        )


def look_now(board: Board, filters: Filters) -> Picture:
    """The same of the board as it is now, with the leases that heartbeats give which only shards hold yet."""
    picture = look(board, filters)
    return picture.alive(inline_merge.last_heartbeats(board.paths, runs_of(picture.cards)))


def one(board: Board, task_id: str) -> Card | None:
    """The card of a task; None if there is no such task."""
    with board.reading() as connection:
        row = connection.execute(_cards("t.id = :id", "t.id"), {"id": task_id, "limit": 1}).fetchone()
        return None if row is None else _card(row)


def named(board: Board, task_ids: Sequence[str]) -> list[Named]:
    """Those of the tasks that there are, in the given order."""
    sql = "SELECT id, title, status FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
    with board.reading() as connection:
        found = {row["id"]: Named(*row) for row in connection.execute(sql, (json.dumps(task_ids),))}
    return [found[task_id] for task_id in task_ids if task_id in found]


def names(board: Board, column: Literal["assignee", "tenant"]) -> tuple[str, ...]:
    """Those that the tasks of the board have."""
    with board.reading() as connection:
        return _names(connection, column)


def runs_of(found: Iterable[Card]) -> list[tuple[int, str]]:
    """The open runs of the cards, each with the profiles that may give its heartbeats."""
    return [(card.run_id, who) for card in found if card.run_id for who in {card.runner, card.claimer} if who]


def alive(card: Card, heartbeats: Mapping[int, float]) -> Card:
    """The card, whose lease counts from the last heartbeat of its run, if that is later than what the board shows."""
    seen_s = None if card.run_id is None else heartbeats.get(card.run_id)
    if seen_s is None or card.until_s is None or card.lease_s is None:
        return card
    return replace(card, until_s=max(card.until_s, int(seen_s) + card.lease_s))


def _lanes(connection: sqlite3.Connection, filters: Filters) -> dict[str, Any]:
    wanted, given = filters.conditions()
    counted = _counted(connection, filters, wanted, given)
    totals = {lane: sum(by_status.values()) for lane, by_status in counted.items()}
    names = sorted(totals, key=lambda lane: (lane == NOBODY, -totals[lane], lane))[:MOST_LANES]
    whole: dict[Status, int] = {
        status: sum(by_status.get(status, 0) for by_status in counted.values()) for status in STATUSES
    }
    statuses: list[Status] = [status for status in STATUSES if _is_shown(filters, status, whole[status])]
    lanes = []
    for name in names:
        columns = [_column(connection, filters, name, status, counted[name].get(status, 0)) for status in statuses]
        lanes.append(Lane(name, totals[name], tuple(columns)))
    if not lanes:
        lanes = [Lane("", 0, tuple(Column("", status, (), 0) for status in statuses))]
    return {"lanes": _with_parents(connection, lanes), "counts": whole, "lanes_hidden": len(totals) - len(names)}


def _is_shown(filters: Filters, status: Status, count: int) -> bool:
    if filters.statuses:
        return status in filters.statuses
    return status in ALWAYS or (count > 0 and status != "archived")


def _counted(
    connection: sqlite3.Connection, filters: Filters, wanted: list[str], given: dict[str, str]
) -> dict[str, dict[Status, int]]:
    """How many tasks each lane has of each status."""
    column = f"coalesce(nullif(t.{filters.lanes}, ''), '{NOBODY}')" if filters.lanes else "''"
    shown = [] if filters.statuses else ["t.status != 'archived'"]
    if filters.statuses:
        shown = [f"t.status IN ({', '.join(repr(str(status)) for status in filters.statuses)})"]
    where = " AND ".join([*wanted, *(shown if filters.lanes else [])]) or "1"
    counted: dict[str, dict[Status, int]] = {}
    for name, status, count in connection.execute(
        f"SELECT {column}, t.status, count(*) FROM tasks t WHERE {where} GROUP BY 1, 2", given
    ):
        if status in STATUSES:
            counted.setdefault(name, {})[status] = count
    return counted


def _column(connection: sqlite3.Connection, filters: Filters, lane: str, status: Status, count: int) -> Column:
    if not count:
        return Column(lane, status, (), 0)
    wanted, given = filters.conditions()
    if filters.lanes and lane == NOBODY:
        wanted.append(f"coalesce(t.{filters.lanes}, '') IN ('', :lane)")
    elif filters.lanes:
        wanted.append(f"t.{filters.lanes} = :lane")
    where, order = " AND ".join(["t.status = :status", *wanted]), _ORDERS.get(status, _USUAL_ORDER)
    rows = connection.execute(
        _cards(where, order),
        {**given, "lane": lane, "status": status, "limit": filters.limit(status)},
    )
    return Column(lane, status, tuple(map(_card, rows)), count)


def _cards(where: str, order: str) -> str:
    """The statement of the first ``:limit`` cards of the tasks ``where`` that is true, in ``order``."""
    return (
        "SELECT t.id, t.title, t.status, t.assignee, t.priority, t.tenant, t.created_at, t.started_at, "
        "t.completed_at, t.claim_expires, t.current_run_id, t.block_kind, t.consecutive_failures, m.owner, "
        "m.run_profile, m.run_claimer, m.lease_s, m.due_s, m.not_before_s, m.reviewing, "
        f"{NEEDS_A_PERSON} AS needs_a_person, "
        "(SELECT count(*) FROM task_comments c WHERE c.task_id = t.id) AS comments, "
        "(SELECT count(*) FROM task_attachments a WHERE a.task_id = t.id) AS files "
        f"FROM (SELECT t.rowid AS place FROM tasks t WHERE {where} ORDER BY {order} LIMIT :limit) chosen "
        f"JOIN tasks t ON t.rowid = chosen.place JOIN merge_tasks m ON m.task_id = t.id ORDER BY {order}"
    )


def _card(row: sqlite3.Row) -> Card:
    is_running = row["status"] == "running"
    return Card(
        id=row["id"],
        title=row["title"],
        status=row["status"],
        assignee=row["assignee"],
        priority=row["priority"] or 0,
        tenant=row["tenant"],
        owner=row["owner"],
        created_s=row["created_at"],
        ended_s=row["completed_at"],
        run_id=row["current_run_id"],
        runner=(row["run_profile"] or row["run_claimer"]) if is_running else None,
        claimer=row["run_claimer"] if is_running else None,
        reviewing=is_running and bool(row["reviewing"]),
        until_s=row["claim_expires"] if is_running else None,
        lease_s=row["lease_s"] if is_running else None,
        wakes_s=row["due_s"] if row["status"] == "scheduled" else row["not_before_s"],
        needs_a_person=bool(row["needs_a_person"]),
        block_kind=row["block_kind"] if row["status"] == "blocked" else None,
        failures=row["consecutive_failures"],
        comments=row["comments"],
        files=row["files"],
    )


def _with_parents(connection: sqlite3.Connection, lanes: Iterable[Lane]) -> tuple[Lane, ...]:
    """The lanes, whose cards say what they wait for."""
    lanes = tuple(lanes)
    waiting = [card.id for card in _all(lanes) if card.status in WAITING]
    parents: dict[str, list[Named]] = {}
    for child_id, *parent in connection.execute(_OPEN_PARENTS, (json.dumps(waiting),)) if waiting else ():
        parents.setdefault(child_id, []).append(Named(*parent))

    def told(card: Card) -> Card:
        found = parents.get(card.id)
        return replace(card, waiting=len(found), waits_for=tuple(found[:PARENTS_NAMED])) if found else card

    return _changed(lanes, told)


def _all(lanes: Iterable[Lane]) -> Iterator[Card]:
    return (card for lane in lanes for column in lane.columns for card in column.cards)


def _changed(lanes: Iterable[Lane], change: Callable[[Card], Card]) -> tuple[Lane, ...]:
    return tuple(
        replace(lane, columns=tuple(replace(each, cards=tuple(map(change, each.cards))) for each in lane.columns))
        for lane in lanes
    )


def _needing(connection: sqlite3.Connection) -> int:
    sql = (
        "SELECT count(*) FROM (SELECT id FROM tasks WHERE status = 'blocked' AND coalesce(block_kind, '') NOT IN "
        "('transient', 'dependency') UNION SELECT d.task_id FROM merge_dead_letters d JOIN tasks t ON t.id = d.task_id "
        "WHERE d.resend = 0)"
    )
    return int(connection.execute(sql).fetchone()[0])


def _names(connection: sqlite3.Connection, column: str) -> tuple[str, ...]:
    """The different values of an indexed column: each is found by its index, so many tasks cost nothing."""
    sql = (
        f"WITH RECURSIVE each_(name) AS (SELECT min({column}) FROM tasks UNION ALL SELECT (SELECT min({column}) "
        f"FROM tasks WHERE {column} > name) FROM each_ WHERE name IS NOT NULL) "
        "SELECT name FROM each_ WHERE name IS NOT NULL AND name != '' LIMIT 200"
    )
    return tuple(name for (name,) in connection.execute(sql))
