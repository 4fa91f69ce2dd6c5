"""Salvage: a sound copy of a Hermes board, whatever happened to the original (docs/design/hermes.md, "Salvage")."""

from kanban_shards.coordinator.hermes.salvage.report import STAGES, LostTask, Replaced, Salvage, TableReport
from kanban_shards.coordinator.hermes.salvage.stages import salvage

__all__ = ["STAGES", "LostTask", "Replaced", "Salvage", "TableReport", "salvage"]
