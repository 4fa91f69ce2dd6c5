"""Homes: on which host of a shared board a profile lives, for whoever is about to write as it, and who looks."""

from __future__ import annotations

from contextlib import suppress

from kanban_shards.board import Board
from kanban_shards.errors import BoardMissing, SharingStrange
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, read_sharing


def home_beside(paths: BoardPaths, sharing: Sharing, profile: str) -> str | None:
    """The other host that the profile lives on, of a board that is shared as ``sharing`` says, and as far as this
    host's shows; None if it lives here, or no host has said so yet. Raises the StorageErrors of a board that cannot be
    read."""
    with suppress(BoardMissing), Board(paths) as board:
        home = board.home_of(profile)
        return None if home is None or home.host == sharing.host else home.host
    return None


def homes_elsewhere(board: Board) -> dict[str, str]:
    """The profiles that live on other hosts, and on which; empty for a board that is not shared. Raises the
    StorageErrors of a board that cannot be read."""
    with suppress(SharingStrange):
        if (sharing := read_sharing(board.paths)) is not None:
            return homes_beside(board, sharing)
    return {}


def homes_beside(board: Board, sharing: Sharing) -> dict[str, str]:
    """The same of a board that is shared as ``sharing`` says."""
    return {name: home.host for name, home in board.homes().items() if home.host != sharing.host}
