"""Repair: what is lost or damaged is made again, what is sound is left, and nothing that was merged is given up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.errors import BeyondRepair, LedgerBehind, NothingToRepair
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.collector import look
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import FileMissing, InvalidName, NewerSchema, ShardBehind
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock
from tests import forks
from tests.dying import DYING


@pytest.fixture
def lock(paths: BoardPaths):
    """The coordinator's, taken when a test repairs."""
    with closing(FileLock(paths.coordinator_lock)) as lock:
        yield lock


@pytest.fixture
def tasks(home: str) -> list[str]:
    """Three tasks of amy's and one of bob's, merged."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        made = [amy.create(f"task {number}") for number in range(3)] + [bob.create("another")]
        amy.sync()
        bob.sync()
    return made


def test_a_sound_file_is_left(paths: BoardPaths, lock: FileLock, home: str, tasks: list[str]) -> None:
    """With and without changes that wait to be merged: a repair would give up a good file for nothing."""
    before = files.identity(paths.shard("amy")), files.identity(paths.ledger)
    with _unmerged(paths), Gateway("amy", home=home) as amy:
        amy.comment(tasks[0], "not merged yet")
        with pytest.raises(NothingToRepair, match="is sound, so nothing was changed"):
            repair_shard(paths, _held(paths), "amy")
    with closing(lock):
        lock.acquire(0)
        with pytest.raises(NothingToRepair):
            repair_ledger(paths, lock)
    assert (files.identity(paths.shard("amy")), files.identity(paths.ledger)) == before
    assert not list(paths.folder.glob("*.damaged-*"))


def test_a_profile_without_a_shard(paths: BoardPaths, lock: FileLock, tasks: list[str]) -> None:
    lock.acquire(0)
    with pytest.raises(FileMissing, match="no shard"):
        repair_shard(paths, lock, "nobody")
    with pytest.raises(InvalidName):
        repair_shard(paths, lock, "../amy")
    assert not paths.shard("nobody").exists()


@pytest.mark.parametrize("damage", [b"no database" * 999, b""], ids=["damaged", "lost"])
def test_a_ledger_whose_board_is_damaged_as_well(
    paths: BoardPaths, kanban_merge, failed, tasks: list[str], damage: bytes
) -> None:
    """A damaged one cannot be made again, and says so; nothing leads back to the other file, which it would be made of.
    A sound one is what the board is made of."""
    ledger = paths.ledger.read_bytes()
    files.discard(paths.board)
    files.discard(paths.ledger)
    paths.board.write_bytes(b"no database" * 999)
    paths.ledger.write_bytes(damage)
    said = failed(kanban_merge("repair", "--ledger"), 3)
    assert ("cannot be made again" in said) == bool(damage)
    assert "`kanban-merge restore BACKUP`" in said
    assert "`kanban-merge rebuild`" not in said
    paths.ledger.write_bytes(ledger)
    assert "`kanban-merge rebuild`" in failed(kanban_merge("repair", "--ledger"), 3)
    assert kanban_merge("rebuild").returncode == 0
    assert verify(paths).clean


def test_a_shard_of_a_newer_program_is_left(paths: BoardPaths, lock: FileLock, tasks: list[str]) -> None:
    _plainly(paths.shard("amy"), "PRAGMA user_version=99")
    lock.acquire(0)
    with pytest.raises(NewerSchema):
        repair_shard(paths, lock, "amy")


def test_what_a_pass_would_take_stays(paths: BoardPaths, lock: FileLock, home: str, tasks: list[str]) -> None:
    """A merged change was rewritten: the acknowledged ones behind it are sound, and are merged once."""
    with _unmerged(paths), Gateway("amy", home=home) as amy:
        amy.comment(tasks[0], "acknowledged")
        _plainly(paths.shard("amy"), "UPDATE changes SET body = '{}' WHERE seq = 1")
        assert not verify(paths).clean
        done = repair_shard(paths, _held(paths), "amy")
    assert (done.rows, done.unmerged) == (4, ())
    with Gateway("amy", home=home) as amy:
        amy.sync()
        assert [comment.body for comment in amy.board.comments(tasks[0])] == ["acknowledged"]
    assert verify(paths).clean


def test_what_is_unsound_is_kept_and_reported(paths: BoardPaths, lock: FileLock, home: str, tasks: list[str]) -> None:
    """Behind a rewritten change nothing can be trusted: it is told, lies in the former file, and is never merged."""
    with _unmerged(paths), Gateway("amy", home=home) as amy:
        amy.comment(tasks[0], "sound")
        amy.comment(tasks[0], "rewritten")
        amy.comment(tasks[0], "behind it")
        _plainly(paths.shard("amy"), 'UPDATE changes SET body = \'{"text":"forged"}\' WHERE seq = 5')
        done = repair_shard(paths, _held(paths), "amy")
    assert [change.seq for change in done.unmerged] == [5, 6]
    assert _plainly(done.set_aside, "SELECT count(*) FROM changes") == [[6]]
    with Gateway("amy", home=home) as amy:
        amy.sync()
        amy.comment(tasks[0], "after")
        amy.sync()
        assert [comment.body for comment in amy.board.comments(tasks[0])] == ["sound", "after"]
    assert verify(paths).clean


def test_a_shard_that_was_never_merged(paths: BoardPaths, lock: FileLock, home: str) -> None:
    """Its sound changes go on from the same beginning: any number of repairs keeps them, and a pass takes them."""
    with Gateway("bob", home=home) as bob:
        bob.create("so that there is a board")
        bob.sync()
    with _unmerged(paths), Gateway("amy", home=home) as amy:
        task_id = amy.create("sound")
        amy.comment(task_id, "rewritten")
        _plainly(paths.shard("amy"), 'UPDATE changes SET body = \'{"text":"forged"}\' WHERE seq = 2')
        assert [change.seq for change in repair_shard(paths, _held(paths), "amy").unmerged] == [2]
        with pytest.raises(NothingToRepair):
            repair_shard(paths, _held(paths), "amy")
    with Gateway("amy", home=home) as amy:
        amy.sync()
        assert amy.board.task(task_id).title == "sound"
    assert verify(paths).clean


def test_an_older_copy_that_was_written_again(paths: BoardPaths, lock: FileLock, home: str, tasks: list[str]) -> None:
    """What it holds in place of merged changes is reported as never merged."""
    _plainly(paths.shard("amy"), "UPDATE changes SET digest = 'another' WHERE seq = 3")
    lock.acquire(0)
    done = repair_shard(paths, lock, "amy")
    assert [change.seq for change in done.unmerged] == [3]
    assert verify(paths).clean


def test_anothers_shard_is_not_reported_as_ones_own(
    paths: BoardPaths, lock: FileLock, home: str, tasks: list[str]
) -> None:
    shutil.copyfile(paths.shard("amy"), paths.shard("zoe"))
    lock.acquire(0)
    done = repair_shard(paths, lock, "zoe")
    lock.release()
    assert (done.rows, done.unmerged) == (0, ())
    with Gateway("zoe", home=home) as zoe:
        zoe.create("her first")
        zoe.sync()
    assert verify(paths).clean


def test_a_live_gateway_notices(paths: BoardPaths, home: str, tasks: list[str]) -> None:
    """One that holds the former file open goes on in the new one, and never writes the old one again."""
    with Gateway("amy", home=home) as amy:
        amy.comment(tasks[0], "one")
        amy.sync()
        _plainly(paths.shard("amy"), "UPDATE changes SET body = '{}' WHERE seq = 2")
        done = repair_shard(paths, _held(paths), "amy")
        _let_go_of_it()
        amy.comment(tasks[0], "two")
        amy.sync()
        assert _plainly(done.set_aside, "SELECT max(seq) FROM changes") == [[4]]
        assert _plainly(paths.shard("amy"), "SELECT max(seq) FROM changes") == [[5]]
    assert verify(paths).clean


@pytest.mark.parametrize("damage", ["lost", "unreadable"])
def test_an_open_run_stays_open(
    paths: BoardPaths, home: str, tasks: list[str], damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heartbeats are gone with the shard: nothing expires before the repair; then the run counts as alive."""
    with Gateway("amy", home=home) as amy:
        run = amy.claim(tasks[0], lease_s=60)
        paths.shard("amy").unlink() if damage == "lost" else paths.shard("amy").write_bytes(b"x" * 8192)
        later = SimpleNamespace(time_ns=lambda: time.time_ns() + 3600 * 10**9, monotonic_ns=time.monotonic_ns)
        with monkeypatch.context() as patched, Gateway("bob", home=home) as bob:
            patched.setattr("kanban_shards.coordinator.merge.clock.time", later)
            bob.merge_now()
        assert amy.board.run(run.id).ended_at is None
        repair_shard(paths, _held(paths), "amy")
        _let_go_of_it()
    assert _plainly(paths.shard("amy"), "SELECT run_id FROM liveness") == [[run.id]]


