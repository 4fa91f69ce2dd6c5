"""Kill -9 on purpose: at every point between two steps of an append, a pass, a rebuild and a repair.

A point is the beginning of an SQL statement, the opening and the closing of a database, the renaming of a file, the
ringing of a bell and the release of a lock. The process that comes there is a real one, and kills itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from kanban_shards import Gateway
from kanban_shards.bell import Ringer
from kanban_shards.changes.kinds import AddComment
from kanban_shards.changes.vectors import View
from kanban_shards.coordinator.demo.check import Account, check
from kanban_shards.coordinator.errors import NothingToRepair
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard
from kanban_shards.storage.locks import FileLock
from tests.simulation.world import no_fsync

# Of the points inside a migration, which is one transaction: every OF_A_MIGRATION-th is tried.
OF_A_MIGRATION = 40

Deed = Callable[[BoardPaths], None]


def _append(paths: BoardPaths) -> None:
    with closing(Shard(paths, "amy")) as shard, Gateway("amy", home=paths.folder) as reader:
        shard.append(reader.board.tasks()[0].id, AddComment(text="appended"), reader.board.view("", "amy"))


def _append_first(paths: BoardPaths) -> None:
    with closing(Shard(paths, "zoe")) as shard:
        shard.append("t_00000001", AddComment(text="on nothing"), View())


def _pass(paths: BoardPaths) -> None:
    with closing(locks.take(paths, locks.COMMAND, 5)) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.make_passes()


def _pass_first(paths: BoardPaths) -> None:
    for path in (paths.board, paths.ledger):
        path.unlink(missing_ok=True)  # nothing was merged yet: see ``unmerged``
    _pass(paths)


def _rebuild(paths: BoardPaths) -> None:
    with closing(locks.take(paths, locks.COMMAND, 5)) as lock:
        rebuild(paths, lock)


def _repair_amy(paths: BoardPaths) -> None:
    with closing(locks.take(paths, locks.COMMAND, 5)) as lock, suppress(NothingToRepair):
        repair_shard(paths, lock, "amy")


def _repair_ledger(paths: BoardPaths) -> None:
    with closing(locks.take(paths, locks.COMMAND, 5)) as lock, suppress(NothingToRepair):
        repair_ledger(paths, lock)


def _nothing(paths: BoardPaths) -> None:
    pass


def _damage(name: str) -> Deed:
    def damage(paths: BoardPaths) -> None:
        file = paths.folder / name
        file.write_bytes(b"no database " * (file.stat().st_size // 12))

    return damage


# What is done, behind what, and how much of it was merged before.
DEEDS: dict[str, tuple[Deed, Deed]] = {
    "append": (_append, _nothing),
    "first append": (_append_first, _nothing),
    "pass": (_pass, _nothing),
    "first pass": (_pass_first, _nothing),
    "rebuild": (_rebuild, _damage("kanban.db")),
    "repair of a shard": (_repair_amy, _damage("kanban.amy.db")),
    "repair of the ledger": (_repair_ledger, _damage("kanban-ledger.db")),
}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Account]]:
    """A home where amy and bob worked: merged, and then some more of bob's."""
    paths = BoardPaths(tmp_path_factory.mktemp("worked"))
    accounts = {"amy": Account(), "bob": Account()}
    with no_fsync(), Gateway("amy", home=paths.folder) as amy, Gateway("bob", home=paths.folder) as bob:
        task_id = amy.create("amy's")
        amy.comment(task_id, "a remark")
        bob.claim(task_id)
        with _unmerged(paths):
            bob.comment(task_id, "said later")
            bob.create("bob's")
    for account, kinds in (("amy", ("create", "comment")), ("bob", ("claim", "comment"))):
        for seq, kind in enumerate(kinds, 1):
            accounts[account].take(f"wrote {seq} {kind} {task_id}")
    accounts["bob"].take("told 1 applied")
    return paths.folder, accounts


@pytest.mark.parametrize("name", DEEDS)
def test_a_kill_at_any_point(worked: tuple[Path, dict[str, Account]], tmp_path: Path, name: str) -> None:
    """Whatever the killed one left: done again, it is whole, and what was acknowledged is on the board once."""
    (deed, damage), (home, accounts) = DEEDS[name], worked
    if name == "first pass":
        accounts = {profile: _not_told(account) for profile, account in accounts.items()}
    points = _points(deed, damage, home, tmp_path / "counted")
    assert len(points) > 10
    for at in _chosen(points):
        paths = _home(home, tmp_path / str(at), damage)
        assert _die(deed, paths, at) == -signal.SIGKILL, f"{name}: point {at}, {points[at - 1]}, was not reached"
        with no_fsync():
            deed(paths)
            _pass(paths)
        checked = check(paths, accounts)
        assert not checked.problems, f"{name}: killed at point {at}, {points[at - 1]}: {checked.problems}"
        shutil.rmtree(paths.folder)


def _not_told(account: Account) -> Account:
    """The board and the ledger were removed, and with them the order: only what was written must be there."""
    return Account(written=dict(account.written))


def _chosen(points: list[str]) -> Iterator[int]:
    for at, point in enumerate(points, 1):
        if not point.startswith("CREATE") or at % OF_A_MIGRATION == 0:
            yield at


def _points(deed: Deed, damage: Deed, home: Path, folder: Path) -> list[str]:
    """What the deed comes by, in order."""
    points: list[str] = []
    paths = _home(home, folder, damage)
    with _watched(points.append), no_fsync():
        deed(paths)
    return points


def _die(deed: Deed, paths: BoardPaths, at: int) -> int:
    """Fork a process that does the deed and kills itself at that point; returns how it ended."""
    left = at

    def count(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            with _watched(count), no_fsync():  # a kill loses nothing that was written
                deed(paths)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextmanager
def _watched(at: Callable[[str], None]) -> Iterator[None]:
    """Inside the block ``at`` is told of each point."""

    class Connection(sqlite3.Connection):
        def close(self) -> None:
            at("close")
            super().close()
            at("closed")

    true_connect = sqlite3.connect

    def connect(database: str, *given, **how) -> sqlite3.Connection:
        if not database:  # a scratch database, which nobody else sees
            return true_connect(database, *given, **how)
        at("open")
        connection = true_connect(database, *given, **{**how, "factory": Connection})
        connection.set_trace_callback(at)
        return connection

    def before(owner: object, name: str) -> None:
        true = getattr(owner, name)

        def told(*given, **how):
            at(name)
            return true(*given, **how)

        patches.enter_context(patch.object(owner, name, told))

    with ExitStack() as patches:
        patches.enter_context(patch.object(sqlite3, "connect", connect))
        for name in ("link", "rename", "replace", "unlink", "fsync"):
            before(os, name)
        before(Ringer, "ring")
        before(FileLock, "release")
        yield


@contextmanager
def _unmerged(paths: BoardPaths) -> Iterator[None]:
    """Nobody makes a pass inside the block."""
    with closing(FileLock(paths.coordinator_lock)) as lock:
        lock.acquire(5)
        yield


def _home(source: Path, folder: Path, damage: Deed) -> BoardPaths:
    shutil.copytree(source, folder, ignore=lambda _, names: [name for name in names if name.endswith(".sock")])
    paths = BoardPaths(folder)
    damage(paths)
    return paths
