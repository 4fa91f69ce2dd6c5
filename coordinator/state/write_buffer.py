"""Write buffer: what the entries of one transaction write, in memory until somebody reads the table or the transaction
ends.

Most tasks of a busy batch are made, claimed and completed in it. Written once, with what became of them, each costs
one insert in place of an insert and an update of every index for each change. What an entry writes is its own until it
is settled, so a refusal takes back nothing but memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar

RowValues = dict[str, Any]
Key = TypeVar("Key")


class HeldTable(Generic[Key]):
    """Rows of a table by their key. ``read`` finds one that is not in memory; without it, rows are only written."""

    def __init__(self, read: Callable[[Key], RowValues | None] = lambda key: None) -> None:
        self._read = read
        self._known: dict[Key, RowValues] = {}
        self._new: dict[Key, RowValues] = {}
        self._changed: dict[Key, RowValues] = {}
        self._entry_new: dict[Key, RowValues] = {}
        self._entry_changed: dict[Key, RowValues] = {}

    def get(self, key: Key) -> RowValues | None:
        """The row as the present entry sees it, or None. It is not to be changed: see ``change``."""
        row = self.held(key)
        if row is None:
            row = self._read(key)
            if row is not None:
                self._known[key] = row
        return row

    def held(self, key: Key) -> RowValues | None:
        """The same, of a row that is in memory; None for any other."""
        row = self._entry_new.get(key) or self._known.get(key)
        changes = self._entry_changed.get(key)
        return {**row, **changes} if row is not None and changes else row

    def add(self, key: Key, row: RowValues) -> None:
        """A new row, with all its columns."""
        self._entry_new[key] = row

    def change(self, key: Key, columns: RowValues) -> None:
        """New values for ``columns`` of a row."""
        if key in self._entry_new:
            self._entry_new[key].update(columns)
        elif columns:
            self._entry_changed.setdefault(key, {}).update(columns)

    def settle(self) -> None:
        """The present entry stays as it is."""
        if self._entry_new:
            self._known.update(self._entry_new)
            self._new.update(self._entry_new)
            self._entry_new.clear()
        if self._entry_changed:
            for key, columns in self._entry_changed.items():
                if key in self._known:
                    self._known[key].update(columns)
                if key not in self._new:
                    self._changed.setdefault(key, {}).update(columns)
            self._entry_changed.clear()

    def undo(self) -> None:
        """The present entry wrote nothing."""
        self._entry_new.clear()
        self._entry_changed.clear()

    def take(self) -> tuple[Collection[RowValues], dict[Key, RowValues]]:
        """What is settled and not written yet, to be written now: new rows, and changed columns by key."""
        new, changed = self._new, self._changed
        self._new, self._changed = {}, {}
        return new.values(), changed

    def forget(self, most: int = 0) -> None:
        """The table is not what it was, or more than ``most`` rows are in memory: read every row anew."""
        if len(self._known) > most:
            self._known.clear()


class HeldLog:
    """Rows of a table that is only added to; ``insert`` is the statement that writes one."""

    def __init__(self, insert: str) -> None:
        self.insert = insert
        self._rows: list[tuple[Any, ...]] = []
        self._settled = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """A new row."""
        self._rows.append(row)

    def settle(self) -> None:
        """The present entry stays as it is."""
        self._settled = len(self._rows)

    def undo(self) -> None:
        """The present entry wrote nothing."""
        del self._rows[self._settled :]

    def take(self) -> list[tuple[Any, ...]]:
        """What is settled and not written yet, to be written now."""
        settled, self._rows = self._rows[: self._settled], self._rows[self._settled :]
        self._settled = 0
        return settled
