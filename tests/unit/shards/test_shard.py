"""A shard: contiguous, chained, durable, and nobody else's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from kanban_shards import Board, Gateway, pending
from kanban_shards.changes.codec import chain, genesis
from kanban_shards.changes.fields import TEXT_LIMIT
from kanban_shards.changes.kinds import AddComment, Assign, Create, Edit
from kanban_shards.changes.vectors import View
from kanban_shards.errors import (
    Damaged,
    FileSizeLimit,
    Forked,
    InvalidChange,
    NewerSchema,
    ShardBehind,
    ShardOfAnother,
    StorageError,
    TooLarge,
)
from kanban_shards.group_commit import Request
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard, _Appended
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.locks import FileLock
from tests.ids import new_task_id
from tests.untyped import write_untyped

NOTHING = View()
# Files may grow no further: what a full disk does, without one.
FULL = """
import resource, sys
from kanban_shards.errors import StorageError
from kanban_shards.changes.kinds import AddComment
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard, _Appended
from kanban_shards.group_commit import Request
from kanban_shards.changes.vectors import View
shard = Shard(BoardPaths.find(home=sys.argv[1]), "amy")
before = shard.append(sys.argv[2], AddComment(text="before"), View()).seq
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (shard.path.stat().st_size + 8192, unlimited[1]))
try:
    shard.append(sys.argv[2], AddComment(text="x" * 500_000), View())
except StorageError as error:
    print(type(error).__name__, error.exit_code)
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
print(shard.append(sys.argv[2], AddComment(text="after"), View()).seq - before)
shard.close()
"""


@pytest.fixture
def shard(paths: BoardPaths):
    shard = Shard(paths, "amy")
    yield shard
    shard.close()


def test_contiguous(shard: Shard, paths: BoardPaths) -> None:
    """Seqs count from 1, and each digest continues the one before."""
    task_id = new_task_id()
    seqs = [shard.append(task_id, Create(title="x"), NOTHING).seq]
    seqs += [shard.append(task_id, AddComment(text=str(number)), NOTHING).seq for number in range(4)]
    assert seqs == [1, 2, 3, 4, 5]
    assert shard.head(NOTHING) == 5
    rows, shard_id, _ = _plainly(paths, "amy")
    digest = genesis("amy", shard_id)
    for row in rows:
        digest = chain(digest, "amy", *row[:6])
        assert row[6] == digest


def test_threads_share_a_commit(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits while another thread commits is in the next transaction, contiguous, each change once."""
    task_id = new_task_id()
    shard.append(task_id, Create(title="x"), NOTHING)
    true_transaction, transactions = connections.transaction, []
    begun, go_on = threading.Event(), threading.Event()

    @contextmanager
    def transaction(connection):
        transactions.append(threading.get_ident())
        begun.set()
        assert go_on.wait(30)
        with true_transaction(connection):
            yield

    monkeypatch.setattr(connections, "transaction", transaction)
    with ThreadPoolExecutor(8) as pool:
        appended = [pool.submit(shard.append, task_id, AddComment(text=str(number)), NOTHING) for number in range(8)]
        assert begun.wait(30)
        while len(shard._commits._waiting) < 7:
            pass
        go_on.set()
    assert sorted(each.result().seq for each in appended) == list(range(2, 10))
    assert len(transactions) == 2
    assert shard.head(NOTHING) == 9


def _break_transactions(
    monkeypatch: pytest.MonkeyPatch,
    before_commit: BaseException | None = None,
    after_commit: BaseException | None = None,
) -> None:
    true_transaction = connections.transaction

    @contextmanager
    def broken(connection):
        with true_transaction(connection):
            yield
            if before_commit is not None:
                raise before_commit
        if after_commit is not None:
            raise after_commit

    monkeypatch.setattr(connections, "transaction", broken)


