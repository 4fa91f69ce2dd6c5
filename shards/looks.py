"""Looks: what one writer read of the board, and need not read again where the rule asks for nothing that was seen.

A task that this process made, or saw on the board, is known to be one; whoever deletes it meanwhile has what is said
of it refused as ``gone``. How far the shard was merged when the board was last read is compared with the shard's end
in the file that the writer knows (shards/known_end.py); in any doubt there, the writer looks anew.
"""

from __future__ import annotations

import threading

from kanban_shards.board import Board
from kanban_shards.changes.fields import DECIDING, Body, run_id_of
from kanban_shards.changes.vectors import View

# Of so many tasks a writer remembers that they exist; the others are looked up.
TASKS_KNOWN = 4_096


class Looks:
    """What ``profile`` saw of ``board`` in this process. Safe to use from several threads."""

    def __init__(self, board: Board, profile: str) -> None:
        self._board = board
        self._profile = profile
        self._guard = threading.Lock()
        self._tasks: dict[str, None] = {}
        self._newest = View()

    def look(self, task_id: str = "") -> View:
        """What the board shows now. Raises StorageError."""
        view = self._board.view(task_id, self._profile)
        self._newest = View(merged_seq=view.merged_seq, merged_digest=view.merged_digest)
        if view.has_task:
            self.know(task_id)
        return view

    def newest(self) -> View:
        """How far the shard was merged at the last look; of no task anything."""
        return self._newest

    def know(self, task_id: str) -> None:
        """The task is on the board, or will be when what is written is merged."""
        with self._guard:
            self._tasks[task_id] = None
            if len(self._tasks) > TASKS_KNOWN:
                del self._tasks[next(iter(self._tasks))]

    def forget(self, task_id: str) -> None:
        """The task is there no longer, or never was."""
        with self._guard:
            self._tasks.pop(task_id, None)

    def knows(self, task_id: str) -> bool:
        """Whether the task need not be looked up to know that it exists."""
        return task_id in self._tasks


def asks_what_was_seen(change: Body) -> bool:
    """Whether the rule asks what the author of ``change`` had seen (docs/design/rule.md, "The rule"): not of what only
    adds, and not of what is bound to a run."""
    return change.rule == DECIDING and run_id_of(change) is None
