"""Supervisor: tells the service manager of each state, as systemd reads it: one datagram to ``$NOTIFY_SOCKET``.

The protocol is that of sd_notify(3); without the variable, nothing is told to anybody.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Supervisor:
    """Whoever supervises this process, if anybody does. ``environ`` says where it listens and how often it wants a
    heartbeat; ``interval_s`` is half of that, infinite if it wants none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.interval_s = _interval_s(environ) if self._address else float("inf")
        self._next_sign = 0.0
        self._status = ""

    def ready(self) -> None:
        """This process works, or stands by."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """It ends now."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """What it does, in a line for people; told when it changes."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """A heartbeat; only as many of these are sent as are wanted."""
        now = time.monotonic()
        if now >= self._next_sign and self.interval_s < float("inf"):
            self._next_sign = now + self.interval_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
                told.setblocking(False)
                told.sendto(state.encode(), self._address)
        except OSError:  # a supervisor that does not listen is no reason to stop
            pass


def _address(named: str) -> str:
    """A path, or a name that lies in no folder; those begin with ``@`` in the variable and a NUL in the call."""
    if named.startswith("@"):
        return f"\0{named[1:]}"
    return named if named.startswith("/") else ""


def _interval_s(environ: Mapping[str, str]) -> float:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return float("inf")
    try:
        interval_s = int(environ.get("WATCHDOG_USEC", "")) / 2_000_000
    except ValueError:
        return float("inf")
    return interval_s if interval_s > 0 else float("inf")
