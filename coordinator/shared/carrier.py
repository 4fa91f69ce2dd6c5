"""The carrier: ``Far`` by way of a child process that alone opens the network (carrying.py).

So no process that has a database open speaks to a server, and none of them loads what would. Each request has its
deadline. A child that misses one is killed, and another is begun after a pause, which grows as long as the outage does;
meanwhile every request fails at once, with the same reason and the time since when.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from kanban_shards.coordinator.ledger import Entry, Point
from kanban_shards.coordinator.shared import frames
from kanban_shards.coordinator.shared.errors import Unreachable, unreachable
from kanban_shards.coordinator.shared.far import Address, Page, Standing, check_continue, size_s
from kanban_shards.coordinator.shared.patience import DEADLINE_S, Backoff, Portion
from kanban_shards.errors import KanbanError

# -P: no module of the folder where the parent was started is taken for ours.
COMMAND = (sys.executable, "-P", "-m", "kanban_shards.coordinator.shared.carrying")
# What a child may take to begin, before it goes to the server.
BEGINNING_S = 10.0
# What a child may take to be there; after that it is waiting for a server that says nothing.
ARRIVING_S = 5.0
MAKING_S = 10.0

_Said = TypeVar("_Said", bound=frames.Answer)


class Carrier:
    """See ``Far``. For one thread at a time, and not for a fork of this process."""

    def __init__(self, address: Address) -> None:
        self.server = address.service
        self._address = address
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        self._child: Child | None = None
        self._backoff: Backoff | None = None
        self._portion = Portion()

    def read(self, position: int) -> Page:
        self._silence()
        return self._page(frames.Read(position, self._portion.size_bytes))

    def turn(self, position: int) -> Page:
        self._silence()
        return self._page(frames.Turn(position, self._portion.size_bytes))

    def append(self, entries: Sequence[Entry], behind: Point) -> None:
        check_continue(entries, behind)
        self._ask(frames.Append(list(entries), behind), frames.Done, DEADLINE_S + size_s(entries))

    def bell(self) -> int:
        return self._bell

    def meet(self, mine: Standing | None) -> list[Standing]:
        return self._ask(frames.Meet(mine), frames.Met).hosts

    def remarks(self) -> list[str]:
        return self._ask(frames.Remark(), frames.Remarked).remarks

    def begin(self, ledger_id: str) -> None:
        self._ask(frames.Begin(ledger_id), frames.Done, MAKING_S)
        self._address = self._address._replace(ledger_id=ledger_id)

    def raise_rules(self) -> None:
        self._ask(frames.RaiseRules(), frames.Done, MAKING_S)

    def leave(self) -> None:
        self._ask(frames.Leave(), frames.Done)

    def close(self) -> None:
        self._end_child()
        if self._bell != -1:
            os.close(self._bell)
            os.close(self._rope)
            self._bell = self._rope = -1

    @property
    def pid(self) -> int | None:
        """The child's process; None as long as there is none."""
        return None if self._child is None else self._child.pid

    # --- how -----------------------------------------------------------------------------------------------------

    def _page(self, request: frames.Read | frames.Turn) -> Page:
        """A page, of a size that this link carries in time."""
        began = time.monotonic()
        try:
            page = self._ask(request, frames.Paged, self._portion.deadline_s).page
        except Unreachable:
            if time.monotonic() - began >= self._portion.deadline_s:
                self._portion.shrink()
            raise
        self._portion.grow(time.monotonic() - began)
        return page

    def _ask(self, request: frames.Request, kind: type[_Said], seconds: float = DEADLINE_S) -> _Said:
        child = self._arrived()
        try:
            answer = child.ask(request, time.monotonic() + seconds)
        except TimeoutError:
            raise self._fail(unreachable(self.server, f"no answer within {seconds:g} seconds")) from None
        except (OSError, EOFError):
            raise self._fail(unreachable(self.server, "the connection was lost")) from None
        if isinstance(answer, frames.Failed):
            if answer.ends:
                raise self._fail(answer.error())
            self._backoff = None
            raise answer.error()
        self._backoff = None
        if not isinstance(answer, kind):
            raise self._fail(unreachable(self.server, "it was answered with something else"))
        return answer

    def _arrived(self) -> Child:
        """A child that can be asked. Waits for it, but not while there is an outage: then the bell tells when it is
        there. Raises why there is none."""
        if self._child is not None and self._child.is_there and not self._child.is_over():
            return self._child
        was_there = self._child is not None and self._child.is_there
        if self._child is None or was_there:
            self._end_child()
            if self._backoff is not None:
                self._backoff.check()
            self._child = Child(self._address, self._rope)
        self._await(self._child, was_there)
        return self._child

    def _await(self, child: Child, was_there: bool) -> None:
        """Wait for the child to be there. Raises why it is not. ``was_there``: there was one before, whose session was
        lost; then somebody may wait for an answer already, and is to hear in time that there is none."""
        until = 0.0 if self._backoff else time.monotonic() + (DEADLINE_S if was_there else BEGINNING_S)
        while not child.is_there:
            try:
                said = child.hear(until)
            except TimeoutError:
                late = unreachable(self.server, f"no session with it within {child.age_s:.0f} seconds")
                if child.age_s >= ARRIVING_S:
                    raise self._fail(late) from None
                self._backoff = self._backoff or Backoff(late)
                raise self._backoff.error() from None
            except (OSError, EOFError):
                raise self._fail(unreachable(self.server, "the process that speaks to it ended")) from None
            if isinstance(said, frames.Going):
                self.server = said.server
                until = until if self._backoff or was_there else time.monotonic() + DEADLINE_S
            elif isinstance(said, frames.Failed):
                raise self._fail(said.error())

    def _fail(self, error: KanbanError) -> KanbanError:
        """What to raise of ``error``, which ends the child."""
        self._end_child()
        if self._backoff is None:
            self._backoff = Backoff(error)
        else:
            self._backoff.goes_on(error)
        self._backoff.pause()
        return self._backoff.error()

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def _silence(self) -> None:
        """Before something is read: what rings from now on is heard again."""
        with suppress(BlockingIOError):
            while os.read(self._bell, 4_096):
                pass


