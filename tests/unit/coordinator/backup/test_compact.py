"""Compaction: what is dropped can be missed, whichever file is lost next and wherever it is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.backup.backup import make_backup
from kanban_shards.coordinator.backup.compact import Compacted, compact, latest_ms
from kanban_shards.coordinator.backup.restore import RESTORED, STAYED, restore
from kanban_shards.coordinator.errors import (
    BackupUnsound,
    BoardBehind,
    CompactedPast,
    NothingToRepair,
    NotVerified,
    SnapshotMissing,
)
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard, repair_snapshot
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import ShardBehind
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import copies, files, sqlite
from kanban_shards.storage.locks import FileLock
from tests import forks
from tests.untyped import write_untyped

NOTHING_IS_YOUNG = 2**53


@pytest.fixture
def task(home: str) -> str:
    """A task of amy's with three comments of bob's, all merged."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("the task")
        amy.sync()
        for number in range(3):
            bob.comment(task_id, f"before {number}")
        bob.sync()
    return task_id


@pytest.fixture
def compacted(paths: BoardPaths, home: str, task: str) -> list[str]:
    """The comments on a task of which most is dropped, and one comment came since."""
    _compact(paths)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    return ["before 0", "before 1", "before 2", "since"]


def test_what_it_leaves(paths: BoardPaths, home: str, task: str) -> None:
    """The board is as it was, ledger and shards begin behind it, and everybody goes on."""
    with Gateway("bob", home=home) as bob:  # its shard stays open meanwhile
        before = bob.board.events()
        done = _compact(paths)
        assert (done.position, [(each.path.name, each.rows) for each in done.files]) == (
            4, [("kanban-ledger.db", 4), ("kanban.amy.db", 1), ("kanban.bob.db", 3)]
        )  # fmt: skip
        assert bob.board.events() == before
        bob.comment(task, "since")
        bob.sync()
        assert len(bob.board.comments(task)) == 4
    assert _bases(paths) == {"ledger": 4, "amy": 1, "bob": 3}
    assert verify(paths).clean


def test_nothing_young_is_dropped(paths: BoardPaths, home: str, task: str) -> None:
    middle_ms = time.time_ns() // 1_000_000
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "young")
        bob.sync()
    assert _compact(paths, middle_ms).position == 4
    assert [each.rows for each in _compact(paths, 0).files] == [0, 0, 0]
    assert _bases(paths) == {"ledger": 4, "amy": 1, "bob": 3}


def test_a_backup_keeps_what_it_needs(paths: BoardPaths, home: str, task: str) -> None:
    """Whatever is lost after a compaction, the backups in the board's folder are continued by what is there."""
    made = make_backup(paths, paths.backups)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    assert _compact(paths).position == made.manifest.position == 4
    files.discard(paths.ledger)
    with closing(_lock(paths)) as lock:
        assert restore(paths, made, lock).findings == []
    with Board(paths) as board:
        assert [comment.body for comment in board.comments(task)][-1] == "since"


def test_a_dry_run_writes_nothing(paths: BoardPaths, task: str) -> None:
    with closing(_lock(paths)) as lock:
        done = compact(paths, lock, NOTHING_IS_YOUNG, dry_run=True)
    assert [each.rows for each in done.files] == [4, 1, 3]
    assert _bases(paths) == {"ledger": 0, "amy": 0, "bob": 0}
    assert not paths.snapshot.exists()


def test_a_board_that_its_ledger_does_not_give(paths: BoardPaths, task: str) -> None:
    """Then the entries are what it can be made again from, so nothing is dropped."""
    _plainly(paths.board, "PRAGMA writable_schema=1; DROP TRIGGER keep_out_tasks_update; UPDATE tasks SET title = 'x'")
    with pytest.raises(NotVerified, match="nothing was dropped"):
        _compact(paths)
    assert _bases(paths) == {"ledger": 0, "amy": 0, "bob": 0}
    assert not list(paths.folder.glob("kanban-snapshot*"))


