"""Repair: a ledger or a shard that is lost or damaged is made again from the other two files.

A board needs no repair of its own kind: it is a replay of the ledger (coordinator/recovery/rebuild.py, and
the next pass where the file is missing). The damaged file is never overwritten: it is set aside beside the new one.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from kanban_shards.board import Board
from kanban_shards.changes.codec import Change, genesis
from kanban_shards.coordinator.errors import (
    BeyondRepair,
    BoardBehind,
    LedgerBeyondRepair,
    NoneOfThree,
    NothingToRepair,
    ShardMissing,
)
from kanban_shards.coordinator.ledger import GENESIS, FileLedger
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.shard_reader import SHARD_LOCK_WAIT_S, opened_shard, read_all, shard_id_of
from kanban_shards.coordinator.merge.snapshots import Start, read_start, sound_snapshot, start_of
from kanban_shards.coordinator.recovery.former import Tasks, lacking, replace_board, tasks_in
from kanban_shards.coordinator.recovery.lineage import (
    LedgerHistory,
    ShardHistory,
    history_of,
    merged_of,
    stop_at_damage,
)
from kanban_shards.coordinator.rules import VERSION
from kanban_shards.errors import BoardLost, Damaged, LivesElsewhere, NotAFile, StrangeJournal
from kanban_shards.heard import forget_heard
from kanban_shards.homes import home_beside
from kanban_shards.paths import BoardPaths
from kanban_shards.shard_file import draw_id
from kanban_shards.sharing import read_sharing
from kanban_shards.storage import connections, copies, files, owners, sqlite
from kanban_shards.storage.locks import FileLock

_ORDER = (
    "SELECT v.profile, v.seq, v.at_ms, k.task_id, k.kind, k.body, k.seen, k.written_ms, k.change_digest "
    "FROM merge_verdicts v LEFT JOIN merge_kept k USING (profile, seq) WHERE v.position > ? ORDER BY v.position"
)
_LAST = "SELECT profile, seq, at_ms FROM merge_verdicts WHERE position = ?"
_OPEN_RUNS = (
    "SELECT t.current_run_id FROM merge_tasks m JOIN tasks t ON t.id = m.task_id "
    "WHERE t.current_run_id IS NOT NULL AND ? IN (m.run_profile, m.run_claimer)"
)


@dataclass(frozen=True)
class Repaired:
    """What a repair did: the file made again, how many rows it holds, and where the former one lies.

    ``unmerged``: changes of a shard that were never merged and never will be; they are in the file that was set aside,
    and nowhere else. ``lacking``: tasks that a former file tells of, and the board does not. ``also_aside``: where the
    former board or snapshot lies, if another took its place as well.
    """

    path: Path
    rows: int
    set_aside: Path | None
    unmerged: tuple[Change, ...] = ()
    lacking: Tasks = field(default_factory=dict)
    also_aside: tuple[Path, ...] = ()


def repair_ledger(paths: BoardPaths, lock: FileLock, *, alone: bool = False) -> Repaired:
    """Make the ledger again from the board, which keeps the order, and the shards, which keep the changes; from where
    the snapshot stands, if there is one. On a board that several hosts share, it is fetched from where they agree.
    ``alone``: also make it of a board that was shared, and of which nothing says where any more.

    ``lock``: the coordinator's, held. Raises NothingToRepair if the ledger is as the board needs it, LedgerBeyondRepair
    if a shard lacks a change that was merged, BeyondRepair if the board is as damaged as the ledger, NoneOfThree if
    there is none, the StorageErrors of a board that cannot be read, FarError where the hosts cannot be reached, and
    SharingForgotten unless ``alone``.
    """
    try:
        return _ledger_fetched_again(paths, lock) if paths.is_shared else _ledger_made_again(paths, lock, alone)
    except Damaged as error:
        if error.path != paths.board or files.is_empty(paths.ledger) or _is_whole(paths.ledger):
            raise
        problem = f"{paths.board}, of which it would be made, is damaged as well ({error.problem})"
        raise BeyondRepair(path=paths.ledger, problem=problem) from error
    except BoardLost as error:
        try:
            with closing(FileLedger(paths.ledger)) as ledger:
                ledger.check_whole()
        except Damaged as damage:
            raise NoneOfThree(path=paths.ledger, problem=f"it is damaged ({damage.problem})") from error
        raise


def begin_behind_board(paths: BoardPaths, lock: FileLock) -> Repaired:
    """Make the ledger again as ``repair_ledger`` does; where it cannot, because the shards lack what was merged, begin
    a new one after the board as it stands, of which the snapshot is made; or after the snapshot, if the board is an
    older copy of the same history.

    Nothing that the further one shows is lost. What cannot be compared any more is that it was what its entries gave.
    A board that was shared, and of which nothing says where any more, is one of this host alone then. Killed on the
    way, it is continued by repeating it. ``lock``: the coordinator's, held. Raises what ``repair_ledger`` raises but
    for LedgerBeyondRepair and SharingForgotten, and Damaged for a board that is not sound.
    """
    try:
        done = repair_ledger(paths, lock, alone=True)
    except LedgerBeyondRepair:
        former = tasks_in(paths.snapshot, sqlite.SNAPSHOT)
        aside = _board_of_snapshot(paths, lock) or _snapshot_of_board(paths, lock).set_aside
        done = repair_ledger(paths, lock, alone=True)
        lost = {**done.lacking, **lacking(paths, former)}
        done = replace(done, lacking=lost, also_aside=(aside,) if aside else ())
    if not paths.is_shared:
        forget_heard(paths)
    return done


def _board_of_snapshot(paths: BoardPaths, lock: FileLock) -> Path | None:
    """Put the snapshot in the place of the board if that is an older copy of the same history; returns where the board
    lies then, and None if it stays."""
    with stop_at_damage(), sound_snapshot(paths) as snapshot:
        with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board, connections.explained(paths.board):
            position = read_start(board).position
            is_older = position < read_start(snapshot).position
            is_same = board.execute(_LAST, (position,)).fetchall() == snapshot.execute(_LAST, (position,)).fetchall()
        if is_older and is_same:
            return replace_board(paths, snapshot, lock)
    return None


def repair_snapshot(paths: BoardPaths, lock: FileLock) -> Repaired:
    """Make the snapshot again, of the board as it stands: from here on, a replay starts there.

    What the board shows now can no longer be compared with what its dropped entries gave. ``lock``: the coordinator's,
    held. Raises NothingToRepair if the snapshot is sound or none is needed, Damaged for a board that is not sound, and
    LedgerBeyondRepair if it lacks what only the snapshot had.
    """
    try:
        Coordinator(paths, lock).close()  # catches up, or says that another file is the one to be repaired
    except BoardBehind as error:
        problem = f"{paths.snapshot} is lost, and it alone had what was merged from {error.shown + 1} to {error.base}"
        raise LedgerBeyondRepair(path=paths.ledger, problem=problem) from error
    with closing(FileLedger(paths.ledger)) as ledger:
        if is_sound_snapshot(paths, ledger):
            raise NothingToRepair(path=paths.snapshot)
    return _snapshot_of_board(paths, lock)


def _snapshot_of_board(paths: BoardPaths, lock: FileLock) -> Repaired:
    with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board, connections.explained(paths.board):
        problem = connections.integrity(board, paths.board)
        if problem != "ok":
            raise Damaged(path=paths.board, problem=problem)
        position = read_start(board).position
        return Repaired(paths.snapshot, position, copies.put_copy(board, paths.snapshot, sqlite.SNAPSHOT, lock))


def is_sound_snapshot(paths: BoardPaths, ledger: FileLedger) -> bool:
    """Whether a replay of the ledger can start where it must: at the snapshot, or at nothing."""
    with stop_at_damage():
        start_of(paths, ledger)
        return True
    return False


def repair_shard(paths: BoardPaths, lock: FileLock, profile: str) -> Repaired:
    """``make_shard`` of a profile that lives on this host; no repair makes a second shard beside one of another host.

    Raises LivesElsewhere, and what ``make_shard`` raises.
    """
    sharing = sharing_mark.known(paths)
    if sharing is not None and (host := home_beside(paths, sharing, profile)):
        raise LivesElsewhere(path=paths.shard(profile), profile=profile, host=host)
    return make_shard(paths, lock, profile)


def make_shard(paths: BoardPaths, lock: FileLock, profile: str) -> Repaired:
    """Make the profile's shard again, of what the ledger holds of it and what a pass would still take.

    Runs of the profile that are open count as alive now: their heartbeats are not trusted, and not known if the
    shard is lost. What was being delivered is not known either, and may be sent again under the same key.

    ``lock``: the coordinator's, held, so that nothing is merged meanwhile. Raises InvalidName, NothingToRepair if the
    shard is sound, ShardMissing if the profile never had one, FileBusy, and the StorageErrors of a board or a ledger
    that must be repaired first.
    """
    path = paths.shard(profile)
    Coordinator(paths, lock).close()  # catches up, or says that the ledger is the one to be repaired
    merged = merged_of(paths, profile)
    if merged == LedgerHistory((0, ""), []) and not path.exists():
        raise ShardMissing(path=path, profile=profile)
    with closing(FileLock(paths.shard_lock(profile))) as shard_lock, Board(paths) as board:
        shard_lock.acquire(SHARD_LOCK_WAIT_S)
        watermarks = board.watermarks()
        old = _examine(path, profile, merged, watermarks, shard_lock)
        if old.sound:
            raise NothingToRepair(path=path)
        with board.reading() as connection:
            runs = [run_id for (run_id,) in connection.execute(_OPEN_RUNS, (profile,))]
        changes = merged.changes + old.rest
        making = _making(path)
        try:
            shard_id = _shard_of_home(paths, board, profile) or old.shard_id or draw_id()
            base = merged.start if merged.start[0] else (0, genesis(profile, shard_id))
            _write_shard(making, shard_lock, (profile, shard_id, *base), changes, runs)
            aside = files.put_in_place(making, path, shard_lock, with_journal=True)
        finally:
            files.discard(making)
    kept = {change.digest for change in changes}
    unmerged = tuple(
        change for change in old.held.changes if change.seq > merged.start[0] and change.digest not in kept
    )
    return Repaired(path, len(changes), aside, unmerged)


# --- the ledger ----------------------------------------------------------------------------------------------------


def _ledger_made_again(paths: BoardPaths, lock: FileLock, alone: bool) -> Repaired:
    board = sqlite.open_reader(paths.board, sqlite.BOARD)
    making = _making(paths.ledger)
    try:
        with connections.explained(paths.board), connections.one_state(board):
            shown, digest = board.execute("SELECT position, digest FROM merge_state").fetchone()
            if _is_sound(paths.ledger, shown, digest):
                raise NothingToRepair(path=paths.ledger)
            if not alone and (forgotten := sharing_mark.forgotten(paths)):
                raise forgotten
            start = _start(paths)
            if _write_ledger(making, lock, start, _entries(paths, board, start)) != (shown, digest):
                problem = f"{paths.board} and the shards do not lead to the digest that the board shows"
                raise LedgerBeyondRepair(path=paths.ledger, problem=problem)
        lost = lacking(paths, tasks_in(paths.ledger, sqlite.LEDGER))
        aside = files.put_in_place(making, paths.ledger, lock)
        return Repaired(paths.ledger, shown - start.position, aside, lacking=lost)
    finally:
        board.close()
        files.discard(making)


def _ledger_fetched_again(paths: BoardPaths, lock: FileLock) -> Repaired:
    from kanban_shards.coordinator.shared.copies import fetch_copy
    from kanban_shards.coordinator.shared.opening import open_far

    if not files.is_empty(paths.board):
        with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board, connections.explained(paths.board):
            if _is_sound(paths.ledger, *board.execute("SELECT position, digest FROM merge_state").fetchone()):
                raise NothingToRepair(path=paths.ledger)
    sharing = read_sharing(paths)
    if sharing is None:  # until a moment ago
        return _ledger_made_again(paths, lock, alone=False)
    with closing(open_far(sharing, VERSION)) as far:
        aside = fetch_copy(paths, lock, far, sharing, VERSION)
    with closing(FileLedger(paths.ledger)) as ledger:
        return Repaired(paths.ledger, ledger.head().position, aside)


def _is_whole(path: Path) -> bool:
    """Whether a board can be made of the ledger."""
    with stop_at_damage(), closing(FileLedger(path)) as ledger:
        ledger.check_whole()
        return True
    return False


def _is_sound(path: Path, shown: int, digest: str) -> bool:
    """Whether the ledger is whole and leads to where the board stands."""
    with stop_at_damage(), closing(FileLedger(path)) as ledger:
        base = ledger.base()
        found = base == (shown, digest)
        for entry in ledger.after(base[0]):
            found = found or (entry.position, entry.digest) == (shown, digest)
        return found and ledger.integrity() == "ok"
    return False


def _start(paths: BoardPaths) -> Start:
    """Where the snapshot stands; the ledger that would confirm it is lost, but its digest must lead to the board's."""
    if not paths.snapshot.exists():
        return Start(0, GENESIS, {})
    with (
        closing(sqlite.open_reader(paths.snapshot, sqlite.SNAPSHOT)) as snapshot,
        connections.explained(paths.snapshot),
    ):
        return read_start(snapshot)


