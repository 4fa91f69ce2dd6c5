"""A shard: the one file that a profile writes, an append-only row of changes and a table of heartbeats.

Why it is as it is: several processes of one profile (its gateway, its workers, CLI calls) append at the same time,
and each append must be durable when it returns. So each takes the shard's lock, commits one transaction with
``synchronous=FULL``, and lets go. Nobody else ever writes the file, whatever the other profiles do.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from kanban_shards.attempts import Attempt, DeliveryKey, read_attempt, save_attempt
from kanban_shards.changes.codec import KIND_OF, Change, chain, encode_body
from kanban_shards.changes.fields import DECIDING, Body
from kanban_shards.changes.kinds import KINDS
from kanban_shards.changes.vectors import View, encode
from kanban_shards.errors import StorageError
from kanban_shards.group_commit import GroupCommit, Request
from kanban_shards.known_end import Named, read_end
from kanban_shards.paths import BoardPaths
from kanban_shards.shard_file import ShardFile
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.files import Identity

# So many changes of a process's threads are appended in one transaction.
AT_ONCE = 64
# Heartbeats of runs that ended are worth nothing; it is asked whether theirs did when they are this far from now.
HEARTBEATS_KEPT_MS = 7 * 24 * 3600 * 1000
# So many are asked about at once.
SWEPT_AT_ONCE = 100

_INSERT = "INSERT INTO changes (seq, task_id, kind, body, seen, at_ms, digest) VALUES (?, ?, ?, ?, ?, ?, ?)"
# Behind the change with the given seq and digest, if the file still ends with it and has the given schema.
_INSERT_BEHIND = (
    "INSERT INTO changes (seq, task_id, kind, body, seen, at_ms, digest) SELECT ?, ?, ?, ?, ?, ?, ? "
    "FROM (SELECT seq, digest FROM changes ORDER BY seq DESC LIMIT 1) "
    "WHERE seq = ? AND digest = ? AND (SELECT user_version FROM pragma_user_version) = ?"
)


class Written(NamedTuple):
    """A change that was appended: its seq and digest, and to which file; None if that was gone by then."""

    seq: int
    digest: str
    file: Identity | None


class OwnChange(NamedTuple):
    """A change that this profile wrote. ``body``: what it says, by name, without what it leaves at its default."""

    seq: int
    task_id: str
    kind: str
    body: dict[str, Any]

    @property
    def is_deciding(self) -> bool:
        """Whether it is one that others must have seen."""
        return self.kind in KINDS and KINDS[self.kind].rule == DECIDING


class _Appended(NamedTuple):
    """A change to be appended: its body's text, and what its author had read."""

    task_id: str
    kind: str
    body: str
    view: View


