"""Whether a pass would find something, without making one."""

from __future__ import annotations

import subprocess
import sys

from kanban_shards import Gateway
from kanban_shards.changes.kinds import AddComment
from kanban_shards.changes.vectors import View
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import Shard
from kanban_shards.unmerged import has_unmerged


def merged(gateway: Gateway) -> dict[str, int]:
    """How far the board shows each shard."""
    return {profile: seq for profile, (seq, _) in gateway.board.watermarks().items()}


def test_nothing(paths: BoardPaths) -> None:
    assert not has_unmerged(paths, {})


def test_a_change_that_is_not_merged(gateway: Gateway, paths: BoardPaths) -> None:
    task_id = gateway.make("Write it").task_id
    assert not has_unmerged(paths, merged(gateway))
    other = Shard(paths, "bingge")
    other.append(task_id, AddComment(text="hello"), View(has_task=True))
    assert has_unmerged(paths, merged(gateway))
    gateway.merge_now()
    assert not has_unmerged(paths, merged(gateway))
    other.close()


def test_a_shard_that_is_being_written(gateway: Gateway, paths: BoardPaths, taken_for) -> None:
    """Its writer sees to it."""
    gateway.make("Write it")
    with taken_for(paths.shard_lock("amy"), 30):
        assert not has_unmerged(paths, {})
    assert has_unmerged(paths, {})


def test_what_is_no_shard(gateway: Gateway, paths: BoardPaths) -> None:
    gateway.make("Write it")
    (paths.folder / "kanban.mafei.db").write_text("not a database, and long enough to be looked at" * 100)
    (paths.folder / "kanban.No One.db").write_text("")
    assert not has_unmerged(paths, merged(gateway))


def test_what_a_killed_writer_left_half_done(gateway: Gateway, paths: BoardPaths) -> None:
    """A pass rolls it back, and only then it can be read."""
    gateway.make("Write it")
    gateway.close()
    killed = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('PRAGMA cache_size=1'); c.execute('PRAGMA journal_mode=PERSIST'); c.execute('BEGIN IMMEDIATE');"
        "c.executemany('INSERT INTO liveness VALUES (?, 1)', ((n,) for n in range(100, 100_000))); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", killed, paths.shard("amy")], check=False)
    assert has_unmerged(paths, {"amy": 1})
