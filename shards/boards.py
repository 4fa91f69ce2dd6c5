"""The boards of a home: each a folder with its own shards, ledger and coordinator, and a ``board.json`` that says how
it is shown.

Folders and ``board.json`` are as Hermes has them (docs/design/files.md, "The files"). A named board comes into being by
``create_board``, or is restored, and its files are moved only while every lock of it is held (law 6).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from kanban_shards.board import Board
from kanban_shards.errors import (
    BoardInUse,
    BoardMissing,
    DefaultBoardStays,
    FileBusy,
    InvalidName,
    KanbanError,
    StorageError,
    cannot_write,
)
from kanban_shards.inline_merge import holding_coordinator_lock, make_files
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths, board_meant, check_board
from kanban_shards.storage.filesystems import GROUP_READS
from kanban_shards.storage.folders import Folder, make_below, open_below, read_small
from kanban_shards.storage.locks import FileLock

ARCHIVE = "_archived"
# A process of a profile holds its shard's lock for a commit, a gateway's own pass takes milliseconds.
LOCK_WAIT_S = 2.0


def boards(root: Path) -> list[BoardPaths]:
    """Every board of the home ``root``: the default one first, then by slug."""
    folder = _folder_of_boards(root)
    slugs = sorted(path.name for path in folder.iterdir() if _is_board(path)) if folder.is_dir() else []
    return [BoardPaths.of(root, slug) for slug in [DEFAULT_BOARD, *slugs]]


def archived_boards(root: Path) -> list[BoardPaths]:
    """Every board that was put away; the slug is the one it had."""
    folder = _folder_of_boards(root) / ARCHIVE
    if not folder.is_dir():
        return []
    return [
        BoardPaths(path, _metadata_in(path, path).get("slug") or path.name)
        for path in sorted(folder.iterdir())
        if _has_board_files(path)
    ]


def find_board(root: Path, slug: str) -> BoardPaths:
    """The board ``slug`` of the home ``root``. Raises InvalidName, UnknownBoard."""
    paths = BoardPaths.of(root, board_meant(slug))
    paths.require_board()
    return paths


def create_board(root: Path, slug: str, **shown: str | None) -> bool:
    """Make the board ``slug``, or leave one that exists as it is; returns whether it is new.

    ``shown``: see ``write_metadata``; given for a board that exists, they are changed. Raises InvalidName,
    CoordinatorRunning, StorageError.
    """
    paths = BoardPaths.of(root, board_meant(slug))
    is_new = not paths.board.exists()
    paths.make_folder()
    if is_new:
        make_files(paths)
    write_metadata(paths, **shown)
    return is_new


def read_metadata(paths: BoardPaths) -> dict[str, Any]:
    """How the board is shown, with Hermes's keys; a ``board.json`` that is missing or damaged counts as empty."""
    usual = {
        "slug": paths.slug,
        "name": " ".join(word.capitalize() for word in paths.slug.replace("_", "-").split("-") if word),
        "description": "",
        "icon": "",
        "color": "",
        "default_workdir": None,
        "created_at": None,
        "archived": False,
    }
    given = _metadata_in(paths.folder, _metadata_folder(paths))
    return {**usual, **given, "slug": paths.slug, "db_path": str(paths.board)}


def write_metadata(paths: BoardPaths, **given: str | None) -> dict[str, Any]:
    """Change how the board is shown; None leaves a field as it is, and "" empties it.

    ``given``: name, description, icon, color, default_workdir. Returns all of it. Raises StorageError.
    """
    shown = read_metadata(paths)
    del shown["db_path"]
    shown.update({field: value for field, value in given.items() if value is not None})
    shown["name"] = shown["name"].strip() or paths.slug
    shown["default_workdir"] = shown["default_workdir"] or None
    shown["created_at"] = shown["created_at"] or int(time.time())
    content = json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    _replace(paths.folder, _metadata_folder(paths) / "board.json", content)
    return read_metadata(paths)


def describe(paths: BoardPaths, current: str | None) -> dict[str, Any]:
    """How the board is shown and what is on it, with the keys of ``hermes kanban boards list --json``; ``problem``
    says why its tasks cannot be counted, where that is so."""
    described = {**read_metadata(paths), "is_current": paths.slug == current, "counts": {}, "total": 0}
    try:
        with Board(paths) as board:
            described["counts"] = board.stats()["by_status"]
    except BoardMissing:
        pass
    except KanbanError as error:
        described["problem"] = str(error)
    described["total"] = sum(described["counts"].values())
    return described