class Shard:
    """The shard of ``profile``, opened by this process for appending. Safe to use from several threads."""

    def __init__(self, paths: BoardPaths, profile: str) -> None:
        self._file = ShardFile(paths, profile)
        self.profile = profile
        self.path = self._file.path
        self._commits: GroupCommit[_Appended, Written] = GroupCommit(self._append_all, AT_ONCE)

    @property
    def is_ephemeral(self) -> bool:
        """As of ShardFile."""
        return self._file.is_ephemeral

    def append(self, task_id: str, body: Body, view: View) -> Written:
        """Append one change. Durable on return.

        ``view``: what this process read of the task before it decided to write; it becomes the change's ``seen``.
        Raises InvalidChange, TooLarge, ShardBehind, and the StorageErrors of a file that cannot be written.
        """
        self._file.check_same_process()
        asked = _Appended(task_id, KIND_OF[type(body)], encode_body(body), view)
        return self._append_behind_known(asked) or self._commits.submit(asked)

    def append_behind_known(self, task_id: str, body: Body, view: View) -> Written | None:
        """As ``append``, with a ``view`` that may be an older one, if the shard is as this process left it; None if
        there is any doubt, and nothing was written: then it takes a look at the board, and ``append``."""
        self._file.check_same_process()
        return self._append_behind_known(_Appended(task_id, KIND_OF[type(body)], encode_body(body), view))

    def append_together(self, changes: Sequence[tuple[str, Body, View]]) -> list[Written]:
        """Append all of ``changes`` (task id, body, view) in one commit, in their order, or none of them. Durable on
        return. Each sees those before it, as its author does. Raises as ``append`` does."""
        self._file.check_same_process()
        asked = [_Appended(task_id, KIND_OF[type(body)], encode_body(body), view) for task_id, body, view in changes]
        requests: list[Request[_Appended, Written]] = [Request(each) for each in asked]
        self._append_all(requests, together=True)
        return [each.answer for each in requests if each.answer is not None]

    def still_holds(self, written: Written) -> bool:
        """Whether the shard is the file that the change was written to, or another one that has it all the same: a
        repair may give changes up, and their seqs are given again."""
        found = files.identity(self.path)
        if found is not None and found == written.file:
            return True
        with self._file.opened(View()) as connection:
            row = connection.execute("SELECT digest FROM changes WHERE seq = ?", (written.seq,)).fetchone()
            return bool(row == (written.digest,))

    def was_merged(self, merged: Named) -> bool:
        """Whether what was merged of this profile, up to the change with this seq and digest, came from this shard. The
        digests are a chain, so one says it of all changes before it. Of those that were dropped meanwhile nothing is
        known any more, which only happens to what was merged from here."""
        if self._file.known.has(merged):
            return True
        with self._file.opened(View()) as connection:
            return read_end(connection, self.path, merged[0]).has(merged)

    def heartbeat(self, run_id: int, view: View) -> list[int]:
        """Note that the worker of ``run_id`` is alive now. Overwritten in place; not a change. Returns runs of which a
        heartbeat is kept that is long ago, or far ahead: by this clock, which may be wrong, so that it takes more than
        that to let ``forget_heartbeats`` have them."""
        now_ms = time.time_ns() // 1_000_000
        usual = now_ms - HEARTBEATS_KEPT_MS, now_ms + HEARTBEATS_KEPT_MS
        with self._file.writing(view) as connection, connections.transaction(connection):
            connection.execute("INSERT OR REPLACE INTO liveness (run_id, at_ms) VALUES (?, ?)", (run_id, now_ms))
            far = "SELECT run_id FROM liveness WHERE at_ms NOT BETWEEN ? AND ? ORDER BY run_id LIMIT ?"
            return [each for (each,) in connection.execute(far, (*usual, SWEPT_AT_ONCE))]

    def forget_heartbeats(self, run_ids: Sequence[int], view: View) -> None:
        """Drop the heartbeats of runs that are over."""
        with self._file.writing(view) as connection, connections.transaction(connection):
            connection.executemany("DELETE FROM liveness WHERE run_id = ?", [(run_id,) for run_id in run_ids])

    def attempt(self, key: DeliveryKey, view: View) -> Attempt:
        """Where the delivery ``key`` stands."""
        with self._file.opened(view) as connection:
            return read_attempt(connection, key)

    def lease_attempt(
        self, key: DeliveryKey, acknowledged: int, upto: int, now_ms: int, until_ms: int, view: View
    ) -> int:
        """Take the delivery of the events up to ``upto`` until ``until_ms``; returns the number of the attempt, counted
        from 1, or 0 if another process has it, its next try is later than ``now_ms``, or the newest event told is
        another than ``acknowledged``, so that another process told it meanwhile."""
        with self._file.writing(view) as connection, connections.transaction(connection):
            taken = read_attempt(connection, key).leased(acknowledged, upto, now_ms, until_ms)
            if taken is None:
                return 0
            save_attempt(connection, key, taken)
        return taken.attempts

    def save_attempt(self, key: DeliveryKey, attempt: Attempt, view: View) -> None:
        """Remember how the delivery ended. Not a change: overwritten in place, but what was told stays told."""
        with self._file.writing(view) as connection, connections.transaction(connection):
            known = read_attempt(connection, key)
            if known.acknowledged_seq > view.merged_seq:
                attempt = replace(attempt, acknowledged=max(known.acknowledged, attempt.acknowledged))
            save_attempt(connection, key, attempt)

    def has_unmerged_create(self, task_id: str, view: View) -> bool:
        """Whether this profile made ``task_id`` and the board does not show it yet."""
        found = files.identity(self.path)
        if found is None:
            return False
        with self._file.locked():
            if found == self._file.identity and self._file.pending.has_create(task_id, view):
                return True
        with self._file.opened(view) as connection:
            self._file.pending.read(connection, read_end(connection, self.path).last[0], view)
            return self._file.pending.has_create(task_id, view)

    def newest(self, count: int) -> list[OwnChange]:
        """The newest changes, ``count`` at most, the newest first."""
        if not self.path.exists():
            return []
        sql = "SELECT seq, task_id, kind, body FROM changes ORDER BY seq DESC LIMIT ?"
        with self._file.opened(View()) as connection:
            rows = connection.execute(sql, (count,)).fetchall()
        return [OwnChange(seq, task_id, kind, json.loads(body)) for seq, task_id, kind, body in rows]

    def head(self, view: View) -> int:
        """The seq of the newest change, by whichever process of this profile; 0 for an empty shard."""
        if not self.path.exists():
            return 0
        with self._file.opened(view) as connection:
            return read_end(connection, self.path).last[0]

    def close(self) -> None:
        """Close the file, when no thread writes any more. The shard may be used again afterwards. Raises FileBusy."""
        self._file.close()

    def _append_behind_known(self, asked: _Appended) -> Written | None:
        """Append in one statement, without reading anything, where this process knows how the shard ends. In any doubt
        nothing is written, and the answer is None; also while other threads append, who share a commit, and
        where it must be asked whether the profile still lives on this host."""
        if not self._file.is_at_home or not self._commits.is_idle:
            return None
        with self._file.as_left() as connection:
            last = self._file.known.last
            if connection is None or last is None or not self._file.known.has(_merged(asked.view)):
                return None
            return self._insert_behind(connection, last, asked)

    def _insert_behind(self, connection: sqlite3.Connection, last: Named, asked: _Appended) -> Written | None:
        """Append behind the change ``last``, if the file ends with it. Ctrl-C may come at any line, so how it ends is
        not known before it is all over."""
        self._file.known.last = None
        self._file.pending.forget_shown(asked.view)
        change = self._next(last, asked)
        is_written = False
        try:
            self._file.pending.add_mine(change.seq, change.task_id, change.kind)
            inserted = connection.execute(_INSERT_BEHIND, (*change.row(), *last, sqlite.SHARD.schema))
            is_written = inserted.rowcount == 1
        except BaseException as error:
            is_written = self._reaches(connection, change)
            if not is_written or not isinstance(error, sqlite3.Error):
                raise
        finally:
            if not is_written:
                self._file.pending.forget_from(change.seq)
        if not is_written:
            return None
        self._file.known.learn(last, [change])
        return Written(change.seq, change.digest, self._file.identity)

    def _append_all(self, requests: list[Request[_Appended, Written]], together: bool = False) -> None:
        """Append what is asked for, all or nothing but for those whose author saw more than this shard holds; if they
        are ``together``, that is everybody's error. An answer that is set says that it is durable."""
        views = [request.asked.view for request in requests]
        oldest, newest = min(views, key=_merged), max(views, key=_merged)
        with self._file.writing(newest) as connection:
            changes: list[Change] = []
            able: list[Request[_Appended, Written]] = []
            behind: Named = (0, "")
            try:
                with connections.transaction(connection):
                    self._file.known.last = None
                    end, able = self._checked(connection, requests)
                    behind = end
                    if together and len(able) < len(requests):
                        raise next(each.error for each in requests if each.error is not None)
                    self._file.pending.read(connection, end[0], oldest)
                    for request in able:
                        change = self._next(end, request.asked)
                        end = change.seq, change.digest
                        self._file.pending.add_mine(change.seq, change.task_id, change.kind)
                        changes.append(change)
                    connection.executemany(_INSERT, [change.row() for change in changes])
                self._answer(able, changes)
            except BaseException:
                if changes and self._reaches(connection, changes[-1]):  # Ctrl-C came when it was committed
                    self._answer(able, changes)
                elif changes:
                    self._file.pending.forget_from(changes[0].seq)
                raise
            self._file.known.learn(behind, changes)
            for request in able:
                self._file.known.learn_merged(_merged(request.asked.view))

    def _checked(
        self, connection: sqlite3.Connection, requests: list[Request[_Appended, Written]]
    ) -> tuple[Named, list[Request[_Appended, Written]]]:
        """Where the shard ends, and those of the requests that may be appended there; the others get their error."""
        ends = {merged: self._end(connection, merged) for merged in {_merged(each.asked.view) for each in requests}}
        for request in requests:
            _, request.error = ends[_merged(request.asked.view)]
        end, _ = ends[_merged(requests[0].asked.view)]
        return end, [request for request in requests if request.error is None]

    def _next(self, end: Named, asked: _Appended) -> Change:
        """The change after the one that ``end`` names."""
        seq, digest = end[0] + 1, end[1]
        seen = encode(self._seen(asked.task_id, asked.view))
        written_ms = time.time_ns() // 1_000_000
        digest = chain(digest, self.profile, seq, asked.task_id, asked.kind, asked.body, seen, written_ms)
        return Change(self.profile, seq, asked.task_id, asked.kind, asked.body, seen, written_ms, digest)

    def _answer(self, requests: list[Request[_Appended, Written]], changes: list[Change]) -> None:
        for request, change in zip(requests, changes, strict=True):
            request.answer = Written(change.seq, change.digest, self._file.identity)

    def _reaches(self, connection: sqlite3.Connection, change: Change) -> bool:
        """Whether the file ends with the change; not, if it cannot be read."""
        try:
            return not connection.in_transaction and read_end(connection, self.path).last == (change.seq, change.digest)
        except sqlite3.Error:
            return False

    def _end(self, connection: sqlite3.Connection, merged: Named) -> tuple[Named, StorageError | None]:
        """The last change; and an error if the shard is behind what was ``merged`` of it: a change appended to an older
        copy would take a seq that was used before, and never be merged. Raises Damaged."""
        end = read_end(connection, self.path, merged[0])
        # A shard that is ahead of what the board shows is in order: the board is being made again.
        if end.has(merged):
            return end.last, None
        return end.last, self._file.behind(end.last[0], merged[0])

    def _seen(self, task_id: str, view: View) -> dict[str, int]:
        """The task's vector as this process knows it: the board's, and then its own changes that the board lacks."""
        seen = dict(view.vector)
        mine = None if view.exactly else self._file.pending.seen(task_id, view)
        if mine is not None:
            seen[self.profile] = max(mine, seen.get(self.profile, 0))
        return seen


def _merged(view: View) -> Named:
    return view.merged_seq, view.merged_digest
