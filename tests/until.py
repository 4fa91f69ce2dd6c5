"""Waiting in a test for what nobody announces."""

from __future__ import annotations

import time
from collections.abc import Callable

# Of what takes a moment: longer than any machine needs that is busy with other tests.
PATIENCE_S = 60.0
PAUSE_S = 0.002


def until(is_so: Callable[[], object], what: str = "it", wait_s: float = PATIENCE_S, pause_s: float = PAUSE_S) -> None:
    """Return as soon as ``is_so()``, which is asked again and again. Fails after ``wait_s``, saying that ``what`` did
    not come; ``pause_s``: between two questions."""
    end_s = time.monotonic() + wait_s
    while not is_so():
        assert time.monotonic() < end_s, f"{what} did not come within {wait_s:g} s"
        time.sleep(pause_s)
