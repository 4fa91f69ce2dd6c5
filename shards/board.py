"""The board, read-only: for gateways, commands, dashboards, anyone.

Law 4: readers open ``mode=ro`` with ``query_only``. Each call is one short read of one state of the board; none
writes, waits for a writer, or promotes anything.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from msgspec.structs import replace

from kanban_shards import queries
from kanban_shards.changes.vectors import View, decode
from kanban_shards.errors import BoardMissing, SharingStrange, UnknownTask
from kanban_shards.heard import board_now_s
from kanban_shards.paths import BoardPaths, check_task_id
from kanban_shards.queries import TaskPage, TaskQuery
from kanban_shards.records import (
    STATUSES,
    Attachment,
    Comment,
    DeadLetter,
    Event,
    ProfileHome,
    Record,
    RefusedChange,
    Run,
    Status,
    Subscription,
    Task,
    Verdict,
    Worker,
)
from kanban_shards.storage import connections, files, sqlite

if TYPE_CHECKING:
    from kanban_shards.bell import Bell

# What is put in the places of a statement: by position, or by name.
_Given = Sequence[str | int | None] | Mapping[str, str | int | None]
_AnyRecord = TypeVar("_AnyRecord", bound=Record)
EVENTS_LIMIT = 1_000
# Tasks read at a time by who reads them one after the other.
PAGE = 100
# Since which schema a board, which the next pass brings up to date, has what a read asks for (migrations/board.py).
_WITH_WORKERS = 2
_WITH_HOMES = 3
# How long a follower sleeps although nobody rang: what a lost bell costs.
LOST_BELL_S = 1.0

_OF_A_WORKER = (
    "SELECT e.task_id, e.run_id, json_extract(e.payload, '$.pid') AS pid, json_extract(e.payload, '$.host') AS host, "
    "json_extract(e.payload, '$.began') AS began, r.ended_at, "
    "CASE WHEN r.ended_at IS NULL THEN r.claim_expires END AS expires_at, "
    "CASE WHEN r.ended_at IS NULL THEN m.lease_s END AS lease_s, "
    "CASE WHEN r.ended_at IS NULL THEN m.grace_s END AS grace_s "
)
_WORKERS = (
    f"{_OF_A_WORKER} FROM task_events e JOIN task_runs r ON r.id = e.run_id JOIN merge_tasks m ON m.task_id = e.task_id"
)
_OPEN_WORKERS = (
    f"{_OF_A_WORKER} FROM tasks t INDEXED BY merge_running JOIN merge_tasks m ON m.task_id = t.id "
    "JOIN task_runs r ON r.id = t.current_run_id JOIN task_events e ON e.id = (SELECT max(s.id) FROM task_events s "
    "WHERE s.run_id = r.id AND s.kind = 'spawned') WHERE t.status = 'running'"
)
_EYES = (
    "SELECT m.vector, w.seq, w.digest FROM (SELECT ? AS task_id, ? AS profile) asked "
    "LEFT JOIN merge_tasks m ON m.task_id = asked.task_id LEFT JOIN merge_watermarks w ON w.profile = asked.profile"
)


class Board:
    """A board opened for reading. Safe to use from several threads, not across a fork; cheap to keep open, and it holds
    nobody up. Use it as a context manager, or ``close`` it.

    ``Board.open()`` finds the user's board; ``Board(paths)`` takes the one at ``paths``, which is opened by the first
    read. What every read may raise: BoardMissing, the StorageErrors of a file that cannot be read, Forked, and
    TypeError for what no column can be compared with.
    """

    def __init__(self, paths: BoardPaths) -> None:
        self.paths = paths
        self._connection: sqlite3.Connection | None = None
        self._names = (str(paths.board), f"{paths.board}-wal")
        self._present: tuple[files.Identity | None, ...] | None = None
        self._threads = threading.RLock()
        self._pid = os.getpid()

    @classmethod
    def open(cls, *, board: str | None = None, home: str | os.PathLike[str] | None = None) -> Board:
        """The board ``board``, by its slug, of the Hermes home ``home``, a folder; None means the user's own
        (shards/paths.py).

        Raises InvalidName, UnknownBoard, BoardMissing, and the StorageErrors of a file that cannot be read.
        """
        opened = cls(BoardPaths.find(board, home))
        opened.paths.require_board()
        with opened.reading():
            return opened

    # --- tasks -------------------------------------------------------------------------------------------------

    def task(self, task_id: str) -> Task | None:
        """The task, or None."""
        return self._one(Task, f"{queries.TASKS} WHERE t.id = ?", (task_id,))

    def known_task(self, task_id: str) -> Task:
        """The task. Raises InvalidTaskId, UnknownTask."""
        task = self.task(check_task_id(task_id))
        if task is None:
            raise UnknownTask(task_id=task_id, board=self.paths)
        return task

    def tasks(
        self,
        *,
        status: Status | Sequence[Status] | None = None,
        assignee: str | None = None,
        tenant: str | None = None,
        session_id: str | None = None,
        workflow_template_id: str | None = None,
        current_step_key: str | None = None,
        include_archived: bool = False,
        sort: str = "priority-desc",
        limit: int | None = None,
    ) -> list[Task]:
        """The tasks that match every filter that is not None, in the order ``sort``; each is described in ``TaskQuery``
        (shards/queries.py). ``status``: one or several. ``limit``: the first so many; None for all, which of a large
        board are many: ``page`` gives them bit by bit. Raises ValueError for an order or a status that there is not.
        """
        query = queries.TaskQuery(
            statuses=() if status is None else (status,) if isinstance(status, str) else tuple(status),
            assignee=assignee,
            tenant=tenant,
            session_id=session_id,
            workflow_template_id=workflow_template_id,
            current_step_key=current_step_key,
            include_archived=include_archived,
            sort=sort,
        )
        return self._all(Task, *queries.page(query, None, limit))

    def page(self, query: TaskQuery, *, limit: int, after: str | None = None) -> TaskPage:
        """The first ``limit`` tasks that ``query`` finds, or those behind the page whose ``after`` this is. It costs
        what is shown in the usual order, and in another one a look at each task that matches. Raises ValueError for an
        ``after`` of another order."""
        rows = self._rows(*queries.page(query, after, limit + 1))
        shown = [Task.from_row(row) for row in rows[:limit]]
        if len(rows) <= limit or not shown:
            return TaskPage(shown, None)
        return TaskPage(shown, queries.place_of([rows[limit - 1][f"k{key}"] for key in range(len(query.keys))]))

    def each(self, query: TaskQuery) -> Iterator[Task]:
        """The tasks that ``query`` finds, read page by page as they are asked for. What comes, goes or moves meanwhile
        is shown where it is when its page is read."""
        after = None
        while True:
            page = self.page(query, limit=PAGE, after=after)
            yield from page.tasks
            after = page.after
            if after is None:
                return

    def count_by_status(self, query: TaskQuery) -> dict[Status, int]:
        """How many of the tasks that ``query`` finds each status has, for the statuses that have any."""
        counted: dict[Status, int] = dict(map(tuple, self._rows(*queries.counts(query))))
        return {status: counted[status] for status in STATUSES if status in counted}

    def ids_beginning_with(self, beginning: str, limit: int) -> list[str]:
        """The ids of the tasks whose id begins so, ``limit`` at most, in order; ``beginning``: ``t_`` and digits."""
        sql = "SELECT id FROM tasks WHERE id >= :first AND id < :behind ORDER BY id LIMIT :limit"
        given: dict[str, str | int] = {
            "first": beginning,
            "behind": f"{beginning}g",
            "limit": limit,
        }  # no digit of an id is behind f
        return self._column(sql, given)

    def parents(self, task_id: str) -> list[str]:
        """The ids of the tasks that ``task_id`` waits for."""
        return self._column("SELECT parent_id FROM task_links WHERE child_id = ? ORDER BY 1", (task_id,))

    def children(self, task_id: str) -> list[str]:
        """The ids of the tasks that wait for ``task_id``."""
        return self._column("SELECT child_id FROM task_links WHERE parent_id = ? ORDER BY 1", (task_id,))

    def has_ready(self, profile: str) -> bool:
        """Whether ``claim_next`` for ``profile`` has anything to choose from."""
        sql = (
            "SELECT 1 FROM tasks t JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'ready' AND {} AND coalesce(m.not_before_s, 0) <= ? LIMIT 1"
        )
        now_s = self._now_s()
        mine = self._column(sql.format("t.assignee = ?"), (profile, now_s))
        return bool(mine or self._column(sql.format("t.assignee IS NULL"), (now_s,)))

    def running_by_owner(self) -> dict[str, int]:
        """How many open runs each profile has, which counts for its limit."""
        sql = (
            "SELECT m.owner, count(*) FROM tasks t JOIN merge_tasks m ON m.task_id = t.id "
            "WHERE t.status = 'running' GROUP BY 1"
        )
        return dict(map(tuple, self._rows(sql, ())))

    def open_runs(self) -> int:
        """How many runs are open."""
        return self._number("SELECT count(*) FROM tasks WHERE status = 'running'")

    # --- what belongs to tasks ---------------------------------------------------------------------------------

    def run(self, run_id: int) -> Run | None:
        """The run, or None."""
        return self._one(Run, "SELECT * FROM task_runs WHERE id = ?", (run_id,))

    def runs(self, task_id: str) -> list[Run]:
        """Every attempt at the task, oldest first."""
        return self._all(Run, "SELECT * FROM task_runs WHERE task_id = ? ORDER BY id", (task_id,))

    def workers(self, task_id: str | None = None) -> list[Worker]:
        """The processes that were started for the task's runs, newest first; without a task, those of open runs, one
        for each."""
        if self._schema() < _WITH_WORKERS:
            return []  # no pass of this program was made yet, and what wrote the board before noted no host
        if task_id is not None:
            sql = f"{_WORKERS} WHERE e.task_id = ? AND e.kind = 'spawned' ORDER BY e.id DESC"
            return self._all(Worker, sql, (task_id,))
        return self._all(Worker, f"{_OPEN_WORKERS} ORDER BY t.claim_expires", ())

    def completed_by(self, profile: str, *, other_than: str, limit: int) -> list[dict[str, Any]]:
        """The newest runs, ``limit`` at most, that ``profile`` completed on tasks other than ``other_than``: of each
        the task_id, title, summary and ended_at (seconds since 1970)."""
        sql = (
            "SELECT r.task_id, t.title, r.summary, r.ended_at FROM task_runs r JOIN tasks t ON t.id = r.task_id "
            "WHERE r.profile = ? AND r.task_id != ? AND r.outcome = 'completed' ORDER BY r.id DESC LIMIT ?"
        )
        return [dict(row) for row in self._rows(sql, (profile, other_than, limit))]

    def known_ids(self, task_ids: Iterable[str]) -> set[str]:
        """Those of ``task_ids`` that the board has, or had."""
        sql = (
            "SELECT task_id FROM merge_tasks WHERE task_id IN (SELECT value FROM json_each(:ids)) UNION "
            "SELECT task_id FROM merge_tombstones WHERE task_id IN (SELECT value FROM json_each(:ids))"
        )
        return set(self._column(sql, {"ids": json.dumps(list(task_ids))}))

    def comments(self, task_id: str) -> list[Comment]:
        """What was said about the task, oldest first."""
        return self._all(Comment, "SELECT * FROM task_comments WHERE task_id = ? ORDER BY id", (task_id,))

    def events(
        self, *, after: int = 0, task_id: str | None = None, kinds: Sequence[str] = (), limit: int = EVENTS_LIMIT
    ) -> list[Event]:
        """Events with an id above ``after``, oldest first, at most ``limit``: of the task ``task_id``, None for all; of
        ``kinds``, none for all."""
        conditions = ["id > ?"]
        given: list[str | int] = [after]
        if task_id is not None:
            conditions.append("task_id = ?")
            given.append(task_id)
        if kinds:
            conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
            given.extend(kinds)
        sql = f"SELECT * FROM task_events WHERE {' AND '.join(conditions)} ORDER BY id LIMIT ?"
        return self._all(Event, sql, (*given, limit))

    def events_of(self, task_id: str, after: int = 0) -> Iterator[Event]:
        """Every event of the task with an id above ``after``, oldest first, read a page at a time."""
        while page := self.events(after=after, task_id=task_id):
            yield from page
            after = page[-1].id

    def last_event_id(self) -> int:
        """The id of the newest event; 0 if there is none."""
        return self._number("SELECT coalesce(max(id), 0) FROM task_events")

    def subscriptions(self, task_id: str | None = None) -> list[Subscription]:
        """Who is told about the task (or about any task), oldest first."""
        where = "" if task_id is None else " WHERE task_id = ?"
        sql = f"SELECT * FROM kanban_notify_subs{where} ORDER BY created_at, task_id, platform, chat_id, thread_id"
        return self._all(Subscription, sql, () if task_id is None else (task_id,))

    def undelivered(self, profile: str) -> list[Subscription]:
        """Subscriptions that ``profile`` delivers, or that nobody does yet, with events after their cursor."""
        sql = (
            "SELECT * FROM kanban_notify_subs s WHERE coalesce(notifier_profile, '') IN (?, '') AND EXISTS "
            "(SELECT 1 FROM task_events e WHERE e.task_id = s.task_id AND e.id > s.last_event_id) "
            "ORDER BY created_at, task_id, platform, chat_id, thread_id"
        )
        return self._all(Subscription, sql, (profile,))

    def dead_letters(self, *, task_id: str | None = None, profile: str | None = None) -> list[DeadLetter]:
        """Notifications that could not be delivered, oldest first: of the task ``task_id``, and by the gateway of
        ``profile``; None for all."""
        sql = (
            "SELECT * FROM merge_dead_letters WHERE (:task IS NULL OR task_id = :task) "
            "AND (:profile IS NULL OR profile = :profile) ORDER BY id"
        )
        return self._all(DeadLetter, sql, {"task": task_id, "profile": profile})

    def attachments(self, task_id: str | None = None) -> list[Attachment]:
        """The files of the task (or of every task), oldest first."""
        of_task = "" if task_id is None else " WHERE a.task_id = ?"
        given = () if task_id is None else (task_id,)
        return self._attachments(f"{of_task} ORDER BY a.id", given)

    def attachment(self, attachment_id: int) -> Attachment | None:
        """The attachment, or None."""
        return next(iter(self._attachments(" WHERE a.id = ?", (attachment_id,))), None)

    def removed_files(self, host: str) -> list[tuple[str, str]]:
        """On a board that several hosts share: task and path of each file that lies on ``host`` and that no attachment
        has any more."""
        sql = "SELECT of_task, stored_path FROM merge_files WHERE removed AND host = ? ORDER BY attachment_id"
        return [(task_id, path) for task_id, path in self._rows(sql, (host,))] if self._has_homes() else []

    def _attachments(self, which: str, given: _Given) -> list[Attachment]:
        of_hosts = ("f.host", " LEFT JOIN merge_files f ON f.attachment_id = a.id")
        host, joined = of_hosts if self._has_homes() else ("NULL AS host", "")
        found = self._all(Attachment, f"SELECT a.*, {host} FROM task_attachments a{joined}{which}", given)
        here = self._this_host() if any(each.host for each in found) else None
        return [self._found(attachment, here) for attachment in found]

    def _found(self, attachment: Attachment, here: str | None) -> Attachment:
        """Where the copy lies: on another host, or here. ``here``: this host's name, None if the board is shared no
        more, and then what is there is here."""
        lies_at = self.paths.attachment(attachment.task_id, attachment.stored_path)
        is_here = attachment.host == here or (here is None and os.path.exists(lies_at))
        return replace(attachment, stored_path=lies_at, host=None if is_here else attachment.host)

    def _this_host(self) -> str | None:
        from kanban_shards.sharing import read_sharing  # which no board of one host has a use for

        try:
            sharing = read_sharing(self.paths)
        except SharingStrange:  # said where it matters; what is there can be read all the same
            return None
        return None if sharing is None else sharing.host

    def event(self, event_id: int) -> Event | None:
        """The event, or None."""
        return self._one(Event, "SELECT * FROM task_events WHERE id = ?", (event_id,))

    def settings(self) -> dict[str, int]:
        """The limits of the board that are set, by the names of ``Gateway.set_limits``."""
        return {name: value for name, value in self._rows("SELECT name, value FROM merge_settings ORDER BY name", ())}

    # --- the merge ---------------------------------------------------------------------------------------------

    def verdict(self, profile: str, seq: int) -> Verdict | None:
        """What became of the change ``seq`` of ``profile``; None while it is not merged."""
        return self._one(Verdict, "SELECT * FROM merge_verdicts WHERE profile = ? AND seq = ?", (profile, seq))

    def verdicts(self, profile: str, first: int, last: int) -> list[Verdict]:
        """What became of the changes of ``profile`` from seq ``first`` to ``last``, in order; those that are merged."""
        sql = "SELECT * FROM merge_verdicts WHERE profile = ? AND seq BETWEEN ? AND ? ORDER BY seq"
        return self._all(Verdict, sql, (profile, first, last))

    def task_with_key(self, idempotency_key: str) -> str | None:
        """The live task that has the key, by its id; None if none has."""
        sql = "SELECT id FROM tasks WHERE idempotency_key = ? AND status != 'archived' ORDER BY created_at DESC LIMIT 1"
        return next(iter(self._column(sql, (idempotency_key,))), None)

    def own_verdict(self, profile: str, seq: int) -> tuple[Verdict, tuple[int, str]] | None:
        """``verdict``, and how far the profile's shard was merged in the same state of the board: seq and digest. So a
        writer sees whether the verdict is on a change of its own shard (Shard.was_merged)."""
        sql = (
            "SELECT v.*, w.seq AS merged_seq, w.digest AS merged_digest FROM merge_verdicts v "
            "JOIN merge_watermarks w USING (profile) WHERE v.profile = ? AND v.seq = ?"
        )
        for row in self._rows(sql, (profile, seq)):
            return Verdict.from_row(row), (row["merged_seq"], row["merged_digest"])
        return None

    def refusals(self, *, profile: str | None = None, after: int = 0, limit: int = 100) -> list[RefusedChange]:
        """The newest refused changes, ``limit`` at most, with a ledger position above ``after``, newest first: those of
        ``profile``, None for all."""
        sql = (
            "SELECT k.*, v.at_ms, v.reason, v.sentence FROM merge_kept k JOIN merge_verdicts v USING (profile, seq) "
            "WHERE v.verdict = 'refused' AND k.position > :after AND (:profile IS NULL OR k.profile = :profile) "
            "ORDER BY k.position DESC LIMIT :limit"
        )
        return self._all(RefusedChange, sql, {"after": after, "profile": profile, "limit": limit})

    def count_refusals(self, *, after: int = 0) -> int:
        """How many changes with a ledger position above ``after`` were refused."""
        sql = (
            "SELECT count(*) FROM merge_kept k JOIN merge_verdicts v USING (profile, seq) "
            "WHERE v.verdict = 'refused' AND k.position > ?"
        )
        (count,) = self._column(sql, (after,))
        return int(count)

    def view(self, task_id: str, profile: str) -> View:
        """What ``profile`` sees of the task now, and how far its shard is merged; for Shard.append."""
        try:
            ((vector, seq, digest),) = self._rows(_EYES, (task_id, profile))
        except BoardMissing:
            return View()
        return View(vector is not None, decode(vector or "{}"), seq or 0, digest or "")

    def watermarks(self) -> dict[str, tuple[int, str]]:
        """How far each profile's shard is merged: ``{profile: (seq, digest)}``."""
        rows = self._rows("SELECT profile, seq, digest FROM merge_watermarks", ())
        return {profile: (seq, digest) for profile, seq, digest in rows}

    def homes(self) -> dict[str, ProfileHome]:
        """Where each profile lives, on a board that several hosts share; empty for one that was never shared."""
        if not self._has_homes():
            return {}
        found = self._all(ProfileHome, "SELECT * FROM merge_homes ORDER BY profile", ())
        return {home.profile: home for home in found}

    def home_of(self, profile: str) -> ProfileHome | None:
        """Where the profile lives, on a board that several hosts share; None if no host has said so."""
        if not self._has_homes():
            return None
        return self._one(ProfileHome, "SELECT * FROM merge_homes WHERE profile = ?", (profile,))

    def position(self) -> int:
        """How many entries of the ledger the board shows."""
        return self._number("SELECT position FROM merge_state")

    # --- the whole ---------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """How many tasks there are: ``by_status``, and of those that are not archived ``by_assignee`` and status.
        ``oldest_ready_age_seconds``: since the oldest ready one was made; None if none is ready. ``now``: seconds since
        1970."""
        now = self._now_s()
        with self.reading() as connection:
            counted = dict(connection.execute("SELECT status, count(*) FROM tasks GROUP BY status").fetchall())
            by_assignee: dict[str, dict[str, int]] = {}
            for assignee, status, count in connection.execute(
                "SELECT assignee, status, count(*) FROM tasks WHERE status != 'archived' GROUP BY 1, 2"
            ):
                by_assignee.setdefault(assignee or "(unassigned)", {})[status] = count
            (oldest,) = connection.execute("SELECT min(created_at) FROM tasks WHERE status = 'ready'").fetchone()
        return {
            "by_status": {status: counted[status] for status in STATUSES if status in counted},
            "by_assignee": by_assignee,
            "oldest_ready_age_seconds": None if oldest is None else max(0, now - oldest),
            "now": now,
        }

    def follow(self, bell: Bell, after: int | None = None) -> Iterator[Event]:
        """Every event with an id above ``after`` (None: from now on), as it is merged, without end.

        ``bell``: one of this board's; between events this sleeps until it rings, or a second is over.
        """
        cursor = self.last_event_id() if after is None else after
        while True:
            found = self.events(after=cursor)
            for event in found:
                cursor = event.id
                yield event
            if not found:
                bell.wait(LOST_BELL_S)

    def bell(self) -> Bell:
        """A bell that rings after every pass that decided something on this board. The caller closes it."""
        from kanban_shards.bell import Bell  # sockets, which a single read has no use for

        return Bell.waiting(self.paths.folder)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the board, for several reads. Keep it short. Raises as ``open`` does."""
        connections.check_same_process(self.paths.board, self._pid)
        with self._threads, connections.explained(self.paths.board), connections.one_state(self._open()) as connection:
            yield connection

    def close(self) -> None:
        """Close the file. The board may be used again afterwards."""
        with self._threads:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _now_s(self) -> int:
        """From when ages of what the board says count: seconds since 1970, by the clock that stamps its entries as far
        as that is known."""
        return int(board_now_s(self.paths))

    def _open(self) -> sqlite3.Connection:
        present = self._present_files()
        if self._connection is not None and present != self._present:
            self.close()
        if isinstance(self._connection, sqlite.CopyConnection) and not self._connection.is_of(self.paths.board):
            self.close()
        if self._connection is not None:
            sqlite.check_schema(self._connection, self.paths.board, sqlite.BOARD)
        else:
            connection = sqlite.open_reader(self.paths.board, sqlite.BOARD)
            connection.row_factory = sqlite3.Row
            self._connection = connection
            self._present = self._present_files()
        return self._connection

    def _present_files(self) -> tuple[files.Identity | None, ...]:
        """Which board and which WAL lie there. A kept connection that no longer reads these (the board was replaced,
        or foreign code in this process dropped its locks and the WAL went from under it) is opened again."""
        return tuple(map(files.identity, self._names))

    def _rows(self, sql: str, given: _Given) -> list[sqlite3.Row]:
        """One statement is one state of the board by itself."""
        connections.check_same_process(self.paths.board, self._pid)  # before the lock, which a fork may have got taken
        try:
            with self._threads:
                return self._open().execute(sql, given).fetchall()
        except (sqlite3.ProgrammingError, sqlite3.InterfaceError, UnicodeEncodeError, OverflowError) as error:
            raise TypeError(f"the board cannot be asked for that: {error}") from error
        except sqlite3.Error as error:
            raise connections.explanation(self.paths.board, error) from error

    def _one(self, record: type[_AnyRecord], sql: str, given: _Given) -> _AnyRecord | None:
        rows = self._rows(sql, given)
        return record.from_row(rows[0]) if rows else None

    def _all(self, record: type[_AnyRecord], sql: str, given: _Given) -> list[_AnyRecord]:
        return [record.from_row(row) for row in self._rows(sql, given)]

    def _column(self, sql: str, given: _Given) -> list[Any]:
        return [row[0] for row in self._rows(sql, given)]

    def _has_homes(self) -> bool:
        return self._schema() >= _WITH_HOMES

    def _schema(self) -> int:
        return self._number("PRAGMA user_version")

    def _number(self, sql: str) -> int:
        (number,) = self._column(sql, ())
        return int(number)
