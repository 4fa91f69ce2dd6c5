"""The HTTP side: addresses, who may, headers, what is sent and what moves. It opens no database.

Each answer but a picture or a script is made by the reader (``link.py``), as a whole page.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kanban_shards.errors import KanbanError, StorageError
from kanban_shards.storage.folders import open_below
from kanban_shards.web.access import COOKIE, Access
from kanban_shards.web.link import Link
from kanban_shards.web.wire import Answer, FileAt, Moved

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
STATIC = {
    "board.css": "text/css; charset=utf-8",
    "board.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
}
# A form with a text of the largest size that a change may have.
LONGEST_FORM_BYTES = 4 * 1024 * 1024
LONGEST_WORDS = 16 * 1024
# A browser and what is between know by it that the connection is alive.
ALIVE_S = 25.0
CHUNK_BYTES = 256 * 1024
_STRANGER = (
    "This page is for the user who started `kanban web`, on this machine. Open the address with ?token=… that it "
    "printed; it lets a browser in that is somebody else's, or elsewhere.\n"
)


def make_app(link: Link, access: Access) -> ASGIApp:
    """The whole server, as an ASGI application: it starts the reader, and ends it."""

    @asynccontextmanager
    async def alive(app: Starlette) -> AsyncIterator[None]:
        running = asyncio.create_task(link.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    pages = Pages(link)
    routes = [
        Route("/", pages.first),
        Route("/static/{name}", static),
        Route("/b/{board}/", pages.board),
        Route("/b/{board}/columns", pages.columns),
        Route("/b/{board}/new", pages.new, methods=["GET", "POST"]),
        Route("/b/{board}/t/{name}", pages.task, methods=["GET", "POST"]),
        Route("/b/{board}/graph", pages.graph),
        Route("/b/{board}/health", pages.health),
        Route("/b/{board}/live", pages.live),
        Route("/b/{board}/files/{name}", pages.file),
    ]
    return Guard(Starlette(routes=routes, lifespan=alive), access)


class Guard:
    """Answers only whom ``access`` lets in, and puts the headers on everything."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say why not."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refusal(Request(scope)) or self._app)(scope, receive, sending)

    def _refusal(self, request: Request) -> Response | None:
        host, access = request.headers.get("host"), self._access
        if host is None or not access.answers_to(host):
            return PlainTextResponse("This server does not answer to that name.\n", 421)
        if access.is_asked_by_a_page_elsewhere(request.headers):
            return PlainTextResponse("Only a page of this server asks for that.\n", 403)
        given = request.query_params.get("token")
        if given is not None and request.method == "GET":
            return self._welcome(request, given)
        if not access.lets_in(
            request.cookies.get(COOKIE), _end(request.scope, "client"), _end(request.scope, "server")
        ):
            return PlainTextResponse(_STRANGER, 403)
        if request.method not in ("GET", "HEAD") and not access.is_same_origin(request.headers.items(), host):
            return PlainTextResponse("What is sent has to come from a page of this server.\n", 403)
        return None

    def _welcome(self, request: Request, given: str) -> Response:
        """Give the browser the token as a cookie, and take it out of the address."""
        if not self._access.is_token(given):
            return PlainTextResponse(_STRANGER, 403)
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        there = request.url.path + ("?" + "&".join(f"{quote(n)}={quote(v)}" for n, v in rest) if rest else "")
        answer = RedirectResponse("/" + there.lstrip("/"), 303)
        answer.set_cookie(COOKIE, given, httponly=True, samesite="strict", path="/")
        return answer


