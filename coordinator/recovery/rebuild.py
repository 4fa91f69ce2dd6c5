"""Rebuild: the board made again from its ledger; without a board, from ledger, snapshot and shards."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from kanban_shards.coordinator.errors import SnapshotStrange
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.replay import ProgressCallback, replayed
from kanban_shards.coordinator.merge.snapshots import read_start, sound_snapshot, start_of
from kanban_shards.coordinator.recovery.former import Tasks, check_not_ahead, lacking, replace_board, tasks_in
from kanban_shards.errors import Damaged
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import copies, files, sqlite
from kanban_shards.storage.locks import FileLock


@dataclass
class Rebuilt:
    """What a rebuild did: entries replayed, and where the former files lie, if they were other than what was made.

    ``lacking``: the tasks that the former files tell of, and the new board does not.
    """

    entries: int = 0
    set_aside: list[Path] = field(default_factory=list)
    lacking: Tasks = field(default_factory=dict)


def rebuild(paths: BoardPaths, lock: FileLock, progress: ProgressCallback = lambda done, total: None) -> Rebuilt:
    """Make the board again from the ledger, in one transaction of the board's file; without a board, from whatever of
    ledger and snapshot leads further, and what the shards hold since. What lay there and was another is kept beside it.

    ``lock``: the coordinator's, held. Raises BoardAhead for a sound board that stands where the ledger does not lead,
    FileMissing or Damaged for a ledger that cannot be replayed, and leaves the board as it is then. Without a ledger,
    a board that is none of ours, or that is damaged, is what is told of.
    """
    done = Rebuilt()
    former = tasks_in(paths.board, sqlite.BOARD)
    if files.is_empty(paths.board) and (stray := _stray(paths)):
        former |= tasks_in(*stray)
        done.set_aside.append(files.set_aside(stray[0], lock))
    if not files.is_empty(paths.ledger):
        done.entries = _replay(paths, lock, done, progress)
    elif files.is_empty(paths.board) and (paths.snapshot.exists() or done.set_aside):
        done.entries = _begin_again(paths, lock)
    else:
        sqlite.open_reader(paths.board, sqlite.BOARD).close()
        FileLedger(paths.ledger).close()
    done.lacking = lacking(paths, former)
    return done


def _replay(paths: BoardPaths, lock: FileLock, done: Rebuilt, progress: ProgressCallback) -> int:
    with closing(FileLedger(paths.ledger)) as ledger:
        check_not_ahead(paths, ledger)
        with replayed(paths, ledger, progress=progress) as (scratch, entries):
            aside = replace_board(paths, scratch, lock)
    done.set_aside += [aside] if aside else []
    return entries


def _stray(paths: BoardPaths) -> tuple[Path, sqlite.Role] | None:
    """There is no board: which of ledger and snapshot leads nowhere, or less far than the other. None if they fit.
    Raises BeyondRepair if the ledger needs a snapshot that is gone, and Damaged for a snapshot."""
    if files.is_empty(paths.ledger):
        return None
    try:
        with closing(FileLedger(paths.ledger)) as ledger:
            ledger.check_whole()
            start_of(paths, ledger)
    except SnapshotStrange as strange:
        with closing(FileLedger(paths.ledger)) as ledger:
            is_whole = not ledger.base()[0] and ledger.head()[0] >= strange.shown
        return (paths.snapshot, sqlite.SNAPSHOT) if is_whole else (paths.ledger, sqlite.LEDGER)
    except Damaged as error:
        if error.path == paths.ledger:
            return paths.ledger, sqlite.LEDGER
        raise
    return None


def _begin_again(paths: BoardPaths, lock: FileLock) -> int:
    """Board and ledger of what is left when both are gone: the snapshot, if there is one, and in the shards all that
    came since, which is decided anew; returns how many changes. Killed on the way, it leaves a board whose ledger
    `repair --ledger` makes."""
    if paths.snapshot.exists():
        with sound_snapshot(paths) as snapshot:
            start = read_start(snapshot)
            copies.put_copy(snapshot, paths.board, sqlite.BOARD, lock)
        files.discard(paths.ledger)
        with closing(FileLedger(paths.ledger, lock)) as ledger:
            ledger.begin_behind(start.position, start.digest)
    with Coordinator(paths, lock) as coordinator:
        return coordinator.make_passes().decided
