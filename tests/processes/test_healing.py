"""A daemon whose files are removed, replaced or damaged under it goes on by itself, where that can lose nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.bell import Ringer
from kanban_shards.coordinator.daemon.healing import HEALINGS, Healer
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holder, take
from kanban_shards.errors import Damaged, KanbanError
from kanban_shards.paths import BoardPaths
from tests import forks
from tests.until import until

MADE_AGAIN = "made again"


@pytest.fixture
def task_id(home: str) -> str:
    """A task that was merged before the daemon began."""
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task")
        gateway.sync()
    return task_id


@pytest.fixture
def wake(paths: BoardPaths):
    """Have the daemon look now."""
    ringer = Ringer()
    yield lambda: ringer.ring(paths.coordinator_bell)
    ringer.close()


def test_a_removed_board_is_made_again(home, paths, task_id, daemon, wake, assert_clean) -> None:
    paths.board.unlink()
    wake()
    said = _said(daemon, "kanban.db was removed or replaced")
    assert any("is made again from its ledger" in line for line in said)
    _goes_on(home, task_id)
    assert_clean()


def test_a_replaced_board_is_taken(home, paths, task_id, daemon, wake, assert_clean) -> None:
    """A copy of an earlier state, say: it catches up."""
    _copy(paths.board, paths.folder / "older")
    with Gateway("amy", home=home) as amy:
        amy.comment(task_id, "after the copy")
        amy.sync()
    for beside in ("-wal", "-shm"):
        paths.board.with_name(paths.board.name + beside).unlink(missing_ok=True)
    (paths.folder / "older").replace(paths.board)
    wake()
    _said(daemon, "what lies there now is used")
    _goes_on(home, task_id)
    assert_clean()


def test_a_damaged_board_is_made_again(home, paths, task_id, daemon, wake, assert_clean) -> None:
    """Readers and gateways go on with the new one; the damaged one is kept."""
    _replace_by_nonsense(paths.board)
    wake()
    (line,) = [line for line in _said(daemon, MADE_AGAIN) if MADE_AGAIN in line]
    aside = Path(line.rstrip().rpartition("kept as ")[2])
    assert "file is not a database" in line
    assert aside.read_bytes().startswith(b"no database")
    _goes_on(home, task_id)
    assert_clean()


def test_pages_that_are_damaged_deep_inside(home, paths, task_id, start, assert_clean) -> None:
    """It opens, and the damage shows in a pass only."""
    with Gateway("amy", home=home) as amy:
        for number in range(200):
            amy.comment(task_id, f"{number} " + "x" * 500)
        amy.sync()
    data = bytearray(paths.board.read_bytes())
    for page in range(2 * 4096, len(data), 4096):
        data[page : page + 64] = b"\xff" * 64
    paths.board.write_bytes(data)
    daemon = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    _said(daemon, MADE_AGAIN)
    _goes_on(home, task_id)
    assert_clean()


@pytest.mark.parametrize("name", ["board", "ledger"])
@pytest.mark.parametrize("pages", [1, 3], ids=["the beginning", "three pages"])
def test_a_file_that_is_overwritten_in_place(home, paths, task_id, daemon, assert_clean, name: str, pages: int) -> None:
    """The daemon has its pages in memory and needs nothing of it; whoever opens it now gets nowhere."""
    file = getattr(paths, name)
    with Gateway("amy", home=home) as amy:
        for number in range(20):
            amy.wait_for_verdict(amy.comment(task_id, f"{number} " + "x" * 500))
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)")
    connection.close()
    with file.open("r+b") as overwritten:
        overwritten.write(os.urandom(pages * 4096))
    _said(daemon, MADE_AGAIN)
    _goes_on(home, task_id)
    assert_clean()


@pytest.mark.parametrize("damage", ["remove", "nonsense", "empty"])
def test_a_lost_ledger_is_made_again(home, paths, task_id, daemon, wake, assert_clean, damage: str) -> None:
    _lose(paths.ledger, damage)
    wake()
    _said(daemon, "made again from board and shards, with 1 entry")
    _goes_on(home, task_id)
    assert_clean()


def test_a_ledger_that_cannot_be_made_is_a_persons(home, paths, task_id, daemon, wake, assert_clean) -> None:
    """A shard is gone, too: that is said once, the lock is free for a repair, and the right file heals it."""
    _copy(paths.ledger, paths.folder / "kept")
    shard = paths.shard("amy").rename(paths.folder / "elsewhere")
    _lose(paths.ledger, "remove")
    wake()
    _said(daemon, "kanban.amy.db lacks change 1, which was merged")
    lock = take(paths, COMMAND, 30)  # a daemon that cannot serve does not keep it
    lock.close()
    shard.rename(paths.shard("amy"))
    (paths.folder / "kept").rename(paths.ledger)
    _said(daemon, "over: ")
    _goes_on(home, task_id)
    assert_clean()


def test_an_older_ledger_is_not_taken(home, paths, task_id, daemon, wake, assert_clean) -> None:
    """It might be a person's, who puts a backup back; once the right one is there, the daemon goes on."""
    _copy(paths.ledger, paths.folder / "older")
    with Gateway("amy", home=home) as amy:
        amy.comment(task_id, "after the copy")
        amy.sync()
    _copy(paths.ledger, paths.folder / "newer")
    _lose(paths.ledger, "replace", to=paths.folder / "older")
    wake()
    _said(daemon, "ends at entry 1, but the board stands at 2")
    _lose(paths.ledger, "replace", to=paths.folder / "newer")
    _said(daemon, "over: ")
    _goes_on(home, task_id)
    assert_clean()


