"""The ledger: every change once, in the order that was decided. The board is a replay of it.

The port is small (docs/design/passes.md, "The ledger"): append these, give me what is after position N, where
does it begin, where does it end. This is the embedded one, a file of its own beside the board.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.errors import Damaged
from kanban_shards.storage import connections, sqlite
from kanban_shards.storage.locks import FileLock

GENESIS = ""
_COLUMNS = "position, profile, seq, task_id, kind, body, seen, written_ms, change_digest, at_ms, digest"
_INSERT = f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PAGE = 1_000
# The schema from which on a ledger knows that it is shared.
_SHARED_SINCE = 2


class Point(NamedTuple):
    """A place in a ledger: a position, and the digest of the entry there."""

    position: int
    digest: str


class Entry(NamedTuple):
    """A change with its position. ``at_ms`` is the coordinator's clock when it was appended, milliseconds since 1970,
    the only time that deciding knows. ``digest`` chains the ledger, as the change's own chains its shard."""

    position: int
    change: Change
    at_ms: int
    digest: str

    @property
    def point(self) -> Point:
        """Where it is."""
        return Point(self.position, self.digest)

    def continues(self, behind: Point) -> bool:
        """Whether it is whole, and the one after ``behind``."""
        position, digest = behind
        return self.position == position + 1 and self.digest == entry_digest(
            digest, self.position, self.change, self.at_ms
        )


class Ledger(Protocol):
    """What the coordinator needs of a ledger."""

    def append(self, changes: Sequence[Change], at_ms: int, behind: Point) -> list[Entry]:
        """Give each change the next position, durably, all of them or none. Raises Overtaken unless ``behind`` is the
        head, and StorageError if one is there already."""
        ...

    def after(self, position: int) -> Iterator[Entry]:
        """The entries behind ``position``, in order, their chain checked. Raises Damaged at a break."""
        ...

    def base(self) -> Point:
        """Where it begins: the position up to which entries were dropped, and its digest; ``(0, GENESIS)`` if none."""
        ...

    def head(self) -> Point:
        """The last position and its digest; ``(0, GENESIS)`` for an empty ledger."""
        ...


