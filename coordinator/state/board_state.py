"""The board as the rules see it: where a task stands, and the writes that are a change's effects.

A rule reads and writes through this and nothing else. It knows one time, the entry's; it opens no file; and a rule
that refuses leaves nothing behind, because what an entry writes is held back until it is decided.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from kanban_shards.coordinator.ledger import Entry, Point
from kanban_shards.coordinator.state.chats import ChatRows
from kanban_shards.coordinator.state.homes import HomeRows
from kanban_shards.coordinator.state.imports import ImportedRows
from kanban_shards.coordinator.state.links import LinkRows
from kanban_shards.coordinator.state.runs import RunRows
from kanban_shards.coordinator.state.session import ALL_COUNTED, json_text
from kanban_shards.coordinator.state.tasks import TaskRows, TaskState
from kanban_shards.paths import COORDINATOR

__all__ = ["BoardState", "TaskState"]

# So many rows of each table stay in memory from one transaction to the next; each may have texts of a few MiB.
ROWS_KEPT = 256
# A trigger costs as much for each row as the row itself; taking all of them down and up, as much as so many entries.
WORTH_UNGUARDING = 300
_VERDICTS = "SELECT profile, seq, position, at_ms, verdict, reason, sentence, answer FROM merge_verdicts"


class BoardState(TaskRows, LinkRows, RunRows, ChatRows, ImportedRows, HomeRows):
    """The board inside the coordinator's transaction. ``now_s`` is the present entry's time.

    What was read or written stays known from one transaction to the next, as nobody else writes the board; ``forget``
    is called when somebody did, or when a transaction was undone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._reached: dict[str, tuple[str, int, str]] = {}
        self._guards: list[str] = []
        self._watermarks: dict[str, tuple[int, str]] | None = None
        self._data_version = self._read_data_version()

    def position(self) -> Point:
        """The last ledger position that the board shows, and its digest."""
        return Point(*self._execute("SELECT position, digest FROM merge_state").fetchone())

    def watermark(self, profile: str) -> tuple[int, str]:
        """How far the profile's shard is merged, and its digest there; ``(0, "")`` if not at all."""
        if self._watermarks is None:
            rows = self._look("SELECT profile, seq, digest FROM merge_watermarks")
            self._watermarks = {profile: (seq, digest) for profile, seq, digest in rows}
        return self._watermarks.get(profile, (0, ""))

    def forget(self) -> None:
        """Nothing that is known of the board holds any more; what is held back is dropped."""
        self._hold_nothing()
        self._reached = {}
        self._watermarks = None
        self._open_parents.clear()

    def forget_if_written(self) -> bool:
        """``forget`` if somebody else committed to the board since this was last asked; returns whether that is so."""
        before, self._data_version = self._data_version, self._read_data_version()
        if before == self._data_version:
            return False
        self.forget()
        return True

    def verdict(self, profile: str, seq: int) -> tuple[Any, ...]:
        """The row of the verdict on the profile's change ``seq``, which there is."""
        row: tuple[Any, ...] = self._execute(f"{_VERDICTS} WHERE profile = ? AND seq = ?", (profile, seq)).fetchone()
        return row

    def verdicts_behind(self, profile: str, seq: int, most: int) -> list[tuple[Any, ...]]:
        """The rows of ``most`` verdicts behind that one, by profile and seq."""
        return self._execute(
            f"{_VERDICTS} WHERE (profile, seq) > (?, ?) ORDER BY profile, seq LIMIT ?", (profile, seq, most)
        ).fetchall()

    def merged(self, profile: str) -> tuple[int, str]:
        """The same at the present entry, before it is decided."""
        return self._reached[profile][1:] if profile in self._reached else self.watermark(profile)

    def open(self, entries: int = 1) -> None:
        """Begin a transaction that may write so many ``entries`` (migrations/board.py, ``keep_out``)."""
        self._execute("BEGIN IMMEDIATE")
        self.forget_if_written()
        self._execute("UPDATE merge_state SET writing = 1")
        if not self._next_id:
            given = dict(self._execute("SELECT name, seq FROM sqlite_sequence").fetchall())
            self._next_id = {table: given.get(table, 0) + 1 for table in ALL_COUNTED}
        self._guards = self._take_guards_down() if entries >= WORTH_UNGUARDING else []

    def commit(self, position: int, digest: str) -> None:
        """End the transaction: the board shows the ledger up to ``position``."""
        self._write_held()
        for guard in self._guards:
            self._execute(guard)
        self._connection.executemany(
            "INSERT INTO merge_watermarks VALUES (?, ?, ?) "
            "ON CONFLICT (profile) DO UPDATE SET seq = excluded.seq, digest = excluded.digest",
            self._reached.values(),
        )
        self._execute("UPDATE merge_state SET writing = 0, position = ?, digest = ?", (position, digest))
        self._execute("COMMIT")
        if self._watermarks is not None:
            self._watermarks.update({profile: (seq, digest) for profile, seq, digest in self._reached.values()})
        self._reached = {}
        for table in self._tables:
            table.forget(ROWS_KEPT)

    def abandon(self) -> None:
        """Undo the transaction, if one is open, and forget what it held."""
        self.forget()
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def _read_data_version(self) -> int:
        (version,) = self._look("PRAGMA data_version").fetchone()
        return int(version)

    def _take_guards_down(self) -> list[str]:
        """Remove the triggers that keep others out, inside this transaction, in which nobody else can write; returns
        the statements that make them again."""
        ours = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'keep_out_*'"
        guards = self._look(ours).fetchall()
        for name, _ in guards:
            self._execute(f"DROP TRIGGER {name}")
        return [sql for _, sql in guards]

    def begin_entry(self, entry: Entry) -> None:
        """From here, effects are this entry's, at its time."""
        self.now_s = entry.at_ms // 1000
        self._begin()

    def undo_entry(self) -> None:
        """Take back what the entry's rule wrote before it refused."""
        self._undo()

    def end_entry(
        self, entry: Entry, verdict: str, reason: str | None, sentence: str | None, answer: dict[str, Any] | None
    ) -> None:
        """Record the verdict, and move the shard's watermark to this change."""
        change = entry.change
        self._verdicts.add(
            (change.profile, change.seq, entry.position, entry.at_ms, verdict, reason, sentence, json_text(answer))
        )
        if verdict == "refused" or change.profile == COORDINATOR:
            self._kept.add((entry.position, *change))
        self._reached[change.profile] = (change.profile, change.seq, change.digest)
        self._end()