def test_a_shard_that_is_not_as_it_was_merged_is_left(paths: BoardPaths, task: str) -> None:
    _plainly(paths.shard("bob"), "UPDATE changes SET digest = 'another' WHERE seq = 3")
    problems = [each.problem for each in _compact(paths).files]
    assert problems == [None, None, "its change 3 is not the one that was merged"]
    assert _bases(paths) == {"ledger": 4, "amy": 1, "bob": 0}


NO_NUMBERS = ["'abc'", "x'ff'", "NULL", "1.5", "-1"]


@pytest.mark.parametrize("base_seq", NO_NUMBERS)
def test_a_shard_that_does_not_say_where_it_begins_is_left(paths: BoardPaths, task: str, base_seq: str) -> None:
    """STRICT is no promise. The others are compacted all the same."""
    write_untyped(paths.shard("amy"), f"UPDATE meta SET base_seq = {base_seq}")
    shortened = {each.path.name: (each.rows, each.problem) for each in _compact(paths).files}
    assert shortened == {
        "kanban-ledger.db": (4, None),
        "kanban.amy.db": (0, "it does not say where it begins"),
        "kanban.bob.db": (3, None),
    }


@pytest.mark.parametrize("base_seq", NO_NUMBERS)
def test_a_restore_beside_such_a_shard(paths: BoardPaths, task: str, base_seq: str) -> None:
    """It takes the shard from the backup, and puts the rest right."""
    made = make_backup(paths, paths.backups)
    write_untyped(paths.shard("amy"), f"UPDATE meta SET base_seq = {base_seq}")
    files.discard(paths.ledger)
    with closing(_lock(paths)) as lock:
        done = restore(paths, made, lock)
    assert (done.shards, done.findings) == ({"amy": RESTORED, "bob": STAYED}, [])


@pytest.mark.parametrize("base_seq", NO_NUMBERS)
def test_such_a_shard_is_no_sign_of_a_compaction(paths: BoardPaths, home: str, task: str, base_seq: str) -> None:
    """If board and ledger are lost, the others begin a new board, as beside any shard that is not in order."""
    write_untyped(paths.shard("bob"), f"UPDATE meta SET base_seq = {base_seq}")
    for path in (paths.board, paths.ledger):
        files.discard(path)
    with Gateway("amy", home=home) as amy:
        amy.merge_now()
        assert [task.title for task in amy.board.tasks()] == ["the task"]


def test_a_busy_shard_is_left_for_the_next_time(paths: BoardPaths, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kanban_shards.coordinator.backup.compact.SHARD_WAIT_S", 0.0)
    with closing(FileLock(paths.shard_lock("bob"))) as busy:
        busy.acquire(0)
        assert _compact(paths).files[-1].problem == "its profile is using it"
    assert _compact(paths).files[-1].rows == 3


@pytest.mark.parametrize("lost", ["board", "ledger", "amy", "bob", "snapshot"])
def test_survive_any_one_file(paths: BoardPaths, home: str, task: str, compacted: list[str], lost: str) -> None:
    """docs/design/recovery.md, "Losing a file": with nothing left of the others' oldest part but the snapshot."""
    others = {"board": paths.board, "ledger": paths.ledger, "snapshot": paths.snapshot}
    files.discard(others.get(lost) or paths.shard(lost))
    with closing(_lock(paths)) as lock:
        if lost == "ledger":
            assert repair_ledger(paths, lock).rows == 1
        elif lost == "snapshot":
            with pytest.raises(SnapshotMissing, match="repair --snapshot"):
                rebuild(paths, lock)
            assert repair_snapshot(paths, lock).rows == 5
        elif lost != "board":
            repair_shard(paths, lock, lost)
    for profile in ("amy", "bob"):
        with Gateway(profile, home=home) as gateway:
            gateway.comment(task, f"after, by {profile}")
            gateway.sync()
            texts = [comment.body for comment in gateway.board.comments(task)]
    assert texts == [*compacted, "after, by amy", "after, by bob"]
    assert verify(paths).clean
    if lost != "snapshot":  # the new one stands where the board stood, and what was younger is kept beside it
        assert _compact(paths).position == 7


def test_every_file_one_after_the_other(paths: BoardPaths, home: str, task: str, compacted: list[str]) -> None:
    with closing(_lock(paths)) as lock:
        for profile in ("amy", "bob"):
            with pytest.raises(NothingToRepair):
                repair_shard(paths, lock, profile)
        files.discard(paths.snapshot)
        repair_snapshot(paths, lock)
        files.discard(paths.shard("bob"))
        repair_shard(paths, lock, "bob")
        files.discard(paths.ledger)
        repair_ledger(paths, lock)
        rebuild(paths, lock)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "after")
        bob.sync()
        assert [comment.body for comment in bob.board.comments(task)] == [*compacted, "after"]
    assert verify(paths).clean


