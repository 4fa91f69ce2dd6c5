"""Restore: a backup takes the place of what is lost or damaged, and what is sound and newer stays.

A shard is never put back over a sound one that continues it, because that one may hold changes that were acknowledged
since. Nor is a sound ledger replaced, or one that board and shards can make: a verdict that somebody was told must not
change. The board is a replay of the ledger, so it is always taken from the backup, and catches up. What is replaced is
kept beside the new file.

Each step leaves files that the next restore judges again, so one that was killed is continued by repeating it.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.changes.codec import LATEST_SEQ, Change
from kanban_shards.coordinator.backup.backup import put_attachments_back, shard_findings
from kanban_shards.coordinator.backup.manifest import Backup
from kanban_shards.coordinator.errors import BackupUnsound, CompactedPast, NothingToRepair, OpenElsewhere
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.coordinator.merge.shard_reader import (
    SHARD_LOCK_WAIT_S,
    Quarantine,
    base_of,
    locked_shard,
    opened_shard,
    read_all,
)
from kanban_shards.coordinator.processes import file_holders, processes_of
from kanban_shards.coordinator.recovery.lineage import NO_DAMAGE, check_same_board, stop_at_damage
from kanban_shards.coordinator.recovery.repair import is_sound_snapshot, repair_ledger, repair_shard, repair_snapshot
from kanban_shards.coordinator.recovery.verify import Discrepancy, verify
from kanban_shards.errors import Damaged, InvalidName, SharingGone, StorageError
from kanban_shards.paths import BoardPaths, check_profile
from kanban_shards.storage import connections, copies, files, sqlite
from kanban_shards.storage.locks import FileLock

STAYED = "stayed"
RESTORED = "restored"
REPAIRED = "repaired"

Watermark = tuple[int, str]


@dataclass
class Restored:
    """What a restore did.

    ``ledger``, ``shards``: what became of them: STAYED, RESTORED from the backup, or REPAIRED from the other files.
    ``merged``: changes made after the backup; ``not_merged``: why that is left to a command. ``findings``: what is
    still not as it must be.
    """

    ledger: str = STAYED
    shards: dict[str, str] = field(default_factory=dict)
    set_aside: list[Path] = field(default_factory=list)
    attachments: int = 0
    merged: int = 0
    not_merged: str | None = None
    findings: list[Discrepancy] = field(default_factory=list)


def restore(
    paths: BoardPaths, backup: Backup, lock: FileLock, progress: ProgressCallback = lambda done, total: None
) -> Restored:
    """Put the backup in the place of what is lost or damaged, and merge what the shards hold beyond it.

    ``lock``: the coordinator's, held. Gateways may run. Raises BackupUnsound, AnotherBoard, LegacyBoard, OpenElsewhere,
    CompactedPast, and the StorageErrors of files that cannot be written.
    """
    copy = backup.paths(paths.slug)
    _check_sound(backup, copy, progress)
    check_same_board(paths, copy)
    _check_no_stranger_writes(paths)
    _check_nothing_was_dropped_since(paths, copy)
    done = Restored()
    watermarks = _where_the_ledger_leads(paths.ledger, copy) or _ledger_made_again(paths, copy, lock, done)
    ledger_is_there = watermarks is not None
    if watermarks is None:
        watermarks = _where_the_ledger_leads(copy.ledger, copy) or {}
    for profile in {**dict(copy.shards()), **dict(paths.shards())}:
        _restore_shard(paths, copy, profile, watermarks.get(profile, (0, "")), done)
    if not ledger_is_there:
        _put_into(copy.ledger, sqlite.LEDGER, paths.ledger, lock, done)
        done.ledger = RESTORED
    _restore_snapshot(paths, copy, lock, done)
    done.attachments = put_attachments_back(copy, paths)
    _restore_board(paths, copy, lock, done)
    if done.not_merged is not None and not backup.is_of(paths):
        done.not_merged = _said_of_a_copy(paths, backup)
    done.findings = verify(paths, progress).findings
    return done


def _check_sound(backup: Backup, copy: BoardPaths, progress: ProgressCallback) -> None:
    lacks = backup.lacks()
    for path in (copy.board, copy.ledger, copy.snapshot):
        if path.name in lacks and files.is_empty(path):  # of any other size, it may be sound all the same
            raise BackupUnsound(path=copy.folder, problem=f"{path.name} {lacks[path.name]}")
    try:
        found = verify(copy, progress)
    except NO_DAMAGE:
        raise
    except Damaged as error:  # its own advice is for a board in use
        problem = f"{Path(error.path).name} is damaged ({error.problem})"
        raise BackupUnsound(path=copy.folder, problem=problem) from error
    except StorageError as error:
        raise BackupUnsound(path=copy.folder, problem=error.happened) from error
    tolerated = shard_findings(copy, found.findings)  # its manifest says so, and other shards need not suffer
    for finding in found.findings:
        if finding not in tolerated:
            raise BackupUnsound(path=copy.folder, problem=f"{finding.where}: {finding.problem.rstrip('.')}")


def _check_no_stranger_writes(paths: BoardPaths) -> None:
    """Gateways and readers notice a file that was replaced. Another program goes on in the old one, and when it closes
    that one it removes the new one's WAL. A gateway is told by the lock file that it has open."""
    known = {each.pid for each in file_holders(paths.coordinator_lock)}
    for path in (paths.board, paths.ledger):
        strangers = processes_of(
            each
            for each in file_holders(path)
            if each.writing and each.path.name == path.name and each.pid not in known
        )
        if strangers:
            raise OpenElsewhere(path=path, holders=", ".join(strangers))


