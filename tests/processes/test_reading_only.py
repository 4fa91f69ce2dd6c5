"""A home that may only be read: mounted read-only, or in another user's folder. Readers read, and writers say why not.

No daemon runs there. The board was closed, or its last writer was killed with commits in the WAL.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.errors import StillWritten
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files, unwritable
from tests import forks

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
MOUNT = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
NOBODY = 65_534

Within = Callable[..., subprocess.CompletedProcess]
AND_DIE = """
import os, signal, sys
from kanban_shards import Gateway
gateway = Gateway("amy", home=sys.argv[1])
for number in range(3):
    gateway.create(f"task {number}", assignee="amy")
gateway.sync()
with gateway.board.reading():
    os.kill(os.getpid(), signal.SIGKILL)
"""
FOLLOW = """
import sys
from kanban_shards import Board
with Board.open(home=sys.argv[1]) as board:
    for line in sys.stdin:
        print(len(board.tasks()), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def _namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    place = tmp_path_factory.mktemp("place")
    if subprocess.run([*NAMESPACE, "sh", "-c", MOUNT, "sh", place, "true"], check=False).returncode:
        pytest.skip("this user may not make a mount namespace here")


@pytest.fixture(params=["closed", "killed"])
def board(request: pytest.FixtureRequest, home: str, paths: BoardPaths) -> str:
    """A home whose board has three tasks, and nothing beside it that could be shared."""
    died = subprocess.run([sys.executable, "-c", AND_DIE, home], check=False)
    assert died.returncode == -signal.SIGKILL
    if request.param == "closed":
        with Gateway("amy", home=home) as amy:
            amy.merge_now()
        with Board(paths) as reader:  # leaves both files, emptied, as a reader does
            assert len(reader.tasks()) == 3
    for each in (paths.board, paths.ledger):
        wal = files.beside(each, "-wal")
        if request.param == "closed":
            assert files.is_empty(wal)
            wal.unlink(missing_ok=True)
        elif each == paths.board:
            assert not files.is_empty(wal)
        files.beside(each, "-shm").unlink(missing_ok=True)
    return home


def read_only(home: str, *words: str) -> subprocess.CompletedProcess:
    argv = [*NAMESPACE, "sh", "-c", MOUNT, "sh", home, sys.executable, "-m", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [("list", "--json"), ("show", "TASK"), ("stats",), ("boards", "list"), ("diagnostics",), ("context", "TASK")],
)
def test_kanban_reads(board: str, words: tuple[str, ...]) -> None:
    listed = json.loads(read_only(board, "kanban_shards", "--home", board, "list", "--json").stdout)
    before = sorted(os.listdir(board))
    said = [listed[0]["id"] if word == "TASK" else word for word in words]
    done = read_only(board, "kanban_shards", "--home", board, *said)
    assert (len(listed), done.returncode, done.stderr) == (3, 0, "")
    assert sorted(os.listdir(board)) == before


def test_kanban_merge_reads(board: str) -> None:
    for verb, code in {"status": 0, "verify": 0, "refusals": 0, "metrics": 0, "backups": 0}.items():
        done = read_only(board, "kanban_shards.coordinator", "--home", board, verb)
        assert (done.returncode, done.stderr) == (code, ""), (verb, done)
    doctor = read_only(board, "kanban_shards.coordinator", "--home", board, "doctor", "--json")
    assert {each["level"] for each in json.loads(doctor.stdout)["findings"]} <= {"ok", "note", "warning"}, doctor


@pytest.mark.parametrize(
    "words",
    [("-p", "amy", "create", "x"), ("-p", "new", "create", "x"), ("-p", "amy", "claim", "--next"),
     ("boards", "create", "other"), ("boards", "switch", "default"), ("-p", "amy", "gc")],
)  # fmt: skip
def test_a_write_says_one_sentence(board: str, words: tuple[str, ...]) -> None:
    done = read_only(board, "kanban_shards", "--home", board, *words)
    (sentence,) = done.stderr.splitlines()
    assert done.returncode == 3 and "is mounted read-only here, so nothing was written" in sentence


@pytest.mark.parametrize("verb", [("--once",), ("rebuild",), ("compact",), ("backup",), ("repair", "amy")])
def test_upkeep_says_one_sentence(board: str, verb: tuple[str, ...]) -> None:
    done = read_only(board, "kanban_shards.coordinator", "--home", board, *verb)
    (sentence,) = done.stderr.splitlines()
    assert done.returncode == 3 and "is mounted read-only here, so nothing was written" in sentence


def test_a_reader_that_stays_sees_what_is_written_elsewhere(board: str) -> None:
    argv = [*NAMESPACE, "sh", "-c", MOUNT, "sh", board, sys.executable, "-c", FOLLOW, board]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None and reader.stdout is not None

        def count() -> int:
            reader.stdin.write("\n")
            reader.stdin.flush()
            return int(reader.stdout.readline())

        try:
            assert count() == 3
            with Gateway("bob", home=board) as bob:
                bob.create("one more")
                bob.sync()
                assert count() == 4  # with the writer's WAL
            assert count() == 4
        finally:
            reader.stdin.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become somebody else")
def test_in_another_users_folder(board: str, paths: BoardPaths) -> None:
    """One may read it, and may not make a file there."""
    for each in (Path(board), *Path(board).iterdir()):
        each.chmod(0o755 if each.is_dir() else 0o644)
    for parent in Path(board).parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    read = f"from kanban_shards import Board\nwith Board.open(home={board!r}) as b: print(len(b.tasks()))"
    write = f"from kanban_shards.cli.main import main\nmain(['--home', {board!r}, '-p', 'eve', 'create', 'x'])"

    def as_nobody(code: str) -> subprocess.CompletedProcess:
        return forks.python("-c", code, cwd="/", user=forks.User(NOBODY, NOBODY))

    done = as_nobody(read)
    assert done.stdout == "3\n", done
    refused = as_nobody(write)
    (sentence,) = refused.stderr.splitlines()
    assert refused.returncode == 3 and "check that its folder exists and that this user may write there" in sentence
    assert not (Path(board) / "kanban.eve.db").exists()


def test_a_copy_of_what_is_written_meanwhile_does_not_count(
    board: str, paths: BoardPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_bytes, times = files.copy_bytes, []

    def written_twice(source: Path, folder: Path, name: str) -> str:
        times.append(source)
        if len(times) <= 2:
            os.utime(paths.ledger if source == paths.ledger else source)
        return copy_bytes(source, folder, name)

    monkeypatch.setattr(files, "copy_bytes", written_twice)
    place = tmp_path / "copy"
    place.mkdir()
    stamps = unwritable.copy(paths.board, place)
    assert len(times) == 3 and stamps == unwritable.stamps(paths.board)
    monkeypatch.setattr(files, "copy_bytes", lambda source, *rest: os.utime(source))
    with pytest.raises(StillWritten):
        unwritable.copy(paths.board, place)


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    yield
    left = _traces()  # or a test beside this one reads just now
    until_s = time.monotonic() + 30
    while left & _traces() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not left & _traces()


def _traces() -> set[str]:
    return {each for each in os.listdir("/var/tmp") if each.startswith("kanban-read-")}
