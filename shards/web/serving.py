"""Serving: the port, the sentences at the beginning and the end, and the browser that is opened. Runs in the HTTP
process."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import uvicorn

from kanban_shards.errors import PortTaken
from kanban_shards.paths import BoardPaths
from kanban_shards.web.access import Access
from kanban_shards.web.app import make_app
from kanban_shards.web.link import Link
from kanban_shards.web.wire import Setup

BACKLOG = 128
# Whoever is in the middle of something when the server ends.
ENDING_S = 3


class Say(Protocol):
    """How a sentence is printed."""

    def __call__(self, said: object = "", *, fg: str | None = None, err: bool = False) -> None:
        """Print ``said``."""


@dataclass(frozen=True)
class Served:
    """What is served. ``paths``: the board that is shown first. ``root``: the home whose other boards are shown, too;
    None for none. ``profile``: who writes; None shows only."""

    paths: BoardPaths
    root: Path | None
    profile: str | None

    def setup(self) -> Setup:
        """What the reader is told."""
        root = None if self.root is None else str(self.root)
        return Setup(str(self.paths.folder), self.paths.slug, root, self.profile, secrets.token_urlsafe(24))


class Server(uvicorn.Server):
    """One that lets the browsers that follow go as soon as it is to end, since they would never go by themselves."""

    def __init__(self, config: uvicorn.Config, link: Link) -> None:
        super().__init__(config)
        self._link = link

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; this is a signal's handler."""
        super().handle_exit(sig, frame)
        self._link.end_following_soon()


def serve(served: Served, host: str, port: int, opens: bool, say: Say) -> None:
    """Serve until interrupted. ``port``: 0 takes a free one. ``opens``: open it in this machine's browser. Raises
    PortTaken."""
    with _listening(host, port) as listening:
        access = Access(host, listening.getsockname()[1])
        _announce(served, access, say)
        logging.basicConfig(format="kanban web: %(message)s", level=logging.WARNING)
        link = Link(served.setup())
        config = uvicorn.Config(
            make_app(link, access),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody between is believed to say who asks
            ws="none",
            timeout_graceful_shutdown=ENDING_S,
        )
        server = Server(config, link)
        if opens:
            webbrowser.open(access.address if access.is_local else access.address_with_token)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
    say("The page is no longer served.", err=True)


def _announce(served: Served, access: Access, say: Say) -> None:
    what = f"to be read and changed as {served.profile}" if served.profile else "to be read"
    if access.is_local:
        say(f"The board {served.paths.slug} is at {access.address}, {what}. Ctrl-C ends it.")
        say(
            f"Who is not let in there, such as another user of this machine, needs {access.address_with_token}",
            err=True,
        )
    else:
        say(f"The board {served.paths.slug} is at {access.address_with_token}, {what}. Ctrl-C ends it.")
    if not access.is_local:
        may = "change" if served.profile else "read"
        warning = (
            f"Whoever reaches it (it listens on {access.host}) and has this address can {may} the board, and nothing "
            "on the way is encrypted. Put a proxy with TLS before it, or use a tunnel (ssh -L), where others share the "
            "network."
        )
        say(warning, fg="yellow", err=True)


def _listening(host: str, port: int) -> socket.socket:
    bare = host.strip("[]")
    try:
        ((family, kind, protocol, _, address), *_) = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(host=host, port=port, problem=_problem(error)) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        raise PortTaken(host=host, port=port, problem=_problem(error)) from error
    return made


def _problem(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "another process does"
    return (getattr(error, "strerror", None) or str(error)).lower()
