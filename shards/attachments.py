"""Attachments: copies of files, kept beside the board, in one folder for each task.

The bytes are written first and durably, under a name of their own; only then does a change say that they are there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kanban_shards.errors import AttachmentTooLarge, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.filesystems import GROUP_READS, file_mode, make_folder, sync_folder

if TYPE_CHECKING:
    from kanban_shards.board import Board
    from kanban_shards.records import Attachment

# Hermes's limit for one file.
LIMIT_BYTES = 25 * 1024 * 1024
LONGEST_NAME = 200
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Stored:
    """A kept copy: its shown name, where it lies, and how many bytes it has."""

    filename: str
    path: Path
    size: int


def store(paths: BoardPaths, task_id: str, file: str | os.PathLike, name: str | None = None) -> Stored:
    """Keep a copy of ``file`` for the task. Raises AttachmentTooLarge, StorageError."""
    source = Path(file)
    filename = _safe(name or source.name)
    folder = paths.attachments / task_id
    try:
        found = source.stat()
        if not stat.S_ISREG(found.st_mode):  # a device or a pipe may have no end
            raise StorageError(path=source, problem="it is not a regular file")
        if found.st_size > LIMIT_BYTES:
            raise AttachmentTooLarge(path=source, size_bytes=found.st_size, limit_bytes=LIMIT_BYTES)
        make_folder(folder)
        return _copy(source, folder, filename)
    except OSError as error:
        raise StorageError(path=error.filename or source, problem=error.strerror or str(error)) from error


def lost(board: Board) -> list[Attachment]:
    """Those of which no copy is there."""
    return [each for each in board.attachments() if not os.path.exists(each.stored_path)]


def remove(paths: BoardPaths, task_id: str, stored_path: str) -> None:
    """Remove a kept copy, if it is there. What does not lie in the task's own folder is left alone, because a row says
    what its author wrote there: another task's file, or one of somebody else's. A link there is removed itself."""
    path = Path(paths.attachment(task_id, stored_path))
    if _lies_in(paths.attachments.resolve() / task_id, path):
        path.unlink(missing_ok=True)


def remove_all(paths: BoardPaths, task_id: str) -> None:
    """Remove the task's kept copies, and its folder if nothing else lies there; one that is a link is left alone.
    Raises StorageError."""
    folder = paths.attachments / task_id
    if folder.is_symlink() or not folder.is_dir():
        return
    try:
        for entry in os.scandir(folder):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
        with suppress(OSError):  # not empty
            folder.rmdir()
    except OSError as error:
        raise StorageError(path=error.filename or folder, problem=error.strerror or str(error)) from error


def is_named(board: Board, task_id: str, stored_path: str) -> bool:
    """Whether an attachment that the task has names the file that is kept at ``stored_path``."""
    file = _real(board.paths.attachment(task_id, stored_path))
    return any(_real(each.stored_path) == file for each in board.attachments(task_id))


def _lies_in(folder: Path, path: Path) -> bool:
    """Whether a file or a link, and no folder, lies right in ``folder`` at ``path``."""
    try:
        return _real(path.parent) == str(folder) and not stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):  # there is none, or a file cannot be called so
        return False


def _real(path: str | os.PathLike) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # it holds a NUL, and so is no file's
        return os.fspath(path)


def _copy(source: Path, folder: Path, filename: str) -> Stored:
    """Of a file that grows meanwhile, what was there in time, as long as it is not too large."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as copy:
        try:
            with source.open("rb") as original:
                while (chunk := original.read(CHUNK_BYTES)) and copy.tell() <= LIMIT_BYTES:
                    copy.write(chunk)
            size = copy.tell()
            if size > LIMIT_BYTES:
                raise AttachmentTooLarge(path=source, size_bytes=size, limit_bytes=LIMIT_BYTES)
            copy.flush()
            os.fchmod(copy.fileno(), file_mode(folder, GROUP_READS))
            os.fsync(copy.fileno())
            kept = _link_free_name(Path(copy.name), folder, filename)
        finally:
            Path(copy.name).unlink()
    sync_folder(folder)
    return Stored(filename, kept, size)


def _link_free_name(copy: Path, folder: Path, filename: str) -> Path:
    """Give ``copy`` the first of ``filename``, ``filename-1``, … that is free; a name is never taken from another."""
    stem, suffix = os.path.splitext(filename)
    number = 0
    while True:
        target = folder / (filename if number == 0 else f"{stem}-{number}{suffix}")
        try:
            os.link(copy, target)
        except FileExistsError:
            number += 1
        else:
            return target


def _safe(name: str) -> str:
    """A file name that is a name and nothing else: no folders, no control characters, not hidden."""
    kept = "".join(c for c in os.path.basename(name.replace("\\", "/")) if c.isprintable()).strip().lstrip(".")
    return kept[-LONGEST_NAME:] or "attachment"
