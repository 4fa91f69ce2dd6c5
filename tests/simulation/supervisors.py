"""Hosts with worker processes, and dispatchers on them that come, go and are killed: who may start what, and who sees
whom. The processes are told apart by when they began, as on a real host, where a number is given again."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from kanban_shards.changes.kinds import Claim, Complete, Create, Fail, Spawned, Supervise
from tests.evidence import Evidence
from tests.simulation.world import CRASH_POINTS, World, Writer

HOSTS = ("here", "there")
LEASE_S, GRACE_S = 60, 3_600
# So few numbers that most are given again.
NUMBERS = (7, 8, 9)
WORKS_AS = "dan"
FORWARD_MS = (1_000, 30_000, 70_000, 600_000, 4_000_000)


@dataclass
class Process:
    """A worker's process."""

    host: str
    pid: int
    began: str
    task_id: str
    run_id: int


class Supervisors:
    """Dispatchers of every profile on every host of ``world``, and the workers that they started."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._began = 0
        self.living: list[Process] = []
        self.outlived = 0

    def step(self) -> None:
        """Something happens: a dispatcher ticks, a worker ends, time passes with everybody away, or somebody makes a
        pass."""
        chance = self._chance
        what = chance.choices(("tick", "end", "pass", "time", "make"), (6, 2, 3, 2, 2))[0]
        getattr(self, f"_{what}")()
        self._world.check()
        self.one_worker()

    def one_worker(self) -> None:
        """On no host do two workers of one task live."""
        found = Counter((process.host, process.task_id) for process in self.living)
        twice = [each for each, count in found.items() if count > 1]
        assert not twice, f"two workers of one task live: {twice}"

    def _make(self) -> None:
        task_id = f"t_{self._chance.getrandbits(64):016x}"
        self._world.write(self._writer(), task_id, Create(title="t", assignee=WORKS_AS))

    def _time(self) -> None:
        self._world.now_ms += self._chance.choice(FORWARD_MS)

    def _pass(self) -> None:
        crash = self._chance.choice(CRASH_POINTS) if self._chance.random() < 0.2 else None
        self._world.make_pass(crash, self._chance.randrange(1, 4))

    def _end(self) -> None:
        """A worker is killed, or says that it is done and ends."""
        if not self.living:
            return
        process = self._chance.choice(self.living)
        if self._chance.random() < 0.5:
            workers = [writer for writer in self._world.writers if writer.profile == WORKS_AS]
            self._world.write(self._chance.choice(workers), process.task_id, Complete(run_id=process.run_id))
        self.living.remove(process)

    def _tick(self) -> None:
        """What a dispatcher does: it says whom it sees, then whom it misses, and then starts what is ready. It may be
        killed between any two of these."""
        host, writer = self._chance.choice(HOSTS), self._writer()
        evidence = self._world.check()
        for run in self._supervised(evidence):
            workers = self._workers_of(evidence, run["task_id"], host)
            mine = [worker for worker in workers if worker["run_id"] == run["id"]]
            if any(self._lives(host, worker) for worker in mine):
                self._world.write(writer, run["task_id"], Supervise(run_id=run["id"]))
            elif mine and writer.profile in (run["run_claimer"], run["run_profile"]):
                self._world.write(writer, run["task_id"], Fail(run_id=run["id"], outcome="crashed"))
            if self._chance.random() < 0.1:
                return
        ready = [row["id"] for row in evidence.rows("tasks") if row["status"] == "ready"]
        for task_id in self._chance.sample(ready, min(2, len(ready))):
            if any(self._lives(host, worker) for worker in self._workers_of(evidence, task_id, host)):
                self.outlived += 1
            elif not self._started(writer, host, task_id):
                return

    def _started(self, writer: Writer, host: str, task_id: str) -> bool:
        """Claim the task, and start its worker; returns whether the dispatcher lives on."""
        body = Claim(lease_s=LEASE_S, runs_as=WORKS_AS, grace_s=GRACE_S)
        seq = self._world.write(writer, task_id, body)
        self._world.make_pass()
        verdict = self._world.board.verdict(writer.profile, seq)
        if verdict is None or verdict.verdict == "refused" or self._chance.random() < 0.1:
            return verdict is not None
        self._began += 1
        pid = self._chance.choice([pid for pid in NUMBERS if not self._has(host, pid)] or [100 + self._began])
        process = Process(host, pid, str(self._began), task_id, verdict.answer["run_id"])
        self.living.append(process)
        said = Spawned(run_id=process.run_id, pid=pid, host=host, began=process.began)
        self._world.write(writer, task_id, said)
        return True

    def _supervised(self, evidence: Evidence) -> list[dict[str, Any]]:
        """The open runs that are supervised, with their profiles."""
        ours = {row["task_id"]: row for row in evidence.rows("merge_tasks") if row["grace_s"] is not None}
        return [
            {**row, **{name: ours[row["task_id"]][name] for name in ("run_claimer", "run_profile")}}
            for row in evidence.rows("task_runs")
            if row["ended_at"] is None and row["task_id"] in ours
        ]

    def _workers_of(self, evidence: Evidence, task_id: str, host: str) -> list[dict[str, Any]]:
        """What the board says of the task's workers on the host, as ``Board.workers`` does."""
        return [
            {"run_id": worker.run_id, "pid": worker.pid, "began": worker.began}
            for worker in self._world.board.workers(task_id)
            if worker.host == host
        ]

    def _lives(self, host: str, worker: dict[str, Any]) -> bool:
        return any(
            (process.host, process.pid, process.began) == (host, worker["pid"], worker["began"])
            for process in self.living
        )

    def _has(self, host: str, pid: int) -> bool:
        return any((process.host, process.pid) == (host, pid) for process in self.living)

    def _writer(self) -> Writer:
        return self._chance.choice(self._world.writers)
