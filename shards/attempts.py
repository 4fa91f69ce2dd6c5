"""Attempts: where the delivery of a task's events to a chat stands, as the processes of one profile know it.

A row of the shard that is overwritten in place: it says who tries now, and is no change.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

import msgspec
from msgspec.structs import astuple, replace

# For how long a process has a delivery, if it does not say.
DELIVERY_LEASE_S = 60
# No lease on a delivery and no pause is longer: one that seems to be was taken while the clock was ahead.
LONGEST_WAIT_MS = 3_600_000

_THIS_DELIVERY = "task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ? AND letter_id = ?"
_OF_AN_ATTEMPT = "acknowledged, acknowledged_seq, upto, leased_until_ms, attempts, next_try_ms"


class DeliveryKey(NamedTuple):
    """What is delivered: what becomes of a task, to a chat, or once more the dead letter ``letter_id``, 0 for none."""

    task_id: str
    platform: str
    chat_id: str
    thread_id: str
    letter_id: int


class Attempt(msgspec.Struct, frozen=True):
    """Where a delivery stands.

    ``acknowledged``: the newest event that the chat was told; ``acknowledged_seq``: the change that says so. ``upto``:
    the newest event of what was tried last. ``leased_until_ms``: until when a process has it. ``attempts``: how often
    it was tried. ``next_try_ms``: when it is tried again.
    """

    acknowledged: int = 0
    acknowledged_seq: int = 0
    upto: int = 0
    leased_until_ms: int = 0
    attempts: int = 0
    next_try_ms: int = 0

    def leased(self, acknowledged: int, upto: int, now_ms: int, until_ms: int) -> Attempt | None:
        """The next attempt, up to the event ``upto``, which this process has until ``until_ms``; None if it may not
        begin at ``now_ms``: another process has the delivery, its next try is later, or the newest event told is
        another than ``acknowledged``, so that another process told it meanwhile."""
        # Each by itself: one that is of a clock that was ahead says nothing of the other.
        waits_ms = [until_ms - now_ms for until_ms in (self.leased_until_ms, self.next_try_ms)]
        if any(0 < each <= LONGEST_WAIT_MS for each in waits_ms) or self.acknowledged != acknowledged:
            return None
        attempts = self.attempts + 1 if self.upto == upto else 1
        return replace(self, upto=upto, leased_until_ms=until_ms, attempts=attempts, next_try_ms=0)


def read_attempt(shard: sqlite3.Connection, key: DeliveryKey) -> Attempt:
    """Where the delivery ``key`` stands in an open shard."""
    row = shard.execute(f"SELECT {_OF_AN_ATTEMPT} FROM deliveries WHERE {_THIS_DELIVERY}", key).fetchone()
    return Attempt(*row) if row else Attempt()


def save_attempt(shard: sqlite3.Connection, key: DeliveryKey, attempt: Attempt) -> None:
    """Remember it, inside of the caller's transaction."""
    sql = "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    shard.execute(sql, (*key, *astuple(attempt)))
