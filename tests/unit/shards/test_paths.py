"""Names and paths resolve as Hermes resolves them, and nothing else is a name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kanban_shards.errors import BoardGone, InvalidName, InvalidTaskId, NotAFile, StorageError, UnknownBoard
from kanban_shards.paths import (
    BoardPaths,
    check_board,
    check_profile,
    check_task_id,
    is_task_id,
    root_folder,
)
from kanban_shards.storage.folders import SMALL_BYTES

BAD_NAMES = ["", "-a", "_a", "A", "ü", "a b", "a/b", "../a", "a.b", "a\n", "a" * 65, "@coordinator", None, 7]


@pytest.mark.parametrize("name", ["a", "0", "bingge", "a-b_c", "a" * 64])
def test_names(name: str) -> None:
    assert check_profile(name) == check_board(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name: object) -> None:
    """No name leads out of the folder, needs escaping, or is the coordinator's own."""
    with pytest.raises(InvalidName, match="cannot name a profile"):
        check_profile(name)
    with pytest.raises(InvalidName, match="cannot name a board"):
        check_board(name)


@pytest.mark.parametrize("text", ["t_0123456", "t_0123456G", "T_01234567", "01234567", "t_01234567\n", "", None, 5])
def test_bad_task_ids(text: object) -> None:
    assert not is_task_id(text)
    with pytest.raises(InvalidTaskId):
        check_task_id(text)


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({}, "~/.hermes"),
        ({"HERMES_HOME": "/h"}, "/h"),
        ({"HERMES_HOME": "/h/profiles/amy"}, "/h"),
        ({"HERMES_HOME": "/h", "HERMES_KANBAN_HOME": "/k"}, "/k"),
        ({"HERMES_KANBAN_HOME": ""}, "~/.hermes"),
    ],
)
def test_root(environ: dict[str, str], root: str) -> None:
    assert root_folder(environ=environ) == Path(root).expanduser()
    assert root_folder("/said", environ) == Path("/said")


@pytest.mark.parametrize("variable", ["HERMES_KANBAN_HOME", "HERMES_HOME", "HERMES_KANBAN_DB"])
def test_a_user_that_is_not_known(variable: str) -> None:
    """The shell leaves such a path as it is."""
    with pytest.raises(StorageError, match="~nobody-of-that-name/x cannot be used: no home folder"):
        BoardPaths.find(environ={variable: "~nobody-of-that-name/x"})
    with pytest.raises(StorageError, match="no home folder"):
        BoardPaths.find(home="~nobody-of-that-name/x")


def test_what_is_said_wins_over_the_environment(tmp_path: Path) -> None:
    """A variable that leaked into a process never decides where rows are written, once the caller said where."""
    leaked = {"HERMES_KANBAN_DB": "/leaked/kanban.db", "HERMES_KANBAN_BOARD": "leaked", "HERMES_HOME": "/leaked"}
    assert BoardPaths.find("mine", tmp_path, leaked).folder == tmp_path / "kanban" / "boards" / "mine"
    assert BoardPaths.find("default", tmp_path, leaked).folder == tmp_path
    assert BoardPaths.find(environ=leaked).board == Path("/leaked/kanban.db")


def test_the_board_in_use(tmp_path: Path) -> None:
    """The slug: what is said, else the variable, else the file ``current``, else ``default``."""
    assert BoardPaths.find(home=tmp_path).slug == "default"
    (tmp_path / "kanban").mkdir()
    (tmp_path / "kanban" / "current").write_text("chosen\n")
    assert BoardPaths.find(home=tmp_path).slug == "chosen"
    assert BoardPaths.find(home=tmp_path, environ={"HERMES_KANBAN_BOARD": "variable"}).slug == "variable"
    assert BoardPaths.find("said", tmp_path, {"HERMES_KANBAN_BOARD": "variable"}).slug == "said"


def test_a_choice_that_cannot_be_read(tmp_path: Path) -> None:
    """No other board is taken for the one that was chosen."""
    current = tmp_path / "kanban" / "current"
    current.mkdir(parents=True)
    with pytest.raises(NotAFile, match="current is a folder, a pipe, a link or a device"):
        BoardPaths.find(home=tmp_path)
    current.rmdir()
    for content, problem in ((b"\xff", "it is no UTF-8"), (b"x" * (SMALL_BYTES + 1), "it is larger than")):
        current.write_bytes(content)
        with pytest.raises(StorageError, match=f"current cannot be used: {problem}"):
            BoardPaths.find(home=tmp_path)
    current.write_text("../../etc")
    with pytest.raises(InvalidName):
        BoardPaths.find(home=tmp_path)