def test_a_lost_snapshot_drops_nothing_young(paths: BoardPaths, task: str, compacted: list[str]) -> None:
    """The one that is made instead stands later than anything may be dropped."""
    files.discard(paths.snapshot)
    with closing(_lock(paths)) as lock:
        repair_snapshot(paths, lock)
        assert compact(paths, lock, 0).files == []
    assert _bases(paths)["ledger"] == 4
    assert verify(paths).clean


def test_a_board_older_than_the_snapshot(paths: BoardPaths, home: str, task: str) -> None:
    """It cannot catch up, and is not overwritten unasked; a rebuild makes it again."""
    with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board:
        copies.write_copy(board, paths.folder / "older.db", sqlite.BOARD)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    _compact(paths)
    with closing(_lock(paths)) as lock:
        files.put_in_place(paths.folder / "older.db", paths.board, lock)
        with pytest.raises(BoardBehind, match="rebuild"):
            compact(paths, lock, NOTHING_IS_YOUNG)
        rebuild(paths, lock)
    assert verify(paths).clean


def test_an_older_copy_of_a_shard(paths: BoardPaths, home: str, task: str) -> None:
    """It ends before what was dropped of the newer one: noticed as without compaction."""
    with closing(sqlite.open_reader(paths.shard("bob"), sqlite.SHARD)) as shard:
        copies.write_copy(shard, paths.folder / "older.db", sqlite.SHARD)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    _compact(paths)
    (paths.folder / "older.db").replace(paths.shard("bob"))
    assert [finding.where for finding in verify(paths).findings] == ["kanban.bob.db"]
    with Gateway("bob", home=home) as bob, pytest.raises(ShardBehind):
        bob.comment(task, "no")


def test_a_backup_that_compaction_left_behind(paths: BoardPaths, home: str, task: str, tmp_path) -> None:
    """One that was kept elsewhere: what is between it and the ledger's beginning would be lost."""
    made = make_backup(paths, tmp_path / "elsewhere")
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    _compact(paths)
    with closing(_lock(paths)) as lock, pytest.raises(CompactedPast, match="the changes 5 to 5"):
        restore(paths, made, lock)
    files.discard(paths.ledger)
    with closing(_lock(paths)) as lock, pytest.raises(CompactedPast, match=r"kanban\.bob\.db .* changes 4 to 4"):
        restore(paths, made, lock)


@pytest.mark.parametrize("lost", ["board", "ledger", "snapshot", "bob", "everything"])
def test_a_backup_of_a_compacted_board(paths: BoardPaths, task: str, compacted: list[str], lost: str) -> None:
    made = make_backup(paths, paths.backups)
    present = {"board": paths.board, "ledger": paths.ledger, "snapshot": paths.snapshot, "bob": paths.shard("bob")}
    for path in present.values() if lost == "everything" else [present[lost]]:
        files.discard(path)
    with closing(_lock(paths)) as lock:
        assert restore(paths, made, lock).findings == []
    with Board(paths) as board:
        assert [comment.body for comment in board.comments(task)] == compacted
    files.discard(made.folder / "kanban-snapshot.db")
    with closing(_lock(paths)) as lock, pytest.raises(BackupUnsound, match=r"kanban-snapshot\.db is not there"):
        restore(paths, made, lock)