class Child:
    """One child process, begun now. ``rope``: what it rings the bell with."""

    def __init__(self, address: Address, rope: int) -> None:
        self._wire, theirs = socket.socketpair()
        self._began = time.monotonic()
        self.is_there = False
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno()), str(rope)],
                stdin=subprocess.PIPE,  # ends with this process, however it ends
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), rope),
            )
        with suppress(OSError):  # it ended already, which shows when it is heard
            frames.send(self._wire, frames.Go(address))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age_s(self) -> float:
        """For how many seconds there has been this child."""
        return time.monotonic() - self._began

    def ask(self, request: frames.Request, until: float) -> frames.Answer:
        """Its answer. Raises TimeoutError, and OSError or EOFError if it ended."""
        frames.send(self._wire, request, until)
        answer = frames.receive(self._wire, frames.FROM_CHILD, until)
        if isinstance(answer, frames.Going | frames.There):
            raise EOFError
        return answer

    def hear(self, until: float) -> frames.FromChild:
        """What it says before it can be asked. Raises as ``ask`` does."""
        if not self._is_readable(max(0, until - time.monotonic())):
            raise TimeoutError
        said = frames.receive(self._wire, frames.FROM_CHILD, time.monotonic() + DEADLINE_S)
        self.is_there = isinstance(said, frames.There)
        return said

    def is_over(self) -> bool:
        """Whether it ended, or ends, by itself: nothing else is said unasked."""
        return self._is_readable(0)

    def end(self) -> None:
        """Kill it."""
        self._wire.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _is_readable(self, seconds: float) -> bool:
        poll = select.poll()  # a descriptor of a process that has many files open may be too large for ``select``
        poll.register(self._wire, select.POLLIN)
        return bool(poll.poll(seconds * 1_000))
