"""Keyframes: boards at earlier positions, kept in a private cache of the user's, for a replay to start from.

A keyframe is what the ledger gives, no more, so it is found by position and digest, may be removed at any time, and
does not lie beside the board: whoever may only read a board may keep some, too. Each is a whole file or none: it gets
its name when it is durable. Nobody but its user may write the folder, or no keyframe is read or made there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from kanban_shards.errors import KanbanError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite
from kanban_shards.storage.space import has_room

# Of all boards of the user together; what was used longest ago goes first.
KEPT_BYTES = 512 * 1024 * 1024
# What a process that was killed left half made; making one takes seconds.
HALF_MADE_S = 600
# Making a keyframe costs about as much as replaying so many entries for each of its pages, and never pays for fewer.
ENTRIES_PER_PAGE = 1
LEAST_ENTRIES = 2_000
# A long replay leaves no more than so many on its way.
ON_THE_WAY = 8
_SUFFIX = ".db"
_MAKING = ".making"


class Keyframe(NamedTuple):
    """A board that is kept: where it stands, its digest there, and its file."""

    position: int
    digest: str
    path: Path


class Keyframes:
    """The keyframes of the board at ``paths``; ``root``: the cache that holds those of all boards, None for the
    user's own."""

    def __init__(self, paths: BoardPaths, root: Path | None = None) -> None:
        self._root = root or _users_cache()
        key = hashlib.blake2b(os.fsencode(os.path.realpath(paths.folder)), digest_size=8).hexdigest()
        self._folder = self._root / key

    def upto(self, position: int, since: int) -> Iterator[Keyframe]:
        """Those that stand at ``position`` or before it, the latest first. One that stands before ``since``, where the
        ledger begins, can no longer be checked, and is removed."""
        found = sorted(self._found(), reverse=True)
        for keyframe in found:
            if keyframe.position < since:
                _remove(keyframe.path)
            elif keyframe.position <= position:
                yield keyframe

    def load(self, keyframe: Keyframe, scratch: sqlite3.Connection) -> bool:
        """Copy the keyframe over ``scratch``. Returns whether it could be: another process may have removed it, and one
        that is damaged is removed here."""
        try:
            with closing(sqlite.open_reader(keyframe.path, sqlite.SNAPSHOT)) as kept:
                is_sound = (
                    connections.quick_check(kept) == "ok"
                    and kept.execute("SELECT position, digest FROM merge_state").fetchone() == keyframe[:2]
                )
                if is_sound:
                    copies.copy_over(kept, scratch)
        except (KanbanError, *connections.FAULTS):
            is_sound = False
        if is_sound:
            with suppress(OSError):
                os.utime(keyframe.path)  # what was used last stays longest
        else:
            _remove(keyframe.path)
        return is_sound

    def keep(self, scratch: sqlite3.Connection, position: int, digest: str) -> None:
        """Keep what ``scratch`` shows, if there is room for it; nothing is lost if there is not."""
        size_bytes = page_count(scratch) * page_bytes(scratch)
        if size_bytes > KEPT_BYTES or not self._may_be_used(make=True) or not has_room(self._folder, size_bytes):
            return
        made = self._folder / f"{_stem(position, digest)}-{secrets.token_hex(4)}{_MAKING}"
        try:
            self._forget_oldest(KEPT_BYTES - size_bytes)
            copies.write_copy(scratch, made, sqlite.SNAPSHOT)
            made.replace(self._folder / f"{_stem(position, digest)}{_SUFFIX}")
        except (KanbanError, OSError, sqlite3.Error):
            _remove(made)

    def _found(self) -> Iterator[Keyframe]:
        if not self._may_be_used():
            return
        with suppress(OSError):
            for name in os.listdir(self._folder):
                _, position, digest = [*name.removesuffix(_SUFFIX).split("-"), "", "", ""][:3]
                if name == f"{_stem(position, digest)}{_SUFFIX}" and position.isdecimal():
                    yield Keyframe(int(position), digest, self._folder / name)

    def _may_be_used(self, make: bool = False) -> bool:
        """Whether the cache is there, made if ``make``, and nobody but this user can write in it."""
        folders = (self._root.parent.parent, self._root.parent, self._root, self._folder)
        try:
            for folder in folders:
                if make:
                    folder.mkdir(mode=0o700, parents=folder == folders[0], exist_ok=True)
                found = os.stat(folder) if folder == folders[0] else os.lstat(folder)
                is_ours = found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
                if not stat.S_ISDIR(found.st_mode) or not is_ours:
                    return False
        except OSError:
            return False
        return True

    def _forget_oldest(self, kept_bytes: int) -> None:
        """Remove keyframes of any board until ``kept_bytes`` hold, and what killed processes left."""
        kept: list[tuple[int, int, Path]] = []
        for path in self._root.glob("*/*"):
            with suppress(OSError):
                found = os.lstat(path)
                if path.name.endswith(_SUFFIX):
                    kept.append((found.st_mtime_ns, found.st_size, path))
                elif time.time() - found.st_mtime > HALF_MADE_S:
                    _remove(path)
        size_bytes = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if size_bytes <= kept_bytes:
                break
            _remove(path)
            size_bytes -= size


def worth(scratch: sqlite3.Connection, total: int) -> int:
    """After how many entries of a replay of ``total`` another keyframe pays."""
    return max(LEAST_ENTRIES, ENTRIES_PER_PAGE * page_count(scratch), -(-total // ON_THE_WAY))


def page_count(scratch: sqlite3.Connection) -> int:
    """How many pages the database has."""
    (pages,) = scratch.execute("PRAGMA page_count").fetchone()
    return int(pages)


def page_bytes(scratch: sqlite3.Connection) -> int:
    """The size of its pages."""
    (size_bytes,) = scratch.execute("PRAGMA page_size").fetchone()
    return int(size_bytes)


def _users_cache() -> Path:
    """Where the user's caches lie, as the XDG base directory specification has it: a relative path counts as none."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path("~/.cache").expanduser()) / "kanban-shards" / "history"


def _stem(position: int | str, digest: str) -> str:
    """Another schema's keyframes are another version's."""
    return f"{sqlite.SNAPSHOT.schema}-{position}-{digest}"


def _remove(path: Path) -> None:
    with suppress(OSError):
        files.discard(path)
