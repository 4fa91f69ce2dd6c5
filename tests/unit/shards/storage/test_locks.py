"""Law 2: a lock file stands for one lock, and only for that."""

from __future__ import annotations

import _thread
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kanban_shards.errors import CannotOpen, FileBusy, LawBroken, NotAFile, Reentered
from kanban_shards.storage import locks
from kanban_shards.storage.locks import FileLock, is_taken

HOLD = (
    "import sys; from pathlib import Path; from kanban_shards.storage.locks import FileLock; "
    "lock = FileLock(Path(sys.argv[1])); "
    "lock.acquire(5); print('held', flush=True); sys.stdin.read()"
)
# The child lives on after the parent, which held the lock when it forked, has let go.
FORK = """
import os, signal, sys
from pathlib import Path
from kanban_shards.storage.locks import FileLock, is_taken
lock = FileLock(Path(sys.argv[1]))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
lock.acquire(5)
child = os.fork()
if child == 0:
    assert not lock.held
    assert not lock.try_acquire(), "the parent holds it"
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
assert lock.held
signal.sigwait({signal.SIGUSR1})
lock.close() if sys.argv[2] == "close" else os._exit(9)
print("let go", flush=True)
os.waitpid(child, 0)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kanban.amy.lock"


def test_one_holder(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.try_acquire()
    assert (first.held, second.held) == (True, False)
    assert not second.try_acquire()
    assert not first.try_acquire(), "a lock is not taken twice, not even by its holder"
    first.release()
    assert second.try_acquire()
    second.close()
    first.close()
    assert path.exists(), "a lock file is never unlinked"


def test_a_busy_lock_says_so(path: Path) -> None:
    holder, late = FileLock(path), FileLock(path)
    holder.acquire(0)
    with pytest.raises(FileBusy, match=r"kanban\.amy\.db stayed locked .*kanban\.amy\.lock"):
        late.acquire(0.01)
    holder.release()
    late.acquire(0)
    late.close()
    holder.close()


def test_threads_exclude_each_other(path: Path) -> None:
    """Two threads of one process are as much two as two processes are."""
    lock, inside, most = FileLock(path), 0, 0

    def enter() -> None:
        nonlocal inside, most
        for _ in range(50):
            lock.acquire(30)
            inside += 1
            most = max(most, inside)
            inside -= 1
            lock.release()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lock.close()
    assert most == 1


def test_a_replaced_lock_file_is_noticed(path: Path) -> None:
    """Whoever gets the lock of a file that is no longer the one at its path takes the lock of that one instead."""
    stale = FileLock(path)
    stale.acquire(0)
    stale.release()
    inode = path.stat().st_ino
    path.rename(path.with_name("moved away"))
    path.touch()
    assert path.stat().st_ino != inode
    stale.acquire(0)
    newcomer = FileLock(path)
    assert not newcomer.try_acquire()
    stale.close()
    assert newcomer.try_acquire()
    newcomer.close()


def test_a_removed_lock_file_is_made_again(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire(0)
    lock.release()
    path.unlink()
    lock.acquire(0)
    assert path.exists()
    other = FileLock(path)
    assert not other.try_acquire()
    lock.close()
    other.close()


def test_a_lock_that_could_not_be_opened_is_free_later(tmp_path: Path) -> None:
    """Trouble with the file does not leave the lock taken by nobody."""
    lock = FileLock(tmp_path / "later" / "x.lock")
    with pytest.raises(CannotOpen, match="folder does not exist"):
        lock.try_acquire()
    (tmp_path / "later").mkdir()
    assert lock.try_acquire()
    lock.close()


def test_a_filesystem_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused with a sentence."""

    def flock(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    lock = FileLock(path)
    with monkeypatch.context() as patched, pytest.raises(CannotOpen, match="no locks available"):
        patched.setattr("fcntl.flock", flock)
        lock.acquire(0)
    lock.acquire(0)
    lock.close()


def test_a_killed_holder_lets_go(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        lock = FileLock(path)
        assert not lock.try_acquire()
        holder.kill()
        holder.wait()
        lock.acquire(0)
        lock.close()


@pytest.mark.parametrize("how", ["close", "die"])
def test_a_forked_child_keeps_no_lock(path: Path, how: str) -> None:
    """The child of a fork holds nothing, while its parent holds the lock and after it let go or died."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORK, path, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "forked\n"
        lock = FileLock(path)
        assert not lock.try_acquire(), "the child's start took nothing from its parent"
        process.send_signal(signal.SIGUSR1)
        if how == "close":
            assert process.stdout.readline() == "let go\n"
        else:
            assert process.wait() == 9
        assert lock.try_acquire()
        lock.close()
        process.stdin.close()
        process.stdin = None
    assert process.returncode == (0 if how == "close" else 9)


def test_notes(path: Path) -> None:
    """The holder's note replaces a longer one whole; only the holder leaves one."""
    lock = FileLock(path)
    assert lock.read_note() == ""
    with pytest.raises(LawBroken):
        lock.write_note("not held")
    lock.acquire(0)
    lock.write_note("a long note")
    lock.write_note("ü")
    assert lock.read_note() == "ü"
    os.ftruncate(lock._descriptor, 0)
    assert lock.read_note() == ""
    lock.close()


def test_asking_whether_a_lock_is_taken(tmp_path: Path) -> None:
    """It makes no file, needs no permission to write, and leaves the lock to others."""
    path = tmp_path / "x.lock"
    assert is_taken(path) is False
    assert not path.exists()
    lock = FileLock(path)
    assert lock.try_acquire()
    path.chmod(0o400)
    assert is_taken(path) is True
    lock.release()
    assert is_taken(path) is False
    assert lock.try_acquire()
    lock.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["pipe", "folder", "socket", "a link to nothing", "a link", "a link to a device"])
def test_what_is_no_file_is_no_lock(path: Path, what: str) -> None:
    """Nothing is waited for, made, locked or read through it; and it is over when it is moved away."""
    other = path.with_name("other")
    other.write_text("another's")
    match what:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            os.mknod(path, 0o600 | stat.S_IFSOCK)
        case _:
            path.symlink_to({"a link": other, "a link to nothing": "gone"}.get(what, "/dev/zero"))
    lock = FileLock(path)
    for call in (lock.try_acquire, lambda: lock.acquire(0.01), lambda: is_taken(path)):
        with pytest.raises(NotAFile, match=r"\.lock is a folder, a pipe, a link or a device .* the next call"):
            call()
    assert lock.read_note() == ""
    assert (other.read_text(), path.with_name("gone").exists()) == ("another's", False)
    path.rename(path.with_name("moved away"))
    assert lock.try_acquire()
    lock.close()


def test_a_link_that_takes_the_place_of_a_lock_is_not_that_lock(path: Path) -> None:
    """Not even one to the file that is locked: who follows none would lock another file."""
    lock = FileLock(path)
    lock.acquire(0)
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")
    assert not lock.is_in_place()
    lock.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("always", ["made and removed", "replaced"])
def test_a_lock_file_that_never_stays_is_not_tried_for_ever(path: Path, monkeypatch, always: str) -> None:
    def missing(*given: object) -> None:
        raise FileNotFoundError

    def exists(*given: object) -> None:
        raise FileExistsError

    lock = FileLock(path)
    if always == "replaced":
        monkeypatch.setattr(FileLock, "is_in_place", lambda lock: False)
        assert not lock.try_acquire()
        assert lock._descriptor is None
    else:
        monkeypatch.setattr(locks, "_open", missing)
        monkeypatch.setattr(locks, "_make", exists)
        with pytest.raises(CannotOpen, match="made and removed all the time"):
            lock.try_acquire()
    monkeypatch.undo()
    assert lock.try_acquire()
    lock.close()


@pytest.mark.parametrize("call", ["try_acquire", "acquire"])
@pytest.mark.parametrize("comes", ["in the middle", "at the end"])
def test_whoever_is_interrupted_keeps_no_lock(path: Path, monkeypatch, call: str, comes: str) -> None:
    """Ctrl-C comes when the lock is had among the threads, or even among the processes, and that is not noted yet."""
    lock, other = FileLock(path), FileLock(path)
    taken = fcntl.flock
    if comes == "in the middle":
        monkeypatch.setattr(lock, "_threads", Interrupted(lock._threads))
    else:
        monkeypatch.setattr(fcntl, "flock", lambda *how: (taken(*how), _thread.interrupt_main(), time.sleep(0)))
    with pytest.raises(KeyboardInterrupt):
        getattr(lock, call)(*[0.1] * (call == "acquire"))
    monkeypatch.undo()
    assert not lock.held
    assert other.try_acquire()
    other.close()
    assert lock.try_acquire()
    lock.close()


class Interrupted:
    """A lock of threads: Ctrl-C comes when it is taken, and before whoever takes it knows."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._is_owned, self.release = lock._is_owned, lock.release

    def acquire(self, **how: object) -> bool:
        self._lock.acquire(**how)
        raise KeyboardInterrupt


def test_a_handler_that_interrupts_the_holder_takes_nothing(path: Path) -> None:
    """It would wait for what it interrupts, or use what is not finished."""
    lock = FileLock(path)
    lock.acquire(0)
    assert not lock.try_acquire()
    with pytest.raises(Reentered):
        lock.acquire(0)
    lock.close()
    assert not is_taken(path)