class FileLedger:
    """The ledger in ``kanban-ledger.db``. For reading alone, leave ``lock`` out. ``wait_ms``: how long each statement
    waits for what others have locked in the file itself."""

    def __init__(self, path: Path, lock: FileLock | None = None, wait_ms: int = connections.BUSY_MS) -> None:
        self.path = path
        self._connection = (
            sqlite.open_writer(path, sqlite.LEDGER, lock, wait_ms)
            if lock
            else sqlite.open_reader(path, sqlite.LEDGER, wait_ms)
        )

    def append(self, changes: Sequence[Change], at_ms: int, behind: Point) -> list[Entry]:
        entries = continued(changes, at_ms, behind)
        self.store(entries, behind)
        return entries

    def store(self, entries: Sequence[Entry], behind: Point) -> None:
        """Keep entries that continue ``behind``, durably, all of them or none. Raises as ``append`` does."""
        with connections.explained(self.path), connections.transaction(self._connection):
            head = self.head()
            if head != behind:
                raise Overtaken(path=self.path, held=head.position, behind=behind.position)
            rows = [(each.position, *each.change, each.at_ms, each.digest) for each in entries]
            self._connection.executemany(_INSERT, rows)

    def after(self, position: int) -> Iterator[Entry]:
        end = Point(position, self.digest_at(position))
        while True:
            with connections.explained(self.path):
                page = self._connection.execute(
                    f"SELECT {_COLUMNS} FROM entries WHERE position > ? ORDER BY position LIMIT ?",
                    (end.position, _PAGE),
                ).fetchall()
            for entry in map(_entry, page):
                if not entry.continues(end):
                    raise Damaged(path=self.path, problem=f"its chain breaks at position {end.position + 1}")
                end = entry.point
                yield entry
            if len(page) < _PAGE:
                return

    def base(self) -> Point:
        with connections.explained(self.path):
            row = self._connection.execute("SELECT position, digest FROM base").fetchone()
        if row is None or tuple(map(type, row)) != (int, str):  # a STRICT table is no promise
            raise Damaged(path=self.path, problem="it does not say where it begins")
        return Point(*row)

    def head(self) -> Point:
        with connections.explained(self.path):
            row = self._connection.execute(
                "SELECT position, digest FROM entries ORDER BY position DESC LIMIT 1"
            ).fetchone()
        return Point(*row) if row else self.base()

    def digest_at(self, position: int) -> str:
        """The digest of the entry at ``position``, or where the ledger begins. Raises Damaged if there is none."""
        base, digest = self.base()
        if position == base:
            return digest
        with connections.explained(self.path):
            row: tuple[str] | None = self._connection.execute(
                "SELECT digest FROM entries WHERE position = ?", (position,)
            ).fetchone()
        if row is None:
            raise Damaged(path=self.path, problem=f"it holds no entry at position {position}")
        return row[0]

    def newest_ms(self) -> int | None:
        """When the last entry was appended; None if there is none."""
        with connections.explained(self.path):
            row = self._connection.execute("SELECT at_ms FROM entries ORDER BY position DESC LIMIT 1").fetchone()
        return row[0] if row else None

    def at_ms(self, position: int) -> int | None:
        """When the entry at ``position`` was appended; None if it is not there."""
        with connections.explained(self.path):
            row = self._connection.execute("SELECT at_ms FROM entries WHERE position = ?", (position,)).fetchone()
        return row[0] if row else None

    def of_task(self, task_id: str, others: Sequence[int], upto: int) -> list[Entry]:
        """The entries up to ``upto`` that name the task ``task_id``, or are at one of the positions ``others``; their
        chain is not checked."""
        sql = (
            f"SELECT {_COLUMNS} FROM entries WHERE position <= :upto AND (task_id = :task "
            "OR position IN (SELECT value FROM json_each(:others))) ORDER BY position"
        )
        given = {"upto": upto, "task": task_id, "others": msgspec.json.encode(others).decode()}
        with connections.explained(self.path):
            return [_entry(row) for row in self._connection.execute(sql, given)]

    def changes_of(self, profile: str, after: int) -> list[Change]:
        """The profile's changes in entries behind ``after``, in order. The chain of entries is not checked; that of its
        changes, each of which covers all that its author wrote, is. Raises Damaged where that breaks."""
        sql = f"SELECT {_COLUMNS} FROM entries WHERE profile = ? AND position > ? ORDER BY seq"
        with connections.explained(self.path):
            found = [_entry(row).change for row in self._connection.execute(sql, (profile, after))]
        for before, change in pairwise(found):
            if not change.continues(before.digest) or change.seq != before.seq + 1:
                raise Damaged(path=self.path, problem=f"the chain of {profile} breaks at its change {change.seq}")
        return found

    def dots(self, after: int, upto: int) -> list[tuple[str, int]]:
        """Whose change each entry behind ``after`` is, up to ``upto``, and which of theirs."""
        sql = "SELECT profile, seq FROM entries WHERE position > ? AND position <= ? ORDER BY position"
        with connections.explained(self.path):
            return self._connection.execute(sql, (after, upto)).fetchall()

    def first_since(self, at_ms: int) -> int:
        """The first position that was appended at or after ``at_ms``; the one after the last if none was."""
        with connections.explained(self.path):
            (found,) = self._connection.execute(
                "SELECT min(position) FROM entries WHERE at_ms >= ?", (at_ms,)
            ).fetchone()
        return found or self.head()[0] + 1

    def drop(self, position: int) -> None:
        """Forget the entries up to ``position``, durably; the next one still continues their digest."""
        digest = self.digest_at(position)
        with connections.explained(self.path), connections.transaction(self._connection):
            self._connection.execute("DELETE FROM entries WHERE position <= ?", (position,))
            self._connection.execute("UPDATE base SET position = ?, digest = ?", (position, digest))
        self.shrink()

    def begin_behind(self, position: int, digest: str) -> None:
        """Let an empty ledger begin after ``position``."""
        with connections.explained(self.path), connections.transaction(self._connection):
            self._connection.execute("UPDATE base SET position = ?, digest = ?", (position, digest))

    def shared(self) -> str | None:
        """What ``note_shared`` noted last; None if nothing, as on a board of one host."""
        with connections.explained(self.path):
            if connections.schema_of(self._connection) < _SHARED_SINCE:
                return None
            row = self._connection.execute("SELECT said FROM shared").fetchone()
        return row and str(row[0])

    def note_shared(self, said: str | None) -> None:
        """Note durably of whose ledger this is a copy, as the board's ``shared.json`` says it; None for nobody's."""
        with connections.explained(self.path), connections.transaction(self._connection):
            self._connection.execute("DELETE FROM shared")
            if said is not None:
                self._connection.execute("INSERT INTO shared VALUES (1, ?)", (said,))

    def shrink(self) -> None:
        """Give back to the disk what dropped entries took."""
        with connections.explained(self.path):
            connections.shrink(self._connection)

    def check_schema(self) -> None:
        """Raise SchemaMoved if a newer program has migrated the file meanwhile."""
        with connections.explained(self.path):
            sqlite.check_schema(self._connection, self.path, sqlite.LEDGER)

    def checkpoint_late(self) -> None:
        """Leave it to ``checkpoint`` to keep the WAL short."""
        connections.checkpoint_late(self._connection)

    def checkpoint(self) -> None:
        """Bring the WAL into the file, as far as nobody reads what is before it."""
        with connections.explained(self.path):
            connections.checkpoint(self._connection)

    def integrity(self) -> str:
        """SQLite's own ``integrity_check``: ``ok``, or what is wrong."""
        return connections.integrity(self._connection, self.path)

    def check_whole(self) -> None:
        """Raise Damaged unless SQLite and the chain find nothing wrong, from the first entry to the last."""
        problem = self.integrity()
        if problem != "ok":
            raise Damaged(path=self.path, problem=problem)
        for _ in self.after(self.base()[0]):
            pass

    def close(self) -> None:
        """Close the file; a writer still holds the lock then."""
        self._connection.close()


def continued(changes: Sequence[Change], at_ms: int, behind: Point) -> list[Entry]:
    """``changes`` as the entries after ``behind``, stamped ``at_ms`` (milliseconds since 1970)."""
    position, digest = behind
    entries = []
    for position, change in enumerate(changes, position + 1):  # noqa: B020
        digest = entry_digest(digest, position, change, at_ms)
        entries.append(Entry(position, change, at_ms, digest))
    return entries


def _entry(row: tuple[Any, ...]) -> Entry:
    """The entry of a row of _COLUMNS."""
    position, *change, at_ms, digest = row
    return Entry(position, Change(*change), at_ms, digest)


def entry_digest(previous: str, position: int, change: Change, at_ms: int) -> str:
    """The digest of an entry, given the one of the entry before: it covers every column, so an edit of any shows.

    ``change``: the fields of shards/changes/codec.py, ``Change``, in their order.
    """
    return hashlib.blake2b(msgspec.json.encode([previous, position, *change, at_ms]), digest_size=16).hexdigest()
