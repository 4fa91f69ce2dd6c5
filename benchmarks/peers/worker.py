"""One process of a benchmark: ``python -m benchmarks.peers.worker JSON``.

It opens its peer, does one task to warm up, says so, and waits for the line with the time at which all begin; at the
end it prints its notes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.peers import find
from benchmarks.peers.work import WORK, Worker, warm_up

READY = "ready"


def main() -> None:
    """Do what the JSON says: peer, folder, profile, work, count, shared (ids of tasks)."""
    told = json.loads(sys.argv[1])
    peer = find(told["peer"])(Path(told["folder"]), told["profile"])
    worker = Worker(peer)
    if peer.long_lived:
        warm_up(worker)
    print(READY, flush=True)
    begin, worker.end = json.loads(sys.stdin.readline())
    time.sleep(max(0.0, begin - time.time()))
    WORK[told["work"]](worker, told["count"], told["shared"])
    worker.notes.ended = time.time()
    peer.close()
    print(json.dumps(vars(worker.notes)), flush=True)


if __name__ == "__main__":
    main()
