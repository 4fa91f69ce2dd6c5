"""Collecting: everything new, in order, nothing that breaks a law, and nobody waits for anybody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from kanban_shards import Gateway
from kanban_shards.changes.kinds import AddComment, Create
from kanban_shards.changes.vectors import View
from kanban_shards.coordinator.errors import FileReplaced, NotCoordinator
from kanban_shards.coordinator.merge import collector as collect
from kanban_shards.coordinator.merge import shard_reader
from kanban_shards.coordinator.merge.collector import BUSY, QUARANTINED, Collected, Collector
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.errors import CannotOpen
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock
from tests.ids import new_task_id

NOTHING = View()
# A process that is killed inside its transaction leaves a journal that must be rolled back.
DIE_WRITING = """
import os, sqlite3, sys
shard = sqlite3.connect(sys.argv[1], isolation_level=None)
shard.execute("PRAGMA journal_mode=PERSIST")
shard.execute("PRAGMA cache_size=1")
shard.execute("PRAGMA cache_spill=1")
shard.execute("BEGIN IMMEDIATE")
shard.execute("UPDATE changes SET body = hex(zeroblob(length(body) / 2))")
os._exit(9)
"""


@pytest.fixture
def collector(paths: BoardPaths) -> Iterator[Collector]:
    collector = Collector(paths)
    yield collector
    collector.close()


@pytest.fixture
def merged() -> dict[str, tuple[int, str]]:
    """How far each shard is merged, as the board would say."""
    return {}


@pytest.fixture
def collected(collector: Collector, merged: dict):
    """Collect once; what was found counts as merged."""

    def once() -> Collected:
        found = collector.collect(lambda profile: merged.get(profile, (0, "")))
        for profile, changes in found.changes.items():
            merged[profile] = (changes[-1].seq, changes[-1].digest)
        return found

    return once


def test_everything_new_once(paths: BoardPaths, collected) -> None:
    assert collected() == Collected()
    _append(paths, "amy", 2)
    _append(paths, "bob", 1)
    found = collected()
    assert {profile: [change.seq for change in changes] for profile, changes in found.changes.items()} == {
        "amy": [1, 2],
        "bob": [1],
    }
    assert (found.skipped, found.more) == ([], False)
    assert collected().changes == {}
    _append(paths, "bob", 1)
    assert [change.seq for change in collected().changes["bob"]] == [2]


def test_a_large_shard_comes_in_parts(paths: BoardPaths, collected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_reader, "CHANGES_PER_PASS", 1)
    monkeypatch.setattr(shard_reader, "LEAST_SHARE", 3)
    _append(paths, "amy", 7)
    _append(paths, "bob", 1)
    sizes = []
    while True:
        found = collected()
        sizes.append({profile: len(changes) for profile, changes in found.changes.items()})
        if not found.more:
            break
    assert sizes == [{"amy": 3, "bob": 1}, {"amy": 3}, {"amy": 1}]


def test_a_pass_holds_so_many_bytes_of_all_shards_together(
    paths: BoardPaths, collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was not read for want of room comes first in the next pass."""
    monkeypatch.setattr(shard_reader, "BYTES_PER_PASS", 5_000)
    monkeypatch.setattr(shard_reader, "LEAST_BYTES", 1)
    for profile in ("amy", "bob", "cleo", "dora"):
        _append(paths, profile, 3, "x" * 3_000)
    passes = []
    while True:
        found = collected()
        assert found.size_bytes <= 5_000 + 3_100, "one change more at most"
        assert not found.skipped, "a shard that waits for room is not a busy one"
        passes.append(found.changes)
        if not found.more:
            break
    assert {profile for part in passes[:3] for profile in part} == {"amy", "bob", "cleo", "dora"}
    for profile in ("amy", "bob", "cleo", "dora"):
        assert [change.seq for part in passes for change in part.get(profile, ())] == [1, 2, 3]


def test_a_share_counts_work_and_not_only_changes(
    paths: BoardPaths, collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_reader, "CHANGES_PER_PASS", 1)
    monkeypatch.setattr(shard_reader, "LEAST_SHARE", 50)
    shard = Shard(paths, "amy")
    for _ in range(3):
        shard.append(new_task_id(), Create(title="x", parents=tuple(new_task_id() for _ in range(1_000))), NOTHING)
    shard.close()
    assert [len(collected().changes["amy"]) for _ in range(3)] == [1, 1, 1]


def test_many_shards_take_few_descriptors(paths: BoardPaths, collected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "SHARDS_KEPT_OPEN", 3)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(12):
        _append(paths, f"p{number}", 1)
    assert len(collected().changes) == 12
    assert len(os.listdir("/proc/self/fd")) - before <= 3 * 3, "a lock, a file and its journal for each"
    _append(paths, "p0", 1)
    assert set(collected().changes) == {"p0"}


