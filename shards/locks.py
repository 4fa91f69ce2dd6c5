"""Exclusive locks between processes and threads, by ``flock`` on files that are nothing else.

The rules (docs/design.md, law 2): the lock file is never unlinked, renamed or replaced; whoever gets the lock checks
that the file it locked is still the one at that path; a descriptor of its own per holder, so that threads exclude
each other too; and nothing of it crosses a fork.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import threading
import weakref
from pathlib import Path

from shards.errors import CannotOpen, FileBusy, TooManyFiles

_every_lock: weakref.WeakSet[FileLock] = weakref.WeakSet()

# Between two attempts at a lock that is taken: the holder needs about one commit (1 ms).
FIRST_PAUSE_S = 0.0002
LONGEST_PAUSE_S = 0.01


class FileLock:
    """The lock that the file at ``path`` stands for. The file is made when it is first taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.Lock()
        self._descriptor: int | None = None
        self._locked = False
        _every_lock.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock now."""
        return self._locked

    def is_in_place(self) -> bool:
        """Whether the file that is locked is still the one at the path; where it is not, it excludes nobody. Only for
        the holder."""
        mine = os.fstat(self._descriptor)
        try:
            there = os.stat(self.path)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never wait. Returns whether it is held now. Raises CannotOpen."""
        if not self._threads.acquire(blocking=False):
            return False
        try:
            return self._flock()
        finally:
            if not self._locked:
                self._threads.release()

    def acquire(self, wait_s: float) -> None:
        """Take the lock, waiting at most ``wait_s`` seconds. Raises FileBusy after that, CannotOpen."""
        if self.try_acquire():
            return
        import tenacity

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda taken: not taken),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=tenacity.stop_after_delay(wait_s),
        )
        try:
            attempts(self.try_acquire)
        except tenacity.RetryError as error:
            raise FileBusy(path=self.path.with_suffix(".db"), lock=self.path, waited_s=wait_s) from error

    def release(self) -> None:
        """Let go of the lock, if it is held."""
        if self._locked:
            self._locked = False
            # Unlocking, not only closing: a child forked by other code of this process may have inherited the
            # descriptor, and closing our copy alone would leave the lock with that child for its lifetime.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._threads.release()

    def close(self) -> None:
        """Release, and close the descriptor. The file stays."""
        self.release()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write_note(self, text: str) -> None:
        """Leave ``text`` in the file for whoever finds the lock taken. Only for the holder."""
        assert self._locked, "a note belongs to the holder"
        data = text.encode()
        try:
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
        except OSError:  # a full disk: nobody is named then, but the lock holds all the same
            os.ftruncate(self._descriptor, 0)

    def read_note(self) -> str:
        """What the present or last holder left in the file; empty if nothing."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _flock(self) -> bool:
        while True:
            if self._descriptor is None:
                self._descriptor = self._open()
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:  # a filesystem without locks
                raise CannotOpen(path=self.path, problem=_plain(error)) from error
            if self.is_in_place():
                self._locked = True
                return True
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise TooManyFiles(path=self.path, limit=most_descriptors()) from error
            raise CannotOpen(path=self.path, problem=_plain(error)) from error

    def _forget_after_fork(self) -> None:
        # Closing the inherited copy takes nothing from the parent: its flock lives until its own copy is closed.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._locked = False
        self._threads = threading.Lock()


def most_descriptors() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def descriptors_left() -> int:
    """How many files more this process may open; the whole limit where the system does not say how many are open."""
    try:
        return most_descriptors() - len(os.listdir("/dev/fd"))
    except OSError as error:
        return 0 if error.errno in (errno.EMFILE, errno.ENFILE) else most_descriptors()


def _plain(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its folder does not exist"
    return (error.strerror or str(error)).lower()


def _forget_all_after_fork() -> None:
    for lock in list(_every_lock):
        lock._forget_after_fork()


os.register_at_fork(after_in_child=_forget_all_after_fork)
