"""One campaign: hosts with daemons and workers, chaos by a seed, and an end in which everything has to come right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from kanban_shards.coordinator.ledger import FileLedger
from tests.far.server import Server
from tests.hosts.acceptance import checks
from tests.hosts.machines import Machine, machines, settled
from tests.until import until

WORKERS = 2
# Of these each host has done one before anything is broken.
KINDS = ("create", "claim")
# Of one host: so far its clock is wrong.
WRONG_S = 600.0
# Between two blows, and how long the network stays as a blow left it.
BLOW_EVERY_S, LASTS_S = (0.3, 1.5), (0.3, 4.0)
SETTLES_S = 120.0
# Until all hosts have fetched what there is, unless they cannot.
FETCHED_S = 3.0


@dataclass(frozen=True)
class Plan:
    """For how long, how many hosts, and by which seed."""

    seconds: float
    hosts: int
    seed: int


@dataclass
class Outcome:
    """``blows``: what was done to them, and how often. ``noted``: what workers noted, by kind. ``entries``: of the
    ledger in the end. ``faults``: what did not hold."""

    blows: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    settled_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Workers:
    """The gateways of one host: one process for each of its profiles, started again when it was killed."""

    def __init__(self, host: Machine, draws: random.Random) -> None:
        self.host, self._draws = host, draws
        self.profiles = [f"{host.name}-{number}" for number in range(WORKERS)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def diary(self, profile: str) -> Path:
        """Where a profile notes what was acknowledged."""
        return self.host.folder / f"{profile}.diary"

    def start(self) -> None:
        """Start those that do not run."""
        for profile in self.profiles:
            if profile not in self._running:
                words = (self.host.home, profile, self.diary(profile), self._draws.randrange(2**32))
                argv = self.host.argv("tests.hosts.acceptance.worker", *words)
                with (self.host.folder / f"{profile}.log").open("ab") as log:
                    self._running[profile] = subprocess.Popen(
                        argv, env=self.host.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                    )

    def kill_one(self) -> None:
        """``kill -9`` of one, and start it again."""
        if self._running:
            self._end(self._draws.choice(sorted(self._running)))
        self.start()

    def stop(self) -> None:
        """``kill -9`` of all."""
        for profile in [*self._running]:
            self._end(profile)

    def _end(self, profile: str) -> None:
        process = self._running.pop(profile)
        process.kill()
        process.wait()


class Campaign:
    """``server`` is its own."""

    def __init__(self, folder: Path, server: Server, plan: Plan) -> None:
        self._folder, self._server, self._plan = folder, server, plan
        self._draws = random.Random(plan.seed)
        self.outcome = Outcome()

    def play(self) -> Outcome:
        """All of it."""
        names = [f"h{number}" for number in range(self._plan.hosts)]
        with ExitStack() as opened:
            self._hosts = opened.enter_context(machines(self._folder, self._server, *names, database="postgres"))
            self._hosts[-1].clock_ahead_s = self._draws.choice((-WRONG_S, WRONG_S))
            self._workers = [Workers(host, self._draws) for host in self._hosts]
            for host in self._hosts:
                host.link.delay_s = self._draws.choice((0.0, 0.002, 0.01))
                host.join()
                host.start()
            for workers in self._workers:
                opened.callback(workers.stop)
                workers.start()
            until(self._is_at_work, "a create and a claim on each host")
            self._break_things()
            self._come_right()
            self.outcome.faults += checks.faults(self._hosts, self._diaries())
            self.outcome.noted = checks.noted(self._diaries())
            self.outcome.entries = self._hosts[0].position()
        return self.outcome

    def _is_at_work(self) -> bool:
        return all(
            all(checks.noted({profile: workers.diary(profile) for profile in workers.profiles})[kind] for kind in KINDS)
            for workers in self._workers
        )

    # --- chaos -----------------------------------------------------------------------------------------------------

    def _break_things(self) -> None:
        blows: tuple[Callable[[Machine], str], ...] = (
            self._kill_daemon, self._kill_carrier, self._kill_worker, self._cut, self._silence, self._crash_server,
            self._cut_tail,
        )  # fmt: skip
        heals: dict[Machine, float] = {}
        end_s = time.monotonic() + self._plan.seconds
        while time.monotonic() < end_s:
            time.sleep(self._draws.uniform(*BLOW_EVERY_S))
            for host in [host for host, at_s in heals.items() if at_s <= time.monotonic()]:
                del heals[host]
                host.link.heal()
            host, blow = self._draws.choice(self._hosts), self._draws.choice(blows)
            if blow in (self._cut, self._silence):
                heals[host] = time.monotonic() + self._draws.uniform(*LASTS_S)
            self.outcome.blows[blow(host)] += 1

    def _kill_daemon(self, host: Machine) -> str:
        host.kill()
        host.start(waits=False)
        return "daemon killed"

    def _kill_carrier(self, host: Machine) -> str:
        for pid in host.children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return "carrier killed"

    def _kill_worker(self, host: Machine) -> str:
        self._workers[self._hosts.index(host)].kill_one()
        return "gateway killed"

    def _cut(self, host: Machine) -> str:
        host.link.cut()
        return "network cut"

    def _silence(self, host: Machine) -> str:
        host.link.silence()
        return "network silent"

    def _crash_server(self, host: Machine) -> str:
        self._server.stop("immediate")
        self._server.start()
        return "server crashed"

    def _cut_tail(self, host: Machine) -> str:
        """As a failover does: the last entries are gone. Only such as every host has shown, for what some have shown
        and others not splits the ledger, and that a person has to decide."""
        with suppress(psycopg.Error), psycopg.connect(**self._server_at()) as session, session.transaction():
            session.execute("SET lock_timeout = '1s'")
            [(end,)] = session.execute("SELECT position FROM kanban_ledger FOR UPDATE").fetchall()
            lost = min(self._draws.randrange(1, 6), end)
            if self._all_hold(end):
                session.execute("DELETE FROM kanban_entry WHERE position > %s", (end - lost,))
                session.execute(
                    "UPDATE kanban_ledger SET (position, digest) = (SELECT position, digest FROM kanban_entry "
                    "ORDER BY position DESC LIMIT 1)"
                )
                return "tail cut"
        return "tail not cut"

    def _all_hold(self, end: int) -> bool:
        """Whether every host has fetched the ledger up to ``end``, soon: nobody appends meanwhile."""
        with suppress(AssertionError):
            until(lambda: all(held(host) >= end for host in self._hosts), "all that there is on all hosts", FETCHED_S)
            return True
        return False

    def _server_at(self) -> dict[str, str]:
        return {"host": str(self._server.folder), "user": "postgres", "dbname": "postgres"}

    # --- the end ---------------------------------------------------------------------------------------------------

    def _come_right(self) -> None:
        began_s = time.monotonic()
        for workers in self._workers:
            workers.stop()
        for host in self._hosts:
            host.link.heal()
            host.kill()
            host.start()
        with suppress(AssertionError):  # what did not settle is found below
            settled(self._hosts, SETTLES_S)
        self.outcome.settled_s = time.monotonic() - began_s

    def _diaries(self) -> dict[str, Path]:
        return {profile: workers.diary(profile) for workers in self._workers for profile in workers.profiles}


def held(host: Machine) -> int:
    """How many entries the host's copy has."""
    ledger = FileLedger(host.paths.ledger)
    try:
        return ledger.head().position
    finally:
        ledger.close()
