"""Who writes: the profile that Hermes works for at the moment of the call, and its writer of that board.

Hermes knows its profile by its home folder, which a gateway that serves several profiles swaps for each turn, in a
context variable that its threads inherit. So the profile is asked for in each call, and never kept. Writers are kept,
one for each board and profile of this process, because opening one costs more than a write.
"""

from __future__ import annotations

import atexit
import importlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from kanban_shards.errors import GatewayClosed, InvalidName, Undecided
from kanban_shards.hermes import lending
from kanban_shards.paths import BoardPaths, profile_meant
from kanban_shards.storage.files import Identity, identity

if TYPE_CHECKING:
    from kanban_shards.changes.fields import Body
    from kanban_shards.changes.kinds import Create
    from kanban_shards.writer import Writer

# Hermes's functions mean "if the task's status still allows it", whoever changed it meanwhile.
LOOKS = 6


class _Key(NamedTuple):
    """A writer's process, board and profile. ``place``: which folder lies there, so that a board that was removed and
    made again is another one."""

    pid: int
    folder: Path
    place: Identity | None
    profile: str


_writers: dict[_Key, Writer] = {}
_guard = threading.Lock()
# Boards and writers with changes that nobody waited for.
_unsettled: dict[tuple[Path, Writer], object] = {}
# The last ready task that was made so on a board by each writer, and its assignee.
_made: dict[tuple[Path, Writer], tuple[str, str | None]] = {}
_settling = threading.Lock()


def profile_now() -> str:
    """The profile that this call is made for."""
    home = cast(Callable[[], Path], importlib.import_module("hermes_constants").get_hermes_home)()
    return _profile_of(str(home), os.environ.get("HOME", ""))


@lru_cache(maxsize=256)
def _profile_of(home: str, user_home: str) -> str:
    """The profile that Hermes works for when its home is ``home``, now that it is; it follows each link on the way to
    that, which a call would wait for. ``user_home``: where its homes lie when nothing else says so."""
    return cast(Callable[[], str], importlib.import_module("hermes_cli.profiles").get_active_profile_name)()


def can_name_a_profile(name: str | None) -> bool:
    """Whether ``name``, which Hermes takes for an assignee, can be a profile here."""
    try:
        return name is not None and profile_meant(name) == name
    except InvalidName:
        return False


def board_at(file: Path) -> BoardPaths:
    """The board whose file Hermes opens as ``file``. Raises StorageError unless it is called kanban.db."""
    return _board_at(os.path.abspath(os.path.expanduser(file)))


@lru_cache(maxsize=256)
def _board_at(file: str) -> BoardPaths:
    return BoardPaths.find(environ={"HERMES_KANBAN_DB": file})


def writer_of(paths: BoardPaths, profile: str | None = None) -> Writer:
    """The writer of ``profile``, None for the one that this call is made for, on the board at ``paths``. It stays open
    until the process ends, or the board is removed. What this process wrote before without waiting is merged. Raises
    InvalidName, StorageError."""
    settle(paths)
    return _kept(paths, profile)


def _kept(paths: BoardPaths, profile: str | None) -> Writer:
    from kanban_shards.writer import Writer  # which a process that only reads does without

    key = _Key(os.getpid(), paths.folder, identity(paths.folder), profile or profile_now())
    with _guard:
        writer = _writers.get(key)
        if writer is None:
            _forget(lambda other: other.pid != key.pid or (other.folder == key.folder and other.place != key.place))
            writer = _writers[key] = Writer(key.profile, paths=paths, looks=LOOKS, lanes=True)
    return writer


def write_soon(paths: BoardPaths, task_id: str, change: Body, profile: str | None = None) -> int:
    """Append ``change`` and return its seq without waiting for the verdict; whatever this process reads of the board
    after that shows it. ``profile``: as in ``writer_of``. Raises UnknownTask, InvalidChange, TooLarge, StorageError."""
    writer = _kept(paths, profile)
    seq = writer.write(task_id, change)
    settle_later(paths, writer)
    return seq


def create_soon(paths: BoardPaths, task_id: str, change: Create) -> None:
    """As ``write_soon``, of the task that ``change`` makes."""
    writer = _kept(paths, None)
    writer.write_unseen(task_id, change)
    settle_later(paths, writer)
    if change.starts is None and not change.parents:
        _made[paths.folder, writer] = task_id, change.assignee


def made_just_now(paths: BoardPaths, task_id: str) -> tuple[Writer, str | None] | None:
    """The writer of this call's profile and the task's assignee, if that made the task, ready, as the last thing on the
    board; told once. Whoever goes on with it need not wait until it is merged."""
    writer = _kept(paths, None)
    made, assignee = _made.pop((paths.folder, writer), (None, None))
    return (writer, assignee) if made == task_id else None


def settle_later(paths: BoardPaths, writer: Writer) -> None:
    """Have what ``writer`` wrote without waiting merged before this process reads the board again."""
    with _settling:
        _unsettled[paths.folder, writer] = object()


def settle(paths: BoardPaths) -> None:
    """Have merged what this process wrote to the board without waiting. Where that is not possible now, the board is
    read as it is: what was written is durable, and whoever needs a verdict is told."""
    if not _unsettled:
        return
    with _settling:
        found = [(key, written) for key, written in _unsettled.items() if key[0] == paths.folder]
        for key, _ in found:
            _made.pop(key, None)
    for key, written in found:
        with suppress(Undecided, GatewayClosed):
            key[1].sync_own()
        with _settling:
            if _unsettled.get(key) is written:  # else another thread wrote meanwhile
                del _unsettled[key]


def settle_surely(paths: BoardPaths) -> bool:
    """As ``settle``, for who is about to say that something is not there. Returns whether there was anything to be
    merged, so that it may be there now. Raises EarlierUndecided."""
    late = [each for key, each in list(_writers.items()) if _is_of(key, paths) and not each.is_decided]
    for writer in late:
        writer.sync_first()
    return bool(late)


def _is_of(key: _Key, paths: BoardPaths) -> bool:
    return (key.pid, key.folder) == (os.getpid(), paths.folder)


def close_kept(folder: Path | None = None) -> None:
    """Close what this process keeps open of the board in ``folder``, None for all: what it writes and reads by."""
    lending.close_kept(folder)
    with _guard:
        _forget(lambda key: folder is None or key.folder == folder)


def _forget(is_meant: Callable[[_Key], bool]) -> None:
    for key in [key for key in _writers if is_meant(key)]:
        _writers.pop(key).close()


atexit.register(close_kept)
