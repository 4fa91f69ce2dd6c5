"""Replayed boards: the board as it stood at a position of the ledger or a moment, by a replay in a place of its own.

A replay starts where it is nearest: at a board that this process showed before, at a keyframe, at the snapshot, or at
nothing. So it costs the entries since there, and a copy of the board that it starts with. The board's own file is not
opened, and of the ledger and the snapshot only readers are, by SQLite (docs/design/sqlite.md, laws 1 and 4): what
happens here takes no lock of theirs away.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kanban_shards import wording
from kanban_shards.coordinator.errors import HistoryGone, NoSuchPosition, SnapshotMissing, SnapshotStrange
from kanban_shards.coordinator.history import task_changes
from kanban_shards.coordinator.history.keyframes import Keyframes, worth
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.replay import catch_up
from kanban_shards.coordinator.merge.snapshots import read_start, sound_snapshot
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import Damaged
from kanban_shards.past import History, PastBoard, Span, TaskHistory
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite

# Boards that a process keeps for the next look; each is a temporary file without a name, gone with the process.
BOARDS_KEPT = 4


class _Shown:
    """A replayed board: its database, where it stands, and where it was last read from, or made, a keyframe."""

    def __init__(self, scratch: sqlite3.Connection) -> None:
        self.scratch = scratch
        self.look()
        self.kept = self.position

    def look(self) -> None:
        """See where it stands now."""
        self.position, self.digest = self.scratch.execute("SELECT position, digest FROM merge_state").fetchone()


class ReplayedHistory(History):
    """The past of the board at ``paths``. Safe to use from several threads, not across a fork. Use it as a context
    manager, or ``close`` it. ``cache``: the folder for keyframes; None for the user's own.

    What every call may raise: FileMissing, and the other StorageErrors of a ledger that cannot be read.
    """

    def __init__(self, paths: BoardPaths, cache: Path | None = None) -> None:
        self._paths = paths
        self._keyframes = Keyframes(paths, cache)
        self._threads = threading.Lock()
        self._idle: list[_Shown] = []

    def span(self) -> Span:
        """How far back the board can be shown. Raises the StorageErrors of the snapshot, too."""
        with self._ledger() as ledger:
            base, last = ledger.base()[0], ledger.head()[0]
            first = self._snapshot_position() if base else 0
            return Span(first, last, ledger.at_ms(base + 1), ledger.at_ms(last))

    def position_at(self, at_ms: int) -> int:
        """The position at the moment ``at_ms``, milliseconds since 1970: of an entry that was decided by then, while
        the next one was not; where the coordinator's clock was set back, there may be several. Raises HistoryGone."""
        with self._ledger() as ledger:
            return self._position_at(ledger, at_ms)

    @contextmanager
    def board_at(self, *, position: int | None = None, at_ms: int | None = None) -> Iterator[PastBoard]:
        """The board as it stood at ``position``, or at the moment ``at_ms`` (milliseconds since 1970), for use inside
        the block; one of the two is given.

        Raises HistoryGone, NoSuchPosition, the StorageErrors of ledger and snapshot, and DiskFull.
        """
        with self._ledger() as ledger:
            if position is not None and at_ms is None:
                wanted = position
            elif at_ms is not None and position is None:
                wanted = self._position_at(ledger, at_ms)
            else:
                raise TypeError("either position or at_ms is needed")
            last = ledger.head()[0]
            if not 0 <= wanted <= last:
                raise NoSuchPosition(position=wanted, last=last)
            shown = self._shown_at(ledger, wanted)
            decided_ms = ledger.at_ms(wanted)
        try:
            yield PastBoard(self._paths, shown.scratch, decided_ms)
        finally:
            shown.scratch.row_factory = None
            self._put_back(shown)

    def of_task(self, task_id: str) -> TaskHistory:
        """What was done to the task, and by whom, as far as it is kept. Raises UnknownTask if nothing is known of it,
        InvalidTaskId, and the StorageErrors of board and ledger."""
        with self._ledger() as ledger:
            return task_changes.of_task(self._paths, ledger, task_id)

    def close(self) -> None:
        """Forget the boards that were kept. The history may be used again afterwards."""
        with self._threads:
            idle, self._idle = self._idle, []
        for shown in idle:
            shown.scratch.close()

    def _ledger(self) -> closing[FileLedger]:
        """The ledger, for one call: it may be replaced between two."""
        return closing(FileLedger(self._paths.ledger))

    def _position_at(self, ledger: FileLedger, at_ms: int) -> int:
        base, last = ledger.base()[0], ledger.head()[0]
        before, after = base, last + 1  # decided by then, and not
        while after - before > 1:
            middle = (before + after) // 2
            decided_ms = ledger.at_ms(middle)
            before, after = (middle, after) if (decided_ms or 0) <= at_ms else (before, middle)
        if before == base and base:  # when that one was decided is no longer known
            raise HistoryGone(asked=wording.when(at_ms // 1000), first=self._snapshot_position())
        return before

    # --- replaying -------------------------------------------------------------------------------------------------

    def _shown_at(self, ledger: FileLedger, position: int) -> _Shown:
        """A board that stands at ``position``, for this caller alone."""
        shown = self._start(ledger, position)
        try:
            self._go_on(ledger, shown, position)
        except BaseException:
            shown.scratch.close()
            raise
        return shown

    def _go_on(self, ledger: FileLedger, shown: _Shown, position: int) -> None:
        """Replay up to ``position``, and leave keyframes where they pay."""
        total = position - shown.kept
        state = BoardState(shown.scratch)
        while shown.position < position:
            upto = max(shown.kept + worth(shown.scratch, total), shown.position + 1)
            with connections.explained(sqlite.SCRATCH):
                try:
                    catch_up(state, ledger, min(position, upto))
                except Damaged:
                    if shown.position < ledger.base()[0]:  # compacted meanwhile, in the middle of a page
                        raise HistoryGone(asked=f"position {position}", first=self._snapshot_position()) from None
                    raise
            shown.look()
            if shown.position == upto:
                self._keyframes.keep(shown.scratch, shown.position, shown.digest)
                shown.kept = shown.position

    def _start(self, ledger: FileLedger, position: int) -> _Shown:
        """The latest board that is there already and stands at ``position`` or before it. Raises HistoryGone."""
        base, _ = ledger.base()
        idle = self._take_idle(ledger, position)
        scratch = idle.scratch if idle else sqlite.open_scratch(sqlite.BOARD)
        try:
            for keyframe in self._keyframes.upto(position, base):
                if idle and keyframe.position <= idle.position:
                    break
                if _is_in(ledger, keyframe.position, keyframe.digest) and self._keyframes.load(keyframe, scratch):
                    return _Shown(scratch)
            if idle:
                return idle
            self._from_snapshot(ledger, scratch, position, base)
            return _Shown(scratch)
        except BaseException:
            scratch.close()
            raise

    def _from_snapshot(self, ledger: FileLedger, scratch: sqlite3.Connection, position: int, base: int) -> None:
        """Let the empty ``scratch`` stand where the snapshot does, or leave it empty where nothing was dropped."""
        path = self._paths.snapshot
        if not path.exists():
            if base:
                raise SnapshotMissing(path=path, base=base)
            return
        with sound_snapshot(self._paths) as snapshot:
            start = read_start(snapshot)
            is_in = _is_in(ledger, start.position, start.digest)
            if is_in and start.position <= position:
                copies.copy_to_scratch(snapshot, scratch, sqlite.BOARD)
            elif is_in and base:
                raise HistoryGone(asked=f"position {position}", first=start.position)
            elif base:
                raise SnapshotStrange(path=path, shown=start.position, has_board=not files.is_empty(self._paths.board))

    def _snapshot_position(self) -> int:
        """Where the snapshot stands, which is as far back as a compacted board can be shown."""
        path = self._paths.snapshot
        with closing(sqlite.open_reader(path, sqlite.SNAPSHOT)) as snapshot, connections.explained(path):
            return read_start(snapshot).position

    # --- what is kept ----------------------------------------------------------------------------------------------

    def _take_idle(self, ledger: FileLedger, position: int) -> _Shown | None:
        """The latest of the boards kept here that stands at ``position`` or before it, as the ledger has it still."""
        with self._threads:
            fitting = [shown for shown in self._idle if shown.position <= position]
            latest = max(fitting, key=lambda shown: shown.position, default=None)
            if latest is not None:
                self._idle.remove(latest)
        if latest is not None and not _is_in(ledger, latest.position, latest.digest):
            latest.scratch.close()
            return None
        return latest

    def _put_back(self, shown: _Shown) -> None:
        with self._threads:
            self._idle.append(shown)
            surplus = self._idle[:-BOARDS_KEPT]
            self._idle = self._idle[-BOARDS_KEPT:]
        for each in surplus:
            each.scratch.close()


def _is_in(ledger: FileLedger, position: int, digest: str) -> bool:
    try:
        return ledger.digest_at(position) == digest
    except Damaged:
        return False
