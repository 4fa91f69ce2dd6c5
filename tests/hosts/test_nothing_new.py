"""A board that is not shared loads nothing of what sharing takes."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, threading
from kanban_shards import Gateway
from kanban_shards.coordinator.daemon.daemon import HomeDaemon
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths

home = sys.argv[1]
paths = BoardPaths.find(home=home)
with Gateway("amy", home=home) as gateway:
    task = gateway.create("a task")
    gateway.complete(gateway.claim(task), result="done")
merge_once(paths)
daemon = HomeDaemon(paths.home)
threading.Timer(0.3, daemon.stop).start()
daemon.run()
assert verify(paths).clean
loaded = [name for name in sys.modules if name.startswith(NEW)]
print(loaded)
"""
NEW = (
    "kanban_shards.coordinator.shared",
    "kanban_shards.coordinator.hosts",
    "kanban_shards.coordinator.merge.other_hosts",
    "kanban_shards.coordinator.merge.outage",
    "kanban_shards.coordinator.merge.verdict_digest",
    "kanban_shards.coordinator.daemon.link",
    "kanban_shards.sharing",
    "kanban_shards.heard",
    "psycopg",
)


def test_imports_nothing(home: str) -> None:
    """Not when it is written, merged, served by a daemon that serves all boards, or verified."""
    script = SCRIPT.replace("NEW", repr(NEW))
    done = subprocess.run([sys.executable, "-c", script, home], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
