"""Who may look: which names the server answers to, and whose browser it is. Runs in the HTTP process.

On this machine's own address a page is for the user who serves it: a board's files are that user's alone (0600), and a
port on the loopback is open to every user of the machine, so the server asks the system whose socket the other end is.
Everybody else, and every other machine, needs the token that is in the address that ``kanban web`` prints.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
COOKIE = "kanban_token"
# States of a connection in /proc/net/tcp in which its row says whose it is.
_ESTABLISHED = "01"
_ROOT = 0


class Access:
    """What the server that listens on ``host`` and ``port`` asks of a request. ``token``: what lets anybody in."""

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self.host = host
        self.port = port
        self.token = token or secrets.token_urlsafe(24)
        self.is_local = is_loopback(host)
        self._names = {f"{name}:{port}" for name in self._own_names()}
        if port == 80:
            self._names |= set(self._own_names())

    def answers_to(self, host_header: str | None) -> bool:
        """Whether a request for this name is meant for this server. A page elsewhere whose name was made to lead here
        (DNS rebinding) asks for its own name. On other addresses than the loopback a number is a name, too: nobody can
        make one lead elsewhere."""
        if host_header is None:
            return False
        name = host_header.lower()
        return name in self._names or (not self.is_local and _is_number(name, self.port))

    def is_same_origin(self, headers: Iterable[tuple[str, str]], host_header: str) -> bool:
        """Whether what is sent comes from a page of this server: as the browser says, in one of two ways."""
        given = dict(headers)
        if "sec-fetch-site" in given:
            return given["sec-fetch-site"] == "same-origin"
        return given.get("origin") == f"http://{host_header}"

    def is_asked_by_a_page_elsewhere(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of another origin asks, as the browser says, and not a person who follows a link: it could not
        read the answer, but have the server make it."""
        return (
            headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-dest") != "document"
        )

    def lets_in(self, cookie: str | None, client: tuple[str, int] | None, server: tuple[str, int] | None) -> bool:
        """Whether who asks may: with the token, or as this user on this machine."""
        if cookie is not None and self.is_token(cookie):
            return True
        return self.is_local and owner_of(client, server) in (os.getuid(), _ROOT)

    def is_token(self, given: str) -> bool:
        """Whether that is the token."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self.host.strip("[]")
        if _is_address(host) and ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def address_with_token(self) -> str:
        """The same, for a browser that is not let in without."""
        return f"{self.address}?token={self.token}"

    def _own_names(self) -> list[str]:
        if self.is_local:
            return [*LOOPBACK_NAMES, self.host.lower()]
        return [self.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback


def owner_of(client: tuple[str, int] | None, server: tuple[str, int] | None) -> int | None:
    """The user whose socket is the other end of a connection on this machine; None where the system does not tell."""
    if client is None or server is None or sys.platform != "linux":
        return None
    try:
        here, there = _as_in_proc(client), _as_in_proc(server)
        table = "/proc/self/net/tcp6" if ":" in client[0] else "/proc/self/net/tcp"
        rows = Path(table).read_text("ascii").splitlines()[1:]
    except (OSError, ValueError):
        return None
    for row in rows:
        words = row.split()
        if words[1:4] == [here, there, _ESTABLISHED]:
            return int(words[7])
    return None


def _as_in_proc(end: tuple[str, int]) -> str:
    """An address and a port as /proc/net/tcp spells them: words of four bytes in the machine's own order."""
    packed = ipaddress.ip_address(end[0]).packed
    words = [packed[place : place + 4] for place in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{end[1]:04X}"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_number(name: str, port: int) -> bool:
    host, _, given = name.rpartition(":")
    return (given == str(port) and _is_address(host)) or (port == 80 and _is_address(name))
