"""Moments: what an old board holds for a time, as whole seconds since 1970.

Hermes writes whole seconds, and SQLite lets whatever else wrote there keep fractions, milliseconds or a date as text.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from kanban_shards.changes.imported import LAST_MOMENT_S

# Seconds, or else milliseconds, microseconds or nanoseconds: the first in which the year is one of a calendar.
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_LONGEST_TEXT = 40


def moment_s(value: object) -> int | None:
    """The time that ``value`` says, in whole seconds since 1970; None if it says none.

    A number is in the largest unit in which it lies before the year 10000. A text is such a number, or an ISO 8601
    date and time, of UTC where it names no zone.
    """
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, int | float) and math.isfinite(value):
        found = next((value // unit for unit in _UNITS if 0 <= value // unit <= LAST_MOMENT_S), None)
        return None if found is None else int(found)
    return None


def _of_text(text: str) -> int | None:
    if len(text) > _LONGEST_TEXT:
        return None
    try:
        return moment_s(int(text) if text.isdecimal() else float(text))
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
        return moment_s((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
