"""The reader: what it is told and what it tells, over two pipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from kanban_shards import Gateway
from kanban_shards.web import reader
from kanban_shards.web.wire import LENGTH, Answer, Ask, Follow, Message, Moved, Setup, Told, Unfollow, frame, told


class Talk:
    """The other end of a reader's pipes."""

    def __init__(self, said: BinaryIO, told_: BinaryIO) -> None:
        self._said = said
        self._told = told_

    def say(self, *messages: Message) -> None:
        for message in messages:
            self._said.write(frame(message))
        self._said.flush()

    def hear(self) -> Told:
        (length,) = LENGTH.unpack(self._told.read(LENGTH.size))
        return told(self._told.read(length))

    def end(self) -> None:
        self._said.close()


@pytest.fixture
def talk(home: str) -> Iterator[Talk]:
    """A reader of the board of ``home``, in a thread; it ends when nothing more is said."""
    said_here, said_there = os.pipe()
    told_there, told_here = os.pipe()
    with open(said_here, "rb") as said, open(told_here, "wb") as tells, open(told_there, "rb") as hears:
        working = threading.Thread(target=reader.Reader(said, tells).run)
        working.start()
        other = Talk(open(said_there, "wb"), hears)  # noqa: SIM115 - closed by end()
        other.say(Setup(home, "default", home, None, "key"))
        yield other
        other.end()
        working.join(30)
        assert not working.is_alive()


def test_it_answers_and_tells_what_moves(talk: Talk, gateway: Gateway) -> None:
    task_id = gateway.make("A task").task_id
    talk.say(Ask(7, "board"))
    answer = talk.hear()
    assert isinstance(answer, Answer) and (answer.number, answer.status) == (7, 200) and "A task" in answer.body
    talk.say(Follow("default"), Follow("default"))
    assert talk.hear() == Moved("default", 1, [])
    gateway.claim(task_id)
    assert talk.hear() == Moved("default", 2, [task_id])
    talk.say(Unfollow("default"), Unfollow("default"), Ask(8, "nowhere"))
    broken = talk.hear()
    assert isinstance(broken, Answer) and broken.status == 500 and "at fault" in broken.body


def test_a_board_that_there_is_not_cannot_be_followed(talk: Talk) -> None:
    talk.say(Follow("none"), Follow("../none"), Ask(1, "board", "none"))
    answer = talk.hear()
    assert isinstance(answer, Answer) and answer.status == 404


def test_no_page_of_the_present_waits_for_the_past(
    talk: Talk, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.make("A task")
    goes_on, real = threading.Event(), reader.answer

    def slow(site, ask: Ask) -> Answer:
        if ask.query or ask.form is not None:
            assert goes_on.wait(30)
        return real(site, ask)

    monkeypatch.setattr(reader, "answer", slow)
    talk.say(*(Ask(number, "board", query=[("at", "1")]) for number in range(9)), Ask(9, "task", "", "t_0", [], []))
    talk.say(Ask(10, "board"))
    first = talk.hear()
    assert isinstance(first, Answer) and first.number == 10
    goes_on.set()
    assert {message.number for message in (talk.hear() for _ in range(10)) if isinstance(message, Answer)} == {
        *range(10)
    }
