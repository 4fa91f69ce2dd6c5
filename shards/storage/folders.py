"""Folders: what lies below a home or a board is opened by descriptor, one component after the other, and no link is
followed on the way.

Whoever may write in a folder may put a link in the place of anything there, between a look at a path and its use too.
So trust begins at the folder that the caller was given (the home, or the board's own folder: the links on the way to
it are its user's choice, and are followed), and from there on everything is made, read, renamed and removed relative
to an open folder. See docs/security.md, "Links".
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from kanban_shards.errors import NotAFolder, StorageError, cannot_write
from kanban_shards.storage import second_names
from kanban_shards.storage.filesystems import (
    FOR_ALL,
    FOR_ITS_USER,
    GROUP_READS,
    file_mode,
    folder_mode,
    make_folder,
    open_plain,
)
from kanban_shards.storage.owners import acting_for

# Far more than a slug, or how a board is shown.
SMALL_BYTES = 1024 * 1024
# What opening something else than a folder fails with; EMLINK is what some BSDs say of a link.
_NO_FOLDER = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RANDOM_BYTES = 8

# Is told which file it is that will be read, and may raise.
Check = Callable[[os.stat_result], object]


class Folder:
    """An open folder. ``path`` is for sentences; what is done is done to the folder that was opened, wherever that was
    moved since. A name is one component. The methods raise OSErrors that say the whole path."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    @classmethod
    def given(cls, path: Path) -> Self:
        """The folder at ``path``, which the caller chose: links on the way are followed. Raises OSError."""
        return cls(path, _opened(path, None, _OPEN))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; the folder stays as it is."""
        os.close(self.descriptor)

    def folder(self, name: str) -> Folder:
        """The folder ``name`` in this one. Raises NotAFolder for a link or a file, FileNotFoundError, OSError."""
        return Folder(self.path / name, _opened(self.path / name, self.descriptor, _OPEN | os.O_NOFOLLOW))

    def made_folder(self, name: str, *, private: bool = False) -> Folder:
        """``folder(name)``, made if it is missing: durably, for its user, and unless ``private`` for those of the group
        who may use this one. Raises NotAFolder, OSError."""
        is_new = True
        try:
            with _naming(self.path / name), acting_for(self.path / name):
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
        except FileExistsError:
            is_new = False
        folder = self.folder(name)
        try:
            if is_new:
                mode = 0o700 if private else folder_mode(self.descriptor)
                os.fchmod(folder.descriptor, mode)  # not what the umask left of it
            if is_new or folder._may_be_new():
                self.sync()
        except BaseException:
            folder.close()
            raise
        return folder

    def names(self) -> list[str]:
        """What lies in it, sorted."""
        with _naming(self.path), os.scandir(self.descriptor) as inside:
            return sorted(entry.name for entry in inside)

    def look(self, name: str) -> os.stat_result | None:
        """What lies at ``name``, the link itself if it is one; None if nothing does, or no file can be called so."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return None
            raise OSError(error.errno, error.strerror, str(self.path / name)) from error

    def has_file(self, name: str) -> bool:
        """Whether a regular file lies at ``name`` itself."""
        found = self.look(name)
        return found is not None and stat.S_ISREG(found.st_mode)

    def has_folder(self, name: str) -> bool:
        """Whether a folder lies at ``name`` itself."""
        found = self.look(name)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def open_file(self, name: str) -> int:
        """A descriptor, for reading, of the regular file ``name``, which is no second name of a database that is open
        here. Raises NotAFile, SecondName, FileNotFoundError, OSError."""
        found = self.look(name)
        if found is not None and stat.S_ISREG(found.st_mode):
            second_names.check_apart(self.path / name, found)
        return open_plain(self.path / name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.descriptor)

    def mode_for(self, group: int) -> int:
        """The permissions of a file that is made here; its group gets of ``group`` what it has of the folder."""
        return file_mode(self.descriptor, group)

    def new_file(self, name: str, mode: int = FOR_ITS_USER) -> int:
        """A descriptor, for writing, of the new file ``name`` with the permissions ``mode``, whatever the umask.
        Raises FileExistsError (a link is one that exists), OSError."""
        with _naming(self.path / name), acting_for(self.path / name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, FOR_ITS_USER, dir_fd=self.descriptor)
            os.fchmod(descriptor, mode)
        return descriptor

    def write_whole(self, name: str, content: bytes, mode: int = FOR_ITS_USER) -> None:
        """Give ``name`` this content, whole or not at all, whatever stops the process or the machine; a link there is
        replaced. Not for a database, which only SQLite writes. Raises OSError."""
        fresh = free_name(name)
        try:
            with open(self.new_file(fresh, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.rename(fresh, self, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(fresh, dir_fd=self.descriptor)
            raise

    def link(self, name: str, target: Folder, new_name: str) -> None:
        """Give the file ``name`` a second name in ``target``, which is free. Raises FileExistsError, OSError."""
        with _naming(target.path / new_name):
            os.link(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor, follow_symlinks=False)

    def rename(self, name: str, target: Folder, new_name: str) -> None:
        """Move what lies at ``name``, the link itself if it is one, and durably: no cut leaves it without a name."""
        with _naming(self.path / name):
            os.rename(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)
        target.sync()
        if target is not self:
            self.sync()

    def remove(self, name: str) -> None:
        """Remove a file, or a link and not what it leads to, if it is there. Raises OSError, of a folder too."""
        with _naming(self.path / name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder. Raises OSError."""
        with _naming(self.path / name):
            os.rmdir(name, dir_fd=self.descriptor)

    def remove_tree(self, name: str) -> None:
        """Remove what lies at ``name``, if anything does: a folder with all that is in it, whoever changes it
        meanwhile, and of links the links themselves. Raises OSError."""
        import shutil  # what a command that only reads need not load

        found = self.look(name)
        if found is None:
            return
        if not stat.S_ISDIR(found.st_mode):
            self.remove(name)
            return
        with _naming(self.path / name):
            shutil.rmtree(name, dir_fd=self.descriptor)

    def sync(self) -> None:
        """Make durable which names it holds."""
        with _naming(self.path):
            os.fsync(self.descriptor)

    def _may_be_new(self) -> bool:
        """Whether it is so empty that whoever made it may not have come to sync its name yet."""
        with _naming(self.path), os.scandir(self.descriptor) as inside:
            return len(list(islice(inside, 2))) < 2


@contextmanager
def open_below(base: Path, path: Path) -> Iterator[Folder]:
    """The folder ``path``, which lies below ``base`` (or is it); links are followed on the way to ``base`` only.

    Raises NotAFolder for a link below ``base``, FileNotFoundError, OSError.
    """
    folder = Folder.given(base)
    for name in _components(base, path):
        with folder:
            folder = folder.folder(name)
    with folder:
        yield folder


@contextmanager
def make_below(base: Path, path: Path, *, private: bool = False) -> Iterator[Folder]:
    """``open_below``, with what is missing made, ``base`` too: each like the one it lies in, and durably.

    ``private``: the last one is for its user alone, whatever the one it lies in. Raises NotAFolder, OSError.
    """
    make_folder(base)
    folder = Folder.given(base)
    names = _components(base, path)
    for number, name in enumerate(names, 1):
        with folder:
            folder = folder.made_folder(name, private=private and number == len(names))
    with folder:
        yield folder


def read_small(base: Path, path: Path, check: Check | None = None) -> str | None:
    """The text of the file ``path`` below ``base``, which is meant to be small; None if there is none. ``check`` is
    told which file it is, before it is read, and may raise. Raises NotAFile, NotAFolder, and StorageError for what is
    larger than SMALL_BYTES, no UTF-8, or cannot be read."""
    try:
        with open_below(base, path.parent) as folder, open(folder.open_file(path.name), "rb") as file:
            if check is not None:
                check(os.fstat(file.fileno()))
            content = file.read(SMALL_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):  # of the second, ``base`` is none
        return None
    except OSError as error:
        raise StorageError(path=path, problem=f"it cannot be read: {error.strerror}") from error
    if len(content) > SMALL_BYTES:
        raise StorageError(path=path, problem=f"it is larger than {SMALL_BYTES} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StorageError(path=path, problem="it is no UTF-8") from error


def write_whole(path: Path, text: str, *, for_all: bool = False) -> None:
    """Give ``path``, which the caller chose, this content; see ``Folder.write_whole``. For its user, and the group of a
    folder that is meant for one; ``for_all``: for every user to read. Raises StorageError."""
    if not path.name:
        raise StorageError(path=path, problem="that names no file")
    try:
        with Folder.given(path.parent) as folder:
            mode = FOR_ALL if for_all else folder.mode_for(GROUP_READS)
            folder.write_whole(path.name, text.encode(errors="surrogateescape"), mode)
    except OSError as error:
        raise cannot_write(path, error, "it cannot be written") from error


def free_name(name: str) -> str:
    """A name beside ``name`` that nobody can foresee; it begins with a dot, as all do that count for nothing."""
    return f".{name}.{os.urandom(_RANDOM_BYTES).hex()}"


def _components(base: Path, path: Path) -> tuple[str, ...]:
    """The way from ``base`` down to ``path``. Raises NotAFolder for one that leads up again."""
    names = path.relative_to(base).parts
    if ".." in names:
        raise NotAFolder(path=path)
    return names


def _opened(path: Path, parent: int | None, flags: int) -> int:
    """``path`` as it is to be said; its last component is what is opened in ``parent``, if there is one."""
    try:
        return os.open(path if parent is None else path.name, flags, dir_fd=parent)
    except OSError as error:
        if parent is not None and error.errno in _NO_FOLDER:
            raise NotAFolder(path=path) from error
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors say the whole path, and not one component."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
