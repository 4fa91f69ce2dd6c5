"""What the commands print: tables, JSON, times. Plain, so that a command that only reads starts fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from kanban_shards.wording import columns, printable, safe, truncate

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


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table whose last column is cut to the terminal's width; whole where the output is not a terminal."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(headers, *cells, strict=True)]
    room = os.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    room -= sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    say(GAP.join(_padded(header, width) for header, width in zip(headers, widths, strict=True)).rstrip(), bold=True)
    for row in cells:
        line = [_padded(cell, width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo(GAP.join([*map(_colored, line), truncate(row[-1], room)]).rstrip())


def _styled(text: str, fg: str | None, bold: bool = False) -> str:
    return click.style(text, fg=fg, bold=bold or None) if text and (fg or bold) else text


def _cell(value: Any) -> str:
    return printable("-" if value is None else str(value))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _colored(cell: str) -> str:
    color = STATUS_COLORS.get(cell.rstrip())
    return click.style(cell, fg=color) if color else cell
