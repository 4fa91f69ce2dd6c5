"""A board that is not shared is what it was: nothing of what sharing takes is loaded, and no file of it is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from kanban_shards import Gateway
from kanban_shards.paths import BoardPaths

CALLS = """
import json, sys, threading
from kanban_shards import Gateway
from kanban_shards.coordinator.cli.main import main
from kanban_shards.coordinator.daemon.daemon import HomeDaemon
from kanban_shards.paths import BoardPaths
with Gateway("ann", home=sys.argv[1]) as ann:
    ann.claim(ann.create("a task"))
for words in (["--once"], ["status"], ["doctor"], ["metrics"], ["verify"], ["backup"], ["compact"], ["refusals"]):
    try:
        main(["--home", sys.argv[1], *words], standalone_mode=False)
    except SystemExit:
        pass
daemon = HomeDaemon(BoardPaths.find(home=sys.argv[1]).home)
threading.Timer(0.3, daemon.stop).start()
daemon.run()
loaded = [name for name in sys.modules if name.startswith(
    ("kanban_shards.coordinator.shared", "kanban_shards.coordinator.hosts", "psycopg", "kanban_shards.migrations.far",
     "kanban_shards.coordinator.merge.other_hosts", "kanban_shards.coordinator.merge.outage",
     "kanban_shards.coordinator.merge.verdict_digest", "kanban_shards.coordinator.daemon.link"))]
print(json.dumps(loaded), file=sys.stderr)
"""


def test_imports_nothing(home: str, paths: BoardPaths) -> None:
    done = subprocess.run([sys.executable, "-c", CALLS, home], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert not {paths.shared.name, paths.heard.name} & {*os.listdir(home)}
    with Gateway("ann", home=home) as ann:
        assert ann.board.homes() == {}
