"""Worker: one process of ``kanban-merge demo``, a worker of a profile, or the daemon.

Each ends when its standard input does, so none outlives the demo, however the demo ends. A worker uses the board as
any agent's process would, and notes in a journal, a text file of its own, what it was told.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tenacity

from kanban_shards import Gateway
from kanban_shards.changes.codec import KIND_OF
from kanban_shards.changes.fields import Body
from kanban_shards.changes.vectors import View
from kanban_shards.errors import Refused
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths
from kanban_shards.records import Run, Status, Task, Verdict
from kanban_shards.shard import Written
from kanban_shards.waiting import Waiting
from kanban_shards.writer import Writer

Answer = TypeVar("Answer")

# Short, so that the task of a killed worker is back while somebody is still looking.
LEASE_S = 2
# Enough ready tasks to race for; more would only make the list long.
ENOUGH_READY = 40
# How long the work on a task takes at most.
WORK_S = 0.02
REMOVAL_S = 5.0

WORK = ("draft", "review", "test", "fix", "measure", "translate", "illustrate", "simplify", "plan", "announce")
THINGS = (
    "login page", "release notes", "sprint 3 PRD", "price table", "search index", "welcome mail", "logo", "backup job",
    "error messages", "mobile layout", "data import", "chat bridge", "daily report", "onboarding tour",
)  # fmt: skip
REMARKS = ("on it", "looks good", "needs a second pair of eyes", "numbers attached", "who knows more?", "nearly there")


class Journal:
    """What one process was told, a line each, in a file that outlives it.

    ``wrote SEQ KIND TASK``: a change is durable. ``told SEQ OUTCOME``: its verdict was read, ``applied`` or the reason
    of a refusal. ``verdict CALL MS OUTCOME``: a call was answered after so many milliseconds. ``run ID TASK``: a claim
    was won.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def note(self, *words: object) -> None:
        """Write one line at once: kill -9 loses at most the one being written."""
        self._file.write((" ".join(map(str, words)) + "\n").encode())


class Witness(Gateway):
    """A gateway that notes what it writes and what it is told in ``journal``."""

    def __init__(self, profile: str, home: str, journal: Journal, board: str = DEFAULT_BOARD) -> None:
        self._journal = journal
        super().__init__(profile, board=board, home=home)

    def _open_writer(self, *given: Any, **where: Any) -> Writer:
        return _WitnessWriter(self._journal, *given, **where)


class _WitnessWriter(Writer):
    """Notes each change as soon as it is durable, before anybody waits for its verdict."""

    def __init__(self, journal: Journal, *given: Any, **where: Any) -> None:
        self._journal = journal
        super().__init__(*given, **where)

    def _made_waiting(self) -> Waiting:
        return _WitnessWaiting(self._journal, self.board, self._shard, self._passing, self._check_open)

    def _append(self, task_id: str, change: Body, view: View | None) -> Written:
        written = super()._append(task_id, change, view)
        self._journal.note("wrote", written.seq, KIND_OF[type(change)], task_id)
        return written


class _WitnessWaiting(Waiting):
    """Notes each verdict before anybody acts on it."""

    def __init__(self, journal: Journal, *given: Any) -> None:
        self._journal = journal
        super().__init__(*given)

    def _verdict(self, seq: int) -> Verdict | None:
        verdict = super()._verdict(seq)
        if verdict is not None:
            self._journal.note("told", seq, verdict.reason or verdict.verdict)
        return verdict


