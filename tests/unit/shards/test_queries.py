"""Pages of tasks: each task once, in one order, at the cost of what is shown."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from kanban_shards import Board, Gateway, queries
from kanban_shards.paths import BoardPaths
from kanban_shards.queries import SORTS, TaskQuery
from kanban_shards.records import STATUSES, Task
from kanban_shards.storage import copies, sqlite

PLAIN = {
    "tenant": "acme", "session_id": "s1", "workflow_template_id": "w", "current_step_key": "k", "assignee": "bob",
}  # fmt: skip


OWNED = "(task_id, creator, owner, epoch, vector)"


@pytest.fixture
def board(paths: BoardPaths) -> Iterator[Board]:
    """Three hundred tasks in every status, with much that is equal, and with what only imports bring."""
    chance = random.Random(5)
    with closing(sqlite.open_scratch(sqlite.BOARD)) as made:
        made.execute("UPDATE merge_state SET writing = 1")
        for number in range(300):
            row = {
                "id": f"t_{chance.getrandbits(64):016x}",
                "title": chance.choice(["a%b", "A_b", "ünder", f"task {number}"]),
                "body": chance.choice([None, "speaks of 100%", "and \\ that"]),
                "status": chance.choice(STATUSES),
                "priority": chance.choice([None, 0, 0, 1, -2]),
                "created_at": chance.choice([10, 20, 30]),
                **{column: chance.choice([None, value, "else"]) for column, value in PLAIN.items()},
            }
            names = ", ".join(row)
            made.execute(f"INSERT INTO tasks ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
            made.execute(f"INSERT INTO merge_tasks {OWNED} VALUES (?, 'a', 'a', 1, '{{}}')", (row["id"],))
            for _ in range(chance.choice([0, 1, 3])):
                made.execute(
                    "INSERT INTO task_events (task_id, kind, created_at) VALUES (?, 'created', 1)", (row["id"],)
                )
        ids = [each for (each,) in made.execute("SELECT id FROM tasks")]
        made.executemany("INSERT INTO task_links VALUES (?, ?)", [(ids[0], each) for each in ids[1:20]])
        made.execute("UPDATE merge_state SET writing = 0")
        paths.folder.mkdir(exist_ok=True)
        copies.write_copy(made, paths.board, sqlite.BOARD)
    with Board(paths) as opened:
        yield opened


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 7, 300, 1_000])
def test_pages_are_the_whole_in_order(board: Board, sort: str, limit: int) -> None:
    """Each task once, whatever is equal or NULL, as one statement orders them."""
    query = TaskQuery(sort=sort, include_archived=True)
    found: list[Task] = []
    after = None
    while True:
        page = board.page(query, limit=limit, after=after)
        assert len(page.tasks) == limit or page.after is None
        found += page.tasks
        after = page.after
        if after is None:
            break
    with board.reading() as connection:
        order = ", ".join(key.order for key in SORTS[sort])
        expected = [row[0] for row in connection.execute(f"SELECT t.id FROM tasks t ORDER BY {order}")]
    assert [task.id for task in found] == expected


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        (TaskQuery(), lambda task: task.status != "archived"),
        (TaskQuery(statuses=("archived",)), lambda task: task.status == "archived"),
        (TaskQuery(statuses=("ready", "todo", "ready")), lambda task: task.status in ("ready", "todo")),
        (TaskQuery(include_archived=True, unassigned=True), lambda task: task.assignee is None),
        (TaskQuery(include_archived=True, assignee="Bob"), lambda task: task.assignee == "bob"),
        (TaskQuery(include_archived=True, text="A%B"), lambda task: "a%b" in task.title.lower()),
        (TaskQuery(include_archived=True, text="A_B"), lambda task: "a_b" in task.title.lower()),
        (TaskQuery(include_archived=True, text="\\"), lambda task: "\\" in (task.body or "")),
        (TaskQuery(include_archived=True, text="100"), lambda task: "100" in f"{task.title} {task.body} {task.id}"),
        (TaskQuery(include_archived=True, created_since_s=20), lambda task: task.created_at >= 20),
        (TaskQuery(include_archived=True, created_before_s=20), lambda task: task.created_at < 20),
        *((TaskQuery(include_archived=True, **{column: value}),
           lambda task, column=column, value=value: getattr(task, column) == value)
          for column, value in PLAIN.items()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sort", ["priority-desc", "title"])
def test_filters(board: Board, query: TaskQuery, fits, sort: str) -> None:
    query = msgspec.structs.replace(query, sort=sort)
    expected = {task.id for task in board.tasks(include_archived=True) if fits(task)}
    assert 0 < len(expected) < 300
    found, after = [], None
    while (page := board.page(query, limit=11, after=after)).tasks:
        found += [task.id for task in page.tasks]
        if (after := page.after) is None:
            break
    assert len(found) == len(set(found))
    assert set(found) == expected
    counts = board.count_by_status(query)
    assert sum(counts.values()) == len(expected)
    by_status = Counter(task.status for task in board.tasks(include_archived=True) if fits(task))
    assert counts == by_status


def test_children(board: Board) -> None:
    with board.reading() as connection:
        (parent,) = connection.execute("SELECT DISTINCT parent_id FROM task_links").fetchone()
    page = board.page(TaskQuery(parent=parent, include_archived=True), limit=100)
    assert {task.id for task in page.tasks} == set(board.children(parent))


def test_a_task_that_moves_between_pages_is_not_shown_twice(gateway: Gateway) -> None:
    """And what comes before the place, or goes, moves nothing else."""
    ids = [gateway.create(f"task {number}", priority=number % 3) for number in range(12)]
    gateway.sync()
    query = TaskQuery()
    first = gateway.board.page(query, limit=4)
    gateway.edit(first.tasks[0].id, priority=9)
    gateway.archive(first.tasks[1].id)
    gateway.create("before them all", priority=10)
    gateway.sync()
    rest = gateway.board.page(query, limit=100, after=first.after)
    assert sorted([task.id for task in first.tasks] + [task.id for task in rest.tasks]) == sorted(ids)


@pytest.mark.parametrize(
    "after", ["", "x", "[]", "[1,2]", "[1,2,3,4]", '[1,2,{"a":1}]', "[1.5,2,3]", "3", "[true,1,2]"]
)
def test_what_is_no_place(board: Board, after: str) -> None:
    with pytest.raises(ValueError, match="is no place"):
        board.page(TaskQuery(), limit=3, after=after)


def test_what_there_is_not(board: Board) -> None:
    with pytest.raises(ValueError, match="is no order"):
        TaskQuery(sort="t.id; DROP TABLE tasks")
    with pytest.raises(ValueError, match="is no status"):
        TaskQuery(statuses=("'; --",))
    with pytest.raises(TypeError):
        board.page(TaskQuery(), limit=3, after='[99999999999999999999999,1,"t_0"]')


@pytest.mark.parametrize("statuses", [(), ("ready",), ("blocked", "review", "ready")])
def test_the_usual_order_costs_what_it_shows(board: Board, tmp_path: Path, statuses: tuple) -> None:
    """At any place: the index of the order is sought, nothing is sorted but what is shown, and a board ten times as
    large takes as many steps."""
    steps = {}
    for times in (1, 10):
        with closing(_larger(board, times)) as larger:
            (middle,) = larger.execute(
                "SELECT json_array(priority, created_at, id) FROM tasks WHERE status = 'ready' AND priority IS NOT NULL"
                " ORDER BY priority DESC, created_at, id "
                "LIMIT 1 OFFSET (SELECT count(*) / 3 FROM tasks WHERE status = 'ready')"
            ).fetchone()
            for after in (None, middle):
                sql, given = queries.page(TaskQuery(statuses=statuses), after, 5)
                plan = [row[3] for row in larger.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
                assert not [line for line in plan if line.startswith("SCAN t") or "USING INDEX idx" in line], plan
                steps[times, after is None] = _steps(larger, sql, given)
    for is_first in (True, False):
        assert steps[10, is_first] < 1.3 * steps[1, is_first] + 200, steps


def _larger(board: Board, times: int) -> sqlite3.Connection:
    made = sqlite.open_scratch()
    with board.reading() as connection:
        copies.copy_over(connection, made)
    made.execute("UPDATE merge_state SET writing = 1")
    columns = [row[1] for row in made.execute("PRAGMA table_info(tasks)") if row[1] != "id"]
    for number in range(1, times):
        made.execute(
            f"INSERT INTO tasks (id, {', '.join(columns)}) SELECT id || '{number:02}', {', '.join(columns)} "
            "FROM tasks WHERE length(id) = 18"
        )
    made.execute(f"INSERT OR IGNORE INTO merge_tasks {OWNED} SELECT id, 'a', 'a', 1, '{{}}' FROM tasks")
    return made


def _steps(connection: sqlite3.Connection, sql: str, given: dict) -> int:
    """How many steps of its machine SQLite takes, in tens."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection.set_progress_handler(count, 10)
    connection.execute(sql, given).fetchall()
    connection.set_progress_handler(None, 0)
    return taken
