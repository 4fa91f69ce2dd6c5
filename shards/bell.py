"""The bell: "something is new", over a datagram socket, so that nobody polls.

It carries no content but whether somebody waits, and losing it costs latency, never correctness: whoever waits also
looks by itself after a while. The coordinator's bell wakes the daemon. A process that waits for the coordinator binds
its own socket in the board's folder: a gateway for a verdict, which rings the daemon from there, and is rung when that
looked at its shard; a ``kanban watch`` for whatever happens, and every pass that decided something rings it.
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

import msgspec

from kanban_shards.storage.filesystems import FOR_ITS_USER, GROUP_READS, GROUP_WRITES, chmod_itself, file_mode

WAITING_PREFIX = "kanban-waiting."
SUFFIX = ".sock"
# What a ring says: something was written, and, of who rings from a bell of its own, that it waits.
WRITTEN = b"."
WAITS = b"!"
# So many rings are heard at a time; a queue holds fewer, and somebody may fill it as fast as it is emptied.
HEARD_AT_ONCE = 1_024
# So many rings a queue takes where it takes the fewest (Linux, net.unix.max_dgram_qlen).
QUEUE = 10

# bind() takes about 100 bytes of path; longer ones go through a descriptor of the folder, where there is /proc.
_PATH_LIMIT = 100


class Rings(msgspec.Struct):
    """What a bell heard. ``count``: how many rings; ``waits``: somebody waits; ``waiting``: the names of their bells;
    ``unnamed``: somebody may wait whose bell is not known, also because a full queue takes no more."""

    count: int = 0
    waits: bool = False
    waiting: set[str] = msgspec.field(default_factory=set)
    unnamed: bool = False


class Bell:
    """A bell at ``path``. Where none can be hung up (no sockets, no permission, a path that is too long) it never
    rings, and waiting is waiting out the time; ``problem`` says why then, and is None otherwise.

    ``is_expected``: whether the last ``Ringer.call`` was heard, so that this bell will be rung."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self._socket: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._watched = select.poll()  # select() refuses descriptors from 1,024 on, which a large gateway has
        self.is_expected = False
        try:
            self._socket = _bind(path)
            self._identity = _identity(path)
            self._watched.register(self._socket, select.POLLIN)
        except OSError as error:
            self.problem = (error.strerror or str(error)).lower()

    @classmethod
    def waiting(cls, folder: Path, profile: str | None = None) -> Bell:
        """A bell in ``folder`` for the end of every pass that decided something, of ``profile`` if one is given."""
        whose = "" if profile is None else f"{mark_of(profile)}."
        return cls(folder / f"{WAITING_PREFIX}{whose}{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}")

    def fileno(self) -> int:
        """The descriptor to select on; -1 if the bell never rings."""
        return self._socket.fileno() if self._socket else -1

    def is_there(self) -> bool:
        """Whether it hangs where it was hung up, so that somebody can ring it."""
        return self._socket is not None and _identity(self.path) == self._identity

    def wait(self, longest_s: float) -> bool:
        """Wait until the bell rings, at most ``longest_s`` seconds. Returns whether it rang."""
        rang = bool(self._watched.poll(longest_s * 1000))
        if rang:
            self.hush()
        return rang

    def hush(self) -> None:
        """Forget every ring so far."""
        for _ in range(HEARD_AT_ONCE):
            if self._socket is None:
                return
            try:
                self._socket.recv(16)
            except OSError:
                return

    def rings(self) -> Rings:
        """Every ring so far, of a coordinator's bell."""
        heard = Rings()
        for _ in range(HEARD_AT_ONCE):
            try:
                said, sender = self._socket.recvfrom(16) if self._socket else (b"", None)
            except OSError:
                break
            if not said:
                break
            heard.count += 1
            if said == WAITS:
                name = _name_of_waiting(sender)
                heard.waits = True
                heard.unnamed |= name is None
                heard.waiting |= {name} if name is not None else set()
        heard.unnamed |= heard.count >= QUEUE
        return heard

    def send(self, address: str) -> None:
        """Say to the bell at ``address`` that whoever has this one waits. Raises OSError."""
        if self._socket is None:
            raise OSError(errno.EBADF, self.problem or "it is closed")
        self._socket.sendto(WAITS, address)

    def close(self) -> None:
        """Take the bell down; not another's that hangs at its place now."""
        if self._socket:
            is_there = self.is_there()
            self._watched.unregister(self._socket)
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
        return self._send(path, WRITTEN) is not False

    def call(self, path: Path, bell: Bell) -> bool:
        """Ring the coordinator's bell at ``path`` as one who waits for ``bell``, which is rung then when the next pass
        is over; returns whether somebody has one there. Where its queue is full, ``bell`` is not expected to ring:
        call again soon."""
        heard = self._send(path, WAITS, bell)
        bell.is_expected = bool(heard)
        return heard is not False

    def _send(self, path: Path, said: bytes, sender: Bell | None = None) -> bool | None:
        """Whether somebody has a bell at ``path``; None if it was rung so often already that its queue is full."""
        try:
            with _Reach(path) as reachable:
                if sender is not None and sender.fileno() >= 0:
                    sender.send(reachable)
                    return True
                self._socket = self._socket or self._made()
                if self._socket is None:
                    return False
                self._socket.sendto(said, reachable)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ECONNREFUSED and path.name.startswith(WAITING_PREFIX):
                _unlink(path)
            return False
        return True

    def ring_decided(self, folder: Path, profiles: Collection[str]) -> None:
        """A pass over the board in ``folder`` decided changes of ``profiles``: ring those who wait for that."""
        decided = {mark_of(profile) for profile in profiles}
        for path, mark in waiting_in(folder):
            if mark is None or mark in decided:
                self.ring(path)

    def ring_next(self, folder: Path) -> None:
        """Nobody coordinates the board in ``folder`` now: ring everybody who may, to have a change decided."""
        for path, mark in waiting_in(folder):
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


def waiting_in(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The bells of those who wait, each with the mark of the profile that it is for, if it is for one."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith(WAITING_PREFIX):
            yield folder / name, mark_in(name)


def mark_in(name: str) -> str | None:
    """The mark of the profile for which the bell of this name is, if it is for one."""
    mark, dot, _ = name[len(WAITING_PREFIX) : -len(SUFFIX)].partition(".")
    return mark if dot else None


@lru_cache(maxsize=1024)
def mark_of(profile: str) -> str:
    """Stands for a profile in the name of a bell, whose address has no room for 64 characters."""
    return blake2b(profile.encode(), digest_size=4).hexdigest()


def _name_of_waiting(address: object) -> str | None:
    """The name of the bell in the board's folder that rang from ``address``, whatever folder that says: whoever may
    ring can bind a socket anywhere. None if that is none of a waiting process."""
    name = os.path.basename(address) if isinstance(address, str) else ""
    return name if name.startswith(WAITING_PREFIX) and name.endswith(SUFFIX) else None


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
