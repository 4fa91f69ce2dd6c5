"""``python -m tests.powercut --images N --seed S``: cut the power N times; or ``--answers``: right behind each answer;
or ``--kill``: between every two steps."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.powercut.cuts import Cuts, cut_at_answers, cut_at_random, kill_at, kill_points
from tests.powercut.recording import Step, record

SHOWN = 20


def main() -> int:
    """Record the workload, cut the power, print figures; returns 1 if an image was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill", action="store_true", help="kill -9 at each step in place of power cuts")
    parser.add_argument("--answers", action="store_true", help="cut behind each answer, and keep what was synced only")
    parser.add_argument("--synchronous", default="", help="OFF, to see that the images show what is not synced")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kanban-powercut-") as folder:
        root, image = Path(folder, "recorded", "root"), Path(folder, "image")
        steps = recorded(root, given.synchronous)
        recorded_s = time.monotonic() - started
        if given.kill:
            cuts = kill_at(kill_points(steps), steps, root, image)
        elif given.answers:
            cuts = cut_at_answers(steps, root, image)
        else:
            cuts = cut_at_random(steps, root, image, given.images, random.Random(given.seed))
    told(steps, cuts, recorded_s, time.monotonic() - started)
    return 1 if cuts.problems else 0


def recorded(root: Path, synchronous: str = "") -> list[Step]:
    """The workload's steps below ``root``, which is made."""
    root.mkdir(parents=True)
    arguments = ["-m", "tests.powercut.workload", str(root), *filter(None, [synchronous])]
    return record(root, arguments, root.parent / "log")


def told(steps: list[Step], cuts: Cuts, recorded_s: float, whole_s: float) -> None:
    """Print what came of it."""
    kinds = ", ".join(f"{sum(step.kind == kind for step in steps)} {kind}" for kind in ("write", "sync", "mark"))
    print(f"recorded {len(steps)} steps ({kinds}) in {recorded_s:.1f} s")
    print(f"opened {cuts.images.total()} images in {whole_s - recorded_s:.1f} s: {dict(cuts.images)}")
    for problem in cuts.problems[:SHOWN]:
        print(problem)
    print(f"problems: {len(cuts.problems)}")


if __name__ == "__main__":
    sys.exit(main())
