"""The tick of a dispatcher that this call is part of.

Hermes says at each spawn where the worker works, before it starts it. Here that is said with the worker's process, in
one change, so it is remembered in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Tick:
    """What was said of tasks that are about to be spawned: of each, the columns and their values."""

    places: dict[str, dict[str, str]] = field(default_factory=dict)


_tick: ContextVar[Tick | None] = ContextVar("kanban_shards_tick", default=None)


@contextmanager
def ticking() -> Iterator[Tick]:
    """A tick of a dispatcher, from its beginning to its end."""
    tick = Tick()
    token = _tick.set(tick)
    try:
        yield tick
    finally:
        _tick.reset(token)


def current_tick() -> Tick | None:
    """The tick that this call is part of; None outside of one."""
    return _tick.get()
