"""Several hosts of one board, in one process: a home each, with writers and a coordinator that is killed now and then,
and a link that is cut, loses what it carries, or says nothing; the service loses its tail, and clocks are wrong: those
of hosts, and that of the service for an answer. Workers give signs of life, which their hosts pass on."""

from __future__ import annotations

import json
import random
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import msgspec

from kanban_shards import clocks, shard, shard_file
from kanban_shards.board import Board
from kanban_shards.changes.kinds import Claim
from kanban_shards.coordinator.merge import clock as merge_clock
from kanban_shards.coordinator.merge import other_hosts
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.replay import replay
from kanban_shards.coordinator.shared import clock as far_clock
from kanban_shards.coordinator.shared.clock import APART_MS
from kanban_shards.coordinator.shared.errors import FarError
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, write_sharing
from kanban_shards.storage import files, sqlite
from kanban_shards.storage.locks import FileLock
from tests import invariants
from tests.evidence import Dot, Evidence, Known, dump
from tests.far.fake import Service
from tests.invariants import Memory
from tests.simulation.changes import Pool, any_kind, drawn
from tests.simulation.world import CRASH_POINTS, START_MS, Killed, Writer, killed_at, no_fsync

LEDGER_ID = "0123456789abcdef0123456789abcdef"
HOSTS = (("one", ("ann", "bob")), ("two", ("cyd",)), ("three", ("dan",)))
POINTS = ("before the service's commit", "after the service's commit", *CRASH_POINTS)
FORWARD_MS = (1, 50, 1_500, 61_000, 1_000_000)
HALF_LEASES_MS = (32_000, 460_000)
WRONG_MS = (-365 * 86_400_000, -2 * 3_600_000, 2 * 3_600_000, 20 * 3_600_000, 365 * 86_400_000)
STEPS = {
    "write": 50,
    "make_pass": 45,
    "time": 10,
    "link": 10,
    "mend": 8,
    "restart": 4,
    "clock": 2,
    "told_wrong": 6,
    "work": 8,
    "live": 25,
    "tail": 2,
    "lose": 2,
}


class Host:
    """One of them. It is what a Writer takes for its world."""

    def __init__(self, world: Hosts, folder: Path, name: str, profiles: tuple[str, ...]) -> None:
        folder.mkdir()
        self.name = name
        self.paths = BoardPaths(folder)
        self.known = world.known
        self.memory = Memory()
        self.clock_off_ms = 0
        write_sharing(self.paths, Sharing(service="fake", board="default", ledger_id=LEDGER_ID, host=name))
        self.far = world.service.far(name, LEDGER_ID)
        self.board = Board(self.paths)
        self.lock = FileLock(self.paths.coordinator_lock)
        self.coordinator: Coordinator | None = None
        self.writers = [Writer(self, profile) for profile in profiles for _ in range(2)]  # type: ignore[arg-type]

    def position(self) -> int:
        """How many entries its board shows."""
        return self.board.position() if self.paths.board.exists() else 0

    def make_pass(self) -> None:
        """A pass of the coordinator that stays, which is opened when there is none. Raises FarError."""
        if self.coordinator is None:
            assert self.lock.held or self.lock.try_acquire()
            self.coordinator = Coordinator(self.paths, self.lock, far=self.far)
        self.coordinator.make_pass()

    def stop(self) -> None:
        """The coordinator ends, or is killed where it stands."""
        coordinator, self.coordinator = self.coordinator, None
        if coordinator is not None:
            coordinator.close()
        self.lock.close()

    def mend(self) -> None:
        """Its link is whole."""
        link = self.far.link
        link.cut = link.silent = link.deaf = False
        link.lose_requests = link.lose_answers = 0


