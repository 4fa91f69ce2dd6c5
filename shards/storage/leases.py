"""A shard is held open while it is read, so that no lease of its owner makes the reader wait."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kanban_shards.errors import FileBusy, NotAFile, cannot_open
from kanban_shards.storage import journals, second_names, sqlite
from kanban_shards.storage.files import beside
from kanban_shards.storage.locks import FileLock

# What is beside no shard, and what SQLite would open all the same.
_NEVER_OPENED = ("-wal", "-shm")


@contextmanager
def held_open(path: Path, lock: FileLock) -> Iterator[os.stat_result | None]:
    """Keep the shard at ``path`` and its journal open inside the block, in which SQLite opens and reads them. Gives
    what lies at ``path``; None if nothing does.

    Whoever opens a file on which its owner has a lease waits for 45 s, and nobody can take a lease that excludes
    readers on a file that is open. The one exception to law 1: under the shard's ``lock``, held, no connection of this
    process is inside a read or a write of it, so closing these descriptors takes no lock away. Raises FileBusy if there
    is a lease now, CannotOpen, NotAFile, SecondName.
    """
    lock.require(f"{path} is held open")
    sqlite.check_plain(path, sqlite.SHARD, _NEVER_OPENED)
    files: dict[Path, os.stat_result] = {}
    with ExitStack() as opened:
        for each in (path, beside(path, journals.SUFFIX)):
            try:
                found = files[each] = _found_apart(each)
                if found.st_nlink == 1 or not second_names.is_open_here(found):
                    opened.callback(os.close, journals.open_as_found(each, found))
                # else it may be open here by another name, and locked under another lock; and of what is open anywhere
                # nobody takes a lease that would make the reader wait
            except BlockingIOError as error:
                raise FileBusy(path=each, lock=each, waited_s=0.0) from error
            except FileNotFoundError:
                continue
            except OSError as error:
                raise cannot_open(each, error) from error
        yield files.get(path)


def _found_apart(path: Path) -> os.stat_result:
    """What the file at ``path`` is, which is no second name of another file of the board. Raises NotAFile, SecondName,
    OSError."""
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(path=path)
    second_names.check(path, found)
    return found
