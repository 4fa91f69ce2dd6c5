"""What a worker does, and what it notes of it: how long each call took, and what was acknowledged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers import Peer

BODY = "What is to be done, in a few sentences, as an agent would write it down for another one. " * 4
SUMMARY = "Done as asked; nothing is left open."
CHAT = "42"
# A caller that was told of an error does not call again at once.
PAUSE_AFTER_ERROR_S = 0.01
# How often a dashboard reads: three times as often as the ones that users reported.
READ_EVERY_S = 0.1
# So many characters of an error's first line are told.
LONGEST_ERROR = 100


@dataclass
class Notes:
    """What one worker did. ``spent_s``: of each verb, the seconds of each call that was acknowledged. ``cpu_s``: what
    it used from the common begin on, with the processes that it started."""

    spent_s: dict[str, list[float]] = field(default_factory=dict)
    created: dict[str, str] = field(default_factory=dict)
    subscribed: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    errors: Counter = field(default_factory=Counter)
    refused: int = 0
    ended: float = 0.0
    cpu_s: float = 0.0


class Worker:
    """One process at work on a peer until ``end`` (seconds since 1970)."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.end = 0.0
        self.notes = Notes()

    def running(self) -> bool:
        """Whether there is time for another round."""
        return time.time() < self.end

    def create(self, title: str) -> str | None:
        """The id of a new task, or None after an error."""
        task_id = self._timed("create", self.peer.create, title, BODY)
        if task_id is not None:
            self.notes.created[task_id] = title
        return task_id

    def subscribe(self, task_id: str) -> None:
        """A chat is told of the task."""
        if "subscribe" in self.peer.verbs and self._timed("subscribe", self.peer.subscribe, task_id, CHAT, or_else=0):
            self.notes.subscribed.append(task_id)

    def comment(self, task_id: str, text: str) -> None:
        """Somebody says something about the task."""
        if self._timed("comment", self.peer.comment, task_id, text, or_else=0):
            self.notes.comments.append(text)

    def claim(self, task_id: str) -> tuple[str, Any] | None:
        """The id of the claimed task and what completes it, or None."""
        before = self.notes.errors.total()
        claimed = self._timed("claim", self.peer.claim, task_id)
        if claimed is not None:
            self.notes.claimed.append(claimed[0])
        elif self.notes.errors.total() == before:
            self.notes.refused += 1
        return claimed

    def complete(self, claimed: tuple[str, Any]) -> None:
        """The claimed task is done."""
        task_id, claim = claimed
        if self._timed("complete", self.peer.complete, claim, SUMMARY, or_else=0):
            self.notes.completed.append(task_id)

    def whole_tasks(self, titles: list[str]) -> None:
        """Tasks from beginning to end; the time is that of each of them."""
        made = self._timed("whole_tasks", self.peer.whole_tasks, titles, BODY, CHAT, SUMMARY)
        if made is None:
            return
        spent = self.notes.spent_s["whole_tasks"]
        spent += [spent.pop() / len(titles)] * len(titles)
        self.notes.created |= made
        for ids in (self.notes.subscribed, self.notes.claimed, self.notes.completed):
            ids += made

    def list(self) -> None:
        """Read all tasks."""
        self._timed("list", self.peer.list)

    def _timed(self, verb: str, call: Callable[..., Any], *arguments: Any, or_else: Any = None) -> Any:
        """What the call returned, noted. ``or_else`` tells a verb without an answer, which gives True, from an
        error, which gives ``or_else``."""
        started = time.perf_counter()
        try:
            answer = call(*arguments)
        except Exception as error:
            self.notes.errors[self._in_a_line(verb, error)] += 1
            time.sleep(PAUSE_AFTER_ERROR_S)
            return or_else
        self.notes.spent_s.setdefault(verb, []).append(time.perf_counter() - started)
        return answer if or_else is None else True

    def _in_a_line(self, verb: str, error: Exception) -> str:
        said = (str(error).splitlines() or [""])[0].replace(str(self.peer.folder), "…")
        return f"{verb}: {type(error).__name__}: {said[:LONGEST_ERROR].strip()}"


def warm_up(worker: Worker) -> None:
    """One task from beginning to end, so that files are there and modules loaded; its times do not count."""
    _one_task(worker, "first")
    worker.notes.spent_s.clear()
    worker.notes.refused = 0


def fill(worker: Worker, count: int, shared: list[str]) -> None:
    """Make ``count`` tasks, before anything is measured."""
    for number in range(count):
        worker.create(f"shared {number}")


def board(worker: Worker, count: int, shared: list[str]) -> None:
    """Create, subscribe, claim and complete, again and again."""
    number = 0
    while worker.running():
        _one_task(worker, number)
        number += 1


def whole_tasks(worker: Worker, count: int, shared: list[str]) -> None:
    """Tasks from beginning to end, ``count`` together where that can be said."""
    number = 0
    while worker.running():
        worker.whole_tasks([_title(worker, number + each) for each in range(count)])
        number += count


def creates(worker: Worker, count: int, shared: list[str]) -> None:
    """A burst: create without a pause."""
    number = 0
    while worker.running():
        worker.create(_title(worker, number))
        number += 1


def comments(worker: Worker, count: int, shared: list[str]) -> None:
    """A sweep: a comment on each of the shared tasks, again and again."""
    number = 0
    while worker.running():
        worker.comment(shared[number % len(shared)], f"{_title(worker, number)}: {SUMMARY}")
        number += 1


def race(worker: Worker, count: int, shared: list[str]) -> None:
    """Everybody wants each of the shared tasks, in the same order."""
    for task_id in shared:
        if not worker.running():
            return
        claimed = worker.claim(task_id)
        if claimed is not None:
            worker.complete(claimed)


def read(worker: Worker, count: int, shared: list[str]) -> None:
    """A dashboard."""
    while worker.running():
        worker.list()
        time.sleep(READ_EVERY_S)


def amount(worker: Worker, count: int, shared: list[str]) -> None:
    """As ``board``, but ``count`` tasks, however long it takes."""
    for number in range(count):
        _one_task(worker, number)


WORK = {function.__name__: function for function in (fill, board, whole_tasks, creates, comments, race, read, amount)}


def _one_task(worker: Worker, number: int | str) -> None:
    task_id = worker.create(_title(worker, number))
    if task_id is None:
        return
    worker.subscribe(task_id)
    claimed = worker.claim(task_id)
    if claimed is not None:
        worker.complete(claimed)


def _title(worker: Worker, number: int | str) -> str:
    return f"{worker.peer.profile} {number}"