def _entries(paths: BoardPaths, board: sqlite3.Connection, start: Start) -> Iterator[tuple[int, Change]]:
    """Every change that was merged after ``start``, in ledger order, each with the time of its entry."""
    shards: dict[str, dict[int, Change]] = {}
    for profile, seq, at_ms, *kept in board.execute(_ORDER, (start.position,)):
        if kept[0] is not None:
            yield at_ms, Change(profile, seq, *kept)
            continue
        if profile not in shards:
            shards[profile] = _merged_changes(paths, profile)
        if seq not in shards[profile]:
            problem = f"{paths.shard(profile)} lacks change {seq}, which was merged"
            raise LedgerBeyondRepair(path=paths.ledger, problem=problem)
        yield at_ms, shards[profile][seq]


def _merged_changes(paths: BoardPaths, profile: str) -> dict[int, Change]:
    """The shard's changes by their seq, without those that were rewritten; none if there is no such shard."""
    with stop_at_damage():
        held = history_of(paths, profile)
        digests = dict([held.base, *((change.seq, change.digest) for change in held.changes)])
        # Behind a repair, the first change continues a shard that is no more; the ledger's own chain covers it.
        return {
            change.seq: change
            for change in held.changes
            if change.seq == 1 or change.continues(digests.get(change.seq - 1, ""))
        }
    return {}


