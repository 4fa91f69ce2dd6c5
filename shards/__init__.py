"""What a gateway imports: ``Gateway`` to write as a profile, ``Board`` to read, ``Refused`` to catch.

Nothing is loaded before it is used, so that a command that only reads starts fast; not even ``typing``, because every
Python of a bridged Hermes begins with this file (see ``kanban_shards.hermes.startup``).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


def __getattr__(name: str) -> "Any":
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
