"""Changes drawn at random: any kind in shards.changes.KINDS, of any sense or none."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from shards.changes import COORDINATOR_KINDS, KINDS, Body

WRITABLE = tuple(sorted(KINDS.keys() - COORDINATOR_KINDS))
# What gives a history its turns comes more often than what only adds to it.
WEIGHTS = {"create": 5, "claim": 5, "claim_next": 4, "complete": 5, "block": 3, "release": 3, "link": 3, "assign": 3}


@dataclass
class Pool:
    """What a change may name: the tasks and runs that were heard of, and the profiles there are."""

    profiles: tuple[str, ...]
    tasks: list[str] = field(default_factory=list)
    runs: list[tuple[int, str]] = field(default_factory=list)
    focus: str | None = None

    def task(self, chance: random.Random) -> str:
        """A task, most often the one in focus, else one that was named before, the newer the likelier."""
        if self.focus and chance.random() < 0.8:
            return self.focus
        if not self.tasks or chance.random() < 0.02:
            return f"t_{chance.getrandbits(32):08x}"
        return self.tasks[-1 - int(min(chance.expovariate(0.4), len(self.tasks) - 1))]


def drawn(kind: str, pool: Pool, chance: random.Random) -> tuple[str, Body]:
    """A change of ``kind`` and the task that it is on. A kind with a required field that no hint names is an error,
    so that a new kind of change is never left out of the simulation."""
    if kind == "claim_next":
        task_id = ""
    elif kind == "create" and chance.random() < 0.95:
        task_id = f"t_{chance.getrandbits(32):08x}"
        pool.tasks.append(task_id)
    else:
        task_id = pool.task(chance)
    fields = {}
    for each in msgspec.structs.fields(KINDS[kind]):
        if each.name in _HINTS and (each.required or chance.random() < _OFTEN.get(each.name, 0.5)):
            fields[each.name] = _HINTS[each.name](pool, chance)
    if "run_id" in fields and pool.runs and chance.random() < 0.9:
        fields["run_id"], task_id = chance.choice(pool.runs[-4:])
    return task_id, KINDS[kind](**fields)


def any_kind(chance: random.Random) -> str:
    """A kind that a profile may write."""
    return chance.choices(WRITABLE, [WEIGHTS.get(kind, 1) for kind in WRITABLE])[0]


def _line(pool: Pool, chance: random.Random) -> str:
    return chance.choice(("one", "two", "zwei ☕", "t'wo\"", "line\nbreak"))


def _parents(pool: Pool, chance: random.Random) -> tuple[str, ...]:
    return tuple(pool.task(chance) for _ in range(chance.choice((0, 1, 1, 2))))


_OFTEN = {"run_id": 0.7, "parents": 0.4, "idempotency_key": 0.2, "starts": 0.15, "runs_as": 0.3, "lease_s": 0.9}
_HINTS: dict[str, Callable[[Pool, random.Random], Any]] = {
    "title": _line,
    "text": _line,
    "note": _line,
    "reason": _line,
    "result": _line,
    "summary": _line,
    "metadata": lambda pool, chance: {"n": chance.randrange(9), "list": [1, None, {"deep": True}]},
    "priority": lambda pool, chance: chance.randrange(-2, 3),
    "assignee": lambda pool, chance: chance.choice((*pool.profiles, None, "Somebody Else")),
    "parents": _parents,
    "parent": lambda pool, chance: pool.task(chance),
    "starts": lambda pool, chance: chance.choice(("blocked", "triage")),
    "idempotency_key": lambda pool, chance: chance.choice(("key 1", "key 2")),
    "lease_s": lambda pool, chance: chance.choice((1, 60, 900)),
    "runs_as": lambda pool, chance: chance.choice(pool.profiles),
    "run_id": lambda pool, chance: chance.randrange(1, 30),
    "block": lambda pool, chance: chance.choice(("needs_input", "capability", "transient", "dependency")),
    "platform": lambda pool, chance: "telegram",
    "chat_id": lambda pool, chance: chance.choice(("1", "2")),
    "notifier_profile": lambda pool, chance: chance.choice(pool.profiles),
    "from_start": lambda pool, chance: chance.random() < 0.5,
}
