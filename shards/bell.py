"""The bell: "something is new", over a datagram socket, so that nobody polls.

It carries no content, and losing it costs latency, never correctness: whoever waits also looks by itself after a
while. The coordinator's bell wakes the daemon. A process that waits for the coordinator binds its own socket in the
board's folder: a gateway for a verdict, and every pass rings those of the profiles of which it decided something; a
``kanban watch`` for whatever happens, and every pass that decided something rings it.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import sys
from collections.abc import Collection, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from kanban_shards.storage.filesystems import FOR_ITS_USER, GROUP_READS, GROUP_WRITES, chmod_itself, file_mode

WAITING_PREFIX = "kanban-waiting."
SUFFIX = ".sock"

# bind() takes about 100 bytes of path; longer ones go through a descriptor of the folder, where there is /proc.
_PATH_LIMIT = 100


class Bell:
    """A bell at ``path``. Where none can be hung up (no sockets, no permission, a path that is too long) it never
    rings, and waiting is waiting out the time; ``problem`` says why then, and is None otherwise."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._socket: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        try:
            self._socket = _bind(path)
            self._identity = _identity(path)
        except OSError as error:
            self.problem = (error.strerror or str(error)).lower()

    @classmethod
    def waiting(cls, folder: Path, profile: str | None = None) -> Bell:
        """A bell in ``folder`` for the end of every pass that decided something, of ``profile`` if one is given."""
        whose = "" if profile is None else f"{_mark(profile)}."
        return cls(folder / f"{WAITING_PREFIX}{whose}{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}")

    def fileno(self) -> int:
        """The descriptor to select on; -1 if the bell never rings."""
        return self._socket.fileno() if self._socket else -1

    def is_there(self) -> bool:
        """Whether it hangs where it was hung up, so that somebody can ring it."""
        return self._socket is not None and _identity(self.path) == self._identity

    def wait(self, longest_s: float) -> bool:
        """Wait until the bell rings, at most ``longest_s`` seconds. Returns whether it rang."""
        watched = select.poll()  # select() refuses descriptors from 1,024 on, which a large gateway has
        if self._socket:
            watched.register(self._socket, select.POLLIN)
        rang = bool(watched.poll(longest_s * 1000))
        if rang:
            self.hush()
        return rang

    def hush(self) -> None:
        """Forget every ring so far."""
        while self._socket:
            try:
                self._socket.recv(16)
            except OSError:
                return

    def close(self) -> None:
        """Take the bell down; not another's that hangs at its place now."""
        if self._socket:
            is_there = self.is_there()
            self._socket.close()
            self._socket = None
            if is_there:
                _unlink(self.path)


class Ringer:
    """Rings bells. One socket for all of them; never waits for the other side. Where none can be made (no sockets, no
    descriptor left) nothing rings, and each ring tries again: what keeps it from being made may be over by then."""

    def __init__(self) -> None:
        self._is_closed = False
        self._socket = self._made()

    def ring(self, path: Path) -> bool:
        """Ring the bell at ``path``; returns whether somebody has one there. A dead waiter's bell is taken down."""
        self._socket = self._socket or self._made()
        if self._socket is None:
            return False
        try:
            with _Reach(path) as reachable:
                self._socket.sendto(b"!", reachable)
        except BlockingIOError:
            return True  # rung so often already that its queue is full
        except OSError as error:
            if error.errno == errno.ECONNREFUSED and path.name.startswith(WAITING_PREFIX):
                _unlink(path)
            return False
        return True

    def ring_decided(self, folder: Path, profiles: Collection[str]) -> None:
        """A pass over the board in ``folder`` decided changes of ``profiles``: ring those who wait for that."""
        decided = {_mark(profile) for profile in profiles}
        for path, mark in _waiting(folder):
            if mark is None or mark in decided:
                self.ring(path)

    def ring_next(self, folder: Path) -> None:
        """Nobody coordinates the board in ``folder`` now: ring everybody who may, to have a change decided."""
        for path, mark in _waiting(folder):
            if mark is not None:
                self.ring(path)

    def close(self) -> None:
        """Close the socket; no bell can be rung after that."""
        self._is_closed = True
        if self._socket is not None:
            self._socket.close()

    def _made(self) -> socket.socket | None:
        if self._is_closed:
            return None
        try:
            return _new_socket()
        except OSError:
            return None


class _Reach:
    """A spelling of ``path`` that is short enough for a socket address."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _PATH_LIMIT or sys.platform != "linux":
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *exc_info: object) -> None:
        if self._folder is not None:
            os.close(self._folder)


def _waiting(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The bells of those who wait, each with the mark of the profile that it is for, if it is for one."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith(WAITING_PREFIX):
            mark, dot, _ = name[len(WAITING_PREFIX) : -len(SUFFIX)].partition(".")
            yield folder / name, mark if dot else None


@lru_cache(maxsize=1024)
def _mark(profile: str) -> str:
    """Stands for a profile in the name of a bell, whose address has no room for 64 characters."""
    return blake2b(profile.encode(), digest_size=4).hexdigest()


def _new_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _bind(path: Path) -> socket.socket:
    bell = _new_socket()
    try:
        if os.path.lexists(path) and stat.S_ISSOCK(path.lstat().st_mode):
            _unlink(path)
        os.fchmod(bell.fileno(), FOR_ITS_USER)  # for the moment before the next line; Linux takes it over
        with _Reach(path) as reachable:
            bell.bind(reachable)
        group = file_mode(path.parent, GROUP_READS) & GROUP_READS
        chmod_itself(path, FOR_ITS_USER | (GROUP_WRITES if group else 0))  # ringing takes the permission to write
    except OSError:
        bell.close()
        raise
    return bell


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass
