"""The file of a shard, as its own profile has it open: under its lock, made when it is missing, and known again.

What lies at its path may be another file than a moment ago: repaired, compacted, put back from a backup, or left behind
when the profile moved to another host. So each use looks first, and what a process remembers of a file goes with it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kanban_shards.changes.codec import genesis
from kanban_shards.changes.vectors import View
from kanban_shards.errors import LivesElsewhere, ShardBehind, ShardOfAnother, SharingStrange, StorageError
from kanban_shards.known_end import KnownEnd
from kanban_shards.paths import BoardPaths, check_profile
from kanban_shards.pending import PendingChanges
from kanban_shards.storage import connections, files, journals, owners, sqlite
from kanban_shards.storage.files import Identity
from kanban_shards.storage.journals import Journal
from kanban_shards.storage.locks import FileLock

# How long an append waits for the other processes of its own profile.
LOCK_WAIT_S = 30.0
# How often a process asks of a board of several hosts whether its profile still lives here, and what kind of host this
# is: that costs as much as a write.
HOME_ASKED_EVERY_S = 1.0


class ShardFile:
    """The file in which ``profile`` writes, of the board at ``paths``, in this process. Safe to use from several
    threads; not across a fork. Raises InvalidName.

    ``known``, ``pending``: what this process knows of its end, for who has it open.
    """

    def __init__(self, paths: BoardPaths, profile: str) -> None:
        self.profile = check_profile(profile)
        self.path = paths.shard(profile)
        self.known = KnownEnd()
        self.pending = PendingChanges()
        self._paths = paths
        self._lock = FileLock(paths.shard_lock(profile))
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._journal: Journal | None = None
        self._was_used = False
        self._home_asked_s = float("-inf")
        self._is_ephemeral = False
        self._pid = os.getpid()

    @property
    def identity(self) -> Identity | None:
        """Which file was opened last; None before that."""
        return self._identity

    @property
    def is_at_home(self) -> bool:
        """Whether the profile lives on this host, as far as was asked HOME_ASKED_EVERY_S ago at most. What is written
        before another host's ``move`` shows here is not merged, however soon this asks."""
        return not self._paths.is_shared or time.monotonic() - self._home_asked_s < HOME_ASKED_EVERY_S

    @property
    def is_ephemeral(self) -> bool:
        """Whether the board is shared and this host's files go with it, as far as was asked when something was written
        last: then that is safe only when the shared ledger has it."""
        return self._paths.is_shared and self._is_ephemeral

    def check_same_process(self) -> None:
        """Raise Forked in a fork of the process that made this."""
        connections.check_same_process(self.path, self._pid)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else of this profile writes in the block. Raises FileBusy, Forked."""
        self.check_same_process()
        self._lock.acquire(LOCK_WAIT_S)
        self._was_used = True
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def opened(self, view: View) -> Iterator[sqlite3.Connection]:
        """As ``locked``, with the connection. ``view``: what the board shows of the profile, as far as the caller
        knows. Raises LivesElsewhere, ShardBehind, ShardOfAnother, and the StorageErrors of ``sqlite.open_writer``."""
        with self.locked(), connections.explained(self.path), owners.acting_for(self.path):
            yield self._open(view)

    @contextmanager
    def writing(self, view: View) -> Iterator[sqlite3.Connection]:
        """As ``opened``, for who writes: the profile may have moved to another host since the file was opened, and
        nothing in it says so."""
        with self.opened(view) as connection:
            if not self.is_at_home:
                with suppress(SharingStrange):  # what is written is kept; who waits for a verdict is told
                    self._check_home()
            yield connection

    @contextmanager
    def as_left(self) -> Iterator[sqlite3.Connection | None]:
        """As ``locked``, with the connection, if it is there for the taking and what this process knows of the end is
        all that there is to know; None in any doubt."""
        if not self._lock.try_acquire():
            yield None
            return
        try:
            self._was_used = True
            with connections.explained(self.path), owners.acting_for(self.path):
                yield self._connection if self._is_as_left() else None
        finally:
            self._lock.release()

    def behind(self, head: int, merged: int) -> StorageError:
        """Why nothing is appended behind change ``head`` if ``merged`` was: this host is not the profile's home any
        more, or its shard is an older copy."""
        try:
            self._check_home()
        except LivesElsewhere as error:
            return error
        return ShardBehind(path=self.path, profile=self.profile, head=head, merged=merged)

    def close(self) -> None:
        """Close the file, when no thread uses it any more. It may be used again afterwards. Raises FileBusy."""
        if not self._was_used or self._pid != os.getpid():
            return
        self._lock.acquire(LOCK_WAIT_S)
        try:
            self._close_connection()
        finally:
            self._lock.close()

    def _is_as_left(self) -> bool:
        connection, last = self._connection, self.known.last
        if connection is None or last is None or self.pending.read_to != last[0] or connection.in_transaction:
            return False
        return journals.are_untouched(self.path, self._identity, self._journal)

    def _open(self, view: View) -> sqlite3.Connection:
        found = files.identity(self.path)
        if self._connection is None:
            self._check_home()
        if found is None and view.merged_seq:
            raise self.behind(0, view.merged_seq)
        if self._connection is not None and found != self._identity:
            self._close_connection()
            self.pending = PendingChanges()  # in another file the same seqs may be another process's
        if self._connection is not None:  # SQLite looks for a journal anew in each transaction
            self._journal = sqlite.check_journal(self.path, sqlite.SHARD, self._journal)
        if self._connection is not None and self._connection.in_transaction:  # Ctrl-C came where nobody could undo it
            self._connection.execute("ROLLBACK")
        if self._connection is not None:
            sqlite.check_schema(self._connection, self.path, sqlite.SHARD)
        if self._connection is None:
            connection = sqlite.open_writer(self.path, sqlite.SHARD, self._lock)
            try:
                self._check_meta(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._identity = files.identity(self.path)
        return self._connection

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._journal = None
        self.known = KnownEnd()

    def _check_meta(self, connection: sqlite3.Connection) -> None:
        row = connection.execute("SELECT profile FROM meta").fetchone()
        if row is None:
            with connections.transaction(connection):
                shard_id = draw_id()
                meta = (self.profile, shard_id, genesis(self.profile, shard_id))
                connection.execute("INSERT INTO meta VALUES (1, ?, ?, 0, ?)", meta)
        elif row[0] != self.profile:
            raise ShardOfAnother(path=self.path, found=row[0], profile=self.profile)

    def _check_home(self) -> None:
        """Raise LivesElsewhere if the board is shared and the profile lives on another host. Nothing is loaded for a
        board that is not."""
        if not self._paths.is_shared:
            return
        from kanban_shards.homes import home_beside
        from kanban_shards.sharing import read_sharing

        self._is_ephemeral = False  # while the file that would say so is damaged nothing is merged, nor waited for
        sharing = read_sharing(self._paths)
        if sharing is None:
            return
        if host := home_beside(self._paths, sharing, self.profile):
            raise LivesElsewhere(path=self.path, profile=self.profile, host=host)
        self._is_ephemeral = sharing.ephemeral
        self._home_asked_s = time.monotonic()


def draw_id() -> str:
    """What tells a new shard from any other: 128 random bits, as hex digits."""
    return os.urandom(16).hex()
