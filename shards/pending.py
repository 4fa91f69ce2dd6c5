"""Pending changes: the newest deciding changes of a shard, and which of them this process wrote.

A process sees its own pending changes, and those of another process of its profile only once the board shows
them. They are read once, change by change as the shard grows, so an append costs the same however long the
coordinator has been away.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import OrderedDict
from typing import NamedTuple

from kanban_shards.changes.fields import ADDING
from kanban_shards.changes.kinds import KINDS
from kanban_shards.changes.vectors import View

_NEW = "SELECT seq, task_id, kind FROM changes WHERE seq > ? ORDER BY seq"
# A claim_next names no task; until it is decided, it may be on any.
ANY_TASK = ""
# So many changes are remembered beyond what the board shows: another thread may have looked at it a while ago.
KEPT_BEHIND = 4_096


class _Known(NamedTuple):
    task_id: str
    kind: str
    is_mine: bool


class PendingChanges:
    """What one process knows of the end of its shard: every deciding change after ``_from`` and up to ``read_to``."""

    def __init__(self) -> None:
        self._from = 0
        self.read_to = 0
        self._changes: OrderedDict[int, _Known] = OrderedDict()
        self._by_task: dict[str, list[int]] = {}

    def read(self, connection: sqlite3.Connection, head: int, view: View) -> None:
        """Learn what other processes appended up to ``head``, and forget what the board has shown for long. ``view``:
        the oldest of those whose change is appended now."""
        self.forget_shown(view)
        if head > self.read_to:
            for seq, task_id, kind in connection.execute(_NEW, (self.read_to,)):
                self._add(seq, _Known(task_id, kind, is_mine=False))

    def forget_shown(self, view: View) -> None:
        """Forget what the board has shown for long; ``view`` as in ``read``."""
        if view.merged_seq - self.read_to > (KEPT_BEHIND if self.read_to else 0):  # too much, and all on the board
            self._changes.clear()
            self._by_task.clear()
            self._from = self.read_to = view.merged_seq
        while self._changes and next(iter(self._changes)) <= view.merged_seq - KEPT_BEHIND:
            self._from, change = self._changes.popitem(last=False)
            self._drop_of_task(change.task_id, first=True)

    def add_mine(self, seq: int, task_id: str, kind: str) -> None:
        """This process appended the change ``seq``."""
        self._add(seq, _Known(task_id, kind, is_mine=True))

    def forget_from(self, seq: int) -> None:
        """The changes from ``seq`` on were not committed after all."""
        while self._changes and next(reversed(self._changes)) >= seq:
            _, change = self._changes.popitem()
            self._drop_of_task(change.task_id, first=False)
        self.read_to = min(self.read_to, seq - 1)

    def has_create(self, task_id: str, view: View) -> bool:
        """Whether the task is made in what the board does not show to ``view``."""
        return any(self._changes[seq].kind == "create" for seq in self._unmerged(task_id, view))

    def seen(self, task_id: str, view: View) -> int | None:
        """The newest seq up to which this process has seen every deciding change of its profile on the task that
        ``view`` do not see on the board; None if there is none, or if they looked longer ago than is remembered here.
        Another process's change ends it: a vector says "all of this profile's up to here"."""
        if view.merged_seq < self._from:
            return None
        reached = None
        for seq in sorted([*self._unmerged(task_id, view), *self._unmerged(ANY_TASK, view)]):
            if not self._changes[seq].is_mine:
                return reached
            reached = seq
        return reached

    def _unmerged(self, task_id: str, view: View) -> list[int]:
        seqs = self._by_task.get(task_id, [])
        return seqs[bisect_right(seqs, view.merged_seq) :]

    def _add(self, seq: int, change: _Known) -> None:
        self.read_to = seq
        if change.kind in KINDS and KINDS[change.kind].rule == ADDING:  # a newer program may know more kinds
            return  # these are nothing that one must have seen
        self._changes[seq] = change
        self._by_task.setdefault(change.task_id, []).append(seq)

    def _drop_of_task(self, task_id: str, first: bool) -> None:
        seqs = self._by_task[task_id]
        seqs.pop(0 if first else -1)
        if not seqs:
            del self._by_task[task_id]
