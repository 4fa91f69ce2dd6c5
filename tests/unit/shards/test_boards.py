"""The boards of a home: made, chosen, named, put away; and never made by a typing error."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway, boards
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON, take
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import (
    BoardInUse,
    CannotOpen,
    CoordinatorRunning,
    DefaultBoardStays,
    InvalidName,
    LegacyBoard,
    StorageError,
    UnknownBoard,
)
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock

HERMES_KEYS = ("slug", "name", "description", "icon", "color", "default_workdir", "created_at", "archived", "db_path",
               "is_current", "counts", "total")  # fmt: skip


@pytest.fixture
def root(home: str) -> Path:
    return Path(home)


@pytest.fixture
def infra(root: Path) -> BoardPaths:
    """A board with one task, written by ``amy``, and nobody at work on it."""
    boards.create_board(root, "infra")
    with Gateway("amy", home=root, board="infra") as gateway:
        gateway.create("a task")
        gateway.sync()
    return BoardPaths.of(root, "infra")


def test_each_board_has_its_own_files(root: Path, infra: BoardPaths) -> None:
    with Gateway("amy", home=root) as gateway:
        gateway.sync()
        task_id = gateway.create("on the default board")
        gateway.sync()
    with Board.open(home=root, board="infra") as board:
        assert [task.title for task in board.tasks()] == ["a task"]
        assert board.task(task_id) is None
    assert [paths.slug for paths in boards.boards(root)] == ["default", "infra"]
    assert {infra.board, infra.ledger, infra.shard("amy"), infra.coordinator_lock} <= set(infra.folder.iterdir())


@pytest.mark.parametrize("folder", ["No-Board", "empty", "_archived", "default"])
def test_what_is_no_board_is_not_listed(root: Path, folder: str) -> None:
    (root / "kanban" / "boards" / folder).mkdir(parents=True)
    if folder != "empty":
        (root / "kanban" / "boards" / folder / "board.json").write_text("{}")
    assert [paths.slug for paths in boards.boards(root)] == ["default"]


def test_creating_twice_changes_what_is_given(root: Path, infra: BoardPaths) -> None:
    boards.write_metadata(infra, description="kept", name="Before")
    assert not boards.create_board(root, "infra", name="After")
    shown = boards.read_metadata(infra)
    assert (shown["name"], shown["description"]) == ("After", "kept")
    with Board(infra) as board:
        assert len(board.tasks()) == 1


def test_the_default_boards_metadata_lie_where_hermes_looks(root: Path, paths: BoardPaths) -> None:
    boards.write_metadata(paths, name="Ours", icon="★")
    found = json.loads((root / "kanban" / "boards" / "default" / "board.json").read_text(encoding="utf-8"))
    assert (found["slug"], found["name"], found["icon"], "db_path" in found) == ("default", "Ours", "★", False)


@pytest.mark.parametrize("damage", ["", "{", "[1]", "[" * 100_000, '{"name": "Kept", "slug": "another"}'])
def test_damaged_metadata_hide_no_board(infra: BoardPaths, damage: str) -> None:
    (infra.folder / "board.json").write_text(damage)
    shown = boards.read_metadata(infra)
    assert (shown["slug"], shown["name"]) == ("infra", "Kept" if "Kept" in damage else "Infra")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["pipe", "endless"])
def test_what_is_no_file_makes_nobody_wait(root: Path, infra: BoardPaths, kanban, failed, what: str) -> None:
    """In the place of the metadata it counts as none; in that of the choice it is a choice that cannot be read."""
    for path in (infra.folder / "board.json", root / "kanban" / "current"):
        path.unlink(missing_ok=True)
        os.mkfifo(path) if what == "pipe" else path.symlink_to("/dev/zero")
    assert boards.read_metadata(infra)["name"] == "Infra"
    sentence = failed(kanban("list"), 3)
    assert f"{root / 'kanban' / 'current'} is a folder, a pipe, a link or a device" in sentence
    assert kanban("--board", "infra", "boards", "list").returncode == 0
    boards.switch_board(root, "infra")
    assert kanban("list").returncode == 0
    boards.remove_board(root, "infra")


def test_a_write_that_fails_leaves_the_former_file(infra: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    boards.write_metadata(infra, name="Former")
    monkeypatch.setattr("kanban_shards.storage.filesystems.os.fsync", _full)
    with pytest.raises(StorageError, match="no space"):
        boards.write_metadata(infra, name="Newer")
    monkeypatch.undo()
    assert boards.read_metadata(infra)["name"] == "Former"
    assert [path.name for path in infra.folder.iterdir() if path.name.startswith(".")] == []


def test_an_archived_board_works_as_files(root: Path, infra: BoardPaths) -> None:
    """It can be read and verified where it lies, and goes on when it is moved back."""
    kept = boards.remove_board(root, "infra")
    assert kept.parent == root / "kanban" / "boards" / "_archived"
    assert [paths.slug for paths in boards.boards(root)] == ["default"]
    (away,) = boards.archived_boards(root)
    assert (away.folder, away.slug) == (kept, "infra")
    with Board(away) as board:
        assert len(board.tasks()) == 1
    assert verify(away).clean
    kept.rename(infra.folder)
    with Gateway("amy", home=root, board="infra") as gateway:
        gateway.claim_next()
    assert verify(infra).clean


def test_two_boards_of_one_name_are_both_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards.time, "time", lambda: 1_000.0)
    kept = []
    for _ in range(3):
        boards.create_board(root, "infra")
        kept.append(boards.remove_board(root, "infra").name)
    assert kept == ["infra-1000", "infra-1000-1", "infra-1000-2"]


def test_a_deleted_board_is_gone(root: Path, infra: BoardPaths) -> None:
    assert boards.remove_board(root, "infra", delete=True) is None
    assert not infra.folder.exists()
    assert boards.archived_boards(root) == []


def test_the_default_board_stays(root: Path) -> None:
    with pytest.raises(DefaultBoardStays):
        boards.remove_board(root, "default", delete=True)


def test_a_board_with_a_coordinator_stays(root: Path, infra: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "LOCK_WAIT_S", 0.01)
    lock = take(infra, DAEMON, 1)
    with pytest.raises(CoordinatorRunning, match="daemon process"):
        boards.remove_board(root, "infra")
    lock.close()
    assert infra.board.exists()


def test_a_board_that_is_written_stays(root: Path, infra: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "LOCK_WAIT_S", 0.01)
    with closing(FileLock(infra.shard_lock("amy"))) as held:
        held.acquire(1)
        with pytest.raises(BoardInUse, match="a process of amy"):
            boards.remove_board(root, "infra", delete=True)
    assert infra.board.exists()
    assert boards.remove_board(root, "infra") is not None  # every lock was let go of


def test_whoever_kept_the_board_open_is_told(root: Path, infra: BoardPaths) -> None:
    """An idle gateway of a board that was put away writes nothing and makes nothing."""
    with Gateway("amy", home=root, board="infra") as gateway:
        (task,) = gateway.board.tasks()
        boards.remove_board(root, "infra")
        with pytest.raises(CannotOpen, match="its folder does not exist"):
            gateway.comment(task.id, "to nobody")
        with pytest.raises(StorageError):
            gateway.board.tasks()
    assert not infra.folder.exists()


def test_switching(root: Path, infra: BoardPaths) -> None:
    boards.switch_board(root, "infra")
    assert BoardPaths.find(home=root).slug == "infra"
    with pytest.raises(UnknownBoard):
        boards.switch_board(root, "typo")
    with pytest.raises(InvalidName):
        boards.switch_board(root, "../up")
    assert BoardPaths.find(home=root).slug == "infra"
    boards.remove_board(root, "infra")
    assert BoardPaths.find(home=root).slug == "default"


@pytest.mark.parametrize(
    "words",
    [
        ("--board", "typo", "-p", "amy", "create", "x"),
        ("--board", "typo", "context", "t_00000000"),
        ("boards", "switch", "typo"),
        ("boards", "rename", "typo", "Name"),
        ("boards", "set-default-workdir", "typo", "/srv"),
        ("boards", "rm", "typo"),
        ("boards", "delete", "typo"),
    ],
)
def test_a_typing_error_makes_no_board(kanban, failed, root: Path, words: tuple[str, ...]) -> None:
    assert "no board named typo" in failed(kanban(*words), 3)
    assert list(root.iterdir()) == []


def test_the_list_has_hermes_keys(kanban, root: Path, infra: BoardPaths) -> None:
    boards.switch_board(root, "infra")
    default, found = json.loads(kanban("boards", "list", "--json").stdout)
    assert tuple(default) == tuple(found) == HERMES_KEYS
    assert (default["is_current"], default["counts"], default["total"]) == (False, {}, 0)
    assert (found["is_current"], found["counts"], found["total"]) == (True, {"ready": 1}, 1)
    assert found["db_path"] == str(infra.board)


def test_the_list_with_what_was_put_away(kanban, root: Path, infra: BoardPaths) -> None:
    boards.remove_board(root, "infra")
    assert [board["slug"] for board in json.loads(kanban("boards", "ls", "--json").stdout)] == ["default"]
    _, away = json.loads(kanban("boards", "ls", "--all", "--json").stdout)
    assert (away["slug"], away["archived"], away["total"]) == ("infra", True, 1)


def test_a_board_that_cannot_be_counted_says_why(root: Path, infra: BoardPaths, monkeypatch) -> None:
    def legacy(*_: object) -> None:
        raise LegacyBoard(path=infra.board)

    monkeypatch.setattr(boards.Board, "stats", legacy)
    assert "that Hermes writes itself" in boards.describe(infra, None)["problem"]


def test_the_verbs(kanban, root: Path) -> None:
    """From ``new`` to ``delete``, as a user goes."""
    assert "created" in kanban("boards", "new", "infra", "--name", "Infra team", "--color", "#fff", "--switch").stdout
    assert "is there already" in kanban("boards", "create", "infra").stdout
    assert "infra" in kanban("boards").stdout
    assert kanban("-p", "amy", "create", "a task").returncode == 0
    assert "Infra team" in kanban("boards", "show").stdout
    assert "'Platform'" in kanban("boards", "rename", "infra", "Platform").stdout
    assert "/srv/infra" in kanban("boards", "set-default-workdir", "infra", "/srv/infra").stdout
    shown = json.loads(kanban("boards", "current", "--json").stdout)
    assert (shown["slug"], shown["name"], shown["color"], shown["default_workdir"], shown["total"]) == (
        "infra", "Platform", "#fff", "/srv/infra", 1,
    )  # fmt: skip
    assert "no usual folder" in kanban("boards", "set-default-workdir", "infra").stdout
    assert kanban("boards", "use", "default").returncode == 0
    assert "put away" in kanban("boards", "remove", "infra").stdout
    shutil.rmtree(root / "kanban" / "boards" / "_archived")
    kanban("boards", "create", "infra")
    assert "deleted" in kanban("boards", "delete", "infra").stdout
    assert boards.archived_boards(root) == []


@pytest.mark.parametrize(("words", "code"), [(("create", "Bad Slug"), 2), (("rm", "default"), 1), (("rename", "x"), 2)])
def test_what_cannot_be_done(kanban, words: tuple[str, ...], code: int) -> None:
    assert kanban("boards", *words).returncode == code


def _full(descriptor: int) -> None:
    raise OSError(28, "no space left on device")


def test_a_choice_that_is_gone_leads_out(kanban, kanban_merge, failed, home: str) -> None:
    """Every command says which file points to it, and what it advises works; none makes the board."""
    gone = Path(home) / "kanban" / "boards" / "gone"
    kanban("--profile", "amy", "create", "x")
    (Path(home) / "kanban").mkdir(exist_ok=True)
    current = Path(home) / "kanban" / "current"
    current.write_text("gone\n")
    for run, words in (
        (kanban, ("list",)),
        (kanban, ("--profile", "amy", "create", "y")),
        (kanban, ("init",)),
        (kanban, ("boards", "show")),
        (kanban_merge, ("--once",)),
        (kanban_merge, ("status",)),
        (kanban_merge, ("verify",)),
    ):
        assert f"and {current} points to it; `kanban boards switch default`" in failed(run(*words), 3), words
    listed = kanban("boards", "list")
    assert (listed.returncode, "default" in listed.stdout) == (0, True)
    assert f"{current} points to it" in listed.stderr
    assert kanban_merge("status", "--all-boards").returncode == 0
    assert not gone.exists()
    assert kanban("boards", "switch", "DEFAULT").returncode == 0
    assert "x" in kanban("list").stdout
    current.write_text("../x")
    assert f"as {current} says" in failed(kanban("list"), 2)
    assert kanban("boards", "list").returncode == 0
