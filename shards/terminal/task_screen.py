"""The screen of one task: all that belongs to it, and a way to the tasks that it is linked with."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Static

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.errors import KanbanError
from kanban_shards.terminal import details


class Read(Message):
    """A task that was read, or why it was not."""

    def __init__(self, found: details.Details | KanbanError) -> None:
        super().__init__()
        self.found = found


class TaskScreen(Screen[None]):
    """The task ``task_id`` of ``board``, which is read in a thread; ``refresh_task`` reads it again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,backspace", "app.pop_screen", "Back"),
        Binding("q", "app.quit", "Quit"),
        *(Binding(str(digit), f"related({digit})", show=False) for digit in range(1, details.RELATED + 1)),
    ]

    def __init__(self, board: Board, task_id: str) -> None:
        super().__init__()
        self.task_id = task_id
        self._board = board
        self._found: details.Details | None = None

    def compose(self) -> ComposeResult:
        """A text that scrolls, above the keys."""
        with VerticalScroll():
            yield Static(id="details")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin reading."""
        self.query_one(VerticalScroll).focus()
        self.refresh_task()

    def refresh_task(self) -> None:
        """Read the task again, and show it."""
        self.run_worker(self._read, thread=True, exclusive=True)

    def action_related(self, place: int) -> None:
        """Show a task that this one is linked with."""
        if self._found and place <= len(self._found.related):
            self.app.push_screen(TaskScreen(self._board, self._found.related[place - 1].id))

    def _read(self) -> None:
        try:
            found: details.Details | KanbanError = details.read(self._board, self.task_id)
        except KanbanError as error:
            found = error
        self.post_message(Read(found))

    def on_read(self, message: Read) -> None:
        """Show what was read."""
        found = message.found
        if isinstance(found, KanbanError):
            shown = Text(wording.printable(str(found)), style="red")
        else:
            self._found = found
            shown = details.drawn(found, time.time())
        self.query_one("#details", Static).update(shown)
