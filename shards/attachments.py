"""Attachments: copies of files, kept beside the board, in one folder for each task.

The bytes are written first and durably, under a name of their own; only then does a change say that they are there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from kanban_shards.errors import AttachmentTooLarge, StorageError, cannot_write
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from kanban_shards.storage.filesystems import GROUP_READS
from kanban_shards.storage.folders import Folder, free_name, make_below, open_below

if TYPE_CHECKING:
    from kanban_shards.board import Board
    from kanban_shards.records import Attachment

# Hermes's limit for one file.
LIMIT_BYTES = 25 * 1024 * 1024
LONGEST_NAME = 200
# Of that, what is in the name of a copy that is being made.
SHORT_NAME = 40
CHUNK_BYTES = 1024 * 1024
_ELSEWHERE = "it does not lie among the task's attachments; attach a copy of it instead"


class Stored(msgspec.Struct, frozen=True):
    """A kept copy: its shown name, where it lies, and how many bytes it has."""

    filename: str
    path: Path
    size: int


def store(paths: BoardPaths, task_id: str, file: str | os.PathLike[str], name: str | None = None) -> Stored:
    """Keep a copy of ``file`` for the task. Raises AttachmentTooLarge, StorageError."""
    source = Path(file)
    filename = name or source.name
    try:
        if files.is_open_here(source):  # law 1: reading it and closing it again would give up the locks on it
            raise StorageError(path=source, problem="it is a file of a board that is open here, which a backup copies")
        found = source.stat()
        if not stat.S_ISREG(found.st_mode):  # a device or a pipe may have no end
            raise StorageError(path=source, problem="it is not a regular file")
        with source.open("rb") as original:
            return keep(paths, task_id, original, source, filename)
    except OSError as error:
        raise StorageError(path=error.filename or source, problem=error.strerror or str(error)) from error


def already_stored(paths: BoardPaths, task_id: str, file: str | os.PathLike[str], name: str | None = None) -> Stored:
    """The ``file`` that somebody wrote into the task's own folder, durable from now on. What lies elsewhere would be in
    no backup, and would not go with the task; a link could lead anywhere. Raises AttachmentTooLarge, StorageError."""
    path = Path(os.path.abspath(file))
    with _opened(paths) as kept:
        if kept is None or not kept.has_folder(task_id):
            raise StorageError(path=path, problem=_ELSEWHERE)
        with kept.folder(task_id) as folder:
            if not path.name or not _is_at(folder, path.parent):
                raise StorageError(path=path, problem=_ELSEWHERE)
            if not folder.has_file(path.name):
                raise StorageError(path=path, problem="there is no regular file")
            with open(folder.open_file(path.name), "rb") as stored:
                size = os.fstat(stored.fileno()).st_size
                if size > LIMIT_BYTES:
                    raise AttachmentTooLarge(path=path, size_bytes=size, limit_bytes=LIMIT_BYTES)
                os.fsync(stored.fileno())
            folder.sync()
            return Stored(_safe(name or path.name), folder.path / path.name, size)


def keep(paths: BoardPaths, task_id: str, original: BinaryIO, source: Path, name: str) -> Stored:
    """Keep a copy of the file ``original``, which is open and lies at ``source``. Raises as ``store`` does, and
    OSError."""
    size = os.fstat(original.fileno()).st_size
    if size > LIMIT_BYTES:
        raise AttachmentTooLarge(path=source, size_bytes=size, limit_bytes=LIMIT_BYTES)
    with make_below(paths.folder, paths.attachments / task_id) as folder:
        return _copy(original, source, folder, _safe(name))


def lost(board: Board) -> list[Attachment]:
    """Those of which no copy is there, nor on another host."""
    return [each for each in board.attachments() if each.host is None and not os.path.exists(each.stored_path)]


def remove_at_home(paths: BoardPaths, board: Board, host: str) -> int:
    """Remove the copies on this ``host`` that another host's profile took from their task, or with it; returns how
    many there were. Raises StorageError."""
    count = 0
    for task_id, stored_path in board.removed_files(host):
        lies_at = paths.attachment(task_id, stored_path)
        if os.path.exists(lies_at) and not is_named(board, task_id, stored_path):
            remove(paths, task_id, stored_path)
            count += not os.path.exists(lies_at)
    return count


def remove(paths: BoardPaths, task_id: str, stored_path: str) -> None:
    """Remove a kept copy, if it is there. What does not lie in the task's own folder is left alone, because a row says
    what its author wrote there: another task's file, or one of somebody else's. A link there is removed itself. Raises
    StorageError."""
    path = Path(paths.attachment(task_id, stored_path))
    with _opened(paths) as kept:
        if kept is None or not kept.has_folder(task_id) or not path.name:
            return
        with kept.folder(task_id) as folder:
            found = folder.look(path.name)
            if found is not None and not stat.S_ISDIR(found.st_mode) and _is_at(folder, path.parent):
                folder.remove(path.name)


def remove_all(paths: BoardPaths, task_id: str) -> None:
    """Remove the task's kept copies, and its folder if nothing else lies there. If that is a link, it is removed
    itself. Raises StorageError."""
    with _opened(paths) as kept:
        if kept is None:
            return
        if not kept.has_folder(task_id):
            kept.remove(task_id)
            return
        with kept.folder(task_id) as folder:
            for name in folder.names():
                if not folder.has_folder(name):
                    folder.remove(name)
        with suppress(OSError):  # not empty
            kept.remove_folder(task_id)


def is_named(board: Board, task_id: str, stored_path: str) -> bool:
    """Whether an attachment that the task has names the file that is kept at ``stored_path``."""
    file = _real(board.paths.attachment(task_id, stored_path))
    return any(_real(each.stored_path) == file for each in board.attachments(task_id))


@contextmanager
def _opened(paths: BoardPaths) -> Iterator[Folder | None]:
    """The folder of all attachments; None if there is none yet. Raises NotAFolder for a link, and errors in it as
    StorageError."""
    place = paths.attachments
    with ExitStack() as held:
        try:
            folder: Folder | None
            try:
                folder = held.enter_context(open_below(paths.folder, place))
            except FileNotFoundError:
                folder = None
            yield folder
        except OSError as error:
            raise cannot_write(error.filename or place, error) from error


def _is_at(folder: Folder, path: Path) -> bool:
    """Whether ``path`` leads to the open ``folder``."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(folder.descriptor))
    except (OSError, ValueError):  # there is none, or a folder cannot be called so
        return False


