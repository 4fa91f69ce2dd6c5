"""When a pass over a board is due, with bells that are pipes and boards that count their passes."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kanban_shards.coordinator.daemon.pass_times import PassTimes

LONG_S = 60.0


class Counted:
    """Its bell is the reading end of a pipe. ``gathers_s``: what ``heard`` answers; ``pauses``: what passes answer."""

    def __init__(self, bells: selectors.BaseSelector, undo: ExitStack) -> None:
        self.bell, self._ringing = os.pipe()
        for end in (self.bell, self._ringing):
            undo.callback(os.close, end)
        bells.register(self.bell, selectors.EVENT_READ, self)
        self.passes = 0
        self.gathers_s = 0.0
        self.pauses: list[float] = []

    def ring(self) -> None:
        os.write(self._ringing, b"!")

    def heard(self, bell: object) -> float:
        assert bell == self.bell and os.read(self.bell, 9)
        return self.gathers_s

    def make_pass(self) -> float | None:
        self.passes += 1
        return self.pauses.pop() if self.pauses else None


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as undo:
        yield undo


@pytest.fixture
def bells(undo: ExitStack) -> selectors.BaseSelector:
    return undo.enter_context(selectors.DefaultSelector())


@pytest.fixture
def times(bells: selectors.BaseSelector) -> PassTimes:
    return PassTimes(bells)


@pytest.fixture
def board(bells: selectors.BaseSelector, undo: ExitStack) -> Counted:
    return Counted(bells, undo)


def make_due(times: PassTimes) -> None:
    times.make_due(unless=lambda: False)


def test_one_pass_for_what_is_due_at_once(times: PassTimes, board: Counted) -> None:
    times.at_once(board)
    make_due(times)
    make_due(times)
    assert board.passes == 1


def test_what_rings_is_gathered_as_long_as_its_board_says(times: PassTimes, board: Counted) -> None:
    board.gathers_s = LONG_S
    for _ in range(2):
        board.ring()
        times.sleep(time.monotonic() + LONG_S)
        make_due(times)
    assert board.passes == 0
    board.gathers_s = 0.0
    board.ring()
    times.sleep(time.monotonic() + LONG_S)
    make_due(times)
    assert board.passes == 1


def test_a_pass_that_is_due_sooner_stays_so(times: PassTimes, board: Counted) -> None:
    board.gathers_s = LONG_S
    times.at_once(board)
    board.ring()
    times.sleep(time.monotonic() + LONG_S)
    make_due(times)
    assert board.passes == 1


def test_a_pass_after_the_pause_that_the_last_one_asked_for(times: PassTimes, board: Counted) -> None:
    board.pauses = [0.0]
    times.at_once(board)
    make_due(times)
    times.sleep(time.monotonic() + LONG_S)
    make_due(times)
    assert board.passes == 2


def test_no_pass_when_no_more_is_to_be_made(times: PassTimes, board: Counted) -> None:
    times.at_once(board)
    times.make_due(unless=lambda: True)
    assert board.passes == 0


def test_what_only_wakes_makes_no_pass(times: PassTimes, bells: selectors.BaseSelector, undo: ExitStack) -> None:
    waking = Counted(bells, undo)
    bells.modify(waking.bell, selectors.EVENT_READ)
    waking.ring()
    times.sleep(time.monotonic() + LONG_S)
    make_due(times)
    assert waking.passes == 0