def test_the_ledger_from_a_repaired_shard(paths: BoardPaths, lock: FileLock, home: str, tasks: list[str]) -> None:
    """Each of the files can be made again of the others, one after the other."""
    paths.shard("amy").unlink()
    lock.acquire(0)
    repair_shard(paths, lock, "amy")
    paths.ledger.unlink()
    with pytest.raises(LedgerBehind, match="repair --ledger"):
        repair_shard(paths, lock, "bob")
    assert repair_ledger(paths, lock).rows == 4
    paths.shard("amy").unlink()
    repair_shard(paths, lock, "amy")
    paths.board.unlink()
    lock.release()
    with Gateway("amy", home=home) as amy:
        amy.comment(tasks[0], "and on")
        amy.sync()
    assert verify(paths).clean


@pytest.mark.parametrize("script", [None, "UPDATE changes SET body = '{}' WHERE seq = 2", "DELETE FROM changes"])
def test_a_ledger_beyond_repair(paths: BoardPaths, lock: FileLock, tasks: list[str], script: str | None) -> None:
    """A shard lacks what was merged, too: it is named, and nothing is made of the rest."""
    paths.ledger.unlink()
    _plainly(paths.shard("amy"), script) if script else paths.shard("amy").unlink()
    lock.acquire(0)
    with pytest.raises(BeyondRepair, match=r"kanban\.amy\.db lacks change [12], which was merged"):
        repair_ledger(paths, lock)
    assert not paths.ledger.exists()
    assert not list(paths.folder.glob("*.repair*"))


