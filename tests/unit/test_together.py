"""Together: what threads ask for at the same time is done at once, in order, and each hears of its own trouble."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import pytest

from shards.together import Request, Together

PATIENCE_S = 30.0


class Desk:
    """Does what is asked, one batch after the other; the first one waits until ``go`` is set. ``bad`` makes trouble."""

    def __init__(self, most: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.together: Together[int, str] = Together(self._act, most)
        self.after_answering: Callable[[], None] = lambda: None

    def _act(self, requests: list[Request[int, str]]) -> None:
        self.batches.append([request.asked for request in requests])
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        if any(request.asked < 0 for request in requests):
            raise ValueError([request.asked for request in requests if request.asked < 0])
        for request in requests:
            request.answer = f"answer {request.asked}"
        self.after_answering()

    def ask_at_once(self, *numbers: int) -> list[Future[str]]:
        """The first number is being done when the others are asked for, in this order."""
        pool = ThreadPoolExecutor(len(numbers))
        asked = []
        for count, number in enumerate(numbers):
            asked.append(pool.submit(self.together.ask, number))
            assert self.begun.wait(PATIENCE_S)
            while count and len(self.together._waiting) < count:
                pass
        self.go.set()
        pool.shutdown()
        return asked


def test_one_after_the_other() -> None:
    desk = Desk()
    desk.go.set()
    assert [desk.together.ask(number) for number in (1, 2)] == ["answer 1", "answer 2"]
    assert desk.batches == [[1], [2]]


def test_what_waits_is_done_at_once() -> None:
    desk = Desk()
    asked = desk.ask_at_once(1, 2, 3, 4)
    assert [each.result() for each in asked] == [f"answer {number}" for number in (1, 2, 3, 4)]
    first, rest = desk.batches
    assert (first, sorted(rest)) == ([1], [2, 3, 4])


def test_no_more_than_most_at_once() -> None:
    desk = Desk(most=2)
    asked = desk.ask_at_once(1, 2, 3, 4, 5, 6)
    assert {each.result() for each in asked} == {f"answer {number}" for number in range(1, 7)}
    assert all(len(batch) <= 2 for batch in desk.batches)
    assert sorted(chain.from_iterable(desk.batches)) == [1, 2, 3, 4, 5, 6]


def test_each_hears_of_its_own_trouble() -> None:
    desk = Desk()
    asked = desk.ask_at_once(1, 2, -3, 4, -5)
    for each, number in zip(asked, (1, 2, -3, 4, -5), strict=True):
        if number > 0:
            assert each.result() == f"answer {number}"
        else:
            with pytest.raises(ValueError, match=rf"^\[{number}\]$"):
                each.result()


def test_whoever_is_interrupted_keeps_nobody_waiting() -> None:
    """Ctrl-C reaches one thread. What it had done for others stays done, once."""
    desk = Desk()

    def interrupt() -> None:
        if len(desk.batches[-1]) > 1:
            raise KeyboardInterrupt

    desk.after_answering = interrupt
    asked = desk.ask_at_once(1, 2, 3)
    assert asked[0].result() == "answer 1"
    ended = [each.exception() or each.result() for each in asked[1:]]
    assert sorted(map(str, ended)) in (["", "answer 2"], ["", "answer 3"])
    assert sorted(chain.from_iterable(desk.batches)) == [1, 2, 3]


def test_an_interruption_before_anything_is_done() -> None:
    desk = Desk()
    act = desk.together._act

    def interrupted(requests: list[Request[int, str]]) -> None:
        desk.together._act = act
        desk.begun.set()
        assert desk.go.wait(PATIENCE_S)
        raise KeyboardInterrupt

    desk.together._act = interrupted
    asked = desk.ask_at_once(1, 2, 3)
    with pytest.raises(KeyboardInterrupt):
        asked[0].result()
    assert [each.result() for each in asked[1:]] == ["answer 2", "answer 3"]