def _write_ledger(path: Path, lock: FileLock, start: Start, entries: Iterator[tuple[int, Change]]) -> tuple[int, str]:
    files.discard(path)
    with closing(FileLedger(path, lock)) as ledger:
        ledger.begin_behind(start.position, start.digest)
        for at_ms, group in groupby(entries, key=lambda entry: entry[0]):
            ledger.append([change for _, change in group], at_ms, behind=ledger.head())
        return ledger.head()


# --- a shard -------------------------------------------------------------------------------------------------------


@dataclass
class _Old:
    """What a shard holds, as far as it can be read, and, after what was merged, what a pass would take.

    ``sound``: neither they nor what was merged nor the file gives cause for a repair. ``shard_id``: None if it cannot
    be read; the first change continues from it, so while nothing is merged it must stay."""

    held: ShardHistory
    rest: list[Change]
    sound: bool = False
    shard_id: str | None = None


def _shard_of_home(paths: BoardPaths, board: Board, profile: str) -> str | None:
    """Which shard of the profile lives on this host, as the hosts of a shared board know it: no other is merged before
    its first change was. None if the board is not shared, or it lives nowhere yet, or elsewhere."""
    sharing, home = read_sharing(paths), board.home_of(profile)
    return home.shard if sharing and home and home.host == sharing.host else None


