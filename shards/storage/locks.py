"""Exclusive locks between processes and threads, by ``flock`` on files that are nothing else.

The rules (docs/design/sqlite.md, law 2): a lock file is never unlinked, renamed or replaced; who gets the lock checks
that the file it locked is still the one at that path; a descriptor of its own per holder, so that threads exclude
each other too; and nothing of it crosses a fork.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
import threading
import time
import weakref
from pathlib import Path

from kanban_shards.errors import CannotOpen, FileBusy, LawBroken, NotAFile, Reentered, SecondName, cannot_open
from kanban_shards.storage import second_names
from kanban_shards.storage.filesystems import FOR_ITS_USER, GROUP_WRITES, file_mode, open_plain
from kanban_shards.storage.owners import acting_for

_every_lock: weakref.WeakSet[FileLock] = weakref.WeakSet()

# Between two attempts at a lock that is taken: the holder needs about one commit (1 ms).
FIRST_PAUSE_S = 0.0002
LONGEST_PAUSE_S = 0.01
# How often one attempt reopens a lock file that is being replaced.
MAX_REOPENS = 3
# A note names one process; what is longer was not left by this program.
NOTE_BYTES = 4096


class FileLock:
    """The lock that the file at ``path`` stands for. The file is made when it is first taken. Whoever may read the file
    may take the lock: that is how the coordinator takes those of shards that belong to other users. A link is not
    followed: who put it there would choose which file is locked, and gets the note."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.RLock()
        self._descriptor: int | None = None
        self._locked = False
        _every_lock.add(self)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock now."""
        return self._locked

    def require(self, what: str) -> None:
        """Law 2: ``what`` is done, only under this lock. Raises LawBroken if it is not held."""
        if not self.held:
            raise LawBroken(f"{what} only under its lock")

    def _require_this_thread(self) -> None:
        if not is_mine(self._threads):
            raise LawBroken(f"{self.path} was locked by another thread")

    def is_in_place(self) -> bool:
        """Whether the file that is locked is still the one at the path; where it is not, it excludes nobody. Only for
        the holder."""
        if self._descriptor is None:
            return False
        mine = os.fstat(self._descriptor)
        try:
            there = os.lstat(self.path)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never wait. Returns whether it is held now. Raises CannotOpen, NotAFile."""
        if is_mine(self._threads):
            return False
        try:
            return self._threads.acquire(blocking=False) and self._flock()
        finally:
            self._leave_unless_locked()

    def acquire(self, wait_s: float) -> None:
        """Take the lock, waiting at most ``wait_s`` seconds. Raises FileBusy after that, CannotOpen, NotAFile, and
        Reentered in a signal handler that interrupts the thread which has it."""
        if is_mine(self._threads):
            raise Reentered
        until_s = time.monotonic() + wait_s
        try:
            if not self._threads.acquire(timeout=wait_s):
                raise self._busy(wait_s)
            if not self._flock():
                self._flock_until(until_s, wait_s)
        finally:
            self._leave_unless_locked()

    def release(self) -> None:
        """Let go of the lock, if it is held. Only for the thread that took it."""
        if self._locked:
            self._require_this_thread()
            try:
                self._locked = False
            finally:
                self._leave_unless_locked()

    def close(self) -> None:
        """Release, and close the descriptor. The file stays. For the thread that has the lock, or while none has."""
        if not self._locked and (is_mine(self._threads) or not self._threads.acquire(blocking=False)):
            return  # it is being taken at this moment, by what a signal interrupted or by another thread
        self._require_this_thread()
        try:
            self._locked = False
            self._unlock()
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
        finally:
            self._threads.release()

    def write_note(self, text: str) -> None:
        """Leave ``text`` in the file for whoever finds the lock taken. Only for the holder."""
        if not self._locked or self._descriptor is None:
            raise LawBroken("a note belongs to the holder")
        data = text.encode()
        try:
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
        except OSError:  # a full disk, or another user's file: nobody is named then, but the lock holds all the same
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)

    def read_note(self) -> str:
        """What the present or last holder left in the file, NOTE_BYTES of it at most; empty if nothing. Whoever may
        take the lock may have written it."""
        try:
            descriptor = _open_as_it_lies(self.path, os.O_RDONLY)
        except (OSError, NotAFile, SecondName):
            return ""
        try:
            return os.read(descriptor, NOTE_BYTES).decode(errors="replace")
        except OSError:
            return ""
        finally:
            os.close(descriptor)

    def _leave_unless_locked(self) -> None:
        """Let the next thread in, unless this one keeps the lock. Ctrl-C may come at any line before this, so
        check what must be released."""
        if not self._locked and is_mine(self._threads):
            try:
                self._unlock()
            finally:
                self._threads.release()

    def _unlock(self) -> None:
        # Unlocking, not only closing: a child forked by other code of this process may have inherited the
        # descriptor, and closing our copy alone would leave the lock with that child for its lifetime.
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a filesystem without locks has nothing to unlock
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _busy(self, waited_s: float) -> FileBusy:
        return FileBusy(path=self.path.with_suffix(".db"), lock=self.path, waited_s=waited_s)

    def _flock_until(self, until_s: float, wait_s: float) -> None:
        import tenacity

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda taken: not taken),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S),
            stop=lambda _: time.monotonic() >= until_s,
        )
        try:
            attempts(self._flock)
        except tenacity.RetryError as error:
            raise self._busy(wait_s) from error

    def _flock(self) -> bool:
        for _ in range(MAX_REOPENS):
            if self._descriptor is None:
                self._descriptor = self._open_or_make()
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:  # a filesystem without locks
                raise cannot_open(self.path, error) from error
            if self.is_in_place():
                self._locked = True
                return True
            os.close(self._descriptor)
            self._descriptor = None
        return False

    def _open_or_make(self) -> int:
        try:
            for _ in range(MAX_REOPENS):
                try:
                    return _open(self.path)
                except FileNotFoundError:
                    with contextlib.suppress(FileExistsError):  # another process was first
                        return _make(self.path)
        except OSError as error:
            raise cannot_open(self.path, error) from error
        raise CannotOpen(path=self.path, problem="it is made and removed all the time")

    def _forget_after_fork(self) -> None:
        # Closing the inherited copy takes nothing from the parent: its flock lives until its own copy is closed.
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._locked = False
        self._threads = threading.RLock()


