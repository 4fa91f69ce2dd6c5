"""Outcome: what the demo shows while it runs, and what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from kanban_shards.coordinator.demo.check import Checked


@dataclass
class Picture:
    """What is to be seen at one moment. ``rates``: changes merged per second, the latest last."""

    phase: str
    seconds: float
    elapsed_s: float = 0.0
    merged: int = 0
    expired: int = 0
    rates: list[float] = field(default_factory=list)
    median_ms: float | None = None
    killed: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Outcome:
    """How the demo went. ``seconds``: how long they worked; ``median_ms``, ``slowest_ms``: from call to verdict."""

    seconds: float
    merged_per_s: float
    median_ms: float | None
    slowest_ms: float | None
    profiles: list[dict[str, Any]]
    killed: dict[str, int]
    checked: Checked
    interrupted: bool
    kept: str | None

    @property
    def clean(self) -> bool:
        """Whether the checks found nothing wrong."""
        return not self.checked.problems


Show = Callable[[Picture], None]
# Given the profiles and whether processes are killed: for as long as it is entered, it shows a Picture.
Screen = Callable[[list[str], bool], AbstractContextManager[Show]]
