"""Start workers together, gather what they noted, and judge it by what the board holds afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.peers import Outcome, Peer, find
from benchmarks.peers.hermes import PYTHON
from benchmarks.peers.work import Notes
from benchmarks.peers.worker import READY

ROOT = Path(__file__).resolve().parent.parent
HEAD_START_S = 0.2
# A worker that is not back so long after its time is ended, and counted as an error.
GRACE_S = 30.0
# How long the tasks that are to be there before may take; this part is not measured.
FILL_S = 120.0


@dataclass(frozen=True)
class Crew:
    """So many processes that do one kind of work; each is a profile of its own."""

    work: str
    processes: int
    count: int = 0


@dataclass(frozen=True)
class Wrong:
    """What must not happen, counted. ``lost``: acknowledged, and not there. ``doubled``: two winners of one claim, two
    tasks of one. ``corrupt``: files that fail their check. ``errors``: calls that raised. ``refused`` is no fault."""

    lost: int = 0
    doubled: int = 0
    corrupt: int = 0
    errors: int = 0
    refused: int = 0

    def __add__(self, other: Wrong) -> Wrong:
        return Wrong(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def faults(self) -> int:
        """How many there are of what must not happen."""
        return self.lost + self.doubled + self.corrupt + self.errors


@dataclass
class Round:
    """One peer at one work, once. ``crews``: the notes of each crew's workers, in order. ``seconds``: from the common
    begin to the end of the last worker. ``behind_s``: from then until everything was to be seen by everybody.
    ``cpu_s``: what the workers used, and whatever runs beside them."""

    crews: list[list[Notes]]
    seconds: float
    behind_s: float
    cpu_s: float
    wrong: Wrong
    said: Counter = field(default_factory=Counter)


def run_round(name: str, folder: Path, crews: Sequence[Crew], seconds: float, shared: int = 0) -> Round:
    """Let the crews work on a new board of the peer ``name`` for ``seconds``. ``shared``: so many tasks are there
    when they begin, made by a profile of their own."""
    peer = find(name)
    with ExitStack() as stack:
        server = stack.enter_context(peer.serving(folder))
        maker = _Started(stack, name, peer, folder, "maker", Crew("fill", 1, shared), [])
        _, (made,) = _work([maker], FILL_S)
        peer.settle(folder)
        ids = list(made.created)
        started = [
            _Started(stack, name, peer, folder, f"profile-{crew.work}-{number}", crew, ids)
            for crew in crews
            for number in range(crew.processes)
        ]
        before_s = _cpu_s(server)
        begin, notes = _work(started, seconds)
        ended = max((note.ended for note in notes), default=begin)
        peer.settle(folder)
        behind_s = max(0.0, time.time() - ended)
        cpu_s = _cpu_s(server) - before_s + sum(note.cpu_s for note in notes)
    wrong = judge([made, *notes], peer.outcome(folder))
    by_crew, rest = [], iter(notes)
    for crew in crews:
        by_crew.append([next(rest) for _ in range(crew.processes)])
    said = sum((note.errors for note in notes), Counter())
    return Round(by_crew, max(ended - begin, 1e-3), behind_s, cpu_s, wrong, said)


def judge(notes: Sequence[Notes], found: Outcome) -> Wrong:
    """What the workers were told, against what is there."""
    completed = {task_id for note in notes for task_id in note.completed}
    lost = sum(
        len(note.created.keys() - found.tasks.keys())
        + len(set(note.subscribed) - found.subscribed)
        + len(set(note.comments) - found.comments)
        for note in notes
    )
    lost += sum(found.tasks.get(task_id, ("", "done"))[1] != "done" for task_id in completed)
    winners = Counter(task_id for note in notes for task_id in note.claimed)
    titles = Counter(title for title, _ in found.tasks.values())
    return Wrong(
        lost=lost,
        doubled=_more_than_once(winners) + _more_than_once(titles),
        corrupt=int(found.integrity != "ok"),
        errors=sum(note.errors.total() for note in notes),
        refused=sum(note.refused for note in notes),
    )


class _Started:
    """A worker's process, which is ready to begin."""

    def __init__(
        self, stack: ExitStack, name: str, peer: type[Peer], folder: Path, profile: str, crew: Crew, shared: list[str]
    ) -> None:
        told = {"peer": name, "folder": str(folder), "profile": profile, "work": crew.work, "count": crew.count}
        command = [
            os.environ[PYTHON] if peer.in_hermes else sys.executable,
            "-m",
            "benchmarks.peers.worker",
            json.dumps({**told, "shared": shared}),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.is_ready = False
        stack.callback(self._end)

    def wait_until_ready(self) -> None:
        """Return when the worker has opened its peer, or died of it."""
        self.is_ready = self.process.stdout.readline().strip() == READY

    def begin(self, begin: float, end: float) -> None:
        """Tell it when to begin and to end."""
        if self.is_ready:
            self.process.stdin.write(json.dumps([begin, end]) + "\n")
            self.process.stdin.flush()

    def notes(self, end: float) -> Notes:
        """What it did, or an error if it is not back in time."""
        try:
            said, _ = self.process.communicate(timeout=max(1.0, end + GRACE_S - time.time()))
            given = json.loads(said)
        except subprocess.TimeoutExpired:
            self._end()
            return Notes(errors=Counter({f"not back after {GRACE_S:.0f} s": 1}), ended=time.time())
        except ValueError:
            return Notes(errors=Counter({"a worker died": 1}), ended=time.time())
        return Notes(**{**given, "errors": Counter(given["errors"])})

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def _work(started: Sequence[_Started], seconds: float) -> tuple[float, list[Notes]]:
    """Let them begin together; returns when that was, and what each did."""
    for worker in started:
        worker.wait_until_ready()
    begin = time.time() + HEAD_START_S
    for worker in started:
        worker.begin(begin, begin + seconds)
    return begin, [worker.notes(begin + seconds) for worker in started]


def _cpu_s(server: int | None) -> float:
    if server is None:
        return 0.0
    used = psutil.Process(server).cpu_times()
    return used.user + used.system


def _more_than_once(counted: Counter) -> int:
    return sum(count - 1 for count in counted.values())
