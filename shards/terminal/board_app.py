"""The program that shows a board live in a terminal, until ``q``."""

from __future__ import annotations

from textual.app import App

from kanban_shards.board import Board
from kanban_shards.cards import Picture
from kanban_shards.filters import Filters
from kanban_shards.terminal.board_screen import LOOKS, BoardScreen


class BoardApp(App[None]):
    """The board ``board``, which the caller closes, at first through ``filters`` and as ``picture`` shows it."""

    ENABLE_COMMAND_PALETTE = False
    CSS = LOOKS

    def __init__(self, board: Board, filters: Filters, picture: Picture) -> None:
        super().__init__()
        self._board_screen = BoardScreen(board, filters, picture)

    def get_default_screen(self) -> BoardScreen:
        """The board is what there is first, and below everything else."""
        return self._board_screen
