"""One seed, one history: who writes what by which knowledge, when passes are made, and where they are killed."""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.legacy import legacy_rows
from tests.simulation.changes import Pool, any_kind, drawn
from tests.simulation.damage import KNOWN_BY_ITS_CHAIN, copies, damage
from tests.simulation.world import COMPACTION_CRASH_POINTS, CRASH_POINTS, World, Writer

STEPS = 80
PROFILES = ("ann", "bob", "cyd", "dan")
HOUR_MS = 3_600_000
FORWARD_MS = (1, 50, 1_500, 61_000, 1_000_000)
KEEP_MS = (0, 60_000, 2_000_000)
BACKWARD_MS = (1, 3_000, 2_000_000)

_STEPS = {"write": 60, "pass": 20, "move_clock": 8, "live": 4, "look": 6, "restart": 3, "daemon": 3, "full_disk": 2,
          "delete_board": 1}  # fmt: skip
_HARM = {"full_disk_pass": 1, "keep": 1, "damage": 1, "jump": 1}


@dataclass
class Outcome:
    """What a history had in it, so that a test can tell that it had enough."""

    entries: int = 0
    passes: int = 0
    kills: int = 0
    upkeep: int = 0
    kinds: Counter = field(default_factory=Counter)
    verdicts: Counter = field(default_factory=Counter)
    damages: Counter = field(default_factory=Counter)


class Simulation:
    """The history of ``seed`` on a board in ``folder``; ``steps``: how many things happen in it. ``harm``: whether
    files are damaged, compacted, backed up and restored, boards imported, passes find the disk full and clocks jump by
    hours, too."""

    def __init__(self, folder: Path, seed: int, steps: int = STEPS, harm: bool = True) -> None:
        self._chance = random.Random(seed)
        self._upkeep_chance = random.Random(f"upkeep of {seed}")
        self._steps = steps
        self._harm = harm
        self._happens = {**_STEPS, **_HARM} if harm else _STEPS
        self._outcome = Outcome()
        profiles = PROFILES[: self._chance.choice((2, 3, 4))]
        self._pool = Pool(profiles)
        # Drawn apart, so that the other histories of before stay what they were.
        self._legacy_chance = random.Random(f"legacy {seed}")
        self._imports = self._legacy_chance.sample(range(steps), 2) if harm and seed % 3 == 0 else []
        self._world = World(folder, self._chance, profiles, self._chance.choice((1, 2, 3)))
        self._kept: dict[str, bytes] = {}
        self.damages: Counter[tuple[str, str]] = Counter()

    def run(self) -> Outcome:
        """Let it happen, with every invariant checked after each step. Raises AssertionError where one fails."""
        names, weights = list(self._happens), list(self._happens.values())
        with self._world as world:
            for step in range(self._steps):
                if step in self._imports:
                    self._import()
                getattr(self, f"_{self._chance.choices(names, weights)[0]}")()
                if self._harm:
                    self._look_after_the_files()
            evidence = world.check_all()
        outcome = self._outcome
        outcome.entries, outcome.passes, outcome.kills = len(evidence.entries), world.passes, world.kills
        outcome.damages = self.damages
        for entry in evidence.entries:
            verdict = evidence.verdicts[entry.change.profile, entry.change.seq]
            outcome.kinds[entry.change.kind] += 1
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
        self._writer().write_if_there_is_room(*drawn(any_kind(self._chance), self._pool, self._chance))

    def _full_disk_pass(self) -> None:
        self._world.make_pass_on_a_full_disk()
        self._look_around()

    def _keep(self) -> None:
        """Somebody makes a backup by copying the files."""
        self._world.come_to_rest()
        self._kept = copies(self._world.paths)

    def _damage(self) -> None:
        """A file is damaged while nobody has it open; some go on beside it, and then it is made again."""
        world, chance = self._world, self._chance
        role, profile = chance.choice(("board", "ledger", "shard")), chance.choice(self._pool.profiles)
        world.come_to_rest()
        file = {"board": world.paths.board, "ledger": world.paths.ledger, "shard": world.paths.shard(profile)}[role]
        if not file.exists():
            return
        how = damage(file, self._kept, chance)
        self.damages[role, how] += 1
        if role != "board" or how in KNOWN_BY_ITS_CHAIN:
            for _ in range(chance.randrange(4)):
                self._go_on_beside(role, profile)
        world.make_again(role, profile)
        self._look_around()

    def _go_on_beside(self, role: str, profile: str) -> None:
        """Another's shard holds up nobody; a board or a ledger may, with a sentence."""
        writer = self._writer()
        wrote = self._world.try_to_write(writer, *drawn(any_kind(self._chance), self._pool, self._chance))
        merged = self._world.try_to_merge()
        if role == "shard":
            assert merged, f"the damaged shard of {profile} held up a pass"
            assert wrote or writer.profile == profile, f"the damaged shard of {profile} held up {writer.profile}"

    def _look(self) -> None:
        self._writer().look(self._pool.task(self._chance))

    def _live(self) -> None:
        if self._pool.runs:
            self._writer().heartbeat(self._chance.choice(self._pool.runs[-4:])[0])

    def _move_clock(self) -> None:
        if self._chance.random() < 0.8:
            self._world.now_ms += self._chance.choice(FORWARD_MS)
        else:
            self._world.now_ms -= self._chance.choice(BACKWARD_MS)

    def _jump(self) -> None:
        """The clock is set, or the machine was suspended."""
        self._world.now_ms += self._chance.choice((-9, -5, -1, 1, 5, 9)) * HOUR_MS

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

    def _look_after_the_files(self) -> None:
        """Now and then somebody makes a backup, compacts, or restores."""
        chance, what = self._upkeep_chance, self._upkeep_chance.random()
        if what < 0.03:
            crash = chance.choice(COMPACTION_CRASH_POINTS) if chance.random() < 0.4 else None
            self._world.compact(chance.choice(KEEP_MS), crash)
        elif what < 0.04:
            self._world.back_up()
        elif what < 0.05:
            self._world.restore(chance.choice((None, "board", "snapshot")))
        else:
            return
        self._outcome.upkeep += 1
        self._look_around()

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
