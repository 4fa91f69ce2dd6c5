"""The far port in PostgreSQL. Runs in the carrier's child alone: this loads psycopg and opens the network.

Every request is one transaction with its own settings, sent in one go: so each is one round trip, and a pooler may give
each of them another session. Only a ``turn`` stays open, until the next request.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import Cursor, Notify, errors, pq

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.ledger import Entry, Point
from kanban_shards.coordinator.shared.connecting import CHANNEL, Server
from kanban_shards.coordinator.shared.errors import (
    AnotherLedger,
    EntryTooLarge,
    FarError,
    NoSharedLedger,
    OtherRules,
)
from kanban_shards.coordinator.shared.failing import failed
from kanban_shards.coordinator.shared.far import (
    LONGEST_ENTRY_BYTES,
    PAGE_BYTES,
    PAGE_ENTRIES,
    Page,
    Standing,
    check_continue,
    size_s,
)
from kanban_shards.migrations.far import VERSIONS

# The columns of an entry in its order.
_TYPES: dict[LiteralString, LiteralString] = {
    "position": "bigint", "profile": "text", "seq": "bigint", "task_id": "text", "kind": "text", "body": "text",
    "seen": "text", "written_ms": "bigint", "change_digest": "text", "at_ms": "bigint", "digest": "text",
}  # fmt: skip
_COLUMNS: LiteralString = ", ".join(_TYPES)
_ARRAYS: LiteralString = ", ".join(f"%({name})s::{kind}[]" for name, kind in _TYPES.items())

# Of this transaction alone. A server or role that asks for more than ``on`` keeps it.
_SETTINGS = """
    SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'remote_apply'
                                            THEN 'remote_apply' ELSE 'on' END, true),
           set_config('lock_timeout', '1s', true),
           set_config('statement_timeout', %(statement)s, true),
           set_config('idle_in_transaction_session_timeout', '2s', true)"""
_HEAD = """
    SELECT ledger.ledger_id, ledger.rules, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
           coalesce(last.position, 0), coalesce(left(last.digest, 64), ''),
           CASE WHEN %(position)s = 0 THEN '' ELSE left(here.digest, 64) END,
           (ledger.position, ledger.digest) = (coalesce(last.position, 0), coalesce(last.digest, ''))
    FROM kanban_ledger AS ledger
    LEFT JOIN LATERAL (SELECT position, digest FROM kanban_entry WHERE board = ledger.board
                       ORDER BY position DESC LIMIT 1) AS last ON true
    LEFT JOIN kanban_entry AS here ON here.board = ledger.board AND here.position = %(position)s
    WHERE ledger.board = %(board)s"""
# How many bytes of text an entry has; its texts are not read for that.
_SIZE: LiteralString = " + ".join(f"octet_length({name})" for name, kind in _TYPES.items() if kind == "text")
# At least one entry, and no more of them than have so many bytes; none from the first one on that no host can keep.
_ENTRIES: LiteralString = f"""
    SELECT {_COLUMNS} FROM (
        SELECT *, sum(size) OVER (ORDER BY position) AS bytes, max(size) OVER (ORDER BY position) AS largest,
               row_number() OVER (ORDER BY position) AS nth
        FROM (SELECT *, {_SIZE} AS size FROM kanban_entry WHERE board = %(board)s AND position > %(position)s
              ORDER BY position LIMIT %(most)s) AS page
    ) AS page WHERE (nth = 1 OR bytes <= %(bytes)s) AND largest <= %(longest)s ORDER BY position"""
_TOO_LARGE: LiteralString = f"""
    SELECT position, {_SIZE}, left(host, 64) FROM kanban_entry
    WHERE board = %(board)s AND position > %(position)s AND {_SIZE} > %(longest)s ORDER BY position LIMIT 1"""
_LOCK = "SELECT 1 FROM kanban_ledger WHERE board = %(board)s FOR UPDATE"
# No row comes of it if ``behind`` is not the end: the row is looked at again once its lock is free. Nor if the entry is
# gone that the row says is the last.
_APPEND: LiteralString = f"""
    WITH moved AS (
        UPDATE kanban_ledger SET position = %(last)s, digest = %(its)s
        WHERE board = %(board)s AND position = %(behind)s AND digest = %(behind_digest)s
          AND ledger_id = %(ledger_id)s AND rules = %(rules)s
          AND (position = 0 OR EXISTS (SELECT FROM kanban_entry AS last WHERE last.board = kanban_ledger.board
                                       AND last.position = %(behind)s AND last.digest = %(behind_digest)s))
        RETURNING board
    ), rung AS (
        SELECT pg_notify('{CHANNEL}', board) FROM moved
    )
    INSERT INTO kanban_entry (board, {_COLUMNS})
    SELECT moved.board, entry.* FROM moved LEFT JOIN rung ON true, unnest({_ARRAYS}) AS entry"""
_MEND = """
    UPDATE kanban_ledger AS ledger SET position = coalesce(last.position, 0), digest = coalesce(last.digest, '')
    FROM (SELECT) AS one LEFT JOIN LATERAL (SELECT position, digest FROM kanban_entry WHERE board = %(board)s
                                            ORDER BY position DESC LIMIT 1) AS last ON true
    WHERE ledger.board = %(board)s"""
_SAY = """
    INSERT INTO kanban_host (board, host, program, rules, position, decided, seen_ms)
    SELECT board, %(host)s, %(program)s, %(rules)s, %(position)s, %(decided)s,
           floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
    FROM kanban_ledger WHERE board = %(board)s
    ON CONFLICT (board, host) DO UPDATE SET program = excluded.program, rules = excluded.rules,
        position = excluded.position, decided = excluded.decided, seen_ms = excluded.seen_ms"""
_HOSTS = """
    SELECT left(host, 64), left(program, 64), rules, position, left(decided, 256), seen_ms FROM kanban_host
    WHERE board = %(board)s ORDER BY seen_ms DESC, host LIMIT %(most)s"""
# Of hosts, those that said something last; more do not share one board.
_MOST_HOSTS = 1_000
_BEGIN = """
    INSERT INTO kanban_ledger VALUES (%(board)s, %(ledger_id)s, %(rules)s, 0, '') ON CONFLICT DO NOTHING"""
_RAISE = "UPDATE kanban_ledger SET rules = %(rules)s WHERE board = %(board)s AND rules < %(rules)s"
_LEAVE = "DELETE FROM kanban_host WHERE board = %(board)s AND host = %(host)s"
_STANDBYS = """
    SELECT EXISTS (SELECT FROM pg_stat_replication), current_setting('synchronous_standby_names') <> ''"""
# One number for all who make tables at the same time.
_MAKING_TABLES = "SELECT pg_advisory_xact_lock(7526470)"
_TABLES_THERE = "SELECT to_regclass('kanban_schema') IS NOT NULL"
_VERSION = "SELECT coalesce(max(version), 0) FROM kanban_schema"
_SET_VERSION = "UPDATE kanban_schema SET version = %(version)s"

# Less than the carrier waits, so that the server says itself that it took too long.
_STATEMENT_S = 1.8
_MAKING_S = 9


class Postgres:
    """A session with ``server``, and all of ``Far`` but its bell: ``ring`` is called when another host appended to this
    board, during a request or ``hear``."""

    def __init__(self, server: Server, ring: Callable[[], None]) -> None:
        """Raises ServerUnknown, ServerRefused, FarSchemaNewer, Unreachable."""
        self.server, self._address = server.name, server.address
        self._session = server.session()
        self._ring = ring
        self._session.add_notify_handler(self._take)
        self._process = self._session.info.backend_pid
        self._is_pooled = server.is_pooled
        self._trip = ExitStack()
        self._pipeline: psycopg.Pipeline | None = None
        self._has_turn = False

    def fileno(self) -> int:
        """What is readable when there is something to ``hear``."""
        return self._session.fileno()

    @property
    def is_lost(self) -> bool:
        """Whether the session ended, so that nothing can be asked any more."""
        return self._session.closed

    def hear(self) -> None:
        """Take what the server said unasked. Raises Unreachable if that was its last."""
        with self._explained():
            self._session.pgconn.consume_input()
            while notice := self._session.pgconn.notifies():
                self._take(Notify(notice.relname.decode(), notice.extra.decode(), notice.be_pid))

    def read(self, position: int, most_bytes: int = PAGE_BYTES) -> Page:
        """See ``Far.read``. ``most_bytes``: of bodies in the page, unless one entry has more."""
        with self._explained():
            with self._in_one_trip("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
                head, entries = self._page(position, most_bytes)
                self._run("COMMIT")
            page, is_even = self._page_of(head, entries)
            if not is_even:
                self._mend()
            self._check_size(page, position)
        return page

    def turn(self, position: int, most_bytes: int = PAGE_BYTES) -> Page:
        """See ``Far.turn``."""
        with self._explained():
            with self._in_one_trip("" if self._has_turn else "BEGIN", stays_open=True):
                self._run(_LOCK)
                head, entries = self._page(position, most_bytes)
            self._has_turn = True
            page, is_even = self._page_of(head, entries)
            if not is_even:
                with self._in_one_trip("", stays_open=True):
                    self._run(_MEND)
            self._check_size(page, position)
        return page

    def append(self, entries: Sequence[Entry], behind: Point) -> None:
        """See ``Far.append``."""
        check_continue(entries, behind)
        columns = zip(*((each.position, *each.change, each.at_ms, each.digest) for each in entries), strict=True)
        given = dict(zip(_TYPES, map(list, columns), strict=True))
        last = entries[-1]
        with self._explained():
            with self._in_one_trip("" if self._has_turn else "BEGIN", seconds=_STATEMENT_S + size_s(entries)):
                appended = self._run(
                    _APPEND,
                    **given,
                    last=last.position,
                    its=last.digest,
                    behind=behind.position,
                    behind_digest=behind.digest,
                )
                head = self._run(_HEAD, position=0)
                self._run("COMMIT")
            if appended.rowcount == 0:
                self._refuse(head, behind)

    def meet(self, mine: Standing | None) -> list[Standing]:
        """See ``Far.meet``."""
        with self._explained():
            with self._in_one_trip("BEGIN"):
                if mine is not None:
                    self._run(_SAY, **mine._asdict())
                hosts = self._run(_HOSTS, most=_MOST_HOSTS)
                head = self._run(_HEAD, position=0)
                self._run("COMMIT")
            self._page_of(head, None)
            return sorted(Standing(*row) for row in hosts.fetchall())

    def remarks(self) -> list[str]:
        """See ``Far.remarks``."""
        with self._explained():
            with self._in_one_trip("BEGIN"):
                standbys = self._run(_STANDBYS)
                self._run("COMMIT")
            [(follow, synchronous)] = standbys.fetchall()
        found = []
        if self._is_pooled:
            found.append(
                f"Between this host and {self.server} is a pooler that gives each transaction another session, so what "
                "other hosts append is noticed up to a second later; name the server itself to hear of it at once."
            )
        if follow and not synchronous:
            found.append(
                f"A standby follows {self.server} and acknowledges nothing, so a failover may lose the last entries, "
                "which the hosts then put back; set synchronous_standby_names to wait for it."
            )
        return found

    def begin(self, ledger_id: str) -> None:
        """See ``Far.begin``."""
        with self._explained():
            self._make_tables()
            try:
                page, is_even = self._end()
            except NoSharedLedger:  # a host that joins need not be allowed to begin one
                with self._in_one_trip("BEGIN"):
                    self._run(_BEGIN, ledger_id=ledger_id)
                    self._run("COMMIT")
                page, is_even = self._end()
            if page.ledger_id != ledger_id:
                raise self._another(page.ledger_id, ledger_id)
            if not is_even:
                self._mend()
        self._address = self._address._replace(ledger_id=ledger_id)

    def raise_rules(self) -> None:
        """See ``Far.raise_rules``."""
        with self._explained():
            self._make_tables()
            with self._in_one_trip("BEGIN"):
                self._run(_RAISE)
                head = self._run(_HEAD, position=0)
                self._run("COMMIT")
            page, _ = self._page_of(head, None)
            if page.rules != self._address.rules:
                raise OtherRules(path=self.server, theirs=page.rules, mine=self._address.rules)

    def leave(self) -> None:
        """See ``Far.leave``."""
        with self._explained(), self._in_one_trip("BEGIN"):
            self._run(_LEAVE)
            self._run("COMMIT")

    def close(self) -> None:
        """End the session, and with it a turn. May be called twice."""
        self._session.close()
        with suppress(psycopg.Error):
            self._trip.close()

    # --- how -----------------------------------------------------------------------------------------------------

    def _run(self, sql: LiteralString, **given: object) -> Cursor[tuple[Any, ...]]:
        """Send one statement. In a trip, its result is there when the trip is over."""
        if not given and "%(" not in sql:
            return self._session.execute(sql)
        address = self._address
        known = {"board": address.board, "host": address.host, "rules": address.rules, "ledger_id": address.ledger_id}
        return self._session.execute(sql, known | given)

    @contextmanager
    def _in_one_trip(
        self, begin: LiteralString, seconds: float = _STATEMENT_S, stays_open: bool = False
    ) -> Iterator[None]:
        """Send all that is run in here at once, in a transaction that ``begin`` begins ("": in the one of this host's
        turn), and wait for the last result. ``seconds``: what the server may take for each statement.

        ``stays_open``: the transaction does, and so does psycopg's pipeline. To leave that sends a Flush behind the
        last Sync, and with it the server stops to count for how long a transaction is idle, and never ends it.
        """
        if self._pipeline is None:
            self._pipeline = self._trip.enter_context(self._session.pipeline())
        if begin and self._has_turn:
            self._run("ROLLBACK")
        if begin:
            self._run(begin)
        self._run(_SETTINGS, statement=f"{round(seconds * 1_000)}ms")
        yield
        if stays_open:
            self._pipeline.sync()
        else:
            self._arrive()
            self._has_turn = False

    def _arrive(self) -> None:
        """Wait for the results of everything that was sent."""
        self._pipeline = None
        self._trip.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what PostgreSQL says as an error of this program, in a session that is ready for the next request."""
        try:
            yield
        except psycopg.Error as error:
            self._give_up()
            if isinstance(error, errors.UndefinedTable):
                raise NoSharedLedger(path=self.server, board=self._address.board) from None
            raise failed(error, self.server) from None
        except FarError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """End the transaction, and a turn with it."""
        self._has_turn = False
        with suppress(psycopg.Error):
            self._arrive()
        with suppress(psycopg.Error):
            if self._session.info.transaction_status != pq.TransactionStatus.IDLE:
                self._run("ROLLBACK")

    def _page(self, position: int, most_bytes: int) -> tuple[Cursor[tuple[Any, ...]], Cursor[tuple[Any, ...]]]:
        """Ask for a page: for its head, and for its entries."""
        head = self._run(_HEAD, position=position)
        entries = self._run(
            _ENTRIES, position=position, most=PAGE_ENTRIES, bytes=most_bytes, longest=LONGEST_ENTRY_BYTES
        )
        return head, entries

    def _page_of(self, head: Cursor[tuple[Any, ...]], entries: Cursor[tuple[Any, ...]] | None) -> tuple[Page, bool]:
        """The page that came, and whether the row that is locked says the same as the entries do. Raises
        NoSharedLedger."""
        row = head.fetchone()
        if row is None:
            raise NoSharedLedger(path=self.server, board=self._address.board)
        ledger_id, rules, clock_ms, position, digest, here, is_even = row
        rows = entries.fetchall() if entries else []
        return Page(ledger_id, rules, clock_ms, Point(position, digest), here, [*map(_entry, rows)]), is_even

    def _check_size(self, page: Page, position: int) -> None:
        """Raise EntryTooLarge if ``page`` has no entries behind ``position`` because the next one is larger than any
        host can keep."""
        if page.entries or page.end.position <= position:
            return
        with self._in_one_trip("BEGIN"):
            found = self._run(_TOO_LARGE, position=position, longest=LONGEST_ENTRY_BYTES)
            self._run("COMMIT")
        for first, size_bytes, role in found.fetchall():
            raise EntryTooLarge(
                path=self.server, board=self._address.board, position=first, size_bytes=size_bytes, role=role
            )

    def _end(self) -> tuple[Page, bool]:
        """The same, of no entries."""
        with self._in_one_trip("BEGIN"):
            head = self._run(_HEAD, position=0)
            self._run("COMMIT")
        return self._page_of(head, None)

    def _refuse(self, head: Cursor[tuple[Any, ...]], behind: Point) -> None:
        """Raise the reason why nothing was appended."""
        page, is_even = self._page_of(head, None)
        if page.ledger_id != self._address.ledger_id:
            raise self._another(page.ledger_id, self._address.ledger_id)
        if page.rules != self._address.rules:
            raise OtherRules(path=self.server, theirs=page.rules, mine=self._address.rules)
        if not is_even:
            self._mend()
        raise Overtaken(path=self.server, held=page.end.position, behind=behind.position)

    def _another(self, found: str, expected: str) -> AnotherLedger:
        return AnotherLedger(path=self.server, board=self._address.board, found=found, expected=expected)

    def _mend(self) -> None:
        """Have the row that is locked say the same as the entries, of which somebody took some away."""
        with self._in_one_trip("BEGIN"):
            self._run(_LOCK)
            self._run(_MEND)
            self._run("COMMIT")

    def _make_tables(self) -> None:
        """Bring the tables to the version that this program knows, unless they have it."""
        if self._version() == len(VERSIONS):
            return
        with self._in_one_trip("BEGIN", seconds=_MAKING_S):
            self._run(_MAKING_TABLES)
            for statement in itertools.chain.from_iterable(VERSIONS[self._version() :]):
                self._run(statement)
            self._run(_SET_VERSION, version=len(VERSIONS))
            self._run("COMMIT")

    def _version(self) -> int:
        """Which version of the tables there is; 0 if there are none."""
        [(has_tables,)] = self._run(_TABLES_THERE).fetchall()
        if not has_tables:
            return 0
        [(version,)] = self._run(_VERSION).fetchall()
        return int(version)

    def _take(self, notice: Notify) -> None:
        if notice.channel == CHANNEL and notice.payload == self._address.board and notice.pid != self._process:
            self._ring()


def _entry(row: tuple[Any, ...]) -> Entry:
    position, *change, at_ms, digest = row
    return Entry(position, Change(*change), at_ms, digest)
