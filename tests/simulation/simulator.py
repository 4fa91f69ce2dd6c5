"""One seed, one history: who writes what by which knowledge, when passes are made, and where they are killed."""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.legacy import legacy_rows
from tests.simulation.changes import Pool, any_kind, drawn
from tests.simulation.world import CRASH_POINTS, World, Writer

STEPS = 80
PROFILES = ("ann", "bob", "cyd", "dan")
FORWARD_MS = (1, 50, 1_500, 61_000, 1_000_000)
BACKWARD_MS = (1, 3_000, 2_000_000)

_STEPS = {"write": 60, "pass": 20, "move_clock": 8, "live": 4, "look": 6, "restart": 3, "daemon": 3, "full_disk": 2,
          "delete_board": 1}  # fmt: skip


@dataclass
class Outcome:
    """What a history had in it, so that a test can tell that it had enough."""

    kinds: Counter = field(default_factory=Counter)
    verdicts: Counter = field(default_factory=Counter)
    entries: int = 0
    passes: int = 0
    kills: int = 0


class Simulation:
    """The history of ``seed`` on a board in ``folder``; ``steps``: how many things happen in it."""

    def __init__(self, folder: Path, seed: int, steps: int = STEPS) -> None:
        self._chance = random.Random(seed)
        self._steps = steps
        profiles = PROFILES[: self._chance.choice((2, 3, 4))]
        self._pool = Pool(profiles)
        # Drawn apart, so that the other histories of before stay what they were.
        self._legacy_chance = random.Random(f"legacy {seed}")
        self._imports = self._legacy_chance.sample(range(steps), 2) if seed % 3 == 0 else []
        self._world = World(folder, self._chance, profiles, self._chance.choice((1, 2, 3)))

    def run(self) -> Outcome:
        """Let it happen, with every invariant checked after each step. Raises AssertionError where one fails."""
        names, weights = list(_STEPS), list(_STEPS.values())
        with self._world as world:
            for step in range(self._steps):
                if step in self._imports:
                    self._import()
                getattr(self, f"_{self._chance.choices(names, weights)[0]}")()
            evidence = world.check_all()
        outcome = Outcome(entries=len(evidence.entries), passes=world.passes, kills=world.kills)
        for entry in evidence.entries:
            verdict = evidence.verdicts[entry.profile, entry.seq]
            outcome.kinds[entry.kind] += 1
            outcome.verdicts[verdict["reason"] or "applied"] += 1
        return outcome

    def _write(self) -> None:
        """Somebody writes; or several do, on one task, before anybody reads what the others wrote."""
        writers, fresh, count = [self._writer()], 0.7, self._chance.choice((1, 2, 3))
        if self._chance.random() < 0.4:
            self._pool.focus = self._pool.task(self._chance)
            writers, fresh, count = self._race(), 0.1, 6
        elif self._chance.random() < 0.5:
            writers = self._world.writers
        for _ in range(count):
            task_id, body = drawn(any_kind(self._chance), self._pool, self._chance)
            writer = self._author(writers, task_id)
            self._world.write(writer, task_id, body, fresh=self._chance.random() < fresh)
        self._pool.focus = None

    def _author(self, writers: list[Writer], task_id: str) -> Writer:
        """One of ``writers``, often one whose profile owns the task."""
        owners = [each for each in writers if each.profile == self._pool.owners.get(task_id)]
        return self._chance.choice(owners if owners and self._chance.random() < 0.5 else writers)

    def _race(self) -> list[Writer]:
        """Two processes, often of one profile, that have both read the task in focus."""
        first = self._writer()
        others = [each for each in self._world.writers if each is not first]
        if self._chance.random() < 0.5:
            others = [each for each in others if each.profile == first.profile] or others
        writers = [first, self._chance.choice(others)]
        for writer in writers:
            writer.look(self._pool.focus)
        return writers

    def _full_disk(self) -> None:
        self._writer().fail_to_write(*drawn(any_kind(self._chance), self._pool, self._chance))

    def _look(self) -> None:
        self._writer().look(self._pool.task(self._chance))

    def _live(self) -> None:
        if self._pool.runs:
            self._writer().sign_of_life(self._chance.choice(self._pool.runs[-4:])[0])

    def _move_clock(self) -> None:
        if self._chance.random() < 0.8:
            self._world.now_ms += self._chance.choice(FORWARD_MS)
        else:
            self._world.now_ms -= self._chance.choice(BACKWARD_MS)

    def _restart(self) -> None:
        self._world.restart(self._chance.randrange(len(self._world.writers)))

    def _daemon(self) -> None:
        if self._chance.random() < 0.5:
            self._world.start_daemon(self._crash(), self._chance.randrange(1, 4))
        else:
            self._world.stop_daemon()
        self._look_around()

    def _import(self) -> None:
        """A board of Hermes's is imported, perhaps killed on the way, and then again."""
        legacy = legacy_rows(self._legacy_chance, self._pool.profiles)
        crash = self._legacy_chance.choice((None, *CRASH_POINTS))
        self._world.import_board(copy.deepcopy(legacy), crash, self._legacy_chance.randrange(1, 6))
        self._look_around()
        self._world.import_board(legacy)
        self._look_around()

    def _delete_board(self) -> None:
        self._world.delete_board(with_its_log=self._chance.random() < 0.5)

    def _pass(self) -> None:
        busy = tuple(profile for profile in self._pool.profiles if self._chance.random() < 0.1)
        self._world.make_pass(self._crash(), self._chance.randrange(1, 6), busy)
        self._look_around()

    def _look_around(self) -> None:
        self._pool.learn(self._world.check())

    def _crash(self) -> str | None:
        return self._chance.choice(CRASH_POINTS) if self._chance.random() < 0.25 else None

    def _writer(self) -> Writer:
        return self._chance.choice(self._world.writers)
