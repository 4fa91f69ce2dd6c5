"""The graph of what waits for what, as a picture: tasks in layers, each to the right of all that it waits for. Runs in
the reader.

The layers are those of the longest way; within a layer, a task stands near the middle of what it is linked to (the
barycenter heuristic of Sugiyama, Tagawa and Toda, 1981).
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.records import Status
from kanban_shards.web.looks import fit

# Of one picture: more is no longer a picture.
MOST_TASKS = 150
MOST_LINKS = 600
SWEEPS = 4
# In pixels, as the style has them.
WIDE, HIGH, ASIDE, APART, MARGIN = 210, 50, 74, 16, 12
TITLE_COLUMNS = 23

_OPEN_LINKS = (
    "SELECT l.parent_id, l.child_id FROM tasks t JOIN task_links l ON l.child_id = t.id "
    "WHERE t.status IN ('triage', 'todo', 'scheduled', 'ready', 'running', 'blocked', 'review') LIMIT ?"
)
_LINKS_OF = (
    "SELECT parent_id, child_id FROM task_links WHERE child_id IN (SELECT value FROM json_each(:ids)) UNION "
    "SELECT parent_id, child_id FROM task_links WHERE parent_id IN (SELECT value FROM json_each(:ids)) LIMIT :most"
)
_TASKS = "SELECT id, title, status, assignee FROM tasks WHERE id IN (SELECT value FROM json_each(?))"
_Link = tuple[str, str]


@dataclass(frozen=True)
class Node:
    """A task where it stands in the picture."""

    id: str
    title: str
    status: Status
    who: str
    x: int
    y: int
    is_meant: bool


@dataclass(frozen=True)
class Drawing:
    """A picture. ``lines``: what to draw for each link, as the path of an SVG. ``is_whole``: nothing is left out."""

    nodes: tuple[Node, ...]
    lines: tuple[str, ...]
    width: int
    height: int
    is_whole: bool


def draw(board: Board, task_id: str | None) -> Drawing:
    """All that is linked with the task ``task_id``, however far; None for every task that is open and waits for
    another. At most MOST_TASKS."""
    with board.reading() as connection:
        if task_id is None:
            links, is_whole = _some_links(connection)
        else:
            links, is_whole = _linked_with(connection, task_id)
        ids = sorted({each for link in links for each in link} | ({task_id} if task_id else set()))
        rows: dict[str, sqlite3.Row] = {row["id"]: row for row in connection.execute(_TASKS, (json.dumps(ids),))}
    known = [(parent, child) for parent, child in links if parent in rows and child in rows]
    return _drawn(rows, known, task_id, is_whole)


def layers(ids: Iterable[str], links: Sequence[_Link]) -> dict[str, int]:
    """In which layer each task stands: behind all that it waits for. What is in a circle, which no rule makes, stands
    as far as the others let it."""
    waits: dict[str, int] = dict.fromkeys(ids, 0)
    after: dict[str, list[str]] = defaultdict(list)
    for parent, child in links:
        waits[child] += 1
        after[parent].append(child)
    found = dict.fromkeys(waits, 0)
    free = [each for each, count in waits.items() if not count]
    while free:
        here = free.pop()
        for child in after[here]:
            found[child] = max(found[child], found[here] + 1)
            waits[child] -= 1
            if not waits[child]:
                free.append(child)
    return found


def groups(ids: Iterable[str], links: Sequence[_Link]) -> list[list[str]]:
    """Those that are linked with each other, the largest group first."""
    beside: dict[str, set[str]] = {each: set() for each in ids}
    for parent, child in links:
        beside[parent].add(child)
        beside[child].add(parent)
    found, seen = [], set()
    for start in beside:
        if start in seen:
            continue
        group, new = [], [start]
        seen.add(start)
        while new:
            here = new.pop()
            group.append(here)
            fresh = beside[here] - seen
            seen |= fresh
            new += sorted(fresh)
        found.append(group)
    return sorted(found, key=len, reverse=True)


def _some_links(connection: sqlite3.Connection) -> tuple[list[_Link], bool]:
    rows = connection.execute(_OPEN_LINKS, (MOST_LINKS,)).fetchall()
    kept: list[_Link] = []
    ids: set[str] = set()
    for parent, child in rows:
        if len(ids | {parent, child}) > MOST_TASKS:
            return kept, False
        ids |= {parent, child}
        kept.append((parent, child))
    return kept, len(rows) < MOST_LINKS


def _linked_with(connection: sqlite3.Connection, task_id: str) -> tuple[list[_Link], bool]:
    """The nearest first, so that what is left out is far away."""
    ids, new = {task_id}, {task_id}
    links: set[_Link] = set()
    while new:
        found = connection.execute(_LINKS_OF, {"ids": json.dumps(sorted(new)), "most": MOST_LINKS}).fetchall()
        around = {each for link in found for each in link} - ids
        if len(ids) + len(around) > MOST_TASKS:
            return [link for link in links if set(link) <= ids], False
        links |= {(parent, child) for parent, child in found}
        ids |= around
        new = around
    return sorted(links), True


def _drawn(rows: dict[str, sqlite3.Row], links: list[_Link], meant: str | None, is_whole: bool) -> Drawing:
    layer = layers(rows, links)
    places: dict[str, tuple[int, int]] = {}
    top = MARGIN
    for group in groups(rows, links):
        columns = _ordered(group, [link for link in links if link[0] in {*group}], layer)
        tallest = max(map(len, columns.values()))
        for number, column in columns.items():
            space = (tallest - len(column)) * (HIGH + APART) // 2
            for row, each in enumerate(column):
                places[each] = MARGIN + number * (WIDE + ASIDE), top + space + row * (HIGH + APART)
        top += tallest * (HIGH + APART) + APART
    nodes = tuple(_node(rows[each], x, y, each == meant) for each, (x, y) in places.items())
    width = max((x for x, _ in places.values()), default=0) + WIDE + MARGIN
    return Drawing(nodes, tuple(_line(places[a], places[b]) for a, b in links), width, top, is_whole)


def _ordered(group: list[str], links: list[_Link], layer: dict[str, int]) -> dict[int, list[str]]:
    columns: dict[int, list[str]] = defaultdict(list)
    for each in sorted(group):
        columns[layer[each]].append(each)
    beside: dict[str, list[str]] = defaultdict(list)
    for parent, child in links:
        beside[parent].append(child)
        beside[child].append(parent)
    for sweep in range(SWEEPS):
        place = {each: row / len(column) for column in columns.values() for row, each in enumerate(column)}
        for number in sorted(columns, reverse=bool(sweep % 2)):
            middle = {
                each: sum(place[other] for other in beside[each]) / len(beside[each]) if beside[each] else place[each]
                for each in columns[number]
            }
            columns[number].sort(key=lambda each: (middle[each], each))
            place |= {each: row / len(columns[number]) for row, each in enumerate(columns[number])}
    return dict(columns)


def _node(row: sqlite3.Row, x: int, y: int, is_meant: bool) -> Node:
    title = wording.truncate(" ".join(fit(row["title"][:200]).split()), TITLE_COLUMNS)
    return Node(row["id"], title, row["status"], row["assignee"] or "nobody", x, y, is_meant)


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = (start[0] + WIDE, start[1] + HIGH // 2), (end[0], end[1] + HIGH // 2)
    bend = max(ASIDE // 2, (x1 - x0) // 2)
    return f"M{x0} {y0} C{x0 + bend} {y0} {x1 - bend} {y1} {x1 - 5} {y1}"


def gather(board: Board, task_id: str | None) -> dict[str, Any]:
    """What the page shows."""
    return {"drawing": draw(board, task_id), "meant": task_id, "position": board.position()}
