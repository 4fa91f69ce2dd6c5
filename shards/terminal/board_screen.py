"""The screen of the live board: columns of cards, worked with by keys, that follow what is merged. It only reads.

What the screen shows is read in threads, never by the loop that takes keys. Law 1 (docs/design/sqlite.md): the board is
read through ``Board``, whose connections the one module opens; nothing here opens a file.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Resize
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Input, OptionList, Static

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.cards import Picture, look_now
from kanban_shards.errors import KanbanError
from kanban_shards.filters import MORE as MORE_CARDS
from kanban_shards.filters import MOST, SHOWN, Filters
from kanban_shards.follower import Follower
from kanban_shards.heard import silence
from kanban_shards.records import STATUSES
from kanban_shards.terminal import typed
from kanban_shards.terminal.column_list import MORE, ColumnList
from kanban_shards.terminal.drawing import COLORS
from kanban_shards.terminal.printed import NARROWEST, NOTHING, columns_of
from kanban_shards.terminal.task_screen import TaskScreen

# What is merged within this is shown in one go.
GATHER_S = 0.05
# For how long a card that changed is marked, and how often ages are told anew.
MARKED_S = 3.0
AGES_S = 20.0

# In Textual's CSS; the program's, since a first screen brings none of its own.
LOOKS = """
#top { height: 1; }
#trouble { height: auto; color: $error; display: none; }
#columns { height: 1fr; overflow-x: auto; overflow-y: hidden; scrollbar-size-horizontal: 1; }
#nothing { height: 1fr; content-align: center middle; display: none; }
ColumnList {
    height: 1fr; border: round $surface-lighten-2; padding: 0;
    text-wrap: nowrap; text-overflow: ellipsis; scrollbar-size-vertical: 1; overflow-x: hidden;
}
ColumnList:focus { border: round $accent; }
ColumnList > .option-list--option { padding: 0; }
#search { display: none; border: none; height: 1; padding: 0 1; }
"""


class Moved(Message):
    """Something became of ``task_ids``, or there is ``trouble``: why the board cannot be read."""

    def __init__(self, task_ids: list[str], trouble: str | None) -> None:
        super().__init__()
        self.task_ids = task_ids
        self.trouble = trouble


class Looked(Message):
    """What a look at the board found."""

    def __init__(self, found: Picture | KanbanError) -> None:
        super().__init__()
        self.found = found


class BoardScreen(Screen[None]):
    """The board ``board`` through ``filters``; ``picture``: what it shows at first."""

    AUTO_FOCUS = ""  # the first column with tasks, once they are read
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "column(-1)", show=False),
        Binding("right,l", "column(1)", "Column", key_display="←→"),
        Binding("j", "mark('down')", show=False),
        Binding("k", "mark('up')", show=False),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("escape", "clear", "All", show=False),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, board: Board, filters: Filters, picture: Picture) -> None:
        super().__init__()
        self._board = board
        self._wanted = filters
        self._changed: dict[str, float] = {}
        self._picture = picture
        self._is_looking = False
        self._looks_again = False
        self._first = 0  # of the columns with tasks, the leftmost on the screen

    # --- what is on the screen -------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """The columns of all statuses, of which those with tasks are shown, between two lines."""
        yield Static(id="top")
        yield Static(id="trouble")
        with Horizontal(id="columns"):
            for status in STATUSES:
                column = ColumnList(status)
                column.display = False
                column.styles.border_title_color = f"ansi_{COLORS[status]}"
                yield column
        yield Static(NOTHING, id="nothing")
        yield Input(placeholder=typed.HELP, id="search")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin following, which begins with a first look."""
        self._show()
        self.set_interval(AGES_S, self._show)
        self._follower = Follower(self._board.paths, self._tell)

    def on_unmount(self) -> None:
        """End following."""
        self._follower.stop()

    def _show(self) -> None:
        picture, now_s = self._picture, time.time()
        self._changed = {task_id: until_s for task_id, until_s in self._changed.items() if until_s > now_s}
        self.query_one("#top", Static).update(self._top(picture))
        shown = {column.status: column for column in columns_of(picture)}
        for column in self.query(ColumnList):
            column.display = column.status in shown
            if column.display:
                column.show(shown[column.status], self._changed.keys(), now_s)
        self.query_one("#columns").display = bool(shown)
        self.query_one("#nothing").display = not shown
        if not isinstance(self.focused, (ColumnList, Input)) or not self.focused.display:
            self._focus_first()
        self.call_after_refresh(self._share_width)

    def on_resize(self, message: Resize) -> None:
        """Share the new width among the columns."""
        self._share_width()

    def _share_width(self) -> None:
        """Show as many columns beside each other as have room, the one that is worked with among them."""
        shown = self._columns
        if not shown:
            return
        beside = max(1, min(len(shown), self.size.width // NARROWEST))
        width = self.size.width // beside
        for column in shown:
            column.styles.width = width
        here = next((place for place, column in enumerate(shown) if column is self.focused), 0)
        self._first = max(here - beside + 1, min(self._first, here, len(shown) - beside))
        self.query_one("#columns").scroll_to(x=self._first * width, animate=False)

    def _top(self, picture: Picture) -> Text:
        told = Text(no_wrap=True, overflow="ellipsis")
        told.append(self._board.paths.slug, style="bold")
        told.append("  " + wording.many(sum(picture.counts.values()), "task"))
        if picture.needing:
            told.append(f"  {picture.needing} need a person", style="red")
        if silent := silence(self._board.paths, time.time()):
            told.append("  " + silent, style="yellow")
        if self._wanted.narrow:
            told.append("  " + wording.printable(typed.written(self._wanted)), style="yellow")
        return told

    def _focus_first(self) -> None:
        for column in self._columns[:1]:
            column.focus(scroll_visible=False)

    @property
    def _columns(self) -> list[ColumnList]:
        return [column for column in self.query(ColumnList) if column.display]

    # --- what is read ----------------------------------------------------------------------------------------------

    def _tell(self, position: int, task_ids: list[str], trouble: str | None) -> None:
        """Called in the follower's thread."""
        self.post_message(Moved(task_ids, trouble))

    def on_moved(self, message: Moved) -> None:
        """Look again, soon, at what changed."""
        if message.trouble is not None:
            self._say_trouble(message.trouble)
            return
        self._changed |= dict.fromkeys(message.task_ids, time.time() + MARKED_S)
        if message.task_ids:
            self.set_timer(MARKED_S, self._show)
        self.set_timer(GATHER_S, self._look_again)
        for screen in self.app.screen_stack:
            if isinstance(screen, TaskScreen) and screen.task_id in message.task_ids:
                screen.refresh_task()

    def _look_again(self) -> None:
        """One look at a time; whatever asks meanwhile is answered by one more."""
        self._looks_again = self._is_looking
        if not self._is_looking:
            self._is_looking = True
            filters = self._wanted
            self.run_worker(lambda: self._look(filters), thread=True)

    def _look(self, filters: Filters) -> None:
        """Called in a thread."""
        try:
            found: Picture | KanbanError = look_now(self._board, filters)
        except KanbanError as error:
            found = error
        self.post_message(Looked(found))

    def on_looked(self, message: Looked) -> None:
        """Show what was found."""
        self._is_looking = False
        if isinstance(message.found, KanbanError):
            self._say_trouble(str(message.found))
        else:
            self._say_trouble("")
            self._picture = message.found
            self._show()
        if self._looks_again:
            self._look_again()

    def _say_trouble(self, sentence: str) -> None:
        line = self.query_one("#trouble", Static)
        line.display = bool(sentence)
        line.update(Text(wording.printable(sentence)))

    # --- keys ------------------------------------------------------------------------------------------------------

    def action_column(self, by: int) -> None:
        """Go to the column on the left or right."""
        shown = self._columns
        here = next((place for place, column in enumerate(shown) if column is self.focused), 0)
        if shown:
            shown[max(0, min(len(shown) - 1, here + by))].focus(scroll_visible=False)
            self.call_after_refresh(self._share_width)

    def action_mark(self, which: str) -> None:
        """Mark the card above or below."""
        if isinstance(self.focused, ColumnList):
            self.focused.action_cursor_down() if which == "down" else self.focused.action_cursor_up()

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """Show the task, or more of its column."""
        column = message.option_list
        if message.option.id != MORE:
            self.app.push_screen(TaskScreen(self._board, message.option.id or ""))
        elif isinstance(column, ColumnList):
            count = min(MOST, max(SHOWN, len(column.cards)) + MORE_CARDS)
            self._wanted = replace(self._wanted, more={**self._wanted.more, column.status: count})
            self._look_again()

    def action_search(self) -> None:
        """Ask what is looked for."""
        field = self.query_one("#search", Input)
        field.value = typed.written(self._wanted)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """Show all tasks again."""
        self._close_search()
        self._want("")

    def on_input_changed(self, message: Input.Changed) -> None:
        """Look for what is typed so far."""
        if message.input.display:
            self._want(message.value)

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Go on with what was found."""
        self._close_search()

    def _close_search(self) -> None:
        field = self.query_one("#search", Input)
        if field.display:
            field.display = False
            self._focus_first()

    def _want(self, said: str) -> None:
        try:
            self._wanted = replace(typed.read(said), more=self._wanted.more)
        except typed.Nonsense as nonsense:
            self._say_trouble(str(nonsense))
        else:
            self._look_again()