class Pages:
    """What is behind each address."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def first(self, request: Request) -> Response:
        """The board that the command names."""
        return await self._page(request, "first")

    async def board(self, request: Request) -> Response:
        """A board."""
        return await self._page(request, "board")

    async def columns(self, request: Request) -> Response:
        """What of it is new."""
        return await self._page(request, "columns")

    async def task(self, request: Request) -> Response:
        """A task."""
        return await self._page(request, "task")

    async def new(self, request: Request) -> Response:
        """The form for a new task."""
        return await self._page(request, "new")

    async def graph(self, request: Request) -> Response:
        """What waits for what."""
        return await self._page(request, "graph")

    async def health(self, request: Request) -> Response:
        """How the board is."""
        return await self._page(request, "health")

    async def file(self, request: Request) -> Response:
        """An attachment, to be kept and never shown: a browser runs what it shows."""
        answer = await self._asked(request, "file")
        if isinstance(answer, Response):
            return answer
        return _download(answer.file) if answer.file else _as_response(answer)

    async def live(self, request: Request) -> Response:
        """What moves on a board, for as long as the browser listens."""
        if not self._link.has_room:
            return PlainTextResponse("Too many browsers follow; close some.\n", 503)
        return StreamingResponse(self._moves(request.path_params["board"]), media_type="text/event-stream")

    async def _moves(self, board: str) -> AsyncIterator[str]:
        async with self._link.following(board) as queue:
            yield "retry: 1000\n\n"
            while True:
                try:
                    async with asyncio.timeout(ALIVE_S):
                        moved = await queue.get()
                except TimeoutError:
                    yield ": alive\n\n"
                    continue
                if moved is None:
                    return
                yield f"event: moved\ndata: {_as_json(moved)}\n\n"

    async def _page(self, request: Request, page: str) -> Response:
        answer = await self._asked(request, page)
        return answer if isinstance(answer, Response) else _as_response(answer)

    async def _asked(self, request: Request, page: str) -> Answer | Response:
        words, form = request.scope["query_string"], None
        if len(words) > LONGEST_WORDS:
            return PlainTextResponse("That address is too long.\n", 414)
        if request.method == "POST":
            form = await _form(request)
            if form is None:
                return PlainTextResponse(f"A form may have {LONGEST_FORM_BYTES} bytes.\n", 413)
        query = [] if form is not None else _parsed(words.decode("latin-1"))
        board, name = request.path_params.get("board", ""), request.path_params.get("name", "")
        try:
            return await self._link.ask(page, board=board, name=name, query=query, form=form)
        except KanbanError as error:
            return PlainTextResponse(f"{error}\n", 503)
        except TimeoutError:
            return PlainTextResponse("The page takes too long; load it again.\n", 504)


async def static(request: Request) -> Response:
    """The style, the script, the mark."""
    name = request.path_params["name"]
    if name not in STATIC:
        return PlainTextResponse("There is no such file.\n", 404)
    content = (files("kanban_shards.web") / "static" / name).read_bytes()
    return Response(content, headers={"content-type": STATIC[name], "cache-control": "no-cache"})


def _as_response(answer: Answer) -> Response:
    if answer.location is not None:
        return RedirectResponse(answer.location, 303)
    return HTMLResponse(answer.body, answer.status)


def _download(place: FileAt) -> Response:
    """The copy that lies in the folder of its task. No link is followed there, and what is no file is not opened; this
    process has no database open, so whatever file it is, closing it takes no lock of SQLite's away."""
    try:
        with open_below(Path(place.base), Path(place.folder)) as folder:
            descriptor = folder.open_file(place.stored)
    except (OSError, ValueError, StorageError):
        lost = f"The copy of {place.filename!r} is not in the folder of its task, {place.folder}.\n"
        return PlainTextResponse(lost, 404)
    name = place.filename
    headers = {
        "content-disposition": f"attachment; filename=\"{_ascii(name)}\"; filename*=UTF-8''{quote(name, safe='')}",
        "content-length": str(os.fstat(descriptor).st_size),
        "content-security-policy": "default-src 'none'; sandbox",
    }
    return StreamingResponse(_chunks(descriptor), media_type="application/octet-stream", headers=headers)


def _chunks(descriptor: int) -> Iterator[bytes]:
    left = os.fstat(descriptor).st_size
    with open(descriptor, "rb") as file:
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk


def _ascii(name: str) -> str:
    return "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )


async def _form(request: Request) -> list[tuple[str, str]] | None:
    """What a form holds; None if it is too long."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > LONGEST_FORM_BYTES:
            return None
    return _parsed(content.decode("ascii", "replace"))


def _parsed(words: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(words, keep_blank_values=True, max_num_fields=1_000)
    except ValueError:
        return []


def _end(scope: Scope, which: str) -> tuple[str, int] | None:
    end = scope.get(which)
    return (str(end[0]), int(end[1])) if end and end[1] is not None else None


def _as_json(moved: Moved) -> str:
    return json.dumps({"position": moved.position, "tasks": moved.tasks, "trouble": moved.trouble})
