"""One process of a benchmark: ``python -m benchmarks.peers.worker JSON``.

It opens its peer, does one task to warm up, says so, and waits for the line with the time at which all begin; at the
end it prints its notes.
"""

from __future__ import annotations

import json
import resource
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
    used = _cpu_s()
    WORK[told["work"]](worker, told["count"], told["shared"])
    worker.notes.ended = time.time()
    worker.notes.cpu_s = _cpu_s() - used
    peer.close()
    print(json.dumps(vars(worker.notes)), flush=True)


def _cpu_s() -> float:
    mine, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
