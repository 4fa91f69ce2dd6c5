"""The coordinator's lock: whoever makes passes holds it, so there is never more than one coordinator of a board."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from kanban_shards.bell import Ringer
from kanban_shards.coordinator.errors import LockHeld, NotCoordinator
from kanban_shards.coordinator.filelocks import flock_pids
from kanban_shards.coordinator.processes import described, number_in_its_space
from kanban_shards.errors import CoordinatorRunning, FileBusy, KanbanError
from kanban_shards.moments import CALENDAR_ENDS_MS
from kanban_shards.paths import BoardPaths
from kanban_shards.processes import pid_space, process_state, running_system
from kanban_shards.storage.locks import FileLock, is_taken

DAEMON = "daemon"
COMMAND = "kanban-merge"
GATEWAY = "gateway"
# How long a command waits: a gateway's own pass takes milliseconds; a coordinator that stays is not waited for.
LOCK_WAIT_S = 5.0
ROLES = (DAEMON, COMMAND, GATEWAY)
# Has the lock and did not say what for: no process of this program, or one that says so in a moment.
STRANGER = "stranger"
# A process that asks who has the lock takes it, shared, for less than a moment; who has it longer keeps it.
ASKING_S = 0.02
LARGEST_PID = 2**31
LONGEST_HOST = 255

# What the note says besides, whoever holds the lock: how board and ledger were left (coordinator/merge/left_files.py),
# and what keeps this host from the ledger that it shares with others (coordinator/merge/outage.py).
LEFT = ("board", "ledger")
OUTAGE = "outage"
KEPT = (*LEFT, OUTAGE)


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock: ``role`` is one of DAEMON, COMMAND, GATEWAY, STRANGER; ``since_ms`` is when it was taken,
    None for a stranger.

    A lock is one kernel's, and ``host`` a name that each container may have of its own; so ``system`` and ``pid_space``
    (coordinator/processes.py) tell whether the holder is on this machine, and whether ``pid`` means anything here.
    """

    pid: int
    host: str
    role: str
    since_ms: int | None
    system: str = ""
    pid_space: str = ""

    def __str__(self) -> str:
        if self.since_ms is None:
            return f"process {described(self.pid)}, which did not say that it merges"
        since = datetime.fromtimestamp(self.since_ms / 1000).isoformat(sep=" ", timespec="seconds")
        return f"{self.role} process {self.pid} on {self.host}, since {since}"

    def describe(self) -> str:
        """Who it is, and what hinders it from making passes if that can be seen from here."""
        if not self.is_on_this_machine():
            return f"{self} (another host than this one, {socket.gethostname()}; look for it there)"
        if not self.shares_pids():
            return f"{self} (in another container of this machine, where that is its number)"
        if is_stopped(self.pid):
            return (
                f"{self}, and it is stopped: `kill -CONT {self.pid}` lets it go on, and after `kill -9 {self.pid}` the "
                "next coordinator takes over"
            )
        return str(self)

    def why(self) -> str:
        """Why nobody else makes a pass, as a clause."""
        if self.role == STRANGER:
            return f"the coordinator's lock is held by {self.describe()}; unless that process ends, nothing is merged"
        return f"the coordinator is the {self.describe()}"

    def is_on_this_machine(self) -> bool:
        """Whether it runs under the kernel of this process; by the name of the host where the system tells no more."""
        here = running_system()
        return self.system == here if self.system and here else self.host == socket.gethostname()

    def shares_pids(self) -> bool:
        """Whether ``pid`` is the number of a process here."""
        here = pid_space()
        return self.is_on_this_machine() and (self.pid_space == here or not (self.pid_space and here))

    def is_gone(self) -> bool:
        """Whether it was a process of this machine that is no more: then who holds the lock now said nothing yet."""
        if not self.shares_pids():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's
            pass
        return process_state(self.pid) in ("Z", "X")


def is_stopped(pid: int) -> bool:
    """Whether the process was stopped by a signal or a debugger; not known, and so False, where there is no /proc."""
    return process_state(pid) in ("T", "t")


def write_note(lock: FileLock, role: str) -> Holder:
    """Write into the lock file who holds it now. ``lock`` is held by the caller."""
    now_ms = time.time_ns() // 1_000_000
    holder = Holder(os.getpid(), socket.gethostname(), role, now_ms, running_system(), pid_space())
    found = note_in(lock)
    lock.write_note(json.dumps({**asdict(holder), **{name: found[name] for name in KEPT if name in found}}))
    return holder


