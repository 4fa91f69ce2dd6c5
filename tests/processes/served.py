"""``python -m tests.processes.served HOME PROFILE audited|meddled VERB FILE``: ``kanban VERB`` in a process that the
audit hook of tests/unit/audited.py watches, or in which a stranger opens and closes the profile's shard without end.
Writes what was noticed to ``FILE`` in the end, as JSON."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from kanban_shards.cli.main import main
from tests.processes.stranger import meddle
from tests.unit import audited

if __name__ == "__main__":
    home, profile, how, verb, file = sys.argv[1:]
    stop = threading.Event()
    shard = [Path(home) / f"kanban.{profile}.db", Path(home) / f"kanban.{profile}.db-journal"]
    meddling = threading.Thread(target=meddle, args=(shard, stop))
    if how == "audited":
        sys.addaudithook(audited.watch)
    else:
        meddling.start()
    try:
        main(["--home", home, "--profile", profile, verb], standalone_mode=False)
    finally:
        stop.set()
        Path(file).write_text(json.dumps(audited.noticed))
