"""A host that appends as one does: behind the end that it knows; overtaken, it takes its turn and appends behind that.

python -m tests.far.appender PROFILE ENTRIES      prints for each entry how many round trips it took
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing

from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.shared.carrier import Carrier
from kanban_shards.coordinator.shared.far import Address, Far
from tests.far.changes import BEGINNING, chained, change, end_of


def trips(far: Far, profile: str, seqs: Iterator[int]) -> Iterator[int]:
    """Append an entry for each of ``seqs``; how many requests each took."""
    end = BEGINNING
    for seq in seqs:
        asked = 0
        while True:
            entries = chained(end, [change(profile, seq)])
            asked += 1
            try:
                far.append(entries, end)
                break
            except Overtaken:
                asked += 1
                end = far.turn(end.position).end
        end = end_of(entries)
        yield asked


if __name__ == "__main__":
    with closing(Carrier(Address("kanban", "default", sys.argv[1], 1, "one"))) as carrier:
        for number in trips(carrier, sys.argv[1], iter(range(1, int(sys.argv[2]) + 1))):
            print(number, flush=True)
