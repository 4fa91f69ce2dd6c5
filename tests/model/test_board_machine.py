"""The board as a state machine: hypothesis looks for the shortest history that breaks an invariant."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.simulation.changes import WRITABLE, Pool, drawn
from tests.simulation.world import CRASH_POINTS, PROFILES, World

# KANBAN_MODEL=long soaks for minutes; the ordinary run takes about twenty seconds.
LONG = os.environ.get("KANBAN_MODEL") == "long"
EXAMPLES, STEPS = (2_000, 80) if LONG else (60, 30)

profiles = st.sampled_from(PROFILES)
writers = st.integers(0, 2 * len(PROFILES) - 1)
chances = st.randoms(use_true_random=False)
crashes = st.none() | st.sampled_from(CRASH_POINTS)


class BoardMachine(RuleBasedStateMachine):
    """Three profiles with two processes each; passes made, killed and locked out as hypothesis likes."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), random.Random(seed), PROFILES, 2)
        self.world.__enter__()
        self.pool = Pool(PROFILES)
        self.merged = False

    @rule(writer=writers, kind=st.sampled_from(WRITABLE), chance=chances, fresh=st.booleans())
    def write(self, writer: int, kind: str, chance: random.Random, fresh: bool) -> None:
        """A process writes a change, by what it sees now or by what it saw last."""
        self.world.write(self.world.writers[writer], *drawn(kind, self.pool, chance), fresh=fresh)

    @rule(writer=writers, chance=chances)
    def look(self, writer: int, chance: random.Random) -> None:
        """A process reads a task, to write by it later."""
        self.world.writers[writer].look(self.pool.task(chance))

    @rule(writer=writers, chance=chances)
    def give_a_sign_of_life(self, writer: int, chance: random.Random) -> None:
        """A worker says that it is alive."""
        if self.pool.runs:
            self.world.writers[writer].heartbeat(chance.choice(self.pool.runs)[0])

    @rule(writer=writers)
    def restart(self, writer: int) -> None:
        """A process ends, and another of its profile begins."""
        self.world.restart(writer)

    @rule(writer=writers, kind=st.sampled_from(WRITABLE), chance=chances)
    def fill_the_disk(self, writer: int, kind: str, chance: random.Random) -> None:
        """A process tries to write while the disk is full."""
        self.world.writers[writer].write_if_there_is_room(*drawn(kind, self.pool, chance))

    @rule(by_ms=st.sampled_from((1, 2_000, 61_000, 1_000_000, -1, -5_000, -2_000_000)))
    def move_the_clock(self, by_ms: int) -> None:
        """Time passes; or somebody sets the clock."""
        self.world.now_ms += by_ms

    @rule(crash=crashes, at=st.integers(1, 5), busy=st.sets(profiles))
    def make_a_pass(self, crash: str | None, at: int, busy: set[str]) -> None:
        """A pass, which may be killed, and may find shards busy."""
        self.world.make_pass(crash, at, tuple(sorted(busy)))
        self.merged = True

    @rule(crash=crashes, at=st.integers(1, 5))
    def start_the_daemon(self, crash: str | None, at: int) -> None:
        """A coordinator that stays; it catches up first."""
        self.world.start_daemon(crash, at)
        self.merged = True

    @rule()
    def stop_the_daemon(self) -> None:
        """It ends."""
        self.world.stop_daemon()

    @rule(with_its_log=st.booleans())
    def delete_the_board(self, with_its_log: bool) -> None:
        """Somebody deletes ``kanban.db``."""
        self.world.delete_board(with_its_log)

    @invariant()
    def holds(self) -> None:
        """Every invariant that one look can judge, after each step that may have merged something."""
        if getattr(self, "merged", False):
            self.merged = False
            self.pool.learn(self.world.check())

    def teardown(self) -> None:
        """Everything is merged in the end, and the replay of the ledger is the board."""
        if not hasattr(self, "world"):
            return
        try:
            self.world.check_all()
        finally:
            self.world.__exit__(None, None, None)
            self.folder.cleanup()


TestBoardMachine = BoardMachine.TestCase
TestBoardMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