def test_board_and_ledger_both_gone(home, paths, task_id, daemon) -> None:
    """No new history is begun by itself."""
    _copy(paths.ledger, paths.folder / "kept")
    daemon.send_signal(signal.SIGSTOP)  # so that it finds both gone at once
    _lose(paths.ledger, "remove")
    _lose(paths.board, "remove")
    daemon.send_signal(signal.SIGCONT)
    _said(daemon, "were both removed")
    assert not paths.board.exists()
    (paths.folder / "kept").rename(paths.ledger)
    _said(daemon, "over: ")
    _goes_on(home, task_id)


def test_a_board_that_breaks_again_and_again_is_left(home, paths, task_id, daemon, wake) -> None:
    for _ in range(3):
        _replace_by_nonsense(paths.board)
        wake()
        _said(daemon, MADE_AGAIN)
        with Board(paths) as board:
            assert board.task(task_id).title == "a task"
    _replace_by_nonsense(paths.board)
    wake()
    _said(daemon, "was rebuilt 3 times within an hour")
    rebuilt = forks.python("-m", "kanban_shards.coordinator", "--home", home, "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    _said(daemon, "over: ")
    _goes_on(home, task_id)


def test_what_was_not_made_again_is_not_counted(home, paths, task_id) -> None:
    """The board is damaged, and so is its ledger: however often that is tried, the board is made again as soon as the
    ledger can be read."""
    ledger, healer = paths.ledger.read_bytes(), Healer(paths, "")
    _replace_by_nonsense(paths.board)
    _replace_by_nonsense(paths.ledger)
    damaged = Damaged(path=paths.board, problem="page 3")
    with closing(take(paths, COMMAND, 5)) as lock:
        for _ in range(2 * HEALINGS):
            with pytest.raises(Damaged, match=r"kanban-ledger\.db is damaged"):
                healer.heal(damaged, lock, lambda done, total: None)
        paths.ledger.write_bytes(ledger)
        healer.heal(damaged, lock, lambda done, total: None)
    _goes_on(home, task_id)


def test_a_damaged_board_without_a_ledger_is_a_persons(home, paths, start) -> None:
    """Hermes's, say: it was never made again, so that is not what is said of it, however often it is looked at."""
    paths.board.write_bytes(b"no database" * 999)
    daemon = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    (line,) = _said(daemon, "is damaged")
    assert "`kanban-merge adopt` saves what can be read" in line
    time.sleep(5)  # some sweeps
    daemon.terminate()
    _, errors = daemon.communicate(timeout=60)
    assert [line for line in errors.splitlines() if "stopped" not in line] == []
    assert paths.board.read_bytes() == b"no database" * 999


def test_a_shard_is_never_made_again_by_itself(home, paths, task_id, daemon, wake) -> None:
    paths.shard("amy").write_bytes(b"no database" * 1_000)
    wake()
    _said(daemon, "shard of amy: ")
    assert paths.shard("amy").read_bytes().startswith(b"no database")
    with Gateway("bob", home=home) as bob:
        bob.claim(task_id)


def test_a_removed_lock_file(home, paths, task_id, daemon, wake, assert_clean) -> None:
    """It excludes nobody any longer, so the daemon lets go, and takes the one that it makes."""
    paths.coordinator_lock.unlink()
    wake()
    _said(daemon, "no longer is the coordinator")
    _said(daemon, f"process {daemon.pid} merges the shards")
    assert holder(paths).pid == daemon.pid
    _goes_on(home, task_id)
    assert_clean()


def test_readers_never_see_a_board_that_is_being_made(home, paths, task_id) -> None:
    """While it is replayed there is no board; then there is a whole one."""
    paths.board.unlink()
    lock, seen = take(paths, COMMAND, 5), []
    with Coordinator(paths, lock, lambda done, total: seen.append((done, total, paths.board.exists()))):
        assert seen == [(1, 1, False)]
        assert paths.board.exists()
    lock.close()
    assert not list(paths.folder.glob("*.making*"))


LEGACY = "CREATE TABLE tasks (id TEXT)", "CREATE TABLE task_events (id INTEGER)"


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        (LEGACY, "is a board that Hermes writes itself"),
        (("CREATE TABLE somebodys (id TEXT)",), "is not a board of this project"),
        (("PRAGMA application_id=1262633540", "PRAGMA user_version=99"), "made by a newer version"),
    ],
    ids=["legacy", "foreign", "newer"],
)
def test_what_a_person_must_decide_ends_it_at_the_start(
    home, paths, start, statements: tuple[str, ...], sentence: str
) -> None:
    """One sentence, exit code 3, and the file is as it was."""
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); [c.execute(s) for s in sys.argv[2:]]; c.commit()"
    assert forks.python("-c", script, paths.board, *statements).returncode == 0
    before = paths.board.read_bytes()
    ended = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    _, errors = ended.communicate(timeout=60)
    assert (ended.returncode, len(errors.strip().splitlines())) == (3, 1), errors
    assert sentence in errors
    assert paths.board.read_bytes() == before


