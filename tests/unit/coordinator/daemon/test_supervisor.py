"""What a supervisor is told, over a real socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kanban_shards.coordinator.daemon.supervisor import Supervisor


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_it_is_told(tmp_path: Path, is_abstract: bool) -> None:
    """Each state is a datagram; a line that did not change is not said again."""
    name = f"@kanban-{os.getpid()}-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1) if is_abstract else name)
        listening.settimeout(30)
        supervisor = Supervisor({"NOTIFY_SOCKET": name})
        supervisor.ready()
        for text in ("a", "a", "b"):
            supervisor.status(text)
        supervisor.stopping()
        told = [listening.recv(100).decode() for _ in range(4)]
    assert told == ["READY=1", "STATUS=a", "STATUS=b", "STOPPING=1"]


def test_signs_of_life_come_at_half_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.setblocking(False)
        supervisor = Supervisor({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())})
        assert supervisor.interval_s == 5
        for now, heartbeats in ((100.0, 1), (104.9, 0), (105.0, 1), (300.0, 1)):
            monkeypatch.setattr("time.monotonic", lambda now=now: now)
            supervisor.alive()
            for _ in range(heartbeats):
                assert listening.recv(100) == b"WATCHDOG=1"
            with pytest.raises(BlockingIOError):
                listening.recv(100)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "vsock:2:1"},
        {"NOTIFY_SOCKET": "/nobody/there", "WATCHDOG_USEC": "x"},
        {"NOTIFY_SOCKET": "/nobody/there", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_listens(environ: dict[str, str]) -> None:
    supervisor = Supervisor(environ)
    assert supervisor.interval_s == float("inf")
    supervisor.ready()
    supervisor.alive()
    supervisor.status("x")
    supervisor.stopping()