def test_a_write_within_the_same_second_is_seen(paths: BoardPaths, collected) -> None:
    """Where time stamps are whole seconds, the second write of one second leaves the stamp as it was."""
    now_s = int(time.time())
    _append(paths, "amy", 1)
    os.utime(paths.shard("amy"), (now_s, now_s))
    assert len(collected().changes["amy"]) == 1
    time.sleep(files.STAMP_GRAIN_NS / 1e9)
    assert collected().changes == {}
    _append(paths, "amy", 1)
    os.utime(paths.shard("amy"), (now_s, now_s))
    assert len(collected().changes["amy"]) == 1


def test_a_folder_that_cannot_be_listed(paths: BoardPaths) -> None:
    """A symbolic link to itself stands for every other reason."""
    loop = paths.folder / "loop"
    loop.symlink_to(loop)
    with pytest.raises(CannotOpen, match="cannot be opened"):
        Collector(BoardPaths(loop)).collect(lambda profile: (0, ""))


def test_a_schema_without_end_is_not_read_to_its_end(paths: BoardPaths, collected) -> None:
    """SQLite reads a schema whole before it reads anything else; a shard's has ten rows."""
    _append(paths, "amy", 1)
    _script(
        paths,
        "amy",
        "PRAGMA writable_schema=ON; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
        "INSERT INTO sqlite_schema SELECT 'view', 'v' || i, 'v' || i, 0, 'CREATE VIEW v' || i || ' AS SELECT 1' FROM n",
    )
    before = time.thread_time()
    assert "holds tables, triggers or views" in _why(collected(), "amy")
    assert time.thread_time() - before < 0.1


def test_a_busy_shard_is_left(paths: BoardPaths, collected) -> None:
    """It is read in the next pass; the others are not held up."""
    _append(paths, "amy", 1)
    _append(paths, "bob", 1)
    lock = FileLock(paths.shard_lock("amy"))
    lock.acquire(0)
    found = collected()
    assert set(found.changes) == {"bob"}
    assert [(left.profile, left.state) for left in found.skipped] == [("amy", BUSY)]
    lock.close()
    assert set(collected().changes) == {"amy"}


def test_a_shard_counts_as_read_only_when_it_was_read_under_its_lock(paths: BoardPaths, collected) -> None:
    """A commit moves the file's time before it can be read: who then looks, and finds nothing, must look again although
    the time stays as it is."""
    _append(paths, "amy", 1)
    collected()
    with closing(FileLock(paths.shard_lock("amy"))) as writer:
        writer.acquire(1)
        os.utime(paths.shard("amy"), (2, 2))
        assert [skipped.state for skipped in collected().skipped] == [BUSY]
    _append(paths, "amy", 1)
    os.utime(paths.shard("amy"), (2, 2))
    assert [change.seq for change in collected().changes["amy"]] == [2]
    assert collected() == Collected()


