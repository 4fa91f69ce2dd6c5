"""An append behind the change that this process knows to be the last: one statement, and any doubt reads the file."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from kanban_shards.changes.codec import Change
from kanban_shards.changes.kinds import AddComment, Assign, Create
from kanban_shards.changes.vectors import View
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.repair import repair_shard
from kanban_shards.errors import FileBusy, SchemaMoved, ShardBehind, StorageError, StrangeJournal
from kanban_shards.known_end import DIGESTS_KEPT, KnownEnd
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard, Written
from tests.ids import new_task_id

NOTHING = View()
SUPER_JOURNAL = b"/tmp/someones" + (13).to_bytes(4) + bytes(4) + bytes.fromhex("d9d505f920a163d7")


class Amy:
    """A shard of amy's with one task; ``read`` counts the appends that read the file first."""

    def __init__(self, paths: BoardPaths) -> None:
        self.shard = Shard(paths, "amy")
        self.task_id = new_task_id()
        self.read = 0
        true_submit = self.shard._commits.submit

        def submit(asked):
            self.read += 1
            return true_submit(asked)

        self.shard._commits.submit = submit
        self.shard.append(self.task_id, Create(title="x"), NOTHING)
        self.comment("the journal is there now, and was looked at")
        self.read = 0

    def comment(self, text: str, view: View = NOTHING) -> Written:
        return self.shard.append(self.task_id, AddComment(text=text), view)

    def assign(self, assignee: str) -> Written:
        return self.shard.append(self.task_id, Assign(assignee=assignee), NOTHING)


class Interrupted:
    """A connection; ``error`` is raised once, when an INSERT ended, or before it began."""

    def __init__(self, connection: sqlite3.Connection, error: BaseException, before: bool = False) -> None:
        self._connection = connection
        self._error: BaseException | None = error
        self._before = before

    def __getattr__(self, name: str):
        return getattr(self._connection, name)

    def execute(self, sql: str, *given):
        error = self._error if sql.startswith("INSERT") else None
        if error is not None:
            self._error = None
        if error is not None and self._before:
            raise error
        answer = self._connection.execute(sql, *given)
        if error is not None:
            raise error
        return answer


@pytest.fixture
def amy(paths: BoardPaths) -> Iterator[Amy]:
    amy = Amy(paths)
    yield amy
    amy.shard.close()


def rows(paths: BoardPaths) -> list[tuple]:
    """Whole and chained, as a pass would find them: seq, text of the body, seen."""
    with closing(sqlite3.connect(paths.shard("amy"))) as shard:
        found = shard.execute("SELECT seq, body, seen FROM changes ORDER BY seq").fetchall()
    assert [row[0] for row in found] == list(range(1, len(found) + 1))
    return found


def test_nothing_is_read(amy: Amy, paths: BoardPaths) -> None:
    written = [amy.comment(str(number)) for number in range(5)]
    assert [each.seq for each in written] == [3, 4, 5, 6, 7]
    assert amy.read == 0
    assert amy.shard.head(NOTHING) == 7
    merged = View(True, {}, written[2].seq, written[2].digest)
    assert amy.comment("the board shows one of them", merged).seq == 8
    assert amy.read == 0


def test_the_rows_of_another_process(amy: Amy, paths: BoardPaths) -> None:
    """They are appended behind, and not taken for this process's own."""
    amy.assign("bob")
    other = Shard(paths, "amy")
    assert other.append(amy.task_id, Assign(assignee="cleo"), NOTHING).seq == 4
    assert amy.assign("dora").seq == 5
    assert amy.read == 1
    assert amy.assign("eve").seq == 6
    assert amy.read == 1
    other.close()
    assert [json.loads(seen) for _, _, seen in rows(paths)][2:] == [{"amy": 1}, {}, {"amy": 3}, {"amy": 3}]


@pytest.mark.parametrize("in_place", [False, True])
def test_an_older_copy_that_is_swapped_in(amy: Amy, paths: BoardPaths, in_place: bool) -> None:
    """Its seqs were used before: who knows that they were merged does not use them again."""
    older = paths.folder / "older"
    shutil.copyfile(paths.shard("amy"), older)
    written = [amy.comment(str(number)) for number in range(3)]
    if in_place:
        paths.shard("amy").write_bytes(older.read_bytes())
    else:
        older.replace(paths.shard("amy"))
    with pytest.raises(ShardBehind, match="ends at change 2, but 5"):
        amy.comment("no", View(True, {}, written[2].seq, written[2].digest))
    assert len(rows(paths)) == 2
    assert amy.comment("nothing of them was merged").seq == 3
    assert not amy.shard.was_merged((written[1].seq, written[1].digest))


