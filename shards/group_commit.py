"""Group commit: requests that arrive during one commit share the next one.

A commit costs the disk the same for one change as for fifty. So whichever thread has its turn appends what all the
others are waiting to append, too, and they find it done (group commit).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from kanban_shards.errors import KanbanError, LawBroken, Reentered

# A thread that was to wake the others may have been interrupted by a signal before it did.
LOOK_AGAIN_S = 1.0

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Request(Generic[Asked, Answer]):
    """What one thread asks for. ``answer`` is None until it is done, and ``error`` unless it could not be done."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answer: Answer | None = None
        self.error: KanbanError | None = None

    @property
    def is_over(self) -> bool:
        """Whether its thread need not wait any longer."""
        return self.answer is not None or self.error is not None


class GroupCommit(Generic[Asked, Answer]):
    """Has ``act`` do what threads ask for.

    ``act`` is given the requests, and sets the answer of each, or the error of one that alone is at fault. A
    KanbanError that it raises is everybody's whose request has neither. Anything else is the business of the thread at
    work: the others are done by the next one. ``most``: at once.
    """

    def __init__(self, act: Callable[[list[Request[Asked, Answer]]], None], most: int) -> None:
        self._act = act
        self._most = most
        self._changed = threading.Condition(threading.Lock())
        self._at_work: Request[Asked, Answer] | None = None
        self._waiting: list[Request[Asked, Answer]] = []
        self._inside: set[int] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no thread is at work or waits for its turn."""
        return self._at_work is None and not self._waiting

    def submit(self, asked: Asked) -> Answer:
        """What ``act`` answers; it is done when this returns. Raises KanbanError, and Reentered in a signal handler
        that interrupts a call of the same thread, which would wait for itself."""
        thread = threading.get_ident()
        if thread in self._inside:
            raise Reentered
        mine: Request[Asked, Answer] = Request(asked)
        taken = [mine]
        try:
            self._inside.add(thread)
            self._wait_for_turn(mine, taken)
            if not mine.is_over:
                self._do(taken)
        finally:  # Ctrl-C may come at any line, of this block too; so what must be done is done until it was
            try:
                self._end_turn(mine, taken)
            finally:
                self._inside.discard(thread)
                if self._at_work is mine:
                    self._end_turn(mine, taken)
        if mine.error is not None:
            raise mine.error
        if mine.answer is None:
            raise LawBroken("a request ended without an answer")
        return mine.answer

    def _wait_for_turn(self, mine: Request[Asked, Answer], taken: list[Request[Asked, Answer]]) -> None:
        """Wait until ``mine`` is over, or it is this thread's turn to do it and what is added to ``taken``."""
        with self._changed:
            self._waiting.append(mine)
            while not self._changed.wait_for(lambda: mine.is_over or self._at_work is None, LOOK_AGAIN_S):
                pass
            if not mine.is_over:
                self._at_work = mine
                taken += [request for request in self._waiting if request is not mine][: self._most - 1]
                self._waiting = [request for request in self._waiting if request not in taken]

    def _do(self, taken: list[Request[Asked, Answer]]) -> None:
        try:
            self._act(taken)
        except KanbanError as error:
            for request in taken:
                if not request.is_over:
                    request.error = error

    def _end_turn(self, mine: Request[Asked, Answer], taken: list[Request[Asked, Answer]]) -> None:
        """What nobody waits for any more must not be done later, and what is not done waits for the next turn."""
        with self._changed:
            there = [request for request in self._waiting if request is not mine]
            undone = [request for request in taken if request not in [mine, *there] and not request.is_over]
            self._waiting = undone + there
            if self._at_work is mine:
                self._at_work = None
                self._changed.notify_all()
