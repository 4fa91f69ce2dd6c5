"""One daemon for every board of a home."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.boards import create_board
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, DAEMON, holder, take
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from tests.processes.conftest import merging


@pytest.fixture
def root(home: str) -> Path:
    return Path(home)


@pytest.fixture
def many(start, home: str):
    """``many(*words)``: a daemon of all boards; ``wait=`` for how many it says that it merges."""

    def begin(*words: object, wait: int):
        process = start("-m", "kanban_shards.coordinator", "--home", home, "daemon", "--all-boards", *words)
        for _ in range(wait):
            merging(process)
        return process

    return begin


def test_it_serves_every_board(root: Path, many) -> None:
    """Each under the board's own lock; a change on each gets its verdict, through that board's own bell."""
    create_board(root, "infra")
    create_board(root, "web")
    daemon = many(wait=3)
    for slug in ("default", "infra", "web"):
        found = holder(BoardPaths.of(root, slug))
        assert (found.role, found.pid) == (DAEMON, daemon.pid)
        _claim_one(root, slug)
    daemon.send_signal(signal.SIGTERM)
    _, errors = daemon.communicate(timeout=60)
    assert (daemon.returncode, "Traceback" in errors) == (0, False)
    for slug in ("default", "infra", "web"):
        paths = BoardPaths.of(root, slug)
        assert holder(paths) is None
        assert not paths.coordinator_bell.exists()
        assert verify(paths).clean


def test_a_board_that_is_made_later_is_noticed(root: Path, many) -> None:
    daemon = many(wait=1)
    create_board(root, "later")
    merging(daemon)
    assert holder(BoardPaths.of(root, "later")).pid == daemon.pid
    _claim_one(root, "later")


def test_a_coordinated_board_is_left_until_it_is_free(root: Path, many) -> None:
    """Another coordinator's board is named once, the others are served meanwhile, and it is taken when it is free."""
    create_board(root, "busy")
    lock = take(BoardPaths.of(root, "busy"), COMMAND, 1)
    daemon = many(wait=1)
    assert "board busy: Another coordinator works on the board busy in" in daemon.stderr.readline()
    _claim_one(root, "default")
    lock.close()
    merging(daemon)
    assert holder(BoardPaths.of(root, "busy")).pid == daemon.pid


def test_the_trouble_of_one_board_is_no_others(root: Path, many) -> None:
    """Where board and ledger are damaged, nothing can be made again: that is said, and the other board is served. Once
    a person did something about it, it goes on."""
    create_board(root, "hurt")
    hurt = BoardPaths.of(root, "hurt")
    for path in (hurt.board, hurt.ledger):
        path.write_bytes(b"this is no database" * 500)
    daemon = many(wait=1)
    assert "board hurt: " in daemon.stderr.readline()
    _claim_one(root, "default")
    for path in hurt.folder.glob("kanban*.db*"):
        path.unlink()
    merging(daemon)
    _claim_one(root, "hurt")


def test_a_board_whose_folder_goes_is_let_go(root: Path, many) -> None:
    """Moved away by hand under the daemon: it lets go of it, and takes another one of that name."""
    create_board(root, "moved")
    paths = BoardPaths.of(root, "moved")
    daemon = many(wait=2)
    paths.folder.rename(root / "elsewhere")
    assert "no longer merges the shards of" in daemon.stderr.readline()
    create_board(root, "moved")
    merging(daemon)
    _claim_one(root, "moved")


def test_the_bell_of_each_board_wakes_it(root: Path, work) -> None:
    """A daemon that sweeps once an hour merges what is written on any of its boards."""
    create_board(root, "infra")
    daemon = work("patient_daemon", "-", "--all-boards")
    for _ in range(2):
        merging(daemon)
    for slug in ("infra", "default", "infra"):
        _claim_one(root, slug)
    daemon.send_signal(signal.SIGTERM)
    daemon.communicate(timeout=60)
    assert daemon.returncode == 0


def test_once_over_all_boards(root: Path, start, home: str) -> None:
    """Every board is merged, and each is named with what became of it."""
    for slug in ("default", "infra"):
        create_board(root, slug)
        lock = take(BoardPaths.of(root, slug), COMMAND, 1)  # so that the gateway leaves its change to others
        with Gateway("amy", home=home, board=slug) as gateway:
            gateway.create("a task")
        lock.close()
    value = _said(start("-m", "kanban_shards.coordinator", "--home", home, "--json", "--once", "--all-boards"))
    assert [(board["slug"], board["merged"]) for board in value] == [("default", {"amy": 1}), ("infra", {"amy": 1})]
    value = _said(start("-m", "kanban_shards.coordinator", "--home", home, "status", "--all-boards", "--json"))
    assert [(board["slug"], board["position"], board["coordinator"]) for board in value] == [
        ("default", 1, None),
        ("infra", 1, None),
    ]


def test_status_names_a_board_that_cannot_be_read(root: Path, start, home: str) -> None:
    create_board(root, "hurt")
    create_board(root, "web")
    BoardPaths.of(root, "hurt").board.write_bytes(b"this is no database" * 500)
    ended = start("-m", "kanban_shards.coordinator", "--home", home, "status", "--all-boards", "--json")
    output, _ = ended.communicate()
    default, hurt, web = json.loads(output)
    assert ended.returncode == 6
    assert (default["error"], hurt["error"], web["position"]) == ("BoardMissing", "Damaged", 0)


@pytest.mark.parametrize("words", [("--board", "x", "--once", "--all-boards"), ("--all-boards", "verify")])
def test_words_that_do_not_go_together(start, home: str, words: tuple[str, ...]) -> None:
    ended = start("-m", "kanban_shards.coordinator", "--home", home, *words)
    _, errors = ended.communicate()
    assert (ended.returncode, "Usage:" in errors) == (2, True)
    assert os.listdir(home) == []


def _claim_one(root: Path, slug: str) -> None:
    with Gateway("amy", home=root, board=slug) as gateway:
        assert gateway.claim(gateway.create("a task")).profile == "amy"


def _said(process) -> list[dict]:
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(output)
