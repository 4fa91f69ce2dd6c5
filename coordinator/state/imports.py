"""Imports: rows that an import brings, with the ids that they had."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kanban_shards.coordinator.state.session import COUNTED, Rows


class ImportedRows(Rows):
    """Reads and writes of what is imported."""

    def status_of(self, task_id: str) -> str | None:
        """The status of a task; None if there is none."""
        row = self._tasks.get(task_id)
        return None if row is None else row["status"]

    def earlier_import(self, digest: str) -> dict[str, int] | None:
        """The ids that an import of the same rows reserved; None if there was none."""
        kept = (
            "SELECT body FROM merge_kept JOIN merge_verdicts USING (profile, seq) "
            "WHERE kind = 'import' AND verdict = 'applied' ORDER BY merge_kept.position"
        )  # what was refused may say anything
        begun = [json.loads(body) for (body,) in self._execute(kept).fetchall()]
        return next((body["ids"] for body in begun if body["digest"] == digest), None)

    def next_ids(self) -> dict[str, int]:
        """The ids that the counted tables give next, outside a transaction."""
        given = dict(self._execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        return {table: given.get(table, 0) + 1 for table in COUNTED}

    def reserve_ids(self, upto: dict[str, int]) -> None:
        """From now on, ids of each table are given above the one in ``upto``, whatever is inserted before it."""
        for table, last in upto.items():
            if not last:
                continue
            self._next_id[table] = max(self._next_id[table], last + 1)
            reached = self._next_id[table] - 1
            if self._execute("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (reached, table)).rowcount == 0:
                self._execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, reached))

    def given_before(self, table: str, ids: Sequence[int]) -> list[int]:
        """Those of ``ids`` that a row of the table has, or that were never reserved."""
        sql = f"SELECT id FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
        there = {row_id for (row_id,) in self._execute(sql, (json.dumps(ids),)).fetchall()}
        return [each for each in ids if each in there or each >= self._next_id[table]]

    def bring(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Insert rows as they are; all have the same columns."""
        self._untold.difference_update(row["task_id"] for row in rows)
        if rows:
            self._insert_many(table, rows)
