"""The runs that this server holds: kept alive for as long as its process lives.

There is no other way in which a run ends with its client. Whether the client closes the connection, or the process is
killed, nothing sends a heartbeat any more, the lease runs out, and the task is ready for the next one. A client that
comes back before that goes on where it was.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from kanban_shards.errors import KanbanError, Refused
from kanban_shards.gateway import Gateway
from kanban_shards.records import Run

# In leases: one heartbeat may be lost, and the next one is in time.
HEARTBEAT_EVERY = 0.4
# A lease may be over at once; no heartbeat keeps that one.
SOONEST_S = 0.2


class HeldRuns:
    """The open runs of one connection. Safe to use from several threads. A context manager: outside of it there are no
    heartbeats."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._runs: dict[int, Run] = {}
        # When the next heartbeat of each is due, as ``time.monotonic`` has it.
        self._due: dict[int, float] = {}
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)

    def hold(self, run: Run) -> None:
        """Keep ``run`` alive from now on."""
        with self._changed:
            self._runs[run.id] = run
            self._due[run.id] = _next_s(run)
            self._changed.notify()

    def let_go(self, run_id: int) -> None:
        """No more heartbeats: the run is over."""
        with self._changed:
            self._runs.pop(run_id, None)
            self._due.pop(run_id, None)

    def of_task(self, task_id: str) -> Run | None:
        """The run of the task that is held here, if there is one."""
        with self._changed:
            return next((run for run in self._runs.values() if run.task_id == task_id), None)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _beat(self) -> None:
        while (due := self._next_due()) is not None:
            for run in due:
                self._keep(run)

    def _next_due(self) -> list[Run] | None:
        """The runs whose heartbeat is due, once there is one; None at the end."""
        with self._changed:
            while not self._is_over:
                now = time.monotonic()
                due = [run for run in self._runs.values() if self._due[run.id] <= now]
                for run in due:
                    self._due[run.id] = _next_s(run)
                if due:
                    return due
                self._changed.wait(min(self._due.values()) - now if self._due else None)
        return None

    def _keep(self, run: Run) -> None:
        try:
            self._gateway.heartbeat(run)
        except Refused:  # it is over; the agent hears of it with the next thing that it says of the run
            self.let_go(run.id)
        except KanbanError as error:  # a full disk, say, which may be over before the lease is
            logging.getLogger(__name__).warning("No heartbeat of run %s: %s", run.id, error)


def _next_s(run: Run) -> float:
    return time.monotonic() + max(SOONEST_S, run.lease_s * HEARTBEAT_EVERY)