def holder(paths: BoardPaths) -> Holder | None:
    """Who holds the lock, or None if it is free or nobody said so yet. Reads only. Raises CannotOpen, NotAFile.

    Whoever may read the lock file may take the lock, so the note in it is believed only where the system names nobody
    else.
    """
    path = paths.coordinator_lock
    taken, pids = is_taken(path), flock_pids(path)
    if not taken and pids:  # shared: others may share it, and nobody may take it
        time.sleep(ASKING_S)
        pids &= flock_pids(path)
    if not taken and not pids:
        return None
    said = _holder_in(FileLock(path).read_note()) if taken else None
    if not pids or (said is not None and not said.is_on_this_machine()):
        return said
    if said is not None and said.shares_pids():
        if said.pid in pids:
            return said
    elif said is not None:
        for pid in pids:
            if number_in_its_space(pid) == said.pid:
                return replace(said, pid=pid, pid_space=pid_space())  # as it is called here
    return Holder(min(pids), socket.gethostname(), STRANGER, None, running_system(), pid_space())


def take(paths: BoardPaths, role: str, wait_s: float) -> FileLock:
    """Take the lock and announce it, waiting at most ``wait_s`` seconds: a gateway's pass takes milliseconds.

    Raises CoordinatorRunning with the holder, its role, and since when (``since_ms``), which are None if it did not say
    them yet; LockHeld if it is none of this program's; CannotOpen, NotAFile.
    """
    lock = FileLock(paths.coordinator_lock)
    try:
        if not lock.try_acquire():
            _acquire_in_line(paths, lock, wait_s)
    except FileBusy as error:
        lock.close()
        found = holder(paths)
        said = found.describe() if found else "a process that did not say which"
        theirs = found.role if found and not found.is_gone() else None
        since_ms = found.since_ms if found else None
        if theirs == STRANGER:
            raise LockHeld(board=paths, holder=said, role=theirs, since_ms=None, lock=paths.coordinator_lock) from error
        raise CoordinatorRunning(board=paths, holder=said, role=theirs, since_ms=since_ms) from error
    write_note(lock, role)
    return lock


def _acquire_in_line(paths: BoardPaths, lock: FileLock, wait_s: float) -> None:
    """Take the lock; while this waits, whoever merely stays coordinator between two passes is told to let go."""
    until_s = time.monotonic() + wait_s
    with ExitStack() as line:
        if wait_s > 0:
            with suppress(KanbanError):  # who cannot stand in line waits all the same
                place = line.enter_context(closing(FileLock(paths.next_coordinator_lock)))
                place.acquire(wait_s)
                line.enter_context(closing(Ringer())).ring(paths.coordinator_bell)
        lock.acquire(max(0.0, until_s - time.monotonic()))


def is_asked_for(paths: BoardPaths) -> bool:
    """Whether somebody stands in line for the lock. Reads only."""
    with suppress(KanbanError):  # nobody can stand there
        return is_taken(paths.next_coordinator_lock)
    return False


def lost_place(lock: FileLock) -> NotCoordinator | None:
    """What to raise if ``lock``, held, is no longer in place, so that somebody else may be the coordinator, too."""
    return None if lock.is_in_place() else NotCoordinator(pid=os.getpid(), folder=lock.path.parent, lock=lock.path)


def release(paths: BoardPaths, lock: FileLock) -> None:
    """Give the lock back, and ring those who wait for a verdict: one of them may make the next pass."""
    lock.close()
    with closing(Ringer()) as ringer:
        ringer.ring_next(paths.folder)


@contextmanager
def holding(paths: BoardPaths, role: str) -> Iterator[FileLock]:
    """Hold the lock for as long as a command needs it. Raises what ``take`` raises."""
    lock = take(paths, role, LOCK_WAIT_S)
    try:
        yield lock
    finally:
        release(paths, lock)


def _holder_in(note: str) -> Holder | None:
    """Whom the note names; None if it is none that ``write_note`` writes."""
    said = _parsed(note)
    for besides in KEPT:
        said.pop(besides, None)
    try:
        found = Holder(**said)
    except TypeError:
        return None
    return found if _is_possible(found) else None


def note_in(lock: FileLock) -> dict[str, Any]:
    """What the note says, whoever wrote it: nothing in it is checked. Empty if it is none."""
    return _parsed(lock.read_note())


def _parsed(note: str) -> dict[str, Any]:
    try:
        said = json.loads(note)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _is_possible(found: Holder) -> bool:
    """Whether each field is what its name says: whoever may take the lock may write anything there."""
    return (
        type(found.pid) is int
        and 0 < found.pid < LARGEST_PID
        and isinstance(found.host, str)
        and len(found.host) <= LONGEST_HOST
        and found.host.isprintable()
        and found.role in ROLES
        and all(isinstance(word, str) and word.isprintable() for word in (found.system, found.pid_space))
        and type(found.since_ms) is int
        and 0 <= found.since_ms < CALENDAR_ENDS_MS
    )