def test_a_shard_that_nobody_touched_is_not_opened(
    paths: BoardPaths, collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    _append(paths, "amy", 1)
    collected()
    os.utime(paths.shard("amy"), (2, 2))
    assert collected() == Collected()
    monkeypatch.setattr(collect, "read_new", lambda *given: pytest.fail("it was read"))
    assert collected() == Collected()


def test_a_writer_that_never_pauses_is_not_taken_for_one_that_is_stopped(
    paths: BoardPaths, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many writers it may be busy at each look for seconds; then its file changes, and it is waited for."""
    for profile in ("amy", "bob"):
        _append(paths, profile, 1)
    amys, seconds, lets_go = FileLock(paths.shard_lock("amy")), 0.0, False

    def nap(pause_s: float) -> None:
        nonlocal seconds
        seconds += collect.PATIENCE_MS / 1000
        if lets_go:
            amys.release()

    def found(at_s: float, writes: bool) -> tuple[set[str], list[bool]]:
        nonlocal seconds
        seconds = at_s
        amys.acquire(0)
        if writes:
            os.utime(paths.shard("amy"), (at_s, at_s))
        collected = collector.collect(lambda profile: (0, ""), patient=False)
        amys.release()
        return set(collected.changes), [skipped.stuck for skipped in collected.skipped]

    monkeypatch.setattr(collect.time, "monotonic", lambda: seconds)
    monkeypatch.setattr(collect.time, "sleep", nap)
    for at_s in (1.0, 1.6, 2.2):
        assert found(at_s, writes=True) == ({"bob"}, [False])
    lets_go = True
    assert found(2.8, writes=True) == ({"amy", "bob"}, []), "it is waited for, however long it was busy"
    assert found(3.0, writes=False) == ({"bob"}, [False])
    assert found(4.1, writes=False) == ({"bob"}, [True]), "nobody waits for who is stopped"
    amys.close()


def test_what_is_new_is_not_held_up_by_a_busy_shard(
    paths: BoardPaths, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer rings when it is through, so its shard can be left; but one that never pauses must not be left for
    ever, and where nothing else is new, waiting holds up nobody."""
    for profile in ("amy", "bob"):
        _append(paths, profile, 1)
    amys, seconds, naps = FileLock(paths.shard_lock("amy")), 0.0, 0

    def nap(pause_s: float) -> None:
        nonlocal naps
        naps += 1
        amys.release()

    def found() -> tuple[set[str], bool, int]:
        amys.acquire(0)
        collected = collector.collect(lambda profile: (0, ""), patient=False)
        amys.release()
        return set(collected.changes), collected.busy, naps

    monkeypatch.setattr(collect.time, "monotonic", lambda: seconds)
    monkeypatch.setattr(collect.time, "sleep", nap)
    assert found() == ({"bob"}, True, 0)
    seconds = collect.MAX_SKIP_MS / 1000
    assert found() == ({"bob"}, True, 0)
    seconds += 0.001
    assert found() == ({"amy", "bob"}, False, 1)
    assert found() == ({"bob"}, True, 1), "it was read, so it may be left again"
    paths.shard("bob").unlink()
    assert found() == ({"amy"}, False, 2)
    amys.close()


def test_a_killed_writers_journal_is_rolled_back(paths: BoardPaths, collected) -> None:
    """What was not committed is undone before anything is read; the killed process' half change is never seen."""
    _append(paths, "amy", 40, "x" * 20_000)
    ended = subprocess.run([sys.executable, "-c", DIE_WRITING, paths.shard("amy")])
    assert ended.returncode == 9
    assert b"0" * 1_000 in paths.shard("amy").read_bytes(), "the half change is in the file"
    found = collected()
    assert found.skipped == []
    assert len(found.changes["amy"]) == 40


def test_a_file_that_is_being_made_is_no_trouble(paths: BoardPaths, collected) -> None:
    """An empty file is a shard whose first transaction is not committed yet."""
    paths.shard("amy").touch()
    assert collected() == Collected()
    _append(paths, "amy", 1)
    assert set(collected().changes) == {"amy"}


def test_a_shard_of_another(paths: BoardPaths, collected) -> None:
    _append(paths, "amy", 1)
    shutil.copyfile(paths.shard("amy"), paths.shard("bob"))
    assert "it is the shard of 'amy'" in _why(collected(), "bob")


def test_an_invalid_name(paths: BoardPaths, collected) -> None:
    paths.shard("amy").with_name("kanban.Not A Name.db").touch()
    assert "is not a profile's name" in _why(collected(), "Not A Name")


def test_a_file_that_is_no_shard(paths: BoardPaths, collected) -> None:
    paths.shard("amy").write_bytes(b"no database" * 1_000)
    assert "is damaged" in _why(collected(), "amy")
    paths.shard("bob").mkdir()
    assert "bob" in {left.profile for left in collected().skipped}


def test_trouble_that_is_not_in_the_file_passes(paths: BoardPaths, collected, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that could not be opened is tried again in each pass, although nothing was written to it since."""
    monkeypatch.setattr(files, "STAMP_GRAIN_NS", 0)
    _append(paths, "amy", 1)
    paths.shard_lock("amy").unlink()
    paths.shard_lock("amy").mkdir()
    assert "is a folder, a pipe, a link or a device" in _why(collected(), "amy")
    assert "is a folder, a pipe, a link or a device" in _why(collected(), "amy")
    paths.shard_lock("amy").rmdir()
    assert set(collected().changes) == {"amy"}


def test_a_newer_shard(paths: BoardPaths, collected) -> None:
    _append(paths, "amy", 1)
    _script(paths, "amy", "PRAGMA user_version=99")
    assert "made by a newer version" in _why(collected(), "amy")


def test_an_older_copy(paths: BoardPaths, collected) -> None:
    """It stays quarantined, and is read again once the newest copy is back."""
    _append(paths, "amy", 1)
    shutil.copyfile(paths.shard("amy"), paths.folder / "older")
    _append(paths, "amy", 1)
    collected()
    shutil.copyfile(paths.shard("amy"), paths.folder / "newest")
    shutil.copyfile(paths.folder / "older", paths.shard("amy"))
    assert "it is an older copy: change 2 was merged" in _why(collected(), "amy")
    assert "it is an older copy" in _why(collected(), "amy")
    shutil.copyfile(paths.folder / "newest", paths.shard("amy"))
    _append(paths, "amy", 1)
    found = collected()
    assert (found.skipped, [change.seq for change in found.changes["amy"]]) == ([], [3])


@pytest.mark.parametrize(
    ("damage", "seq", "why"),
    [
        ("DELETE FROM changes WHERE seq = 2", 2, "change 2 is missing"),
        ('UPDATE changes SET body = \'{"text":"y"}\' WHERE seq = 2', 2, "change 2 was rewritten"),
        ("UPDATE changes SET at_ms = at_ms + 1 WHERE seq = 3", 3, "change 3 was rewritten"),
        ("UPDATE changes SET digest = 'x' WHERE seq = 2", 2, "change 2 was rewritten"),
        ("UPDATE changes SET kind = 'dance' WHERE seq = 2", 2, "unknown kind 'dance'"),
        ("UPDATE changes SET kind = 'expire' WHERE seq = 2", 2, "which only the coordinator writes"),
        ("UPDATE changes SET at_ms = -1 WHERE seq = 2", 2, "an impossible time"),
        ("UPDATE changes SET task_id = 'x' WHERE seq = 2", 2, "names no task"),
        ("UPDATE changes SET body = '{}' WHERE seq = 2", 2, "cannot be read"),
        ("UPDATE changes SET body = 'nonsense' WHERE seq = 2", 2, "cannot be read"),
        ("UPDATE changes SET seen = '[]' WHERE seq = 2", 2, "cannot be read"),
        ("UPDATE changes SET seen = '{\"cleo\":1}' WHERE seq = 2", 2, "there is none"),
        ("UPDATE changes SET seen = '{\"amy\":2}' WHERE seq = 2", 2, "there is none"),
    ],
)
def test_a_broken_law_stops_the_shard_there(paths: BoardPaths, collected, damage: str, seq: int, why: str) -> None:
    """What is before it is taken, nothing of it is skipped, and the others go on."""
    _append(paths, "amy", 4)
    _append(paths, "bob", 1)
    _script(paths, "amy", damage)
    found = collected()
    assert why in _why(found, "amy")
    assert [change.seq for change in found.changes["amy"]] == list(range(1, seq))
    assert len(found.changes["bob"]) == 1
    assert [left.seq for left in found.skipped] == [seq]
    _append(paths, "bob", 1)
    again = collected()
    assert set(again.changes) == {"bob"}
    assert why in _why(again, "amy")


def test_signs_of_life(paths: BoardPaths, collector: Collector) -> None:
    assert collector.last_heartbeat_ms("amy", 1) == 0
    shard = Shard(paths, "amy")
    shard.heartbeat(1, NOTHING)
    shard.close()
    assert collector.last_heartbeat_ms("amy", 1) > 0
    assert collector.last_heartbeat_ms("amy", 2) == 0
    with closing(FileLock(paths.shard_lock("amy"))) as held:
        held.acquire(0)
        assert collector.last_heartbeat_ms("amy", 1) is None
        held.close()


def _append(paths: BoardPaths, profile: str, count: int, text: str = "x") -> None:
    shard, task_id = Shard(paths, profile), new_task_id()
    for number in range(count):
        shard.append(task_id, Create(title="x") if number == 0 else AddComment(text=text), NOTHING)
    shard.close()


def _why(found: Collected, profile: str) -> str:
    (left,) = [left for left in found.skipped if left.profile == profile]
    assert left.state == QUARANTINED
    return left.why


def _script(paths: BoardPaths, profile: str, script: str) -> None:
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())"
    subprocess.run([sys.executable, "-c", program, paths.shard(profile)], input=script, text=True, check=True)


def test_a_pipe_in_a_shards_place_stops_nobody(paths: BoardPaths) -> None:
    """Opening it would wait for ever, with the coordinator's lock held."""
    os.mkfifo(paths.shard("bob"))
    with Gateway("amy", home=paths.folder) as amy:
        amy.create("goes on")
        amy.sync()
    found = collect.look(paths, dict)
    assert [(left.profile, left.state) for left in found.skipped] == [("bob", collect.QUARANTINED)]


@pytest.mark.parametrize("gone", ["board", "ledger", "coordinator_lock"])
def test_a_coordinator_whose_file_is_gone_merges_nothing_more(paths: BoardPaths, gone: str) -> None:
    """A verdict in a file that nobody else can find would be lost with the process; the next coordinator goes on."""
    with Gateway("amy", home=paths.folder) as amy:
        amy.create("first")
    lock = take(paths, COMMAND, wait_s=1)
    with Coordinator(paths, lock) as coordinator:
        getattr(paths, gone).rename(paths.folder / "elsewhere")
        with pytest.raises(NotCoordinator if gone == "coordinator_lock" else FileReplaced, match="merged nothing"):
            coordinator.make_pass()
    lock.close()
