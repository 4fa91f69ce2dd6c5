"""The way to the reader: asks it for pages, and passes on what moves. Runs in the HTTP process.

A reader that dies, by a fault or by a hand, is started again; who waited for it is told so.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

from kanban_shards.errors import ReaderGone
from kanban_shards.web.wire import (
    LENGTH,
    LONGEST_BYTES,
    Answer,
    Ask,
    Follow,
    Message,
    Moved,
    Setup,
    Unfollow,
    frame,
    told,
)

# -P: no module of the folder where the server was started is taken for ours.
COMMAND = (sys.executable, "-P", "-m", "kanban_shards.web.reader")
# A page that takes longer will not be waited for.
PATIENCE_S = 120.0
# Between two readers, if one dies as soon as it is started.
PAUSE_S = 1.0
ENDING_S = 5.0
# Browsers that follow at the same time; each holds a connection.
FOLLOWERS = 512
log = logging.getLogger("kanban.web")


class Link:
    """A reader and the way to it. ``setup``: what it is for. ``run`` keeps one alive until it is cancelled."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: Process | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._there = asyncio.Event()
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._followers: dict[str, set[asyncio.Queue[Moved | None]]] = defaultdict(set)
        self._latest: dict[str, Moved] = {}

    @property
    def pid(self) -> int | None:
        """The reader's process."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Keep a reader alive."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                await self._once()
                log.warning("the reader ended; it is started again")
                await asyncio.sleep(PAUSE_S)
        finally:
            await self._end()

    async def ask(
        self,
        page: str,
        board: str = "",
        name: str = "",
        query: Sequence[tuple[str, str]] = (),
        form: Sequence[tuple[str, str]] | None = None,
    ) -> Answer:
        """The page; see ``Ask`` for what names it. Raises ReaderGone, TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            await self._there.wait()
            self._number += 1
            number = self._number
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting[number] = answered
            try:
                self._send(Ask(number, page, board, name, list(query), None if form is None else list(form)))
                return await answered
            finally:
                self._waiting.pop(number, None)

    @asynccontextmanager
    async def following(self, board: str) -> AsyncIterator[asyncio.Queue[Moved | None]]:
        """What moves on the board, for one browser: the latest state first, and None when the server ends. However many
        follow, the reader follows a board once."""
        queue: asyncio.Queue[Moved | None] = asyncio.Queue(maxsize=64)
        followers = self._followers[board]
        followers.add(queue)
        if len(followers) == 1:
            self._send(Follow(board))
        elif board in self._latest:
            queue.put_nowait(self._latest[board])
        try:
            yield queue
        finally:
            followers.discard(queue)
            if not followers:
                del self._followers[board]
                self._latest.pop(board, None)
                self._send(Unfollow(board))

    @property
    def has_room(self) -> bool:
        """Whether one more may follow."""
        return sum(map(len, self._followers.values())) < FOLLOWERS

    def end_following(self) -> None:
        """Let all who follow end, because the server does."""
        for followers in self._followers.values():
            for queue in followers:
                _put(queue, None)

    def end_following_soon(self) -> None:
        """The same, from a signal's handler."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.end_following)

    async def _once(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE)
        self._send(self._setup)
        for board in self._followers:
            self._send(Follow(board))
        self._there.set()
        answers = cast(asyncio.StreamReader, process.stdout)  # a pipe, as was asked for
        try:
            while True:
                (length,) = LENGTH.unpack(await answers.readexactly(LENGTH.size))
                if length > LONGEST_BYTES:
                    break
                self._take(await answers.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._there.clear()
            for answered in self._waiting.values():
                if not answered.done():
                    answered.set_exception(ReaderGone())
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _take(self, content: bytes) -> None:
        message = told(content)
        if isinstance(message, Answer):
            answered = self._waiting.get(message.number)
            if answered is not None and not answered.done():
                answered.set_result(message)
        elif message.board in self._followers:
            self._latest[message.board] = message
            for queue in self._followers[message.board]:
                _put(queue, message)

    def _send(self, message: Message) -> None:
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            with suppress(ConnectionError):
                process.stdin.write(frame(message))

    async def _end(self) -> None:
        """The reader ends by itself when nothing more comes in, having settled what it wrote."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(ENDING_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _put(queue: asyncio.Queue[Moved | None], message: Moved | None) -> None:
    """A browser that takes nothing for so long is told the newest alone: it looks at everything then."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
    queue.put_nowait(message)
