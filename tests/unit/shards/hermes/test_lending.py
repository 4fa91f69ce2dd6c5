"""Lending: a connection is kept open from one borrower to the next, while it reads what lies there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from kanban_shards import Gateway, inline_merge
from kanban_shards.errors import BoardMissing
from kanban_shards.hermes import lending
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.errors import BoardUnavailable
from kanban_shards.hermes.statements import BoardStatements
from kanban_shards.paths import BoardPaths

Connect = Callable[[], BoardConnection]


@pytest.fixture
def connect(works_for: object, paths: BoardPaths) -> Iterator[Connect]:
    """``connect()``: the board, open as Hermes gets it."""
    paths.make_folder()
    inline_merge.make_files(paths)
    yield lambda: BoardConnection(paths, BoardStatements)
    lending.close_kept()


def lent(conn: BoardConnection) -> sqlite3.Connection:
    """What it reads by."""
    return conn._open()


def test_the_next_borrower_gets_it(connect: Connect) -> None:
    first = connect()
    kept = lent(first)
    first.close()
    second = connect()
    assert lent(second) is kept
    second.close()


def test_two_borrowers_share_nothing(connect: Connect) -> None:
    first, second = connect(), connect()
    assert lent(first) is not lent(second)
    kept = lent(first)
    for _ in range(2):  # closed twice, it is given back once
        first.close()
    third, fourth = connect(), connect()
    assert lent(third) is kept
    assert lent(fourth) is not kept
    for each in (second, third, fourth):
        each.close()


def test_threads_borrow_one_each(connect: Connect) -> None:
    def work(number: int) -> int:
        with closing(connect()) as conn:
            return conn.execute("SELECT ? AS n", (number,)).fetchone()["n"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(400))) == list(range(400))
    assert len(lending._kept) <= lending.KEPT_AT_MOST


def test_what_is_closed_is_closed(connect: Connect) -> None:
    conn = connect()
    cursor = conn.execute("SELECT 1 UNION SELECT 2")
    assert cursor.connection is conn
    conn.close()
    with pytest.raises(sqlite3.ProgrammingError):
        cursor.fetchone()
    for use in (conn.cursor, conn.commit, conn.rollback, conn.__enter__, lambda: conn.execute("SELECT 1")):
        with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
            use()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        _ = conn.in_transaction


def test_a_read_that_was_not_read_to_its_end_holds_up_no_checkpoint(connect: Connect, gateway: Gateway) -> None:
    for number in range(3):
        gateway.make(f"task {number}")
    conn = connect()
    unread = conn.execute("SELECT id FROM tasks")
    assert unread.fetchone()
    conn.close()
    gateway.make("one more")
    with sqlite3.connect(gateway.paths.board) as other:
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    other.close()
    assert busy == 0


def test_it_is_lent_as_it_was(connect: Connect) -> None:
    with connect() as conn:
        conn.row_factory = None
        assert conn.execute("SELECT 1").fetchone() == (1,)
        kept = lent(conn)
        conn.close()
    conn = connect()
    assert lent(conn) is kept
    assert conn.row_factory is sqlite3.Row
    conn.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda conn: conn.create_function("lower", 1, lambda text: "x"),
        lambda conn: conn.set_trace_callback(print),
        lambda conn: setattr(conn, "text_factory", bytes),
    ],
)
def test_what_was_changed_is_lent_no_more(connect: Connect, change: Callable[[BoardConnection], object]) -> None:
    conn = connect()
    change(conn)
    changed = lent(conn)
    conn.close()
    with pytest.raises(sqlite3.ProgrammingError):
        changed.execute("SELECT 1")
    conn = connect()
    assert lent(conn) is not changed
    assert conn.execute("SELECT lower('A') AS a").fetchone()["a"] == "a"
    conn.close()


def test_a_board_that_was_replaced_is_opened_anew(connect: Connect, gateway: Gateway, paths: BoardPaths) -> None:
    gateway.make("before")
    gateway.close()
    conn = connect()
    old = lent(conn)
    conn.close()
    copy = paths.board.with_name("copy.db")
    with sqlite3.connect(paths.board) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    for suffix in ("-wal", "-shm"):
        paths.board.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    copy.replace(paths.board)
    conn = connect()
    assert lent(conn) is not old
    assert [row["title"] for row in conn.execute("SELECT title FROM tasks")] == ["before"]
    conn.close()


def test_a_board_that_is_gone(connect: Connect, paths: BoardPaths) -> None:
    connect().close()
    shutil.move(paths.folder, paths.folder.with_name("away"))
    with pytest.raises(BoardMissing):
        connect()
    assert not lending._kept


def test_no_more_are_kept_than_that(connect: Connect) -> None:
    many = [connect() for _ in range(lending.KEPT_AT_MOST + 3)]
    connections = [lent(each) for each in many]
    for each in many:
        each.close()
    assert len(lending._kept) == lending.KEPT_AT_MOST
    for each in connections[:3]:
        with pytest.raises(sqlite3.ProgrammingError):
            each.execute("SELECT 1")


def test_a_fork_borrows_its_own(connect: Connect) -> None:
    conn = connect()
    kept = lent(conn)
    conn.close()
    pid = os.fork()
    if pid == 0:
        mine = connect()
        is_other = lent(mine) is not kept
        mine.close()
        os._exit(0 if is_other else 1)
    assert os.waitpid(pid, 0)[1] == 0
    conn = connect()
    assert lent(conn) is kept
    conn.close()


def test_who_keeps_one_reads_the_board_that_is_made_again(connect: Connect, gateway: Gateway) -> None:
    """Its cursors do, too; and what reads on, reads on in the former one."""
    gateway.make("before")
    gateway.close()
    conn = connect()
    conn.row_factory = None
    old = lent(conn)
    cursor = conn.cursor()
    unread = conn.execute("SELECT title FROM tasks UNION SELECT 'z'")
    gateway.paths.board.rename(gateway.paths.board.with_name("away.db"))
    for suffix in ("-wal", "-shm"):
        gateway.paths.board.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    with Gateway("bob", home=gateway.paths.folder) as other:
        other.make("after")
    titles = [("after",), ("before",)]
    assert conn.glance("SELECT count(*) FROM tasks", ()) == (2,)
    assert cursor.execute("SELECT title FROM tasks ORDER BY title").fetchall() == titles
    assert conn.execute("SELECT title FROM tasks ORDER BY title").fetchall() == titles
    assert unread.fetchall() == [("before",), ("z",)]
    conn.close()
    with pytest.raises(sqlite3.ProgrammingError):
        old.execute("SELECT 1")


def test_who_keeps_one_has_a_lost_board_made_again(connect: Connect, gateway: Gateway) -> None:
    gateway.make("before")
    gateway.close()
    conn = connect()
    for suffix in ("", "-wal", "-shm"):
        gateway.paths.board.with_name(f"kanban.db{suffix}").unlink(missing_ok=True)
    assert [row["title"] for row in conn.execute("SELECT title FROM tasks")] == ["before"]
    assert gateway.paths.board.exists()
    conn.close()


def test_who_keeps_one_is_told_that_the_board_is_gone(connect: Connect, paths: BoardPaths) -> None:
    conn = connect()
    shutil.move(paths.folder, paths.folder.with_name("away"))
    with pytest.raises(BoardUnavailable):
        conn.execute("SELECT title FROM tasks")
    conn.close()


def test_what_was_changed_stays_as_it_is(connect: Connect, gateway: Gateway) -> None:
    """Whoever gave it a function of its own needs that one."""
    conn = connect()
    conn.create_function("twice", 1, lambda text: text * 2)
    gateway.paths.board.rename(gateway.paths.board.with_name("away.db"))
    assert conn.execute("SELECT twice('a')").fetchone()[0] == "aa"
    conn.close()


@pytest.mark.parametrize("begin", [lambda rows: rows.fetchone(), next, lambda rows: rows.fetchmany(1)[0]])
def test_a_read_that_goes_on_holds_up_no_other(
    connect: Connect, gateway: Gateway, begin: Callable[[sqlite3.Cursor], sqlite3.Row]
) -> None:
    """SQLite shows one state to all reads of a connection that overlap, and what a verb wrote would not be in it."""
    for title in "abcd":
        gateway.make(title)
    conn = connect()
    rows = conn.execute("SELECT title FROM tasks ORDER BY title")
    assert begin(rows)["title"] == "a"
    for number, row in enumerate(rows):
        gateway.make(f"e{number}")
        assert conn.glance("SELECT count(*) FROM tasks", ())[0] == 5 + number
        assert conn.execute("SELECT count(*) FROM tasks").fetchone()[0] == 5 + number
        assert row["title"] == "bcd"[number]
    before = lent(conn)
    assert conn.execute("SELECT count(*) FROM tasks").fetchall()[0][0] == 7
    assert lent(conn) is before, "nothing is left of it"
    conn.close()
    assert len(lending._kept) == 2


def test_reads_that_are_left_unfinished_borrow_no_more_and_more(connect: Connect, gateway: Gateway) -> None:
    """Who asks for one row and keeps the cursor until the next read has not read to the end, as far as one can tell."""
    for title in "ab":
        gateway.make(title)
    conn, used = connect(), set()
    for _ in range(20):
        rows = conn.execute("SELECT title FROM tasks ORDER BY title")
        assert rows.fetchone()["title"] == "a"
        used.add(lent(conn))
    assert len(used) == 2
    assert conn.execute("SELECT count(*) FROM tasks").fetchone()[0] == 2
    assert rows.fetchone()["title"] == "b"
    conn.close()
    assert {each.connection for each in lending._kept} == used
