"""Spans and moments of time, and places in the past, as people write them: on a command line, in an address."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TypedDict

from kanban_shards.errors import InvalidMoment

# Nothing that is counted exceeds this, and JSON readers hold it exactly.
LARGEST = 2**53
# The year 9999 begins, in milliseconds since 1970, and no later moment can be told.
CALENDAR_ENDS_MS = 253_370_764_800_000
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Past(TypedDict, total=False):
    """Where in the past: a position of the ledger, or a moment in milliseconds since 1970. One of them is there."""

    position: int
    at_ms: int


def seconds_of(span: str) -> int:
    """The seconds of a span such as 30s, 5m, 1.5h, 1d or 300. Raises ValueError for what is none."""
    lower = span.strip().lower()
    number, unit = (lower[:-1], _UNITS[lower[-1]]) if lower[-1:] in _UNITS else (lower, 1)
    try:
        found = int(float(number) * unit)
    except OverflowError:
        found = 0
    if not 1 <= found <= LARGEST:
        raise ValueError(f"{span!r} is no span of time")
    return found


def moment_of(told: str) -> int:
    """The seconds since 1970 of a time such as 2026-12-24T18:00, of this machine unless it names a zone. Raises
    ValueError for what is none."""
    try:
        found = int(told) if told.isdigit() else int(datetime.fromisoformat(told).timestamp())
    except OverflowError:
        found = -1
    if not 0 <= found <= LARGEST:
        raise ValueError(f"{told!r} is no time")
    return found


def past_of(told: str) -> Past:
    """The place in the past that is meant: a position, a time, or a span followed by ``ago``. Raises InvalidMoment."""
    meant = told.strip()
    if meant.isdecimal() and len(meant) < 17 and int(meant) <= LARGEST:
        return {"position": int(meant)}
    try:
        if meant.lower().endswith("ago"):
            return {"at_ms": time.time_ns() // 1_000_000 - 1_000 * seconds_of(meant[: -len("ago")])}
        return {"at_ms": 1_000 * moment_of(meant) + 999}  # the whole of that second
    except ValueError:
        raise InvalidMoment(said=told) from None