def test_a_batch_that_fails_leaves_nothing(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has not seen, and does not skip, what was not committed."""
    task_id = new_task_id()
    shard.append(task_id, Create(title="x"), NOTHING)
    _break_transactions(monkeypatch, before_commit=StorageError(path=shard.path, problem="the disk is gone"))
    with pytest.raises(StorageError, match="the disk is gone"):
        shard.append(task_id, Assign(assignee="bob"), NOTHING)
    monkeypatch.undo()
    assert shard.head(NOTHING) == 1
    assert shard.append(task_id, Assign(assignee="zoe"), NOTHING).seq == 2
    rows, _, _ = _plainly(BoardPaths(shard.path.parent), "amy")
    assert json.loads(rows[1][4]) == {"amy": 1}


def test_an_interruption_behind_the_commit(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come at any line. What is committed then is known to be, so that nobody appends it again."""
    task_id = new_task_id()
    shard.append(task_id, Create(title="x"), NOTHING)
    _break_transactions(monkeypatch, after_commit=KeyboardInterrupt())
    requests = [Request(_Appended(task_id, "comment", json.dumps({"text": text}), NOTHING)) for text in "ab"]
    with pytest.raises(KeyboardInterrupt):
        shard._append_all(requests)
    assert [request.answer.seq for request in requests] == [2, 3]
    assert shard.head(NOTHING) == 3


def test_a_reopened_shard_goes_on(shard: Shard) -> None:
    assert shard.append(new_task_id(), Create(title="x"), NOTHING).seq == 1
    shard.close()
    assert shard.append(new_task_id(), Create(title="y"), NOTHING).seq == 2


def test_what_cannot_be_written_is_not(shard: Shard) -> None:
    """A body that the coordinator would not take never gets into the file."""
    task_id = new_task_id()
    with pytest.raises(TooLarge, match="a change holds at most 8388608"):
        shard.append(task_id, Edit(body="\x01" * TEXT_LIMIT, result="\x01" * TEXT_LIMIT), NOTHING)
    for fields in (
        {"title": ""},
        {"title": "x" * 10_001},
        {"title": "x", "body": "x" * (TEXT_LIMIT + 1)},
        {"title": "\ud800"},
        {"title": "x", "priority": 2**40},
    ):
        with pytest.raises(InvalidChange, match="cannot be written"):
            shard.append(task_id, Create(**fields), NOTHING)
    assert shard.head(NOTHING) == 0


def test_anothers_shard(paths: BoardPaths, shard: Shard) -> None:
    """A shard that was copied to another name is not written."""
    shard.append(new_task_id(), Create(title="x"), NOTHING)
    shard.close()
    shutil.copyfile(paths.shard("amy"), paths.shard("bob"))
    copy = Shard(paths, "bob")
    with pytest.raises(ShardOfAnother, match="the shard of amy, not of bob"):
        copy.append(new_task_id(), Create(title="y"), NOTHING)
    copy.close()


def test_an_older_copy_is_not_continued(home: str, paths: BoardPaths) -> None:
    """A profile whose shard is missing or older than what was merged is stopped before it takes a seq twice."""
    with Gateway("amy", home=home) as gateway:
        gateway.create("one")
        gateway.sync()
    shutil.copyfile(paths.shard("amy"), paths.folder / "older")
    with Gateway("amy", home=home) as gateway:
        gateway.create("two")
        gateway.sync()
    shutil.copyfile(paths.folder / "older", paths.shard("amy"))
    with Gateway("amy", home=home) as gateway, pytest.raises(ShardBehind, match="ends at change 1, but 2"):
        gateway.create("three")
    paths.shard("amy").unlink()
    with Gateway("amy", home=home) as gateway, pytest.raises(ShardBehind, match="ends at change 0, but 2"):
        gateway.create("three")
    assert not paths.shard("amy").exists()


@pytest.mark.parametrize("base_seq", ["'abc'", "NULL", "-1"])
def test_one_that_does_not_say_where_it_begins_is_not_continued(home: str, paths: BoardPaths, base_seq: str) -> None:
    """Its author is told, and what makes it again."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("a task")
        amy.sync()
    write_untyped(paths.shard("amy"), f"UPDATE meta SET base_seq = {base_seq}")
    with (
        Gateway("amy", home=home) as amy,
        pytest.raises(Damaged, match=r"it does not say where it begins.*`kanban-merge repair amy`"),
    ):
        amy.comment(task_id, "no")


def test_a_newer_shard_is_left_alone(paths: BoardPaths, shard: Shard) -> None:
    shard.append(new_task_id(), Create(title="x"), NOTHING)
    shard.close()
    _script(paths, "amy", "PRAGMA user_version=99")
    with pytest.raises(NewerSchema, match="update this program"):
        shard.append(new_task_id(), Create(title="y"), NOTHING)


def test_a_full_disk_leaves_nothing_half_written(home: str, paths: BoardPaths) -> None:
    """The write that did not fit says so and left no trace; the next one gets the next seq."""
    told = subprocess.check_output([sys.executable, "-c", FULL, home, new_task_id()], text=True).split()
    assert told == [FileSizeLimit.__name__, "3", "1"]
    rows, _, _ = _plainly(paths, "amy")
    assert [row[0] for row in rows] == [1, 2]


def test_signs_of_life_are_overwritten(paths: BoardPaths, shard: Shard) -> None:
    """State, not history: a run's newest heartbeat replaces the one before, and is no change."""
    for _ in range(3):
        shard.heartbeat(7, NOTHING)
    assert shard.head(NOTHING) == 0
    shard.close()
    assert _plainly(paths, "amy")[2] == [[7]]


def test_a_second_process_has_eyes_of_its_own(home: str) -> None:
    """What another process of this profile did and the board does not show yet, this process has not seen."""
    with Gateway("planner", home=home) as planner:
        task_id = planner.create("a task")
        planner.sync()
    with Board.open(home=home) as board:
        view = board.view(task_id, "amy")
        paths = board.paths
    first, second = Shard(paths, "amy"), Shard(paths, "amy")
    first.append(task_id, Assign(assignee="bob"), view)
    first.append(task_id, Assign(assignee="cleo"), view)
    second.append(task_id, Assign(assignee="dora"), view)
    first.close()
    second.close()
    rows, _, _ = _plainly(paths, "amy")
    assert [row[4] for row in rows] == ['{"planner":1}', '{"amy":1,"planner":1}', '{"planner":1}']


def _plainly(paths: BoardPaths, profile: str) -> tuple[list[list], str, list[list]]:
    """The rows, the shard_id and the runs that sent a heartbeat, read by another process."""
    script = (
        "import json, sqlite3, sys; shard = sqlite3.connect(sys.argv[1]); print(json.dumps(["
        "shard.execute('SELECT * FROM changes ORDER BY seq').fetchall(), "
        "shard.execute('SELECT shard_id FROM meta').fetchone()[0], "
        "shard.execute('SELECT run_id FROM liveness').fetchall()]))"
    )
    return tuple(json.loads(subprocess.check_output([sys.executable, "-c", script, paths.shard(profile)])))


def _script(paths: BoardPaths, profile: str, script: str) -> None:
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, paths.shard(profile), script], check=True)


