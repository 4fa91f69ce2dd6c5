"""Law 1 broken by strangers: a process opens, copies and hashes live files raw, while it and others write.

A shard bears that inside the very process that writes it: it has a rollback journal, and its lock is a ``flock`` on
another file. Ledger and board bear it from every process but the one that makes a pass (docs/design/sqlite.md, law 3).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards import Board
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths

STRANGER = Path(__file__).with_name("stranger.py")
SHARD = ("kanban.amy.db", "kanban.amy.db-journal")
BOARD = ("kanban.db", "kanban.db-wal", "kanban-ledger.db", "kanban-ledger.db-wal")
SHARED_MEMORY = ("kanban.db-shm", "kanban-ledger.db-shm")


@pytest.mark.parametrize("with_daemon", [False, True])
def test_a_shard_bears_it_in_the_process_that_writes_it(
    home: str, paths: BoardPaths, start: Callable, start_daemon: Callable, with_daemon: bool
) -> None:
    """Two processes of one profile, both with a stranger inside, and one of another profile."""
    if with_daemon:
        start_daemon()
    working = [start(STRANGER, home, "amy", 25, *SHARD), start(STRANGER, home, "amy", 25, *SHARD)]
    working.append(start(STRANGER, home, "bob", 25))
    _assert_all_there(home, paths, working)


def test_ledger_and_board_bear_it_beside_a_daemon(
    home: str, paths: BoardPaths, start: Callable, start_daemon: Callable
) -> None:
    """The daemon's own process is nobody's but its; the strangers are in the gateways, which read the board."""
    start_daemon()
    working = [start(STRANGER, home, name, 25, *SHARD, *BOARD, *SHARED_MEMORY) for name in ("amy", "bob", "cleo")]
    _assert_all_there(home, paths, working)


def _assert_all_there(home: str, paths: BoardPaths, working: list) -> None:
    acknowledged = set()
    for process in working:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        acknowledged |= set(json.loads(output))
    with Board.open(home=home) as board:
        assert acknowledged == {task.id for task in board.tasks(status="done")}
    found = verify(paths)
    assert found.clean, found.findings
