"""A column of the live board: the cards of one status, of which one is marked."""

from __future__ import annotations

from collections.abc import Set
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from kanban_shards.cards import Card, Column
from kanban_shards.records import Status
from kanban_shards.terminal import drawing

MORE = "more"


class ColumnList(OptionList):
    """The column of ``status``. Its options have the tasks' ids; ``MORE`` is the one that asks for more of them."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select", "Open")]

    def __init__(self, status: Status) -> None:
        super().__init__(id=status, markup=False)
        self.status = status
        self.cards: tuple[Card, ...] = ()

    def show(self, column: Column, changed: Set[str], now_s: float) -> None:
        """Show ``column``. The mark stays on its task if that is here still, and else where it was. ``changed``: tasks
        that something just became of."""
        marked = self.highlighted_option
        place, top = self.highlighted, self.scroll_offset.y
        self.border_title = drawing.heading(column)
        self.cards = column.cards
        options = [Option(drawing.card(card, now_s, card.id in changed), id=card.id) for card in column.cards]
        if column.hidden:
            options.append(Option(drawing.more(column), id=MORE))
        self.set_options(options)
        ids = [option.id for option in options]
        if marked is not None and marked.id in ids:
            self.highlighted = ids.index(marked.id)
        elif ids:
            self.highlighted = min(place or 0, len(ids) - 1)
        self.scroll_to(y=top, animate=False)

    @property
    def marked(self) -> str | None:
        """The id of the marked task, or MORE; None if the column is empty."""
        return self.highlighted_option.id if self.highlighted_option else None
