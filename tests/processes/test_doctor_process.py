"""What the doctor and ``status`` say of other processes: a stopped coordinator, strangers, readers, other users."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.processes import can_tell
from kanban_shards.paths import BoardPaths

pytestmark = pytest.mark.skipif(not can_tell(), reason="this system does not say who has a file open")

NOBODY = 65_534
# Opens a database as other programs do, says so, and stays until its input ends.
OPEN = (
    "import sqlite3, sys; board = sqlite3.connect(sys.argv[1], uri=True); "
    "board.execute('SELECT count(*) FROM sqlite_schema').fetchall(); print('open', flush=True); sys.stdin.read()"
)

Look = Callable[..., dict]


@pytest.fixture
def used(home: str, paths: BoardPaths) -> BoardPaths:
    paths.folder.chmod(0o700)
    with Gateway("amy", home=home) as gateway:
        gateway.claim(gateway.create("a task"))
    return paths


@pytest.fixture
def look(home: str) -> Look:
    """``look(verb, code)``: what the verb of ``kanban-merge`` says as JSON, once it ended with that exit code;
    ``before``: words before the command."""

    def run(verb: str, code: int, before: tuple[str, ...] = ()) -> dict:
        argv = [*before, sys.executable, "-m", "kanban_shards.coordinator", "--home", home, verb, "--json"]
        ended = subprocess.run(argv, capture_output=True, text=True)
        assert ended.returncode == code, ended
        return json.loads(ended.stdout)

    return run


def said(found: dict, check: str) -> list[tuple[str, str]]:
    return [(each["level"], each["sentence"]) for each in found["findings"] if each["check"] == check]


def opened(start, path: object) -> subprocess.Popen:
    process = start("-c", OPEN, path)
    assert process.stdout.readline() == "open\n"
    return process


def test_a_daemon_that_works(used: BoardPaths, daemon, look: Look) -> None:
    found = look("doctor", 0)
    ((level, sentence),) = said(found, "coordinator")
    assert (level, f"daemon process {daemon.pid} on " in sentence) == ("ok", True)
    assert any(f"kanban.db by {daemon.pid} (" in sentence for _, sentence in said(found, "holders"))
    assert look("status", 0)["coordinator"]["pid"] == daemon.pid


def test_a_daemon_that_was_stopped(used: BoardPaths, daemon, look: Look) -> None:
    """It holds the lock and answers nothing: who looks is told by which command it goes on."""
    daemon.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.pid, os.WSTOPPED)
    ((level, sentence),) = said(look("doctor", 6), "coordinator")
    assert (level, f"kill -CONT {daemon.pid}" in sentence) == ("fault", True)
    assert [each["check"] for each in look("status", 6)["problems"]] == ["coordinator"]
    daemon.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, daemon.pid, os.WCONTINUED)
    look("doctor", 0)


def test_a_foreign_writer(used: BoardPaths, daemon, start, look: Look) -> None:
    """A program that opens the board as it always did is named; one that opens it to read is not."""
    reader = opened(start, f"file:{used.board}?mode=ro")
    assert said(look("doctor", 0), "foreign-writers") == []
    writer = opened(start, used.board)
    ((level, sentence),) = said(look("doctor", 6), "foreign-writers")
    assert (level, f"Process {writer.pid} (" in sentence) == ("warning", True)
    for process in (reader, writer):
        process.communicate(timeout=10)
    look("doctor", 0)


def test_a_file_that_was_replaced_under_a_process(used: BoardPaths, start, look: Look) -> None:
    reader = opened(start, f"file:{used.board}?mode=ro")
    copy = used.folder / "copy"
    shutil.copyfile(used.board, copy)
    copy.replace(used.board)
    found = said(look("doctor", 6), "deleted-files")
    assert any(level == "fault" and f"Process {reader.pid} (" in sentence for level, sentence in found)
    reader.communicate(timeout=10)
    assert said(look("doctor", 0), "deleted-files") == []


# --- another user --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="permissions do not hold for root without setpriv")
def test_a_user_who_may_only_read(used: BoardPaths, daemon, look: Look) -> None:
    """``status`` answers without a lock of its own, and the doctor says what this user cannot do."""
    for path in (used.folder, *used.folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    used.folder.chmod(0o755)
    for path in used.folder.glob("*.db*"):
        path.chmod(0o644)
    before = {path.name for path in used.folder.iterdir()}
    powerless = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")

    found = look("status", 0, before=powerless)
    assert (found["position"], found["coordinator"]) == (2, None), "the lock is for its owner's eyes"
    assert [(shard["state"].split(":")[0], shard["head"]) for shard in found["shards"]] == [("unchecked", 2)]

    used.coordinator_lock.chmod(0o644)
    assert look("status", 0, before=powerless)["coordinator"]["pid"] == daemon.pid

    found = look("doctor", 6, before=powerless)
    assert said(found, "locks")[0][0] == "note"
    assert any(f"may not write {used.board}" in sentence for _, sentence in said(found, "permissions"))
    assert said(found, "coordinator")[0][0] == "ok"
    assert {path.name for path in used.folder.iterdir()} == before


# --- following -----------------------------------------------------------------------------------------------------


def test_following_in_a_pipe(used: BoardPaths, home: str, daemon, start) -> None:
    """A line for each change of state: none while only time goes by."""
    following = start("-m", "kanban_shards.coordinator", "--home", home, "status", "--follow", "--json")
    first = json.loads(following.stdout.readline())
    assert (first["position"], first["coordinator"]["pid"]) == (2, daemon.pid)
    with Gateway("bob", home=home) as bob:
        bob.claim(bob.create("another"))
        seen = []
        while not seen or seen[-1]["position"] < 4:
            seen.append(json.loads(following.stdout.readline()))
    assert [shard["profile"] for shard in seen[-1]["shards"]] == ["amy", "bob"]
    assert len(seen) <= 3
    used.shard("eve").write_bytes(b"no database" * 1_000)
    assert [each["check"] for each in json.loads(following.stdout.readline())["problems"]] == ["shards"]
    assert select.select([following.stdout], [], [], 2.5)[0] == [], "nothing changed since"
    following.send_signal(signal.SIGINT)
    assert following.communicate(timeout=20)[1] == ""
    assert following.returncode == 0
    assert list(used.folder.glob("kanban-waiting.*")) == []


def test_following_on_a_terminal(used: BoardPaths, home: str, daemon, start) -> None:
    """The table is drawn in place, again when a pass was made, until Ctrl-C."""
    screen, inside = pty.openpty()
    following = start(
        "-m",
        "kanban_shards.coordinator",
        "--home",
        home,
        "status",
        "--follow",
        stdout=inside,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(inside)
    _read_until(screen, b"2 entries merged")
    with Gateway("bob", home=home) as bob:
        bob.claim(bob.create("another"))
    _read_until(screen, b"4 entries merged")
    following.send_signal(signal.SIGINT)
    _read_until(screen, b"\x1b[?25h")  # the cursor is shown again
    assert following.wait(timeout=20) == 0
    os.close(screen)


def _read_until(screen: int, wanted: bytes) -> None:
    drawn = b""
    while wanted not in drawn:
        assert select.select([screen], [], [], 20)[0], drawn
        drawn += os.read(screen, 65_536)
