"""A pass inside a gateway: where no daemon makes passes, the profile that wrote a change merges it."""

from __future__ import annotations

import time

from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import GATEWAY, write_note
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock

# For so long a gateway works for others before it looks for its own verdict.
PASSES_S = 0.5


def make_pass(paths: BoardPaths, lock: FileLock, believed_ms: int) -> bool:
    """For a gateway: make a pass, unless somebody asked the other hosts of a shared board in vain a moment ago. Returns
    whether it was made. It is not a patient one: whoever writes a shard now sees to it that it is merged. If there is
    more than PASSES_S seconds of work, the rest is left to whoever makes the next pass.

    ``lock``: the coordinator's lock, held. ``believed_ms``: for how many ms it is believed that those hosts cannot be
    reached.
    """
    if paths.is_shared and _is_cut_off(lock, believed_ms):
        return False
    write_note(lock, GATEWAY)
    until_s = time.monotonic() + PASSES_S
    with Coordinator(paths, lock) as coordinator:
        while coordinator.make_pass(patient=False).more and time.monotonic() < until_s:
            pass
    return True


def _is_cut_off(lock: FileLock, believed_ms: int) -> bool:
    from kanban_shards.coordinator.merge.outage import Outage

    outage = Outage.read(lock)
    return outage is not None and outage.was_tried_since(time.time_ns() // 1_000_000 - believed_ms)
