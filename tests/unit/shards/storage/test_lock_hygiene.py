"""lock_hygiene: no public call leaves the process with fewer locks on a live file, and none holds a lock for later."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.paths import BoardPaths
from tests.unit.audited import LOCKS, locks, locks_at_rest

pytestmark = pytest.mark.skipif(not LOCKS.exists(), reason="this system does not list locks")


def test_the_list_of_locks_is_kept(tmp_path: Path) -> None:
    """What the other test looks at says something here: a lock that is taken shows, and is gone when let go."""
    from kanban_shards.storage.locks import FileLock

    lock = FileLock(tmp_path / "x.lock")
    lock.acquire(0)
    assert locks(tmp_path)["x.lock", "FLOCK"] == 1
    lock.close()
    assert locks(tmp_path) == Counter()


@pytest.mark.parametrize("with_daemon", [False, True])
def test_lock_hygiene(home: str, paths: BoardPaths, with_daemon: bool) -> None:
    """After each call, and the moment for which a gateway stays coordinator: no ``flock`` is held, and the open
    reader's locks on the board are there as before."""
    daemon = _daemon(home) if with_daemon else None
    gateway = Gateway("amy", home=home)
    task_id = gateway.create("a task")
    gateway.sync()
    board = Board.open(home=home)
    parent = gateway.create("a parent")
    gateway.sync()
    gateway.settle()
    before = locks_at_rest(paths.folder)
    assert before["kanban.db", "POSIX"] > 0
    run = None

    def claim() -> None:
        nonlocal run
        run = gateway.claim(task_id)

    calls = {
        "create": lambda: gateway.create("another"),
        "create with a key": lambda: gateway.create("another", idempotency_key="once"),
        "comment": lambda: gateway.comment(task_id, "x"),
        "subscribe": lambda: gateway.subscribe(task_id, platform="telegram", chat_id="1"),
        "link": lambda: gateway.link(parent, task_id),
        "unlink": lambda: gateway.unlink(parent, task_id),
        "edit": lambda: gateway.edit(task_id, title="y"),
        "claim": claim,
        "heartbeat": lambda: gateway.heartbeat(run, "half"),
        "complete": lambda: gateway.complete(run, result="r"),
        "claim_next": gateway.claim_next,
        "sync": gateway.sync,
        "task": lambda: board.task(task_id),
        "tasks": board.tasks,
        "events": board.events,
        "stats": board.stats,
        "another board": lambda: Board.open(home=home).close(),
        "another gateway": lambda: Gateway("bob", home=home).close(),
        "another profile": lambda: _create_as("bob", home),
        "verify": lambda: _verify(paths),
    }
    try:
        for name, call in calls.items():
            call()
            after = locks_at_rest(paths.folder)
            assert not before - after, f"{name} lost locks"
            assert [lock for lock in after if lock[1] == "FLOCK"] == [], f"{name} keeps a lock"
    finally:
        board.close()
        gateway.close()
        if daemon is not None:
            daemon.terminate()
            daemon.communicate()
    assert locks(paths.folder) == Counter(), "a closed gateway holds nothing"


def _create_as(profile: str, home: str) -> None:
    with Gateway(profile, home=home) as gateway:
        gateway.create("by another profile")


def _verify(paths: BoardPaths) -> None:
    from kanban_shards.coordinator.recovery.verify import verify

    assert verify(paths).clean


def _daemon(home: str) -> subprocess.Popen:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "kanban_shards.coordinator", "--home", home, "daemon"], stderr=subprocess.PIPE, text=True
    )
    assert "merges the shards" in daemon.stderr.readline()
    return daemon
