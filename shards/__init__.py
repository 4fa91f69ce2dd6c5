"""What a gateway imports: ``Gateway`` to write as a profile, ``Board`` to read, ``Refused`` to catch.

Nothing is loaded before it is used, so that a command that only reads starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kanban_shards.board import Board
    from kanban_shards.errors import KanbanError, Refused, Undecided
    from kanban_shards.gateway import Gateway

__all__ = ["Board", "Gateway", "KanbanError", "Refused", "Undecided"]

_HOMES = {
    "Board": "kanban_shards.board",
    "Gateway": "kanban_shards.gateway",
    "KanbanError": "kanban_shards.errors",
    "Refused": "kanban_shards.errors",
    "Undecided": "kanban_shards.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