def _check_nothing_was_dropped_since(paths: BoardPaths, copy: BoardPaths) -> None:
    """What was dropped after the backup's last entry is in no file but a snapshot. Raises CompactedPast."""
    with Board(copy) as board:
        position, watermarks = board.position(), board.watermarks()
    base = 0
    with stop_at_damage(), closing(FileLedger(paths.ledger)) as ledger:
        base, _ = ledger.base()
    if base > position:
        raise CompactedPast(path=paths.ledger, first=position + 1, last=base)
    for profile, path in paths.shards():
        merged, _ = watermarks.get(profile, (0, ""))
        base = _base_seq(paths, profile)
        if base > merged:
            raise CompactedPast(path=path, first=merged + 1, last=base)


def _base_seq(paths: BoardPaths, profile: str) -> int:
    """Up to which change a shard was shortened; 0 if it does not say so, or is no profile's."""
    with suppress(InvalidName, Quarantine), stop_at_damage(), locked_shard(paths, profile) as shard:
        return base_of(shard)[0]
    return 0


def _restore_snapshot(paths: BoardPaths, copy: BoardPaths, lock: FileLock, done: Restored) -> None:
    """Leave the snapshot if it fits the ledger that is in place now, else take the backup's if that one does."""
    with closing(FileLedger(paths.ledger)) as ledger:
        if is_sound_snapshot(paths, ledger):
            return
        if copy.snapshot.exists() and is_sound_snapshot(copy, ledger):
            _put(copy.snapshot, sqlite.SNAPSHOT, paths.snapshot, lock, done)
        elif not ledger.base()[0]:
            done.set_aside.append(files.set_aside(paths.snapshot, lock))
        else:  # its board is one too, and with a later one the backup could not be put back again
            _put(copy.board, sqlite.SNAPSHOT, paths.snapshot, lock, done)


class _Apart(BoardPaths):
    """The same files, but for a board that nobody reads."""

    @cached_property
    def board(self) -> Path:
        return self.folder / ".kanban-restoring.making"


def _restore_board(paths: BoardPaths, copy: BoardPaths, lock: FileLock, done: Restored) -> None:
    """The backup's board catches up where nobody reads it, and takes the place of the former in one step: whoever read
    the past would take a run for over that is open."""
    apart = _Apart(paths.folder, paths.slug)
    try:
        with closing(sqlite.open_reader(copy.board, sqlite.BOARD)) as reader:
            copies.write_copy(reader, apart.board, sqlite.BOARD)
        _go_on(apart, lock, done)
        _put_into(apart.board, sqlite.BOARD, paths.board, lock, done)
    finally:
        files.discard(apart.board)
    _merge(paths, lock, done)  # what was written meanwhile


def _where_the_ledger_leads(path: Path, copy: BoardPaths) -> dict[str, Watermark] | None:
    """How far each shard is merged by a sound ledger that continues the backup's board; None for any other ledger."""
    with Board(copy) as board, board.reading() as connection:
        position, digest = connection.execute("SELECT position, digest FROM merge_state").fetchone()
        watermarks = dict(board.watermarks())
    with stop_at_damage(), closing(FileLedger(path)) as ledger:
        if ledger.integrity() != "ok" or ledger.digest_at(position) != digest:
            return None
        for entry in ledger.after(position):
            watermarks[entry.change.profile] = entry.change.seq, entry.change.digest
        return watermarks
    return None


