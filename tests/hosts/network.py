"""A network of the test's own between one host and the server: it delays, cuts, and goes silent.

A TCP proxy on loopback, in a thread. Cutting resets every connection and each new one. In silence nothing arrives and
nothing is lost: what was sent meanwhile goes on its way when it is over, as after a partition.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")
_BLOCK = 64 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """The way to the server, whose Unix socket is ``socket``. ``delay_s``: how long each direction takes."""

    def __init__(self, socket: str, delay_s: float = 0.0) -> None:
        self._socket, self.delay_s = socket, delay_s
        self._loop = asyncio.new_event_loop()
        self._is_cut = False
        self._heard = asyncio.Event()
        self._heard.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(self._listen())

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        """Reset all connections, and each new one."""
        self._is_cut = True
        self._call(self._reset)

    def silence(self) -> None:
        """Let nothing through in either direction, and end nothing."""
        self._call(self._heard.clear)

    def heal(self) -> None:
        """Let everything through again."""
        self._is_cut = False
        self._call(self._heard.set)

    def close(self) -> None:
        """End it, with every connection."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in the thread ---------------------------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there: Streams = await asyncio.open_unix_connection(self._socket)
        except OSError:  # the server is down
            writer.transport.abort()
            return
        self._open |= {writer, there[1]}
        for source, target in ((reader, there[1]), (there[0], writer)):
            task = self._loop.create_task(self._carry(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Bytes in one direction: many may be on their way at once."""
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = self._loop.create_task(self._arrive(on_its_way, target))
        try:
            with suppress(OSError):
                while data := await source.read(_BLOCK):
                    on_its_way.put_nowait((self._loop.time() + self.delay_s, data))
            on_its_way.put_nowait((self._loop.time() + self.delay_s, b""))
            await arriving
        finally:
            arriving.cancel()
            target.close()
            self._open.discard(target)

    async def _arrive(self, on_its_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, data = await on_its_way.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._heard.wait()
                if not data:
                    return
                target.write(data)
                await target.drain()

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _end(self) -> None:
        self._server.close()
        self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _call(self, act: Callable[[], object]) -> None:
        async def call() -> None:
            act()

        self._run(call())

    def _run(self, what: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)
