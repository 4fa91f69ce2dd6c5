"""Phrases for sentences: counts, spans of time, texts cut to fit and made safe for a terminal."""

from __future__ import annotations

import time
import unicodedata


def age(seconds: float) -> str:
    """A span of time in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def span(seconds: float) -> str:
    """A span of time in its largest unit, rounded down; one that is over counts as none."""
    return " ".join(age(max(0.0, seconds)).split(" ")[:2])


def many(count: int, what: str) -> str:
    """``count`` of ``what``: 1 change, 2 changes, 2 entries."""
    return f"{count} {what if count == 1 else plural(what)}"


def plural(what: str) -> str:
    """More than one of ``what``."""
    if what.endswith(("s", "x", "sh")):
        return f"{what}es"
    return f"{what.removesuffix('y')}ies" if what.endswith("ry") else f"{what}s"


def when(seconds: int | None) -> str:
    """A date and time of this machine; empty for None, and the number itself for one that no calendar has."""
    try:
        return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def ago(seconds: int, now_s: float) -> str:
    """How long before ``now_s`` that time was, in its largest unit, or how long after. Both in seconds since 1970."""
    since_s = now_s - seconds
    if abs(since_s) < 1:
        return "just now"
    return f"{span(since_s)} ago" if since_s > 0 else f"in {span(-since_s)}"


def clip(text: str | None, longest: int = 200) -> str:
    """The first line of ``text``, at most ``longest`` characters."""
    return truncate((text or "").split("\n", 1)[0], longest)


def printable(text: str) -> str:
    """``text`` without the escape and newline characters that would draw on the reader's terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def safe(text: str) -> str:
    """``text``, in its lines, without the characters that would draw on the reader's terminal, or worse."""
    return "\n".join(line if line.isprintable() else _without_controls(line) for line in text.split("\n"))


def columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def truncate(text: str, room: int) -> str:
    """``text``, cut to ``room`` columns of a terminal, with an ellipsis where something is missing."""
    if columns(text) <= room:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns_of(character)
        if used > room:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _without_controls(line: str) -> str:
    return "".join(character if character.isprintable() or character == "\t" else " " for character in line)
