"""What the commands print: tables, JSON, times. Plain, so that a command that only reads starts fast."""

from __future__ import annotations

import json
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

import click

GAP = "  "
STATUS_COLORS = {
    "ready": "green",
    "running": "cyan",
    "blocked": "red",
    "triage": "magenta",
    "review": "yellow",
    "done": "bright_black",
    "archived": "bright_black",
}


def print_json(value: Any) -> None:
    """One JSON value, readable, on standard output."""
    click.echo(_as_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """One JSON value on one line, at once: for streams of them."""
    click.echo(_as_json(value))


def _as_json(value: Any, indent: int | None = None) -> str:
    """With what is no UTF-8 of a file's name as JSON escapes it, so that it can be printed."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode(errors="backslashreplace").decode()


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table whose last column is cut to the terminal's width; whole where the output is not a terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(headers, *cells, strict=True)]
    room = os.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    room -= sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    click.secho(GAP.join(_padded(header, width) for header, width in zip(headers, widths, strict=True)).rstrip(),
                bold=True)  # fmt: skip
    for row in cells:
        line = [_padded(cell, width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo(GAP.join([*map(_colored, line), _cut(row[-1], room)]).rstrip())


def age(seconds: float) -> str:
    """A span of time in its two largest units."""
    left = int(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def many(count: int, what: str) -> str:
    """``count`` of ``what``: 1 change, 2 changes."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def when(seconds: int | None) -> str:
    """A time of day of this machine; empty for None."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def clip(text: str | None, longest: int = 200) -> str:
    """The first line of ``text``, at most ``longest`` characters."""
    return _cut((text or "").split("\n", 1)[0], longest)


def printable(text: str) -> str:
    """``text`` without the escape and newline characters that would draw on the reader's terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def safe(text: str) -> str:
    """``text``, in its lines, without the characters that would draw on the reader's terminal, or worse."""
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in text)


def _cell(value: Any) -> str:
    return printable("-" if value is None else str(value))


def _width(text: str) -> int:
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + "…"


def _colored(cell: str) -> str:
    color = STATUS_COLORS.get(cell.rstrip())
    return click.style(cell, fg=color) if color else cell