@pytest.mark.parametrize("how", ["removed", "emptied"])
def test_board_and_ledger_lost_after_a_compaction(
    paths: BoardPaths, home: str, kanban, kanban_merge, compacted: list[str], task: str, how: str
) -> None:
    """Nobody makes an empty board over what a backup can put back, and whoever looks is told so."""
    assert kanban_merge("backup").returncode == 0
    for path in (paths.board, paths.ledger):
        files.discard(path)
        if how == "emptied":
            path.touch()
    for ended in (kanban("init"), kanban_merge("--once"), kanban("list")):
        assert ended.returncode == 3, ended
        assert "`kanban-merge restore BACKUP` puts a backup back" in ended.stderr
    assert kanban_merge("doctor").returncode == 6
    (backup,) = paths.backups.iterdir()
    assert kanban_merge("restore", backup.name).returncode == 0
    with Board(paths) as board:
        assert [comment.body for comment in board.comments(task)] == compacted


def test_board_and_ledger_lost_without_a_backup(
    paths: BoardPaths, home: str, kanban_merge, compacted: list[str], task: str
) -> None:
    """The snapshot and the shards have everything; what came since is decided anew."""
    for path in (paths.board, paths.ledger):
        files.discard(path)
    assert kanban_merge("rebuild").returncode == 0
    with Board(paths) as board:
        assert [comment.body for comment in board.comments(task)] == compacted
    assert verify(paths).clean
    with Gateway("bob", home=home) as bob:
        bob.wait_for_verdict(bob.comment(task, "and on"))


def test_everything_but_the_shards_lost(paths: BoardPaths, kanban, kanban_merge, compacted: list[str]) -> None:
    """An empty board would hide what is missing, and a repair would give up what is there."""
    for path in (paths.board, paths.ledger, paths.snapshot):
        files.discard(path)
    for ended in (kanban("init"), kanban_merge("--once"), kanban("-p", "cleo", "create", "x")):
        assert "the shards no longer hold what a compaction dropped" in ended.stderr
        assert ended.returncode in (3, 4)
    assert not paths.board.exists()


def test_a_ledger_of_nothing_and_no_board(home: str, paths: BoardPaths, kanban) -> None:
    paths.ledger.touch()
    assert kanban("-p", "amy", "create", "x").returncode == 0
    assert verify(paths).clean


def test_a_stopped_writer_where_board_and_ledger_are_lost(paths, home: str, taken_for, monkeypatch) -> None:
    """Its shard cannot tell whether changes were dropped, and holds up nobody: if so, it is quarantined when it is
    read."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task = bob.create("x", assignee="bob")
        bob.sync()
        for path in (paths.board, paths.ledger):
            files.discard(path)
        with taken_for(paths.shard_lock("bob"), 60):
            waited: list[float] = []
            acquire = FileLock.acquire

            def noted(lock: FileLock, wait_s: float) -> None:
                waited.extend([wait_s] * (lock.path == paths.shard_lock("bob")))
                acquire(lock, wait_s)

            monkeypatch.setattr(FileLock, "acquire", noted)
            amy.claim(amy.create("y", assignee="amy"))
            assert 0 < max(waited) < 0.1
        assert bob.board.task(task) is None
        amy.merge_now()
        assert bob.board.task(task) is not None


def test_a_board_that_was_compacted_to_its_end(paths: BoardPaths, home: str, kanban_merge, task: str) -> None:
    """Nothing is in the ledger, and nothing is wrong."""
    _compact(paths)
    told = kanban_merge("status")
    assert (told.returncode, "fault" in told.stdout) == (0, False), told
    assert kanban_merge("doctor").returncode == 0


def test_board_and_snapshot_lost(paths: BoardPaths, kanban_merge, compacted: list[str]) -> None:
    """The advice leads to a backup, and not in a circle."""
    files.discard(paths.board)
    files.discard(paths.snapshot)
    for words in (("--once",), ("rebuild",), ("repair", "--snapshot")):
        ended = kanban_merge(*words)
        assert (ended.returncode, "kanban-merge restore BACKUP" in ended.stderr) == (3, True), ended


DIE = """
import os, sys
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.backup import compact as compacting
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.storage import connections, copies, files
from kanban_shards.paths import BoardPaths
step, done = int(sys.argv[2]), 0
def die_around(owner, name):
    true = getattr(owner, name)
    def step_or_die(*given, **named):
        result = None
        for act in (lambda: None, lambda: true(*given, **named)):
            global done
            done += 1
            if done == step:
                os._exit(9)
            result = act()
        return result
    setattr(owner, name, step_or_die)
