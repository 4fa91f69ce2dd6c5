"""``kanban web`` in whose two processes a stranger opens, copies, hashes and closes files of the board's folder, as in
tests/processes/stranger.py: ``web_stranger.py HOME FILE…``."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from stranger import meddle  # it lies beside this program

from kanban_shards.cli.main import main
from kanban_shards.web import link, reader

if __name__ == "__main__":
    home, *names = sys.argv[1:]
    files = [Path(home, name) for name in names]
    threading.Thread(target=meddle, args=(files, threading.Event()), daemon=True).start()
    if os.environ.get("STRANGER_READS"):
        reader.main()
    else:
        os.environ["STRANGER_READS"] = "1"
        link.COMMAND = (sys.executable, __file__, home, *names)
        main(["--home", home, "web", "--port", "0"], prog_name="kanban")