def test_it_starts_beside_a_ledger_that_is_behind(home, paths, task_id, start, assert_clean) -> None:
    """What the right file heals is no reason to end."""
    _copy(paths.ledger, paths.folder / "older")
    with Gateway("amy", home=home) as amy:
        amy.comment(task_id, "after the copy")
        amy.sync()
    _copy(paths.ledger, paths.folder / "newer")
    _lose(paths.ledger, "replace", to=paths.folder / "older")
    daemon = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    _said(daemon, "ends at entry 1, but the board stands at 2")
    _lose(paths.ledger, "replace", to=paths.folder / "newer")
    _said(daemon, f"process {daemon.pid} merges the shards")
    _goes_on(home, task_id)
    assert_clean()


def test_a_gateway_heals_nothing(home, paths, task_id) -> None:
    """It says what is wrong, and what was written is kept."""
    _replace_by_nonsense(paths.board)
    with Gateway("bob", home=home) as bob, pytest.raises(KanbanError, match="is damaged"):
        bob.claim(task_id)
    assert paths.board.read_bytes().startswith(b"no database")
    assert not list(paths.folder.glob("*.damaged-*"))


def test_a_bell_is_hung_up_again(home, paths, task_id, daemon) -> None:
    """Removed by hand, it is back within a sweep."""
    paths.coordinator_bell.unlink()
    ringer = Ringer()
    until(lambda: ringer.ring(paths.coordinator_bell))
    ringer.close()


def _goes_on(home: str, task_id: str) -> None:
    with Gateway("bob", home=home) as bob:
        assert bob.complete(bob.claim(bob.create("later"))).verdict == "applied"
        assert bob.board.task(task_id).title == "a task"


def _said(daemon: subprocess.Popen, *words: str) -> list[str]:
    """What it says, up to the line with one of these words."""
    lines = []
    while not lines or not any(word in lines[-1] for word in words):
        line = daemon.stderr.readline()
        assert line, lines
        lines.append(line)
    return lines


def _copy(source: Path, target: Path) -> None:
    """As SQLite copies, by another process."""
    script = "import sqlite3, sys; a, b = map(sqlite3.connect, sys.argv[1:]); a.backup(b); a.close(); b.close()"
    assert forks.python("-c", script, source, target).returncode == 0


def _lose(file: Path, how: str, to: Path | None = None) -> None:
    """Take the file away, with what belongs to it, and put another one in its place: as if by one rename."""
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    if to is not None:
        os.replace(to, file)
    elif how == "remove":
        file.unlink()
    else:
        made = file.with_name("made-up")
        made.write_bytes(b"no database" * 1_000 if how == "nonsense" else b"")
        made.replace(file)


def _replace_by_nonsense(file: Path) -> None:
    _lose(file, "nonsense")