def test_a_first_change_that_was_rewritten_makes_no_ledger(paths: BoardPaths, lock: FileLock, tasks: list[str]) -> None:
    """No chain covers it but the ledger's own."""
    paths.ledger.unlink()
    _plainly(paths.shard("bob"), "UPDATE changes SET at_ms = 1")
    lock.acquire(0)
    with pytest.raises(BeyondRepair, match="do not lead to the digest"):
        repair_ledger(paths, lock)


DIE = f"""
import os, sys
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.paths import BoardPaths
paths, step = BoardPaths.find(home=sys.argv[1]), int(sys.argv[3])
{DYING}
lock = locks.take(paths, locks.COMMAND, 5)
for name in ("link", "rename", "replace", "unlink", "fsync"):
    die_at(name)
repair_ledger(paths, lock) if sys.argv[2] == "ledger" else repair_shard(paths, lock, sys.argv[2])
"""


@pytest.mark.parametrize("what", ["amy", "ledger"])
def test_a_kill_at_any_step(paths: BoardPaths, home: str, tasks: list[str], what: str) -> None:
    """What the killed repair leaves, the next one or the next pass goes on with; what was acknowledged is merged."""
    with _unmerged(paths), Gateway("amy", home=home) as amy:
        amy.comment(tasks[0], "acknowledged")
    good = paths.folder / "good"
    good.mkdir()
    _plainly(paths.shard("amy"), "UPDATE changes SET body = '{}' WHERE seq = 1") if what == "amy" else None
    _plainly(paths.ledger, "UPDATE entries SET body = '{}' WHERE position = 2") if what == "ledger" else None
    for path in [path for path in paths.folder.iterdir() if path.is_file()]:
        shutil.copyfile(path, good / path.name)
    step, killed = 0, True
    while killed:
        step += 1
        for path in paths.folder.iterdir():
            path.unlink() if path.is_file() else None
        for path in good.iterdir():
            shutil.copyfile(path, paths.folder / path.name)
        killed = forks.python("-c", DIE, home, what, step).returncode == 9
        try:
            held = _held(paths)
            repair_ledger(paths, held) if what == "ledger" else repair_shard(paths, held, what)
        except NothingToRepair:
            pass
        _let_go_of_it()
        with Gateway("amy", home=home) as amy:
            amy.sync()
            assert [comment.body for comment in amy.board.comments(tasks[0])] == ["acknowledged"]
        assert verify(paths).clean
    assert step > 3