@pytest.mark.parametrize("slug", ["DEFAULT", " Default ", "default\n", "  "])
def test_slugs_are_spelled_as_in_hermes(tmp_path: Path, slug: str) -> None:
    """In small letters, and without blanks around them; a variable of blanks is none."""
    assert BoardPaths.find(home=tmp_path, environ={"HERMES_KANBAN_BOARD": slug}).folder == tmp_path
    (tmp_path / "kanban").mkdir()
    (tmp_path / "kanban" / "current").write_text(slug)
    assert BoardPaths.find(home=tmp_path).folder == tmp_path
    assert BoardPaths.find(" Infra", tmp_path).slug == "infra"


def test_what_points_to_a_board_that_is_gone_is_named(tmp_path: Path) -> None:
    """And nobody is advised to make that board."""
    current = tmp_path / "kanban" / "current"
    current.parent.mkdir()
    current.write_text("gone\n")
    with pytest.raises(BoardGone, match=f"{current} points to it") as error:
        BoardPaths.find(home=tmp_path).require_board()
    assert "`kanban boards switch default`" in str(error.value)
    assert "create" not in str(error.value)
    for environ in (
        {"HERMES_KANBAN_BOARD": "gone"},
        {"HERMES_KANBAN_DB": str(tmp_path / "kanban" / "boards" / "gone" / "kanban.db")},
    ):
        with pytest.raises(BoardGone, match=f"{next(iter(environ))} points to it; set .* or unset it"):
            BoardPaths.find(home=None if "HERMES_KANBAN_DB" in environ else tmp_path, environ=environ).require_board()
    current.write_text("../../etc")
    with pytest.raises(InvalidName, match=f"'../../etc' cannot name a board, as {current} says"):
        BoardPaths.find(home=tmp_path)
    with pytest.raises(UnknownBoard, match="`kanban boards create typo` makes one"):
        BoardPaths.find("typo", tmp_path).require_board()


def test_a_named_board_is_never_made_by_a_typing_error(tmp_path: Path) -> None:
    paths = BoardPaths.find("typo", tmp_path)
    with pytest.raises(UnknownBoard, match="typo"):
        paths.require_folder()
    assert not paths.folder.exists()
    BoardPaths.find(home=tmp_path / "new").require_folder()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="its folder cannot be made"):
        BoardPaths.find(home=tmp_path / "file" / "below").require_folder()


@pytest.mark.skipif(sys.platform == "darwin", reason="its filesystems take UTF-8 alone")
def test_no_shard_is_overlooked_for_its_letters(paths: BoardPaths) -> None:
    """Each is listed under a spelling of its own, which can be printed and is no profile's name."""
    names = [b"a\nb", b"a\\nb", b"\xff", b"\x1b[2J", b"a\r", "a\u2028b".encode(), "ü".encode()]
    for name in names:
        Path(os.fsdecode(b"%s/kanban.%s.db" % (os.fsencode(paths.folder), name))).touch()
    found = dict(paths.shards())
    assert set(found) == {"a\\nb", "a\\\\nb", "\\udcff", "\\x1b[2J", "a\\r", "a\\u2028b", "ü"}
    assert all(path.exists() for path in found.values())
    for profile in found:
        assert profile.isprintable()
        with pytest.raises(InvalidName):
            check_profile(profile)


def test_shards_are_what_looks_like_shards(paths: BoardPaths) -> None:
    """Invalid names are listed, for the collector to report; the board, the ledger and journals are not shards."""
    others = ("kanban.db", "kanban-ledger.db", "kanban.amy.db-journal", "kanban.amy.lock", "notes.amy.db")
    for name in ("kanban.bob.db", "kanban.amy.db", "kanban.Not A Name.db", *others):
        (paths.folder / name).touch()
    assert [profile for profile, _ in paths.shards()] == ["Not A Name", "amy", "bob"]
    assert list(BoardPaths(paths.folder / "missing").shards()) == []