def is_mine(lock: threading.RLock) -> bool:
    """Whether this thread has ``lock``: asked, and not noted beside it, as a signal may come between taking and
    noting."""
    # What threading.Condition asks; the standard library's stubs leave it out.
    owned: bool = lock._is_owned()  # type: ignore[attr-defined]
    return owned


def is_taken(path: Path) -> bool:
    """Whether somebody holds the lock at ``path`` now. It takes permission to read, and makes no file.

    Raises CannotOpen, NotAFile.
    """
    try:
        descriptor = _open_as_it_lies(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot_open(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:  # a filesystem without locks
        raise cannot_open(path, error) from error
    finally:
        os.close(descriptor)
    return False


def descriptors_left() -> int:
    """How many files more this process may open; the whole limit where the system does not say how many are open."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        return most - len(os.listdir("/dev/fd"))
    except OSError as error:
        return 0 if error.errno in (errno.EMFILE, errno.ENFILE) else most


def _open(path: Path) -> int:
    try:
        return _open_as_it_lies(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return _open_as_it_lies(path, os.O_RDONLY)  # which takes the lock as well


def _open_as_it_lies(path: Path, access: int) -> int:
    """A descriptor of the lock at ``path``. What is closed gives up the locks that this process has in it, and what is
    noted in it is written over what it holds: so no database by the name of a lock is opened. Raises SecondName,
    NotAFile, OSError."""
    found = os.lstat(path)
    if found.st_nlink != 1 and stat.S_ISREG(found.st_mode):
        second_names.check(path, found)
        if found.st_size > NOTE_BYTES:
            raise SecondName(path=path, other="a file elsewhere")
    return open_plain(path, access | os.O_NOFOLLOW)


def _make(path: Path) -> int:
    with acting_for(path):  # a lock that only root can open would lock its user out
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FOR_ITS_USER)
    os.fchmod(descriptor, file_mode(path.parent, GROUP_WRITES))  # the umask may have narrowed it
    return descriptor


def _forget_all_after_fork() -> None:
    for lock in list(_every_lock):
        lock._forget_after_fork()


os.register_at_fork(after_in_child=_forget_all_after_fork)