for owner, name in ((copies, "write_copy"), (files, "replace"), (connections, "shrink"), (os, "replace"),
                    (os, "unlink"), (FileLedger, "drop"), (compacting, "_drop_changes")):
    die_around(owner, name)
paths = BoardPaths.find(home=sys.argv[1])
compacting.compact(paths, locks.take(paths, locks.COMMAND, 5), 2**53)
"""


def test_a_kill_at_any_step(paths: BoardPaths, home: str, task: str) -> None:
    """Wherever it is killed everything is sound, and the next one goes on from there."""
    step, killed, texts = 0, True, ["before 0", "before 1", "before 2"]
    while killed:
        step += 1
        killed = forks.python("-c", DIE, home, step).returncode == 9
        assert verify(paths).clean
        with Gateway("bob", home=home) as bob:
            bob.comment(task, f"after {step}")
            texts.append(f"after {step}")
            bob.sync()
            assert [comment.body for comment in bob.board.comments(task)] == texts
        if step % 2:
            _compact(paths)
    assert step > 10
    assert not list(paths.folder.glob("kanban-snapshot.db.*"))


def test_the_command(home: str, paths: BoardPaths, task: str, kanban_merge, failed) -> None:
    assert "WOULD DROP" in kanban_merge("compact", "--keep-days", "0", "--dry-run").stdout
    told = json.loads(kanban_merge("compact", "--keep-days", "0", "--json").stdout)
    assert (told["position"], [each["rows"] for each in told["files"]]) == (4, [4, 1, 3])
    assert "a replay starts at 4" in kanban_merge("compact").stdout
    assert json.loads(kanban_merge("status", "--json").stdout)["shards"][0]["state"] == "ok"
    assert "is sound" in failed(kanban_merge("repair", "--snapshot"), 1)
    files.discard(paths.snapshot)
    assert "kanban-snapshot.db" in kanban_merge("verify").stdout
    assert kanban_merge("repair", "--snapshot").returncode == 0
    assert kanban_merge("verify").returncode == 0


def _compact(paths: BoardPaths, before_ms: int = NOTHING_IS_YOUNG) -> Compacted:
    with closing(_lock(paths)) as lock:
        return compact(paths, lock, before_ms)


def _lock(paths: BoardPaths) -> FileLock:
    return locks.take(paths, locks.COMMAND, 0)


def _bases(paths: BoardPaths) -> dict[str, int]:
    with closing(FileLedger(paths.ledger)) as ledger:
        found = {"ledger": ledger.base()[0]}
    for profile, path in paths.shards():
        with closing(sqlite.open_reader(path, sqlite.SHARD)) as shard:
            (found[profile],) = shard.execute("SELECT base_seq FROM meta").fetchone()
    return found


def _plainly(path, script: str) -> None:
    """Run by another process, as somebody else's program would."""
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(path), script], check=True)


def test_a_lost_snapshot_comes_from_the_backups_board(paths: BoardPaths, home: str, task: str) -> None:
    """So that the backup, which has no snapshot of its own, can be put back as often as it is needed."""
    backup = make_backup(paths, paths.backups)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    _compact(paths)
    files.discard(paths.snapshot)
    with closing(locks.take(paths, locks.COMMAND, 1.0)) as lock:
        assert restore(paths, backup, lock).findings == []
        files.discard(paths.shard("bob"))
        repair_shard(paths, lock, "bob")
        assert restore(paths, backup, lock).findings == []
    assert verify(paths).clean


def test_a_clock_that_is_years_ahead_makes_nothing_old(paths: BoardPaths, task: str) -> None:
    """Ages count from the last entry then; by the right clock, from now."""
    with closing(FileLedger(paths.ledger)) as ledger:
        newest_ms = ledger.newest_ms()
    assert newest_ms is not None
    assert latest_ms(paths, newest_ms + 3 * 365 * 86_400_000) == newest_ms + 1
    assert latest_ms(paths, newest_ms - 5) == newest_ms - 5
