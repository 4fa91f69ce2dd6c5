"""``python -m tests.simulation --seed N``: one history, or ``--seeds A-B``: many, until one fails."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.simulation.hosts import Hosts
from tests.simulation.simulator import STEPS, Simulation


def main() -> int:
    """Run the seeds that the command line names; returns 1 if one of them broke an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int)
    which.add_argument("--seeds", metavar="A-B", help="every seed from A to B")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--harmless", action="store_true", help="without damaged files, full disks and jumps of hours")
    parser.add_argument("--hosts", action="store_true", help="several hosts that share the board")
    given = parser.parse_args()
    first, last = (given.seed, given.seed) if given.seeds is None else map(int, given.seeds.split("-"))
    started, entries, failed = time.monotonic(), 0, []
    for seed in range(first, last + 1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                if given.hosts:
                    with Hosts(Path(folder), seed) as hosts:
                        entries += hosts.run(given.steps)
                else:
                    entries += Simulation(Path(folder), seed, given.steps, not given.harmless).run().entries
            except Exception:
                traceback.print_exc()
                again = replay_command(seed, given.steps, not given.harmless) + (" --hosts" if given.hosts else "")
                print(f"seed {seed} failed; again: {again}", file=sys.stderr)
                failed.append(seed)
    seconds = time.monotonic() - started
    print(f"{last - first + 1} seeds, {entries} entries, {seconds:.1f} s, failed: {failed or 'none'}")
    return 1 if failed else 0


def replay_command(seed: int, steps: int, harm: bool = True) -> str:
    """The command that plays a seed's history again."""
    return f"python -m tests.simulation --seed {seed} --steps {steps}{'' if harm else ' --harmless'}"


if __name__ == "__main__":
    sys.exit(main())
