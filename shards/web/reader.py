"""The reader: the process that has the boards open, and makes the pages.

It is the child of the HTTP process, and ends when that does: when its standard input ends. It opens no socket but the
bells of the boards that somebody looks at.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

from kanban_shards.errors import KanbanError
from kanban_shards.follower import Follower
from kanban_shards.web.pages import answer
from kanban_shards.web.site import Site
from kanban_shards.web.wire import Ask, Follow, Message, Moved, Setup, Unfollow, frame, read_said

# Pages that are made at the same time: more would wait for each other.
THREADS = 4
# The same for what may take long, so that no page of the present waits for a replay, the doctor or a verdict.
SLOW_THREADS = 3
log = logging.getLogger("kanban.web")


class Reader:
    """Answers what comes in on ``said``, on ``told``."""

    def __init__(self, said: BinaryIO, told: BinaryIO) -> None:
        self._said = said
        self._told = told
        self._telling = threading.Lock()
        self._followers: dict[str, Follower] = {}

    def run(self) -> None:
        """Until nothing comes in any more."""
        setup = read_said(self._said)
        if not isinstance(setup, Setup):
            return
        with Site(setup) as site, ThreadPoolExecutor(THREADS) as quick, ThreadPoolExecutor(SLOW_THREADS) as slow:
            while (message := read_said(self._said)) is not None:
                if isinstance(message, Ask):
                    (slow if _may_take_long(message) else quick).submit(self._answer, site, message)
                elif isinstance(message, Follow) and message.board not in self._followers:
                    self._follow(site, message.board)
                elif isinstance(message, Unfollow) and message.board in self._followers:
                    self._followers.pop(message.board).stop()
            for follower in self._followers.values():
                follower.stop()

    def _follow(self, site: Site, slug: str) -> None:
        with suppress(KanbanError):  # a board that there is not: its page says so
            self._followers[slug] = Follower(site.paths(slug), lambda *moved: self._tell(Moved(slug, *moved)))

    def _answer(self, site: Site, ask: Ask) -> None:
        self._tell(answer(site, ask))

    def _tell(self, message: Message) -> None:
        with self._telling:
            try:
                self._told.write(frame(message))
                self._told.flush()
            except OSError:  # nobody listens any more
                pass


def _may_take_long(ask: Ask) -> bool:
    return ask.form is not None or any(name in ("at", "examine") for name, _ in ask.query)


def main() -> None:
    """Run as a program. What anything here prints goes to standard error: standard output is for frames."""
    for each in (signal.SIGINT, signal.SIGTERM):  # which end the HTTP process, and that ends this one
        signal.signal(each, signal.SIG_IGN)
    logging.basicConfig(format="kanban web: %(message)s", level=logging.WARNING)
    told = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    Reader(sys.stdin.buffer, told).run()


if __name__ == "__main__":
    main()
