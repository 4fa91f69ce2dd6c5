"""The board printed once: the columns side by side, as many as the width has room for, and the others below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kanban_shards.cards import Column, Picture
from kanban_shards.terminal import drawing

# Of a column, with its margin: a title is to be told from others.
NARROWEST = 20
NOTHING = "No tasks."


def columns_of(picture: Picture) -> list[Column]:
    """The columns that have tasks."""
    return [column for lane in picture.lanes for column in lane.columns if column.count]


def drawn(picture: Picture, width: int, now_s: float) -> RenderableType:
    """The board in ``width`` columns of characters, at the time ``now_s`` (seconds since 1970)."""
    shown = columns_of(picture)
    return Group(*(_band(band, width, now_s) for band in _bands(shown, width))) if shown else Text(NOTHING)


def _bands(shown: Sequence[Column], width: int) -> Iterator[Sequence[Column]]:
    """The columns in rows of about the same length."""
    rows = -(-len(shown) // max(1, width // NARROWEST))
    per_row = -(-len(shown) // rows)
    for first in range(0, len(shown), per_row):
        yield shown[first : first + per_row]


def _band(band: Sequence[Column], width: int, now_s: float) -> Table:
    table = Table(box=box.SIMPLE_HEAD, width=width, pad_edge=False)
    for column in band:
        title = Text(drawing.heading(column), style=f"bold {drawing.COLORS[column.status]}")
        table.add_column(title, ratio=1, no_wrap=True, overflow="ellipsis")
    for place in range(max(len(column.cards) for column in band)):
        table.add_row(*(_cell(column, place, now_s) for column in band))
    if any(column.hidden for column in band):
        table.add_row(*map(drawing.more, band))
    return table


def _cell(column: Column, place: int, now_s: float) -> Text:
    return drawing.card(column.cards[place], now_s) if place < len(column.cards) else Text()
