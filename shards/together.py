"""Together: what several threads ask for while one of them is at work is done by the next one, all at once.

A commit costs the disk the same for one change as for fifty. So whichever thread has its turn appends what all the
others are waiting to append, too, and they find it done (group commit).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Request(Generic[Asked, Answer]):
    """What one thread asks for. ``answer`` is None until it is done."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answer: Answer | None = None


class Together(Generic[Asked, Answer]):
    """Has ``act`` do what threads ask for, in the order in which they asked.

    ``act`` is given the requests and sets the answer of each. If it raises, what has no answer was not done; then each
    thread has its own tried alone, so that it hears of its own trouble and of no other's. ``most``: at once.
    """

    def __init__(self, act: Callable[[list[Request[Asked, Answer]]], None], most: int) -> None:
        self._act = act
        self._most = most
        self._changed = threading.Condition(threading.Lock())
        self._is_at_work = False
        self._waiting: list[Request[Asked, Answer]] = []

    def ask(self, asked: Asked) -> Answer:
        """What ``act`` answers; it is done when this returns. Raises what ``act`` raises."""
        mine: Request[Asked, Answer] = Request(asked)
        with self._changed:
            self._waiting.append(mine)
            self._changed.wait_for(lambda: mine.answer is not None or not self._is_at_work)
            if mine.answer is not None:
                return mine.answer
            self._is_at_work = True
            others = [request for request in self._waiting if request is not mine]
            others, self._waiting = others[: self._most - 1], others[self._most - 1 :]
        try:
            self._do(mine, others)
        finally:
            with self._changed:
                self._is_at_work = False
                self._waiting[:0] = [request for request in others if request.answer is None]
                self._changed.notify_all()
        return mine.answer

    def _do(self, mine: Request[Asked, Answer], others: list[Request[Asked, Answer]]) -> None:
        try:
            self._act([*others, mine])
        except Exception:
            if not others or mine.answer is not None:
                raise
            self._act([mine])
