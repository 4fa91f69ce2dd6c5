"""Salvage: a sound copy of a Hermes board, whatever happened to the original (docs/design.md, "Salvage")."""

from kanban_shards.coordinator.salvage.ladder import salvage
from kanban_shards.coordinator.salvage.report import RUNGS, LostTask, Replaced, Salvage, TableReport

__all__ = ["RUNGS", "LostTask", "Replaced", "Salvage", "TableReport", "salvage"]