class Worker:
    """An agent that plans, races, works and talks, in no particular order."""

    def __init__(self, kanban: Gateway, team: list[str], journal: Journal) -> None:
        self._kanban = kanban
        self._team = team
        self._journal = journal
        self._latest: str | None = None

    def do_something(self) -> None:
        """One thing, drawn by lot."""
        (thing,) = random.choices(
            (self._plan, self._race, self._take_next, self._talk, self._link, self._unblock), (5, 5, 6, 4, 1, 1)
        )
        thing()

    def _plan(self) -> None:
        if len(self._kanban.board.tasks(status="ready", limit=ENOUGH_READY)) == ENOUGH_READY:
            return self._take_next()
        self._latest = self._kanban.create(
            f"{random.choice(WORK)} the {random.choice(THINGS)}",
            assignee=random.choice([None, None, *self._team]),
            priority=random.randrange(3),
            parents=[self._latest] if self._latest and random.random() < 0.2 else [],
        )
        if random.random() < 0.3:
            self._kanban.subscribe(self._latest, platform="telegram", chat_id="42")

    def _race(self) -> None:
        """Claim the very task that the others see first, too."""
        ready = self._kanban.board.tasks(status="ready", limit=ENOUGH_READY)
        shared = next((task for task in ready if task.assignee is None), None)
        if shared is None:
            return self._plan()
        self._work(self._ask(self._kanban.claim, shared.id, lease_s=LEASE_S))

    def _take_next(self) -> None:
        self._work(self._ask(self._kanban.claim_next, lease_s=LEASE_S))

    def _talk(self) -> None:
        task = self._some_task()
        if task is not None:
            self._kanban.comment(task.id, random.choice(REMARKS))

    def _link(self) -> None:
        parent, child = self._some_task(), self._some_task(status="ready")
        if parent is not None and child is not None:
            self._ask(self._kanban.link, parent.id, child.id)

    def _unblock(self) -> None:
        task = self._some_task(status="blocked")
        if task is not None:
            self._ask(self._kanban.unblock, task.id, "answered")

    def _work(self, run: Run | None) -> None:
        if run is None:
            return
        self._journal.note("run", run.id, run.task_id)
        time.sleep(random.uniform(0, WORK_S))
        self._ask(self._kanban.heartbeat, run)  # refused if this process was stopped until its lease ran out
        if random.random() < 0.5:
            self._kanban.comment(run.task_id, random.choice(REMARKS))
        lot = random.random()
        if lot < 0.88:
            self._ask(self._kanban.complete, run, summary="done, see the comments")
        elif lot < 0.96:
            self._ask(self._kanban.block, run, "which color?", kind="needs_input")
        else:
            self._ask(self._kanban.release, run, "somebody else knows this better")

    def _some_task(self, status: Status | None = None) -> Task | None:
        recent = self._kanban.board.tasks(status=status, sort="created-desc", limit=20)
        return random.choice(recent) if recent else None

    def _ask(self, call: Callable[..., Answer], *args: Any, **options: Any) -> Answer | None:
        """Call, and note how long the answer took and what it was; None for a refusal."""
        started = time.perf_counter()
        answer: Answer | None = None
        outcome = "applied"
        try:
            answer = call(*args, **options)
        except Refused as refused:
            outcome = refused.reason
        if answer is not None or outcome != "applied":
            elapsed_ms = (time.perf_counter() - started) * 1000
            self._journal.note("verdict", call.__name__, f"{elapsed_ms:.2f}", outcome)
        return answer


def work(home: str, journal_path: str, profile: str, *team: str) -> None:
    """Be a worker of ``profile`` until standard input ends; what is in hand then is finished."""
    journal = Journal(Path(journal_path))
    stopping = threading.Event()
    _at_end_of_input(stopping.set)
    with Witness(profile, home, journal) as kanban:
        kanban.create(f"hello from {profile}")
        kanban.sync()  # now there is a board to look at
        worker = Worker(kanban, list(team), journal)
        while not stopping.is_set():
            worker.do_something()


def serve(home: str, scratch: str) -> None:
    """Be the daemon until SIGTERM. If standard input ends first, the demo was killed: then clean up after it."""
    from kanban_shards.coordinator.daemon.daemon import Daemon

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    orphaned = threading.Event()

    def stop() -> None:
        orphaned.set()
        os.kill(os.getpid(), signal.SIGTERM)

    _at_end_of_input(stop)
    Daemon(BoardPaths.of(Path(home), DEFAULT_BOARD)).run()
    if orphaned.is_set():
        _remove(Path(scratch))


def _at_end_of_input(then: Callable[[], None]) -> None:
    def watch() -> None:
        os.read(0, 1)
        then()

    threading.Thread(target=watch, daemon=True).start()


def _remove(folder: Path) -> None:
    """Remove what the workers, who end at the same moment, may still be writing to."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(OSError),
        stop=tenacity.stop_after_delay(REMOVAL_S),
        wait=tenacity.wait_fixed(0.05),
    ):
        with attempt:
            shutil.rmtree(folder)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    roles: dict[str, Callable[..., None]] = {"worker": work, "daemon": serve}
    roles[role](*arguments)
