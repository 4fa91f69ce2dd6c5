"""Together: what threads ask for at the same time is done at once, and each hears of its own trouble."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

import pytest

from kanban_shards.errors import Reentered, StorageError
from kanban_shards.group_commit import GroupCommit, Request

PATIENCE_S = 30.0


class Desk:
    """Does what is asked, one batch after the other; the first one waits until ``go`` is set. Negative numbers are at
    fault alone; ``trouble`` is raised whatever is asked."""

    def __init__(self, most: int = 100) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.commits: GroupCommit[int, str] = GroupCommit(self._act, most)
        self.trouble: BaseException | None = None
        self.after_answering: Callable[[], None] = lambda: None

    def _act(self, requests: list[Request[int, str]]) -> None:
        self.batches.append([request.asked for request in requests])
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        if self.trouble is not None:
            raise self.trouble
        for request in requests:
            if request.asked < 0:
                request.error = StorageError(path=request.asked, problem="it is negative")
            else:
                request.answer = f"answer {request.asked}"
        self.after_answering()

    def ask_at_once(self, *numbers: int) -> list[Future[str]]:
        """The first number is being done when the others are asked for, in this order."""
        pool = ThreadPoolExecutor(len(numbers))
        asked = []
        for count, number in enumerate(numbers):
            asked.append(pool.submit(self.commits.submit, number))
            assert self.begun.wait(PATIENCE_S)
            while count and len(self.commits._waiting) < count:
                pass
        self.go.set()
        pool.shutdown()
        return asked


def test_one_after_the_other() -> None:
    desk = Desk()
    desk.go.set()
    assert [desk.commits.submit(number) for number in (1, 2)] == ["answer 1", "answer 2"]
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
            with pytest.raises(StorageError, match=f"{number} cannot be used"):
                each.result()


def test_the_trouble_of_all_is_told_to_all_at_once() -> None:
    """A lock that nobody got in 30 s is not waited for 30 s by each thread anew."""
    desk = Desk()
    desk.trouble = StorageError(path="the file", problem="it is locked")
    for each in desk.ask_at_once(1, 2, 3, 4):
        with pytest.raises(StorageError, match="it is locked"):
            each.result()
    assert [len(batch) for batch in desk.batches] == [1, 3]


def test_a_fault_is_told_to_the_thread_at_work_alone() -> None:
    """A handler of a signal may raise anything, in one thread."""
    desk = Desk()
    desk.trouble = ZeroDivisionError()

    def no_more(true_act=desk.commits._act) -> None:
        def act(requests: list[Request[int, str]]) -> None:
            try:
                true_act(requests)
            finally:
                desk.trouble = None

        desk.commits._act = act

    no_more()
    first, *others = desk.ask_at_once(1, 2, 3)
    with pytest.raises(ZeroDivisionError):
        first.result()
    assert [each.result() for each in others] == ["answer 2", "answer 3"]


def test_a_handler_that_interrupts_its_own_thread() -> None:
    """It would wait for what it interrupts."""
    desk = Desk()
    desk.go.set()
    told = []

    def interrupt() -> None:
        desk.after_answering = lambda: None
        with pytest.raises(Reentered):
            desk.commits.submit(2)
        told.append(True)

    desk.after_answering = interrupt
    assert desk.commits.submit(1) == "answer 1"
    assert told
    assert desk.commits.submit(3) == "answer 3"


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    """Ctrl-C while another thread is at work: the change must not be written behind its author's back."""
    desk = Desk()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(desk.commits.submit, 1)
        assert desk.begun.wait(PATIENCE_S)
        interrupted = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                desk.commits.submit(2)
        finally:
            signal.signal(signal.SIGALRM, interrupted)
            desk.go.set()
        assert first.result() == "answer 1"
    assert desk.commits.submit(3) == "answer 3"
    assert desk.batches == [[1], [3]]


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
    act = desk.commits._act

    def interrupted(requests: list[Request[int, str]]) -> None:
        desk.commits._act = act
        desk.begun.set()
        assert desk.go.wait(PATIENCE_S)
        raise KeyboardInterrupt

    desk.commits._act = interrupted
    asked = desk.ask_at_once(1, 2, 3)
    with pytest.raises(KeyboardInterrupt):
        asked[0].result()
    assert [each.result() for each in asked[1:]] == ["answer 2", "answer 3"]
