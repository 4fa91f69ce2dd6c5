"""``python -m tests.hosts.acceptance.shifted SECONDS MODULE WORDS…``: run a module by a clock that is so far ahead."""

from __future__ import annotations

import runpy
import sys
import time


def shift(seconds: float) -> None:
    """Have this process's clock be ``seconds`` ahead; the steady one is as it is."""
    true_s, true_ns = time.time, time.time_ns
    time.time = lambda: true_s() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