def _real(path: str | os.PathLike[str]) -> str:
    try:
        return os.path.realpath(path)
    except ValueError:  # it holds a NUL, and so is no file's
        return os.fspath(path)


def _copy(original: BinaryIO, source: Path, folder: Folder, filename: str) -> Stored:
    """Of a file that grows meanwhile, what was there in time, as long as it is not too large."""
    fresh = free_name(filename[-SHORT_NAME:])
    with open(folder.new_file(fresh, folder.mode_for(GROUP_READS)), "wb") as copy:
        try:
            while (chunk := original.read(CHUNK_BYTES)) and copy.tell() <= LIMIT_BYTES:
                copy.write(chunk)
            size = copy.tell()
            if size > LIMIT_BYTES:
                raise AttachmentTooLarge(path=source, size_bytes=size, limit_bytes=LIMIT_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
            kept = _link_free_name(folder, fresh, filename)
        finally:
            folder.remove(fresh)
    folder.sync()
    return Stored(filename, folder.path / kept, size)


def _link_free_name(folder: Folder, copy: str, filename: str) -> str:
    """Give ``copy`` the first of ``filename``, ``filename-1``, … that is free; a name is never taken from another."""
    stem, suffix = os.path.splitext(filename)
    number = 0
    while True:
        name = filename if number == 0 else f"{stem}-{number}{suffix}"
        try:
            folder.link(copy, folder, name)
        except FileExistsError:
            number += 1
        else:
            return name


def _safe(name: str) -> str:
    """A file name that is a name and nothing else: no folders, no control characters, not hidden."""
    kept = "".join(c for c in os.path.basename(name.replace("\\", "/")) if c.isprintable()).strip().lstrip(".")
    return kept[-LONGEST_NAME:] or "attachment"
