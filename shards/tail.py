"""The tail of a shard: its deciding changes that the board does not show yet, and which of them this process wrote.

A process has eyes of its own: it has seen its own changes, and not those of another process of its profile until the
board shows them. The tail is read once, change by change as it grows, so an append costs the same however long the
coordinator has been away.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import NamedTuple

from shards.bodies import ADDING, KINDS
from shards.vectors import Eyes

_NEW = "SELECT seq, task_id, kind FROM changes WHERE seq > ? ORDER BY seq"
# A claim_next names no task; until it is decided, it may be on any.
ANY_TASK = ""


class _Known(NamedTuple):
    task_id: str
    kind: str
    is_mine: bool


class Tail:
    """What one process knows of the unmerged end of its shard."""

    def __init__(self) -> None:
        self._read_to = 0
        self._forgotten_to = 0
        self._changes: OrderedDict[int, _Known] = OrderedDict()
        self._by_task: dict[str, list[int]] = {}

    def read(self, connection: sqlite3.Connection, head: int, eyes: Eyes) -> None:
        """Learn what other processes appended up to ``head``, and forget what the board shows now."""
        self._forgotten_to = max(self._forgotten_to, eyes.merged_seq)
        while self._changes and next(iter(self._changes)) <= eyes.merged_seq:
            _, change = self._changes.popitem(last=False)
            seqs = self._by_task[change.task_id]
            seqs.pop(0)
            if not seqs:
                del self._by_task[change.task_id]
        known = max(self._read_to, eyes.merged_seq)
        if head > known:
            for seq, task_id, kind in connection.execute(_NEW, (known,)):
                self._add(seq, _Known(task_id, kind, is_mine=False))

    def add_mine(self, seq: int, task_id: str, kind: str) -> None:
        """This process appended the change ``seq``."""
        self._add(seq, _Known(task_id, kind, is_mine=True))

    def forget_from(self, seq: int) -> None:
        """The changes from ``seq`` on were not committed after all."""
        while self._changes and next(reversed(self._changes)) >= seq:
            _, change = self._changes.popitem()
            self._by_task[change.task_id].pop()
            if not self._by_task[change.task_id]:
                del self._by_task[change.task_id]
        self._read_to = min(self._read_to, seq - 1)

    def has_create(self, task_id: str) -> bool:
        """Whether the task is made in the tail."""
        return any(self._changes[seq].kind == "create" for seq in self._by_task.get(task_id, ()))

    def seen(self, task_id: str, eyes: Eyes) -> int | None:
        """Up to which of its profile's deciding changes on the task, behind the board, this process has seen all; None
        if there is none. The first one of another process ends it: a vector says "all of this profile's up to here".

        ``eyes``: what was read of the board. If they are older than what is forgotten here, the answer is None.
        """
        if eyes.merged_seq < self._forgotten_to:
            return None
        reached = None
        for seq in sorted([*self._by_task.get(task_id, ()), *self._by_task.get(ANY_TASK, ())]):
            if not self._changes[seq].is_mine:
                return reached
            reached = seq
        return reached

    def _add(self, seq: int, change: _Known) -> None:
        self._read_to = seq
        if change.kind in KINDS and KINDS[change.kind].law == ADDING:  # a newer program may know more kinds
            return  # these are nothing that one must have seen
        self._changes[seq] = change
        self._by_task.setdefault(change.task_id, []).append(seq)