def _ledger_made_again(
    paths: BoardPaths, copy: BoardPaths, lock: FileLock, done: Restored
) -> dict[str, Watermark] | None:
    """A newer ledger than the backup's, where board and shards are sound enough to make it of; else None."""
    with stop_at_damage():
        aside = repair_ledger(paths, lock).set_aside
        done.ledger = REPAIRED
        done.set_aside += [aside] if aside else []
        return _where_the_ledger_leads(paths.ledger, copy)
    return None


def _restore_shard(paths: BoardPaths, copy: BoardPaths, profile: str, mark: Watermark, done: Restored) -> None:
    """Leave a sound shard; else take the backup's, unless the ledger or what is left of the shard itself has more."""
    try:
        check_profile(profile)
    except InvalidName:  # a stranger's file, which every pass reports
        return
    path = paths.shard(profile)
    with closing(FileLock(paths.shard_lock(profile))) as lock:
        lock.acquire(SHARD_LOCK_WAIT_S)
        head, is_sound = _reaches(path, profile, mark, lock)
        if is_sound:
            done.shards[profile] = STAYED
            return
        with closing(FileLock(copy.shard_lock(profile))) as lock_of_copy:
            lock_of_copy.acquire(SHARD_LOCK_WAIT_S)
            copied_head, copy_is_sound = _reaches(copy.shard(profile), profile, mark, lock_of_copy)
        if copy_is_sound and copied_head >= head:
            _put(copy.shard(profile), sqlite.SHARD, path, lock, done)
            done.shards[profile] = RESTORED
        elif mark[0]:
            done.shards[profile] = REPAIRED  # once the ledger is in place


def _reaches(path: Path, profile: str, mark: Watermark, lock: FileLock) -> tuple[int, bool]:
    """Up to which change the shard soundly continues from ``mark``, and whether that is all of it."""
    rest: list[Change] = []
    why: str | None = "it cannot be read"
    with stop_at_damage(), opened_shard(path, lock) as shard, connections.explained(path):
        # What others' changes it has seen is judged when they are merged.
        why = read_all(shard, profile, lambda other: mark if other == profile else (LATEST_SEQ, ""), rest)
        if why is None and connections.integrity(shard, path) != "ok":
            why = "its pages are damaged"
    return mark[0] + len(rest), why is None


def _put(source: Path, role: sqlite.Role, path: Path, lock: FileLock, done: Restored) -> None:
    with closing(sqlite.open_reader(source, role)) as reader:
        aside = copies.put_copy(reader, path, role, lock)
    if aside is not None:
        done.set_aside.append(aside)


def _put_into(source: Path, role: sqlite.Role, path: Path, lock: FileLock, done: Restored) -> None:
    """Inside the file that is there, because others have it open; under a new one only if it cannot be opened."""
    if path.exists():
        with stop_at_damage():
            with closing(sqlite.open_reader(source, role)) as reader:
                done.set_aside.append(copies.overwrite(reader, path, role, lock))
            return
    _put(source, role, path, lock, done)


def _go_on(paths: BoardPaths, lock: FileLock, done: Restored) -> None:
    """Repair what the backup has too little of, and merge until nothing moves.

    What was merged in many passes is merged again in few: a change that had seen another shard's waits for that one.
    """
    with suppress(NothingToRepair):
        done.set_aside += [aside] if (aside := repair_snapshot(paths, lock).set_aside) else []
    for profile in [name for name, outcome in done.shards.items() if outcome == REPAIRED]:
        try:
            aside = repair_shard(paths, lock, profile).set_aside
            done.set_aside += [aside] if aside else []
        except NothingToRepair:  # its own gateway put it right meanwhile
            done.shards[profile] = STAYED
    _merge(paths, lock, done)


def _said_of_a_copy(paths: BoardPaths, backup: Backup) -> str | None:
    """What to do with a board that others share, and that was put back in another home than its own."""
    sharing = sharing_mark.look(paths)
    if sharing is None:
        return None
    return wording.printable(
        f"This is a copy of {backup.manifest.board}, which {sharing.host} shares with other hosts; it is to be looked "
        "at, and nothing is merged here. Only where that home is gone for good, "
        f"`kanban-merge share {sharing_mark.gone(paths, sharing).words}` has this one take its place."
    )


def _merge(paths: BoardPaths, lock: FileLock, done: Restored) -> None:
    try:
        with Coordinator(paths, lock) as coordinator:
            while merged := coordinator.make_passes().decided:
                done.merged += merged
    except SharingGone as error:  # the home was lost with it: the other hosts decide
        done.not_merged = str(error)
