"""Left files: how a coordinator leaves board and ledger, noted in the lock file, so that the next one can tell a file
that another program put in its place, beside a WAL that is of the one before.

SQLite takes the pages of a WAL for those of the file that it lies beside, and cannot tell. With a WAL, the file itself
changes in a checkpoint alone. So whoever holds the lock notes file and checkpoint: before one, only which file it is;
after it, size and time, too, which hold until the next one, however the process ends. A checkpoint of the board is made
here alone and in no commit: a coordinator that was killed behind one would have left what looks like another's file. Of
a ledger that costs the next one a reading, no more, and SQLite may keep its WAL short by itself.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator_lock import LEFT, note_in
from kanban_shards.errors import Damaged, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, files
from kanban_shards.storage.locks import FileLock

# Inode, bytes and time in ns of a file; of one whose checkpoint may be half done the inode alone.
Noted = tuple[int, int | None, int | None]
# By what the note calls each file.
BOARD, LEDGER = LEFT
# A WAL that became so long is brought into its file, as near as can be told from what was written to both.
CHECKPOINT_BYTES = 4 * 1024 * 1024
# A board's WAL whose file is longer than that was left so by coordinators that each wrote little, or by a large pass.
LONG_WAL_BYTES = 16 * 1024 * 1024
# What a commit, and each entry besides its texts, writes to a WAL, about.
COMMIT_BYTES = 24 * 1024
ENTRY_BYTES = 8 * 1024


class LeftFiles:
    """Notes of the open files of one coordinator. ``lock``: its lock, held. ``board``, ``ledger``: its files."""

    def __init__(self, paths: BoardPaths, lock: FileLock, board: sqlite3.Connection, ledger: FileLedger) -> None:
        self._lock = lock
        self._board = board
        self._ledger = ledger
        self._paths = _paths_of(paths)
        self._wal = files.beside(paths.board, "-wal")
        self._identities = {name: files.identity(path) for name, path in self._paths.items()}
        self._noted: dict[str, Noted] = {}
        self._written_bytes = 0
        self._longest_bytes = LONG_WAL_BYTES
        self._is_ledgers_turn = False
        ledger.checkpoint_late()
        self.note()

    def note(self) -> None:
        """Note the files as they are now, if they are not as noted."""
        self._note({name: stamp for name, path in self._paths.items() if (stamp := files.stamp(path)) is not None})

    def wrote(self, entries: int, text_bytes: int) -> None:
        """So many ``entries`` with texts of so many bytes were committed to both files; checkpoint one of them, by
        turns, if that became much, or the board if its WAL is long: who waits for the next pass waits for that, too.
        """
        self._written_bytes += COMMIT_BYTES + entries * ENTRY_BYTES + text_bytes
        is_long = self._wal_bytes() > self._longest_bytes
        if is_long or self._written_bytes > CHECKPOINT_BYTES // 2:
            self._written_bytes = 0
            self._is_ledgers_turn = not self._is_ledgers_turn and not is_long
            with self.being_checkpointed():
                if self._is_ledgers_turn:
                    self._ledger.checkpoint()
                else:
                    connections.checkpoint(self._board, shorten=is_long)
            # While somebody reads it, it is not tried again with each commit.
            self._longest_bytes = max(LONG_WAL_BYTES, self._wal_bytes() + CHECKPOINT_BYTES)
        self.note()

    def caught_up(self, done: int, total: int) -> None:
        """The board shows one batch more of what the ledger holds: a ProgressCallback of ``replay.catch_up``."""
        self.wrote(0, 0)  # how much that was, the length of the WAL tells

    @contextmanager
    def being_checkpointed(self) -> Iterator[None]:
        """In the block, the files change; closing them is a checkpoint, too."""
        known = {name: each for name, each in self._identities.items() if each is not None}
        self._note({name: (inode, None, None) for name, (_, inode) in known.items()})
        yield
        is_same = {name for name, path in self._paths.items() if files.identity(path) == self._identities[name]}
        if is_same == self._paths.keys():  # else it is as the other program left it, beside what may be our WAL
            self.note()

    def _wal_bytes(self) -> int:
        found = files.stamp(self._wal)
        return 0 if found is None else found[1]

    def _note(self, stamps: Mapping[str, Noted]) -> None:
        if stamps != self._noted and self._lock.held:
            self._noted = dict(stamps)
            note_left(self._lock, stamps)


def note_left(lock: FileLock, stamps: Mapping[str, Noted]) -> None:
    """Write into the lock file how its holder leaves each file, for the next holder."""
    lock.write_note(json.dumps({**note_in(lock), **stamps}))


def left(lock: FileLock, name: str) -> Noted | None:
    """What the last holder noted of the file that the note calls ``name``; None if nothing, or nothing that
    ``note_left`` writes."""
    found = note_in(lock).get(name)
    if not isinstance(found, list) or len(found) != 3 or not isinstance(found[0], int):
        return None
    inode, size, at_ns = found
    return (inode, size, at_ns) if isinstance(size, int) and isinstance(at_ns, int) else (inode, None, None)


def set_aside_what_was_replaced(paths: BoardPaths, lock: FileLock) -> None:
    """Set aside what another program has written or put in place, as a restore of Hermes does, beside a WAL that is not
    its own. ``lock``: the coordinator's, held; nobody has the files open for writing.

    Of a board, both: the ledger has what either of them has, and shards what came since. Of a ledger, which holds what
    nothing else does, the WAL, and only if the chain of its entries is whole without it and not with it.
    """
    if not _is_as_left(paths.board, left(lock, BOARD)) and not files.is_empty(paths.ledger):
        files.set_aside(paths.board, lock)
    if not _is_as_left(paths.ledger, left(lock, LEDGER)) and not _is_whole(paths.ledger):
        _try_without_wal(paths.ledger, lock)


def _is_as_left(path: Path, noted: Noted | None) -> bool:
    seen = files.stamp(path)
    if noted is None or seen is None or files.is_empty(files.beside(path, "-wal")):
        return True
    return seen[0] == noted[0] if noted[1] is None else seen[1:] == noted[1:]  # also of a home that was copied


def _is_whole(ledger: Path) -> bool:
    try:
        with closing(FileLedger(ledger)) as opened:
            opened.check_whole()
    except Damaged:
        return False
    except StorageError:  # not for its content; who opens it next says what is wrong
        return True
    return True


def _try_without_wal(ledger: Path, lock: FileLock) -> None:
    aside = files.name_aside(ledger, lock)
    files.move_sidecars(ledger, aside)
    if not _is_whole(ledger):
        files.move_sidecars(aside, ledger)


def _paths_of(paths: BoardPaths) -> dict[str, Path]:
    return {BOARD: paths.board, LEDGER: paths.ledger}
