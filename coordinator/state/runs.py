"""Runs: attempts at a task, whose they are, and which profiles wait for room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kanban_shards.changes.codec import KIND_OF
from kanban_shards.changes.homes import Alive
from kanban_shards.coordinator.state.session import Rows
from kanban_shards.paths import COORDINATOR

# Open runs whose claim, or whose newest heartbeat that is an entry, is of a time that has not come yet; but not those
# whose lease was begun anew at one that has.
STAMPED_AHEAD = (
    "SELECT * FROM (SELECT t.id, t.current_run_id, m.run_profile, m.run_claimer, "
    "max(m.lease_s, coalesce(m.grace_s, 0)), "
    "min(max(r.started_at, coalesce(t.last_heartbeat_at, 0)), t.claim_expires - m.lease_s) AS stamped_s "
    "FROM tasks t INDEXED BY merge_running JOIN merge_tasks m ON m.task_id = t.id "
    "JOIN task_runs r ON r.id = t.current_run_id WHERE t.status = 'running' AND t.claim_expires > ?1) "
    "WHERE stamped_s > ?1"
)
# (task_id, run_id, run_profile, run_claimer, silent_s, time_s): for how many seconds nobody may be silent, and a time,
# in seconds; which one, each query says.
OpenRun = tuple[str, int, str, str, int, int]


class RunRows(Rows):
    """Reads and writes of runs."""

    def add_run(self, columns: dict[str, Any]) -> int:
        """A new run; returns its id."""
        run_id = self._count("task_runs")
        self._runs.add(run_id, self._new_row("task_runs", {"id": run_id, **columns}))
        return run_id

    def update_run(self, run_id: int, columns: dict[str, Any]) -> None:
        """New values for ``columns`` of the run."""
        self._runs.change(run_id, columns)

    def has_run(self, task_id: str, run_id: int) -> bool:
        """Whether the task has, or had, that run."""
        sql = "SELECT 1 FROM task_runs WHERE id = ? AND task_id = ?"
        return self._execute(sql, (run_id, task_id)).fetchone() is not None

    def latest_completed_run(self, task_id: str) -> int | None:
        """The id of the newest run of the task that completed."""
        sql = "SELECT id FROM task_runs WHERE task_id = ? AND outcome = 'completed' ORDER BY id DESC LIMIT 1"
        row: tuple[int] | None = self._execute(sql, (task_id,)).fetchone()
        return row[0] if row else None

    def running_out(self, before_s: int) -> Iterator[OpenRun]:
        """Open runs whose lease ends before ``before_s``, each with the time at which it began or was begun anew."""
        return self._execute(
            "SELECT t.id, t.current_run_id, m.run_profile, m.run_claimer, max(m.lease_s, coalesce(m.grace_s, 0)), "
            "t.claim_expires - m.lease_s "
            "FROM tasks t INDEXED BY merge_running JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'running' AND t.claim_expires < ? ORDER BY t.claim_expires",
            (before_s,),
        )

    def half_over(self, now_s: int) -> Iterator[OpenRun]:
        """Open runs of whose lease half is over at ``now_s``, each as ``running_out`` gives it."""
        return self._execute(
            "SELECT t.id, t.current_run_id, m.run_profile, m.run_claimer, max(m.lease_s, coalesce(m.grace_s, 0)), "
            "t.claim_expires - m.lease_s AS stamped_s "
            "FROM tasks t INDEXED BY merge_running JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'running' AND stamped_s + m.lease_s / 2 <= ? ORDER BY t.claim_expires",
            (now_s,),
        )

    def stamped_ahead(self, now_s: int) -> Iterator[OpenRun]:
        """Open runs that were claimed, or gave a heartbeat, at a time after ``now_s``: as ``running_out``, and that
        time, in seconds, at the end."""
        return self._execute(STAMPED_AHEAD, (now_s,))

    def renewed_behind(self, position: int) -> list[int]:
        """The runs of which a host said, behind ``position`` of the ledger, that they gave a sign."""
        sql = (
            "SELECT DISTINCT json_extract(body, '$.run_id') FROM merge_kept "
            "WHERE position > ? AND profile = ? AND kind = ?"
        )
        return [run_id for (run_id,) in self._execute(sql, (position, COORDINATOR, KIND_OF[Alive]))]

    def open_runs(self) -> dict[str, int]:
        """How many runs each profile has open."""
        sql = (
            "SELECT m.run_profile, count(*) FROM tasks t JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'running' GROUP BY 1"
        )
        return dict(self._execute(sql).fetchall())

    def waiting_for_room(self, since_s: int) -> list[str]:
        """The profiles that asked in vain since then and got no run after it."""
        # An earlier clock may have been ahead of this one; room is not kept until then.
        sql = "SELECT profile FROM merge_waiting WHERE asked_s BETWEEN ? AND ? ORDER BY profile"
        return self._texts(sql, (since_s, self.now_s))

    def wait_for_room(self, profile: str) -> None:
        """The profile asked in vain now."""
        self._waiting = None
        self._execute("INSERT OR REPLACE INTO merge_waiting VALUES (?, ?)", (profile, self.now_s))

    def no_longer_waits(self, profile: str) -> None:
        """The profile got a run."""
        if self._waiting is None:
            self._waiting = set(self._texts("SELECT profile FROM merge_waiting", ()))
        if profile in self._waiting:
            self._waiting.remove(profile)
            self._execute("DELETE FROM merge_waiting WHERE profile = ?", (profile,))