def _examine(
    path: Path, profile: str, merged: LedgerHistory, watermarks: dict[str, tuple[int, str]], lock: FileLock
) -> _Old:
    old = _Old(ShardHistory(), [])
    has_strange_journal = _set_strange_journal_aside(path, lock)
    with stop_at_damage(), opened_shard(path, lock) as shard:
        with stop_at_damage(), connections.explained(path):
            old.shard_id = shard_id_of(shard, profile)
            why = read_all(shard, profile, lambda other: watermarks.get(other, (0, "")), old.rest)
            old.sound = why is None and connections.integrity(shard, path) == "ok"
        old.held.read(shard, path, profile)
    old.sound = old.sound and not has_strange_journal and old.held.differs_at(merged) is None
    return old


def _set_strange_journal_aside(path: Path, lock: FileLock) -> bool:
    """Whether there was a journal that must not be rolled back; without it, the shard can be read as it lies there.
    Raises CannotOpen where the shard is another user's."""
    try:
        with owners.acting_for(path):
            sqlite.check_journal(path, sqlite.SHARD)
    except (StrangeJournal, NotAFile):
        files.move_sidecars(path, files.name_aside(path, lock))
        return True
    return False


def _write_shard(path: Path, lock: FileLock, meta: tuple[object, ...], changes: list[Change], runs: list[int]) -> None:
    files.discard(path)
    now_ms = time.time_ns() // 1_000_000
    shard = sqlite.open_writer(path, sqlite.SHARD, lock)
    with closing(shard), connections.explained(path), connections.transaction(shard):
        shard.execute("INSERT INTO meta VALUES (1, ?, ?, ?, ?)", meta)
        shard.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", [change.row() for change in changes])
        shard.executemany("INSERT INTO liveness VALUES (?, ?)", [(run_id, now_ms) for run_id in runs])


def _making(path: Path) -> Path:
    return path.with_name(path.name + ".repair")
