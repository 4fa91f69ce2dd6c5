"""Numbered names: of files of which the newest are kept. Their order is a count, because a clock may be set back; the
time that is in the name, too, is for people."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

_NUMBERED = re.compile(r"(\d{6})-\d{8}-\d{6}-")


def next_name(beginning: str, names: Iterable[str]) -> str:
    """A name with that ``beginning`` whose number is above those of all ``names`` that begin so."""
    number = max((order(beginning, name)[0] for name in names), default=0) + 1
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{beginning}{number:06}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{rest:09}"


def order(beginning: str, name: str) -> tuple[int, str]:
    """By what names with that ``beginning`` sort, the oldest first; one without a number is older than all that have
    one."""
    found = _NUMBERED.match(name.removeprefix(beginning)) if name.startswith(beginning) else None
    return int(found[1]) if found else 0, name