def test_a_filesystem_without_links(
    paths: BoardPaths, lock: FileLock, tasks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    _plainly(paths.shard("amy"), "UPDATE changes SET body = '{}' WHERE seq = 1")
    lock.acquire(0)
    assert repair_shard(paths, lock, "amy").set_aside.exists()
    assert verify(paths).clean


def test_the_newest_copies_are_kept(paths: BoardPaths, lock: FileLock, tasks: list[str]) -> None:
    lock.acquire(0)
    made = []
    for _ in range(files.ASIDE_KEPT + 2):
        paths.shard("amy").write_bytes(b"nonsense" * 1024)
        made.append(repair_shard(paths, lock, "amy").set_aside)
    assert sorted(paths.folder.glob("kanban.amy.db.damaged-*")) == made[-files.ASIDE_KEPT :]
    assert verify(paths).clean


def test_copies_are_kept_within_so_many_bytes(
    paths: BoardPaths, lock: FileLock, tasks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the newest, however large it is."""
    monkeypatch.setattr(files, "ASIDE_KEPT_BYTES", 200_000)
    lock.acquire(0)
    made = []
    for size in (80_000, 80_000, 80_000, 500_000):
        paths.shard("amy").write_bytes(b"nonsense" * (size // 8))
        made.append(repair_shard(paths, lock, "amy").set_aside)
        kept = made[-1:] if size > 200_000 else made[-2:]
        there = paths.folder.glob("kanban.amy.db.damaged-*")
        assert sorted(path for path in there if not path.name.endswith("-journal")) == kept


def test_an_empty_shard_is_not_taken_for_a_new_one(paths: BoardPaths, home: str, tasks: list[str]) -> None:
    paths.shard("amy").write_bytes(b"")
    with Board(paths) as board:
        (left,) = look(paths, board.watermarks).skipped
    assert left.why.startswith("it is empty, but its changes up to 3 were merged")
    with Gateway("amy", home=home) as amy, pytest.raises(ShardBehind, match="repair amy"):
        amy.comment(tasks[0], "no")


def test_the_command(home: str, paths: BoardPaths, tasks: list[str], kanban_merge) -> None:
    """One sentence and an exit code for each case; beside a daemon nothing is repaired."""
    assert kanban_merge("repair").returncode == 2
    assert kanban_merge("repair", "amy", "--ledger").returncode == 2
    sound = kanban_merge("repair", "amy")
    assert (sound.returncode, "is sound" in sound.stderr) == (1, True)
    assert "no shard" in kanban_merge("repair", "nobody").stderr
    paths.ledger.write_bytes(b"nonsense" * 1024)
    told = json.loads(kanban_merge("repair", "--ledger", "--json").stdout)
    assert (told["rows"], told["unmerged"]) == (4, [])
    assert "damaged" in told["set_aside"]
    paths.shard("amy").unlink()
    done = kanban_merge("repair", "amy")
    assert done.returncode == 0, done.stderr
    assert "with 3 changes" in done.stdout
    assert kanban_merge("verify").returncode == 0


def test_beside_a_daemon(paths: BoardPaths, tasks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from kanban_shards.coordinator.cli import main

    monkeypatch.setattr(locks, "LOCK_WAIT_S", 0.0)
    with closing(locks.take(paths, locks.DAEMON, 0)):
        found = CliRunner().invoke(main.main, ["--home", str(paths.folder), "repair", "amy"])
    assert found.exit_code == 5
    assert "daemon process" in found.output


_taken: list[FileLock] = []


def _held(paths: BoardPaths) -> FileLock:
    """The coordinator's lock, taken until ``_let_go_of_it``, or the one that is taken already."""
    if not _taken:
        _taken.append(locks.take(paths, locks.COMMAND, 0))
    return _taken[0]


def _let_go_of_it() -> None:
    while _taken:
        _taken.pop().close()


@pytest.fixture(autouse=True)
def _let_go():
    """No test leaves the lock taken."""
    yield
    _let_go_of_it()


@contextmanager
def _unmerged(paths: BoardPaths):
    """Meanwhile nothing is merged: the test is the coordinator."""
    _held(paths)
    yield
    _let_go_of_it()


def _plainly(path, script: str) -> list[list]:
    """Run by another process, as somebody else's program would."""
    program = (
        "import json, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "print(json.dumps(c.execute(sys.argv[2]).fetchall()))"
    )
    return json.loads(subprocess.check_output([sys.executable, "-c", program, str(path), script]))
