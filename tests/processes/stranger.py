"""A gateway in a process whose other code breaks law 1: ``stranger.py HOME PROFILE COUNT FILE…``. While the gateway
works, a thread opens, copies, hashes and closes each ``FILE`` of the board's folder without end. Says what was
acknowledged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import threading
from pathlib import Path

from kanban_shards import Gateway


def meddle(files: list[Path], stop: threading.Event) -> None:
    """What backup scripts, virus scanners and health checks do."""
    copy = files[0].with_name(f"copy-{threading.get_ident()}")
    while not stop.is_set():
        for file in files:
            with contextlib.suppress(OSError):
                file.open("rb").close()
                hashlib.sha256(file.read_bytes()).hexdigest()
                shutil.copy2(file, copy)
    copy.unlink(missing_ok=True)


if __name__ == "__main__":
    home, profile, count, names = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    stop = threading.Event()
    with Gateway(profile, home=home, patience_s=60) as gateway:
        meddling = threading.Thread(target=meddle, args=([Path(home) / name for name in names], stop))
        if names:
            meddling.start()
        made = []
        try:
            for number in range(count):
                made.append(gateway.create(f"{profile} {number}"))
                gateway.complete(gateway.claim(made[-1]))
        finally:
            stop.set()
    print(json.dumps(made))
