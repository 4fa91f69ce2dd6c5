"""What the commands print: tables, JSON, times. Plain, so that a command that only reads starts fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from kanban_shards.wording import columns, printable, safe, truncate

if TYPE_CHECKING:
    from rich.console import RenderableType

GAP = "  "
INDENT = " " * 4
# What is never cut, since somebody copies it; a column is not made narrower than LEAST columns of the terminal, and the
# last one has at least LEAST_LAST.
WHOLE = ("TASK", "BOARD", "BACKUP", "FILE")
LEAST = 12
LEAST_LAST = 24
STATUS_COLORS = {
    "ready": "green",
    "running": "cyan",
    "blocked": "red",
    "triage": "magenta",
    "review": "yellow",
    "done": "bright_black",
    "archived": "bright_black",
}


def say(said: object = "", *, fg: str | None = None, bold: bool = False, err: bool = False, nl: bool = True,
        lead: str = "", lead_fg: str | None = None) -> None:  # fmt: skip
    """Print ``said``, which may quote what others wrote: no character of it draws on the reader's terminal.

    The one way in which text gets printed, and so colors are given beside it. ``err``: on standard error. ``nl``: end
    the line. ``lead``: what stands before it in a color of its own.
    """
    click.echo(_styled(safe(lead), lead_fg) + _styled(safe(str(said)), fg, bold), err=err, nl=nl)


def print_json(value: Any) -> None:
    """One JSON value, readable, on standard output."""
    click.echo(_as_json(value, indent=2))


def print_json_line(value: Any) -> None:
    """One JSON value on one line, at once: for streams of them."""
    click.echo(_as_json(value))


def _as_json(value: Any, indent: int | None = None) -> str:
    """With what cannot be printed as JSON escapes it: what is no UTF-8 of a file's name, and the control characters
    that JSON itself lets through."""
    lines = json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    return "\n".join(line if line.isprintable() else _escaped(line) for line in lines)


def _escaped(line: str) -> str:
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)


def print_drawn(drawn: RenderableType, width: int) -> None:
    """What rich draws in ``width`` columns; in colors on a terminal. Every text in it that others wrote was made
    printable before."""
    from rich.console import Console  # which a command that prints lines need not load

    console = Console(width=width, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        console.print(drawn)
    click.echo(captured.get(), nl=False)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table, whole where the output is not a terminal.

    On a terminal no line is longer than that is wide: long columns are cut, but for those that name something, and
    where that leaves too little for the last column, it has a line of its own below the others.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(headers, *cells, strict=True)]
    room = os.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    gaps = len(GAP) * (len(widths) - 1)
    least = widths[-1] if headers[-1] in WHOLE else min(widths[-1], LEAST_LAST)
    fitting = _narrowed(headers, widths[:-1], room - gaps - least)
    is_stacked = sum(fitting) + gaps + least > room
    if is_stacked:
        fitting = _narrowed(headers, widths[:-1], room - gaps + len(GAP))
    left = room - (len(INDENT) if is_stacked else sum(fitting) + gaps)
    say(_line(headers, fitting, left, is_stacked), bold=True)
    for row in cells:
        click.echo(_line(row, fitting, left, is_stacked, _colored))


def _narrowed(headers: Sequence[str], widths: list[int], room: int) -> list[int]:
    """``widths`` of columns that are together no wider than ``room``, as far as they may be cut: the widest first."""
    widths = list(widths)
    while sum(widths) > room:
        able = [n for n, width in enumerate(widths) if width > LEAST and headers[n] not in WHOLE]
        if not able:
            break
        widest = max(able, key=lambda n: widths[n])
        widths[widest] -= 1
    return widths


def _line(
    cells: Sequence[str], widths: Sequence[int], left: int, is_stacked: bool, drawn: Callable[[str], str] = str
) -> str:
    first = [drawn(_padded(truncate(cell, width), width)) for cell, width in zip(cells, widths, strict=False)]
    last = truncate(cells[-1], left)
    if is_stacked:
        return GAP.join(first).rstrip() + (f"\n{INDENT}{last}" if last else "")
    return GAP.join([*first, last]).rstrip()


def _styled(text: str, fg: str | None, bold: bool = False) -> str:
    return click.style(text, fg=fg, bold=bold or None) if text and (fg or bold) else text


def _cell(value: Any) -> str:
    return printable("-" if value is None else str(value))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _colored(cell: str) -> str:
    color = STATUS_COLORS.get(cell.rstrip())
    return click.style(cell, fg=color) if color else cell