def test_what_a_vector_from_an_older_read_says(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has seen all that it wrote since; with a Task that was read, or eyes older than what it remembers, it
    claims nothing that came behind them."""
    shard = Shard(paths, "amy")
    task_id = new_task_id()
    first = shard.append(task_id, Create(title="x"), View()).seq
    shard.append(task_id, Assign(assignee="bob"), View())
    assert _seen(paths) == {"amy": first}
    digest = _digest(paths, 2)
    shard.append(task_id, Assign(assignee="eve"), View(True, {"amy": 2}, 2, digest))
    assert _seen(paths) == {"amy": 2}
    shard.append(task_id, Assign(assignee="bob"), View(True, {"amy": 2}, 2, digest, exactly=True))
    assert _seen(paths) == {"amy": 2}
    shard.append(task_id, Assign(assignee="dan"), View(True, {"amy": 1}, 1, _digest(paths, 1)))
    assert _seen(paths) == {"amy": 4}
    monkeypatch.setattr(pending, "KEPT_BEHIND", 0)
    shard.append(task_id, Assign(assignee="eve"), View(True, {"amy": 5}, 5, _digest(paths, 5)))
    shard.append(task_id, Assign(assignee="dan"), View(True, {"amy": 1}, 1, _digest(paths, 1)))
    assert _seen(paths) == {"amy": 1}
    shard.close()


def test_threads_that_looked_at_different_times_share_a_commit(paths: BoardPaths) -> None:
    """Nobody's vector falls behind what the board showed it, and nobody forgets its own changes for another's sake."""
    amy, other = Shard(paths, "amy"), Shard(paths, "amy")
    mine, theirs = new_task_id(), new_task_id()
    amy.append(mine, Create(title="x"), View())
    other.append(theirs, Create(title="y"), View())
    late = View(True, {"amy": 2}, 2, _digest(paths, 2))
    changes = [(mine, View(True, {})), (theirs, late), (theirs, late)]
    amy._append_all([Request(_Appended(task_id, "assign", '{"assignee":"bob"}', view)) for task_id, view in changes])
    seen = [json.loads(text) for (text,) in _rows(paths, "SELECT seen FROM changes ORDER BY seq LIMIT 3 OFFSET 2")]
    assert seen == [{"amy": 1}, {"amy": 2}, {"amy": 4}]
    amy.close()
    other.close()


def test_one_that_saw_more_than_the_shard_holds_fails_alone(paths: BoardPaths) -> None:
    shard = Shard(paths, "amy")
    task_id = new_task_id()
    shard.append(task_id, Create(title="x"), View())
    view = (View(True, {}), View(True, {"amy": 7}, 7, "a digest"), View(True, {"amy": 1}, 1, _digest(paths, 1)))
    requests = [Request(_Appended(task_id, "assign", '{"assignee":"bob"}', each)) for each in view]
    shard._append_all(requests)
    assert [request.answer and request.answer.seq for request in requests] == [2, None, 3]
    assert [type(request.error) for request in requests] == [type(None), ShardBehind, type(None)]
    shard.close()


@pytest.mark.parametrize("closers", [1, 2])
def test_closing_beside_threads_that_write(paths: BoardPaths, closers: int) -> None:
    """A close waits for whoever writes, takes nobody's lock away, and leaves none."""
    task_id = new_task_id()
    for number in range(20):
        shard = Shard(paths, "amy")
        with ThreadPoolExecutor(3) as pool:
            writing = pool.submit(shard.append, task_id, AddComment(text=str(number)), NOTHING)
            closing_ = [pool.submit(shard.close) for _ in range(closers)]
        assert [each.result() for each in closing_] == [None] * closers
        assert writing.result().seq == number + 1
        shard.close()
        lock = FileLock(paths.shard_lock("amy"))
        assert lock.try_acquire()
        lock.close()


def test_a_fork_while_a_thread_appends(shard: Shard) -> None:
    """It is told so, whatever the other thread held at that moment."""
    shard._commits._changed.acquire()
    try:
        child = os.fork()
        if child == 0:
            try:
                shard.append(new_task_id(), Create(title="x"), NOTHING)
            except Forked:
                os._exit(0)
            finally:
                os._exit(1)
    finally:
        shard._commits._changed.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _seen(paths: BoardPaths) -> dict[str, int]:
    """What the newest change of amy's says that its author had seen."""
    return json.loads(_rows(paths, "SELECT seen FROM changes ORDER BY seq DESC LIMIT 1")[0][0])


def _digest(paths: BoardPaths, seq: int) -> str:
    return _rows(paths, f"SELECT digest FROM changes WHERE seq = {seq}")[0][0]


def _rows(paths: BoardPaths, sql: str) -> list[tuple]:
    with closing(sqlite.open_reader(paths.shard("amy"), sqlite.SHARD)) as shard:
        return shard.execute(sql).fetchall()
