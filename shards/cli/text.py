"""What the commands print: tables, JSON, times. Plain, so that a command that only reads starts fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from kanban_shards.wording import columns, printable, truncate

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
    widths = [max(map(columns, column)) for column in zip(headers, *cells, strict=True)]
    room = os.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    room -= sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    click.secho(GAP.join(_padded(header, width) for header, width in zip(headers, widths, strict=True)).rstrip(),
                bold=True)  # fmt: skip
    for row in cells:
        line = [_padded(cell, width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo(GAP.join([*map(_colored, line), truncate(row[-1], room)]).rstrip())


def _cell(value: Any) -> str:
    return printable("-" if value is None else str(value))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _colored(cell: str) -> str:
    color = STATUS_COLORS.get(cell.rstrip())
    return click.style(cell, fg=color) if color else cell