def test_a_board_that_shows_another_shard(amy: Amy) -> None:
    """The profile has two; what was merged is none of this one's."""
    written = amy.comment("mine")
    with pytest.raises(ShardBehind):
        amy.comment("no", View(True, {}, written.seq, "the digest of another change"))
    assert amy.read == 1


def test_a_repaired_file(amy: Amy, paths: BoardPaths) -> None:
    """A change that the repair gave up is not what the next one continues."""
    gone = amy.comment("given up")
    amy.shard.close()
    amy.comment("the shard is open")
    with closing(sqlite3.connect(paths.shard("amy"))) as shard, shard:
        shard.execute("UPDATE changes SET digest = 'another' WHERE seq = ?", (gone.seq,))
    with closing(locks.take(paths, locks.COMMAND, 1)) as lock:
        repair_shard(paths, lock, "amy")
    again = amy.comment("in its place")
    assert (again.seq, amy.read) == (3, 2)
    assert not amy.shard.still_holds(gone)
    assert amy.shard.still_holds(again)
    assert len(rows(paths)) == 3


def test_ctrl_c_between_the_commit_and_the_return(amy: Amy, paths: BoardPaths) -> None:
    """The change is there once, and its author's later ones have seen it."""
    amy.shard._file._connection = Interrupted(amy.shard._file._connection, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        amy.assign("bob")
    assert amy.assign("cleo").seq == 4
    assert amy.read == 1
    assert [json.loads(seen) for _, _, seen in rows(paths)][2:] == [{"amy": 1}, {"amy": 3}]


def test_ctrl_c_before_the_commit(amy: Amy, paths: BoardPaths) -> None:
    amy.shard._file._connection = Interrupted(amy.shard._file._connection, KeyboardInterrupt(), before=True)
    with pytest.raises(KeyboardInterrupt):
        amy.assign("bob")
    assert amy.assign("cleo").seq == 3
    assert [json.loads(seen) for _, _, seen in rows(paths)][2:] == [{"amy": 1}]


def test_an_error_is_told_and_leaves_nothing(amy: Amy, paths: BoardPaths) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    amy.shard._file._connection = Interrupted(amy.shard._file._connection, error, before=True)
    with pytest.raises(StorageError, match="disk I/O error"):
        amy.comment("lost")
    assert amy.comment("kept").seq == 3


def test_an_error_behind_the_commit_does_not_write_twice(amy: Amy, paths: BoardPaths) -> None:
    """The file is asked."""
    amy.shard._file._connection = Interrupted(amy.shard._file._connection, sqlite3.OperationalError("disk I/O error"))
    assert amy.comment("once").seq == 3
    assert len(rows(paths)) == 3


def test_a_file_that_a_newer_program_migrated_meanwhile(amy: Amy, paths: BoardPaths) -> None:
    with closing(sqlite3.connect(paths.shard("amy"))) as shard:
        shard.execute("PRAGMA user_version=99")
    with pytest.raises(SchemaMoved):
        amy.comment("no")
    assert len(rows(paths)) == 2


def test_a_journal_that_names_a_file_is_not_written(amy: Amy, paths: BoardPaths) -> None:
    """It was put there after the last look (law 8)."""
    other = paths.folder / "other"
    other.write_bytes(bytes(512) + SUPER_JOURNAL)
    other.replace(paths.folder / "kanban.amy.db-journal")
    with pytest.raises(StrangeJournal, match="ends with the name of another file"):
        amy.comment("no")


def test_a_lock_that_somebody_has_is_waited_for(amy: Amy, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kanban_shards.shard_file.LOCK_WAIT_S", 0.02)
    with closing(locks.FileLock(paths.shard_lock("amy"))) as lock:
        assert lock.try_acquire()
        with pytest.raises(FileBusy):
            amy.comment("no")
    assert amy.comment("yes").seq == 3


def test_what_is_remembered_is_bounded() -> None:
    known = KnownEnd()
    for seq in range(1, DIGESTS_KEPT + 3):
        change = Change("amy", seq, "t_12345678", "comment", "{}", "{}", 0, str(seq))
        known.learn(known.last or (0, ""), [change])
    assert not known.has((2, "2"))
    assert known.has((3, "3"))