def switch_board(root: Path, slug: str) -> None:
    """Make ``slug`` the board that is meant when none is named. Raises InvalidName, UnknownBoard, StorageError."""
    _replace(root, _current_file(root), f"{find_board(root, slug).slug}\n")


def remove_board(root: Path, slug: str, *, delete: bool = False) -> Path | None:
    """Put the board away; returns the folder in which it is kept. With ``delete`` it is gone for good.

    Raises InvalidName, UnknownBoard, DefaultBoardStays, CoordinatorRunning and BoardInUse while another process works
    on it, and StorageError.
    """
    paths = find_board(root, slug)
    if paths.slug == DEFAULT_BOARD:
        raise DefaultBoardStays(slug=slug)
    with (
        every_lock(paths),
        _explained(paths.folder),
        open_below(root, _folder_of_boards(root)) as folder,
        folder.made_folder(ARCHIVE) as archive,
    ):
        kept = _put_away(folder, paths.slug, archive)
        if _chosen(root) == paths.slug:
            with open_below(root, root / "kanban") as content:
                content.remove("current")
                content.sync()
        if not delete:
            return archive.path / kept
        archive.remove_tree(kept)
        archive.sync()
    return None


@contextmanager
def every_lock(paths: BoardPaths) -> Iterator[None]:
    """Hold the coordinator's lock and the lock of each shard, so that nobody is inside any file of the board.

    Raises CoordinatorRunning, BoardInUse.
    """
    with ExitStack() as held:
        held.enter_context(holding_coordinator_lock(paths))
        for profile, _ in paths.shards():
            with suppress(InvalidName):  # no profile writes such a file
                held.callback(_shard_lock(paths, profile).close)
        yield


def _shard_lock(paths: BoardPaths, profile: str) -> FileLock:
    lock = FileLock(paths.shard_lock(profile))
    try:
        lock.acquire(LOCK_WAIT_S)
    except FileBusy as error:
        lock.close()
        raise BoardInUse(slug=paths.slug, profile=profile, lock=lock.path) from error
    return lock


def _put_away(folder: Folder, slug: str, archive: Folder) -> str:
    """Move the board among those that were put away, durably; returns its name there."""
    for name in _free_names(f"{slug}-{int(time.time())}"):
        if archive.look(name) is None:
            folder.rename(slug, archive, name)
            return name
    raise AssertionError("there is always a free name")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Folders that cannot be moved, as a sentence."""
    try:
        yield
    except OSError as error:
        raise cannot_write(error.filename or path, error, "it cannot be moved") from error


def _free_names(name: str) -> Iterator[str]:
    yield name
    number = 0
    while True:
        number += 1
        yield f"{name}-{number}"


def _folder_of_boards(root: Path) -> Path:
    return root / "kanban" / "boards"


def _current_file(root: Path) -> Path:
    return root / "kanban" / "current"


def _chosen(root: Path) -> str | None:
    with suppress(StorageError):
        return (read_small(root, _current_file(root)) or "").strip().lower()
    return None


def _is_board(folder: Path) -> bool:
    try:
        return check_board(folder.name) != DEFAULT_BOARD and _has_board_files(folder)
    except InvalidName:
        return False


def _has_board_files(folder: Path) -> bool:
    return not folder.is_symlink() and ((folder / "kanban.db").is_file() or (folder / "board.json").is_file())


def _metadata_folder(paths: BoardPaths) -> Path:
    """Hermes keeps the default board's ``board.json`` where a named board's would lie."""
    return _folder_of_boards(paths.folder) / DEFAULT_BOARD if paths.slug == DEFAULT_BOARD else paths.folder


def _metadata_in(base: Path, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_small(base, folder / "board.json") or "{}")
    except (StorageError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(base: Path, path: Path, text: str) -> None:
    """Write ``path``, which lies below ``base``; see ``kanban_shards.storage.folders``."""
    try:
        with make_below(base, path.parent) as folder:
            folder.write_whole(path.name, text.encode(), folder.mode_for(GROUP_READS))
    except OSError as error:
        raise cannot_write(path, error, "it cannot be written") from error
