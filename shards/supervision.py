"""Supervision: which workers a dispatcher can see, so that none starts a second one beside a living one.

A board keeps of each worker its host, its process's number and when that process began (an event ``spawned``). Whoever
is on that host can tell whether it lives, whatever became of the run meanwhile; a number that was given again is
another process. What a dispatcher sees, it says in a change, and rules decide by that alone
(docs/design/statuses.md, "Supervision").
"""

from __future__ import annotations

from kanban_shards.board import Board
from kanban_shards.changes.kinds import Spawned
from kanban_shards.processes import began, this_host
from kanban_shards.records import Worker


def spawned(run_id: int, pid: int, *, workspace_path: str | None = None, branch_name: str | None = None) -> Spawned:
    """The change that says that the run's worker is the process ``pid`` of this host."""
    return Spawned(
        run_id=run_id,
        pid=pid,
        host=this_host(),
        began=began(pid),
        workspace_path=workspace_path,
        branch_name=branch_name,
    )


def lives(worker: Worker) -> bool | None:
    """Whether the worker's process is there; None where that cannot be seen from this host, or was never said."""
    if worker.host is None or worker.host != this_host():
        return None
    return worker.began is not None and began(worker.pid) == worker.began


def living(board: Board, task_id: str) -> list[Worker]:
    """The workers of the task, of its open run and of those that ended, that live on this host, newest first. Raises
    the StorageErrors of a board that cannot be read."""
    return [worker for worker in board.workers(task_id) if lives(worker)]
