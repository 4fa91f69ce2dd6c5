"""A game on a scratch board: changes by any profile, at times of the test's choice, decided one after the other.

There is no file and no clock in it. ``Game.check`` plays the same ledger again on other scratch boards.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from kanban_shards.changes import vectors
from kanban_shards.changes.codec import KIND_OF, Change, chain, encode_body, genesis
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import Archive, Create, Expire
from kanban_shards.coordinator.ledger import GENESIS, Entry, entry_digest
from kanban_shards.coordinator.merge.replay import replay
from kanban_shards.coordinator.rules.decide import Decision
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import COORDINATOR
from kanban_shards.storage import sqlite

START_S = 1_000_000
# What a refusal may touch: the record of the refusal itself.
RECORDS = ("merge_verdicts", "merge_kept", "merge_watermarks", "merge_state")

Rows = dict[str, list[tuple]]


class Game:
    """A board, its ledger, and the time. Whoever moves has seen everything, unless ``seen`` says what."""

    def __init__(self) -> None:
        self._connection = sqlite.open_scratch(sqlite.BOARD)
        self._state = BoardState(self._connection)
        self._heads: dict[str, tuple[int, str]] = {}
        self._named = 0
        self._imports: dict[int, str] = {}
        self.entries: list[Entry] = []
        self.now_s = START_S

    # --- moves -------------------------------------------------------------------------------------------------

    def do(self, profile: str, task_id: str, body: Body, seen: dict[str, int] | None = None) -> Decision:
        """Append one change to the ledger and decide it."""
        known = vectors.encode(self.vector(task_id) if seen is None else seen)
        return self.do_as_written(profile, task_id, KIND_OF[type(body)], encode_body(body), known)

    def do_as_written(self, profile: str, task_id: str, kind: str, text: str, known: str) -> Decision:
        """``do``, of a change that may hold anything: no pass checked it."""
        seq, digest = self._heads.get(profile, (0, genesis(profile, "")))
        seq, at_ms = seq + 1, self.now_s * 1_000
        digest = chain(digest, profile, seq, task_id, kind, text, known, at_ms)
        change = Change(profile, seq, task_id, kind, text, known, at_ms, digest)
        self._heads[profile] = (seq, digest)
        position, before = len(self.entries) + 1, self.entries[-1].digest if self.entries else GENESIS
        entry = Entry(position, change, at_ms, entry_digest(before, position, change, at_ms))
        self.entries.append(entry)
        (decision,) = replay(self._state, [entry])
        return decision

    def apply(self, profile: str, task_id: str, body: Body, seen: dict[str, int] | None = None) -> Any:
        """A change that must be applied; returns its answer."""
        decision = self.do(profile, task_id, body, seen)
        assert decision.applied, decision
        return decision.answer

    def refuse(
        self,
        profile: str,
        task_id: str,
        body: Body,
        reason: str,
        seen: dict[str, int] | None = None,
        leaves: str | None = None,
    ) -> dict[str, Any]:
        """A change that must be refused for ``reason``, and leave nothing behind but one event ``leaves``; returns
        the facts of the refusal."""
        before = dump(self._connection)
        known_events = {row[0] for row in before["task_events"]}
        decision = self.do(profile, task_id, body, seen)
        assert decision.reason == reason, decision
        assert decision.sentence
        after = dump(self._connection)
        assert (decision.entry.position, *decision.entry.change) in after["merge_kept"]
        left = [row for row in after["task_events"] if row[0] not in known_events]
        assert [(row[1], row[3]) for row in left] == ([(task_id, leaves)] if leaves else [])
        forgiven = (*RECORDS, *(("task_events", "sqlite_sequence") if leaves else ()))
        forgiven += ("merge_waiting",) if reason == "at_capacity" else ()
        for table, rows in before.items():
            assert table in forgiven or after[table] == rows, table
        return decision.answer or {}

    def imported(self, sql: str) -> None:
        """What no profile's change can say, but an import may have left on the board before the next entry."""
        self._imports[len(self.entries)] = sql
        _write(self._state, self._connection, self.entries[-1], sql)

    def later(self, seconds: int) -> None:
        """Time passes."""
        self.now_s += seconds

    # --- openings ----------------------------------------------------------------------------------------------

    def id(self) -> str:
        """A task id that was not used yet."""
        self._named += 1
        return f"t_{self._named:016x}"

    def make(self, profile: str = "bingge", **fields: Any) -> str:
        """A new task; returns its id."""
        task_id = self.id()
        self.apply(profile, task_id, Create(**{"title": "a task", **fields}))
        return task_id

    def finished(self, profile: str = "bingge") -> str:
        """A task that is archived, for those that need a terminal parent."""
        task_id = self.make(profile)
        self.apply(profile, task_id, Archive())
        return task_id

    def expire(self, task_id: str, run_id: int) -> Decision:
        """The coordinator's own word on a run."""
        return self.do(COORDINATOR, task_id, Expire(run_id=run_id, last_sign_ms=0))

    # --- looks -------------------------------------------------------------------------------------------------

    def rows(self, sql: str, *given: Any) -> list[dict[str, Any]]:
        """What a query finds."""
        cursor = self._connection.execute(sql, given)
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor]

    def task(self, task_id: str) -> dict[str, Any]:
        """The task's row, and the merge's row of it."""
        (row,) = self.rows("SELECT * FROM tasks t JOIN merge_tasks m ON m.task_id = t.id WHERE t.id = ?", task_id)
        return row

    def status(self, task_id: str) -> str:
        return self.task(task_id)["status"]

    def vector(self, task_id: str) -> dict[str, int]:
        """Everything that was decided about the task; empty for one that is not there."""
        found = self.rows("SELECT vector FROM merge_tasks WHERE task_id = ?", task_id)
        return json.loads(found[0]["vector"]) if found else {}

    def runs(self, task_id: str) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM task_runs WHERE task_id = ? ORDER BY id", task_id)

    def events(self, task_id: str) -> list[tuple[str, dict | None]]:
        """The task's events: ``(kind, payload)``."""
        found = self.rows("SELECT kind, payload FROM task_events WHERE task_id = ? ORDER BY id", task_id)
        return [(row["kind"], json.loads(row["payload"]) if row["payload"] else None) for row in found]

    def kinds(self, task_id: str) -> list[str]:
        return [kind for kind, _ in self.events(task_id)]

    # --- the law of every game ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Replaying the ledger gives the same rows in batches of any size, and runs and tasks agree."""
        want = dump(self._connection)
        for size in (1, 3, len(self.entries) or 1):
            assert self._replayed(size) == want, f"replayed in batches of {size}"
        open_runs = "SELECT id FROM task_runs WHERE ended_at IS NULL ORDER BY id"
        current = "SELECT current_run_id AS id FROM tasks WHERE {} ORDER BY current_run_id"
        assert self.rows(open_runs) == self.rows(current.format("status = 'running'"))
        assert self.rows(open_runs) == self.rows(current.format("current_run_id IS NOT NULL"))
        assert not self.rows("SELECT 1 FROM merge_tasks m JOIN tasks t ON t.id = m.task_id "
                             "WHERE (m.due_s IS NOT NULL AND t.status NOT IN ('scheduled', 'todo')) "
                             "OR (m.run_profile IS NULL) != (t.status != 'running')"
                             "OR (m.reviewing IS NOT NULL AND t.status != 'running')")  # fmt: skip

    def close(self) -> None:
        self._connection.close()

    def _replayed(self, size: int) -> Rows:
        """The rows of a scratch board on which the ledger is played in batches of ``size``."""
        connection = sqlite.open_scratch(sqlite.BOARD)
        try:
            state, at = BoardState(connection), 0
            while at < len(self.entries):
                stop = min([at + size, len(self.entries), *(mark for mark in self._imports if mark > at)])
                replay(state, self.entries[at:stop])
                at = stop
                if at in self._imports:
                    _write(state, connection, self.entries[at - 1], self._imports[at])
            return dump(connection)
        finally:
            connection.close()


def dump(connection: sqlite3.Connection) -> Rows:
    """Every row of every table."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name != '_sqlite_migrations'")
    return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for (name,) in names.fetchall()}


def _write(state: BoardState, connection: sqlite3.Connection, last: Entry, sql: str) -> None:
    state.open()
    connection.execute(sql)
    state.commit(last.position, last.digest)
    state.forget()  # which was written beside it