class Hosts:
    """The history of ``seed`` in ``folder``. Use it as a context; afterwards nothing of it is open."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self.now_ms = START_MS
        self.service = Service(lambda: self.now_ms)
        self.known: dict[Dot, Known] = {}
        self.acknowledged: dict[Dot, str] = {}
        self.remembered: dict[Dot, tuple] = {}
        self.had: Counter[str] = Counter()
        # By digest, the entries that were looked at; by run and profile, when it gave a sign, and how wrong the clock
        # of its host was.
        self._looked: set[str] = set()
        self._signs: dict[tuple[int, str], tuple[int, int]] = {}
        self._leases: dict[int, int] = {}
        self._was_told_wrong = False
        self._acting: Host | None = None
        there = HOSTS[: self._chance.choice((2, 3))]
        self.hosts = [Host(self, folder / name, name, profiles) for name, profiles in there]
        self.hosts[0].far.begin(LEDGER_ID)
        self._pool = Pool(tuple(profile for _, profiles in there for profile in profiles))
        self._patches = ExitStack()

    def __enter__(self) -> Hosts:
        enter = self._patches.enter_context
        steady = SimpleNamespace(monotonic_ns=lambda: self.now_ms * 1_000_000, time_ns=self._host_time_ns)
        enter(patch.object(merge_clock, "time", steady))
        enter(patch.object(far_clock, "time", steady))
        enter(patch.object(clocks, "time", steady))
        enter(patch.object(shard, "time", steady))
        enter(patch.object(shard_file, "draw_id", lambda: f"{self._chance.getrandbits(128):032x}"))
        enter(patch.object(other_hosts, "note_heard", lambda *_, **__: 0.0))
        enter(no_fsync())
        return self

    def __exit__(self, *exc_info: object) -> None:
        for host in self.hosts:
            host.stop()
            for writer in host.writers:
                writer.end()
            host.board.close()
            host.far.close()
        self._patches.close()

    def run(self, steps: int) -> int:
        """Let it happen, with every invariant checked after each step; then all links are mended, and all are alike.
        Returns how many entries there are."""
        names, weights = list(STEPS), list(STEPS.values())
        for _ in range(steps):
            host = self._acting = self._chance.choice(self.hosts)
            self._was_told_wrong = self._believes_wrong(host)
            getattr(self, f"_{self._chance.choices(names, weights)[0]}")(host)
            self._check(host)
            self._check_times(host)
        return self._come_to_rest()

    # --- what may happen -----------------------------------------------------------------------------------------

    def _write(self, host: Host) -> None:
        for _ in range(self._chance.choice((1, 2, 5))):
            writer = self._chance.choice(host.writers)
            seq = writer.write(*drawn(any_kind(self._chance), self._pool, self._chance), self._chance.random() < 0.7)
            self.acknowledged[writer.profile, seq] = ""

    def _make_pass(self, host: Host) -> None:
        crash = self._chance.choice(POINTS) if self._chance.random() < 0.2 else None
        self.now_ms += 1
        try:
            with killed_at(crash, self._chance.randrange(1, 4)):
                host.make_pass()
        except Killed:
            self.had["kill"] += 1
            host.stop()
        except FarError as error:
            self.had[type(error).__name__] += 1

    def _time(self, host: Host) -> None:
        self.now_ms += self._chance.choice(FORWARD_MS)

    def _clock(self, host: Host) -> None:
        """A host's own clock is wrong from here on."""
        host.clock_off_ms = self._chance.choice((-3_600_000, -600_000, 0, 600_000))

    def _told_wrong(self, host: Host) -> None:
        """The service's clock is wrong in what it answers to one pass."""
        host.far.link.wrong_ms = self._chance.choice(WRONG_MS)
        self._was_told_wrong = True
        if host.coordinator is not None:
            host.coordinator._hosts._ledger._in_doubt = True
        self._make_pass(host)
        host.far.link.wrong_ms = 0
        self.had["believed"] += self._believes_wrong(host)

    def _work(self, host: Host) -> None:
        """A worker of this host begins on a task of its own, now and then for another profile."""
        writer = self._chance.choice(host.writers)
        task_id, create = drawn("create", self._pool, self._chance)
        runs_as = self._chance.choice((None, None, self._chance.choice(self._pool.profiles)))
        claim = Claim(lease_s=self._chance.choice((60, 900)), runs_as=runs_as)
        for change in (msgspec.structs.replace(create, starts=None, parents=()), claim):
            seq = writer.write(task_id, change)
            self.acknowledged[writer.profile, seq] = ""
        self._make_pass(host)

    def _live(self, host: Host) -> None:
        """Workers of this host give signs of life, or most of them; half a lease later their host passes that on."""
        if not host.paths.board.exists():
            return
        for run_id, _ in self._pool.runs[-6:]:
            run = host.board.run(run_id)
            for writer in host.writers[::2] if run is not None and run.ended_at is None else ():
                if writer.profile == run.profile and self._chance.random() < 0.8:
                    writer.heartbeat(run_id)
                    self._signs[run_id, writer.profile] = self.now_ms, host.clock_off_ms
        if self._chance.random() < 0.7:
            self.now_ms += self._chance.choice(HALF_LEASES_MS)
            self._make_pass(host)

    def _link(self, host: Host) -> None:
        what = self._chance.choice(("cut", "silent", "deaf", "lose_requests", "lose_answers"))
        setattr(host.far.link, what, 1 if what.startswith("lose") else True)

    def _mend(self, host: Host) -> None:
        host.mend()

    def _restart(self, host: Host) -> None:
        host.stop()

    def _tail(self, host: Host) -> None:
        """A failover takes the tail; before anybody appends, one that has all of it looks."""
        held = {each: (each.coordinator._ledger.head().position if each.coordinator else 0) for each in self.hosts}
        furthest = max(self.hosts, key=lambda each: held[each])
        lost = self.service.lose_tail(min(3, len(self.service.ledgers["default"].entries)))
        if held[furthest] == (lost[-1].position if lost else 0) and lost:
            self.had["tail"] += 1
            furthest.mend()
            assert furthest.coordinator is not None
            furthest.coordinator._hosts._ledger._in_doubt = True
            self._acting = furthest
            furthest.make_pass()
        else:  # nobody can be sure of it now
            self.service.ledgers["default"].entries += lost

    def _lose(self, host: Host) -> None:
        """The copy, the board or both are gone."""
        host.stop()
        for path in self._chance.choice(
            ((host.paths.ledger,), (host.paths.board,), (host.paths.ledger, host.paths.board))
        ):
            if path.exists():
                assert host.lock.held or host.lock.try_acquire()
                files.set_aside(path, host.lock)
        host.lock.close()

    # --- what must hold ------------------------------------------------------------------------------------------

    def _check(self, host: Host) -> None:
        evidence = Evidence.read(host.paths)
        for other in self.hosts:
            if other is not host:
                found = Evidence.read(other.paths)
                evidence.shards |= found.shards
                evidence.bases |= found.bases
        for profile, rows in evidence.shards.items():
            for row in rows:
                if self.acknowledged.get((profile, row[0])) == "":
                    self.acknowledged[profile, row[0]] = row[6]
        if evidence.tables and host.paths.ledger.exists():  # else it was lost just now
            invariants.check(evidence, self.known, host.memory)
            self._pool.learn(evidence)
        invariants.no_lost_change(evidence, self.acknowledged, self.remembered)
        shared = self.service.ledgers["default"].entries
        assert evidence.entries == shared[: len(evidence.entries)], f"{host.name} has another history than the service"

    def _believes_wrong(self, host: Host) -> bool:
        """Whether the time that it knows of the service is an hour off."""
        said_ms = None if host.coordinator is None else host.coordinator._hosts._ledger._clock.now_ms()
        return said_ms is not None and abs(said_ms - self.now_ms) > 3_600_000

    def _check_times(self, host: Host) -> None:
        """What ``host`` appended in this step is stamped with the time that it is, unless it was told another; and what
        it said of runs is true by the clock that it has."""
        evidence = Evidence.read(host.paths)
        if not evidence.tables:
            return
        profiles = {row["id"]: row["profile"] for row in evidence.rows("task_runs")}
        for entry in self.service.ledgers["default"].entries:
            if entry.digest in self._looked:
                continue
            self._looked.add(entry.digest)
            off_ms = entry.at_ms - self.now_ms
            assert self._was_told_wrong or abs(off_ms) <= 2 * APART_MS, f"{entry.position} is stamped {off_ms} ms off"
            if entry.change.kind not in ("alive", "expire"):
                continue
            self.had[entry.change.kind] += 1
            said = json.loads(entry.change.body)
            run_id = said["run_id"]
            sign_ms, clock_off_ms = self._signs.get((run_id, profiles.get(run_id, "")), (0, None))
            if clock_off_ms != host.clock_off_ms or said.get("unheard_s") is not None:
                continue
            silent_ms = self.now_ms - sign_ms
            if entry.change.kind == "alive":
                assert abs(said["age_ms"] - silent_ms) <= 2_000, f"{entry.position}: a sign of {silent_ms} ms ago"
            else:
                lease_ms = self._leases.get(run_id, 0) * 1_000
                assert silent_ms >= lease_ms, f"{entry.position}: ended {silent_ms} ms after a sign, of {lease_ms}"
        open_runs = {row["id"]: row["current_run_id"] for row in evidence.rows("tasks") if row["current_run_id"]}
        for row in evidence.rows("merge_tasks"):
            if row["task_id"] in open_runs:
                self._leases[open_runs[row["task_id"]]] = max(row["lease_s"], row["grace_s"] or 0)

    def _come_to_rest(self) -> int:
        for host in self.hosts:
            host.mend()
        for _ in range(3):
            for host in self.hosts:
                self._acting = host
                self.now_ms += 2_000
                host.make_pass()
                host.coordinator.make_passes()
        for host in self.hosts:
            self._acting = host
            self.now_ms += 2_000
            host.coordinator._hosts._ledger._in_doubt = True
            host.coordinator.catch_up()
            host.coordinator._follow_others()
        first, *others = [Evidence.read(host.paths) for host in self.hosts]
        for other in others:
            assert other.entries == first.entries
            assert other.tables == first.tables
        told = {dot for dot in first.verdicts}
        missing = self.acknowledged.keys() - told
        assert not missing, f"no verdict on {sorted(missing)[:5]}"
        with closing(sqlite.open_scratch(sqlite.BOARD)) as scratch:
            if first.entries:
                replay(BoardState(scratch), first.entries)
            assert dump(scratch) == first.tables
        self.had["entries"] = len(first.entries)
        return len(first.entries)

    def _host_time_ns(self) -> int:
        off_ms = self._acting.clock_off_ms if self._acting else 0
        return (self.now_ms + off_ms) * 1_000_000
