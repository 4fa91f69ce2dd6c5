"""Backups: copies of all files of a board, made while everything runs, and proved before they count.

A backup is one folder, and its name is given last: what a killed backup leaves has another name, counts as nothing,
and is removed by the next. The board is copied first, then the ledger, then the shards. Each of these only grows, so
the copied ledger holds at least what the copied board shows, and the copied shards what the copied ledger holds; from
such a set everything goes on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgspec

from kanban_shards import attachments, wording
from kanban_shards.board import Board
from kanban_shards.coordinator.backup.manifest import (
    MANIFEST,
    Backup,
    Manifest,
    ShardCopy,
    backups_in,
    is_regular,
    read_backup,
)
from kanban_shards.coordinator.backup.trimming import leave_out_what_came_later
from kanban_shards.coordinator.errors import BackupFailed, UpkeepRunning
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.coordinator.merge.shard_reader import Quarantine, base_of, locked_shard
from kanban_shards.coordinator.recovery.verify import Discrepancy, verify
from kanban_shards.errors import FileBusy, InvalidName, KanbanError, StorageError, cannot_write
from kanban_shards.paths import BoardPaths
from kanban_shards.records import Attachment
from kanban_shards.storage import connections, copies, files, sqlite
from kanban_shards.storage.filesystems import FOR_ITS_USER, GROUP_READS
from kanban_shards.storage.folders import Folder, make_below, open_below
from kanban_shards.storage.locks import FileLock

KEPT = 14
ATTACHMENTS = "attachments"
UPKEEP_WAIT_S = 5.0

_MAKING = ".making-"
_REMOVING = ".removing-"


def _base_of(paths: BoardPaths, store: Path) -> Path:
    """Up to where links on the way to ``store`` are followed: the board's folder, or what was given with --into."""
    return paths.folder if store == paths.backups else store.parent


def make_backup(paths: BoardPaths, store: Path, progress: ProgressCallback = lambda done, total: None) -> Backup:
    """Copy the board, prove the copy, and keep it in ``store``. A shard that is not sound makes it less than good.

    Beside a working daemon and gateways; a profile waits while its own shard is copied, and nobody else waits.
    ``progress(done, total)`` is told of replayed entries. Raises UpkeepRunning, BackupFailed if what was copied is not
    sound, and the StorageErrors of files that cannot be copied.
    """
    with upkeep(paths), _explained(store), make_below(_base_of(paths, store), store, private=True) as folder:
        _remove_leftovers(paths, folder)
        name = _fresh_name()
        making = f"{_MAKING}{_mark(paths)}-{name}"
        folder.made_folder(making, private=True).close()
        try:
            earlier = [each.manifest.number for each in backups_in(store) if each.is_of(paths)]
            _fill(store / making, paths, max(earlier, default=0) + 1, progress)
            manifest = read_backup(store / making).manifest  # what cannot be read again gets no name
        except BaseException:
            folder.remove_tree(making)
            raise
        folder.rename(making, folder, name)
        return Backup(store / name, manifest)


def limit_backups(paths: BoardPaths, store: Path, keep: int | None, keep_bytes: int | None) -> list[Path]:
    """Remove the board's oldest backups until the rest of them is within both limits; returns which. The newest good
    one stays, and so does the newest; those of other boards, with which it may share the ``store``, stay uncounted."""
    there = [backup for backup in backups_in(store) if backup.is_of(paths)]
    if not there:
        return []
    stay = {backup.folder for backup in there[-1:] + [each for each in there if each.is_good][-1:]}
    size_bytes = {backup.folder: backup.size_bytes for backup in there}
    removed: list[Path] = []
    with _explained(store), open_below(_base_of(paths, store), store) as folder:
        for backup in there:
            within_number = keep is None or len(size_bytes) <= keep
            within_bytes = keep_bytes is None or sum(size_bytes.values()) <= keep_bytes
            if within_number and within_bytes:
                break
            if backup.folder not in stay:
                del size_bytes[backup.folder]
                _remove(paths, folder, backup.folder.name)
                removed.append(backup.folder)
    return removed


@contextmanager
def upkeep(paths: BoardPaths) -> Iterator[None]:
    """Be the only one who copies, puts back or shortens the board's files. Raises UpkeepRunning."""
    with closing(FileLock(paths.upkeep_lock)) as lock:
        try:
            lock.acquire(UPKEEP_WAIT_S)
        except FileBusy as error:
            raise UpkeepRunning(lock=lock.path) from error
        yield


def link_tree(source: Folder, target: Folder) -> int:
    """Give each file of ``source`` that ``target`` lacks a name there too, or copy it where the filesystem is another;
    returns how many files that were. These files are never written again, so one content under two names is safe.
    What is neither a regular file nor a folder, such as a link or a pipe, is left out."""
    count = 0
    for name in source.names():
        if name.startswith("."):  # still being written
            continue
        if source.has_folder(name):
            with (
                suppress(FileNotFoundError),  # its task may be deleted at this moment
                source.folder(name) as inside,
                target.made_folder(name) as other,
            ):
                count += link_tree(inside, other)
        elif source.has_file(name) and target.look(name) is None:
            count += _link_or_copy(source, name, target)
    target.sync()
    return count


# --- making one ----------------------------------------------------------------------------------------------------


def _fill(making: Path, paths: BoardPaths, number: int, progress: ProgressCallback) -> None:
    copy = BoardPaths(making, paths.slug)
    problems = _copy_databases(paths, copy)
    linked = keep_attachments(paths, making)
    problems += _lost_attachments(paths, copy, making / ATTACHMENTS)
    problems += _prove(copy, progress)
    _write_manifest(making, paths, copy, number, linked, problems)


def keep_attachments(paths: BoardPaths, making: Path) -> int:
    """The board's attachments, in the backup that is ``making``; returns how many files. Raises NotAFolder."""
    with ExitStack() as held:
        try:
            source = held.enter_context(open_below(paths.folder, paths.attachments))
        except FileNotFoundError:  # nothing was ever attached
            return 0
        return link_tree(source, held.enter_context(make_below(making, making / ATTACHMENTS)))


def put_attachments_back(copy: BoardPaths, paths: BoardPaths) -> int:
    """The attachments of the backup ``copy`` beside the board, where they are gone; returns how many files. Raises
    NotAFolder, StorageError."""
    with ExitStack() as held:
        held.enter_context(_explained(paths.attachments))
        try:
            source = held.enter_context(open_below(copy.folder, copy.folder / ATTACHMENTS))
        except FileNotFoundError:
            return 0
        return link_tree(source, held.enter_context(make_below(paths.folder, paths.attachments)))


def _lost_attachments(paths: BoardPaths, copy: BoardPaths, linked: Path) -> list[str]:
    """What the copied board names, is not among what was ``linked``, and nobody detached meanwhile."""
    with Board(copy) as copied, Board(paths) as board:
        named = {each.id for each in copied.attachments()}
        here = [each for each in board.attachments() if each.id in named and each.host is None]
        gone = [each for each in here if not _is_kept(each, paths, linked)]
    first = f", the first at {gone[0].stored_path}" if gone else ""
    return (
        [f"{wording.many(len(gone), 'attachment')} not where the board says, or no regular file{first}"] if gone else []
    )


def _is_kept(attachment: Attachment, paths: BoardPaths, linked: Path) -> bool:
    """Whether the backup has the file, or need not have it, because it lies outside of the board's own folder."""
    folder, name = os.path.split(attachment.stored_path)
    if is_regular(linked / attachment.task_id / name):
        return True
    is_own = files.identity(folder) == files.identity(paths.attachments / attachment.task_id)
    return os.path.exists(attachment.stored_path) and not is_own


def _copy_databases(paths: BoardPaths, copy: BoardPaths) -> list[str]:
    """The board, then what it is a part of; returns which shards could not be copied, and why."""
    for path, target, role in (
        (paths.board, copy.board, sqlite.BOARD),
        (paths.ledger, copy.ledger, sqlite.LEDGER),
        (paths.snapshot, copy.snapshot, sqlite.SNAPSHOT),
    ):
        if role is not sqlite.SNAPSHOT or path.exists():
            with closing(sqlite.open_reader(path, role)) as source:
                copies.write_copy(source, target, role)
    problems = []
    for profile, path in paths.shards():
        try:
            with locked_shard(paths, profile) as source:
                copies.write_copy(source, copy.shard(profile), sqlite.SHARD)
        except (StorageError, InvalidName) as error:
            files.discard(copy.folder / path.name)
            problems.append(str(error))
    with Board(paths) as board:
        watermarks = board.watermarks()
    with suppress(StorageError):  # of a copy that is not sound, which is what the proof says
        leave_out_what_came_later(copy, lambda profile: watermarks.get(profile, (0, "")))
    return problems


def _prove(copy: BoardPaths, progress: ProgressCallback) -> list[str]:
    """Open each copied file again, and replay the copied ledger against the copied board; returns what is wrong with
    shards. Raises BackupFailed if it is the board or the ledger."""
    try:
        found = verify(copy, progress)
    except KanbanError as error:
        raise BackupFailed(path=copy.board.name, problem=error.happened) from error
    of_shards = shard_findings(copy, found.findings)
    for finding in found.findings:
        if finding not in of_shards:
            raise BackupFailed(path=copy.board.name, problem=f"{finding.where}: {finding.problem.rstrip('.')}")
    return [f"{finding.where}: {finding.problem}" for finding in of_shards]


def shard_findings(paths: BoardPaths, findings: list[Discrepancy]) -> list[Discrepancy]:
    """Those of ``findings`` that are about a shard."""
    others = {paths.board.name, paths.ledger.name}
    return [each for each in findings if each.where.startswith("kanban.") and each.where not in others]


def _write_manifest(
    making: Path, paths: BoardPaths, copy: BoardPaths, number: int, attachments: int, problems: list[str]
) -> None:
    with Board(copy) as board, board.reading() as connection:
        position, digest = connection.execute("SELECT position, digest FROM merge_state").fetchone()
    heads, unreadable = _heads(copy)
    manifest = Manifest(
        made_ms=time.time_ns() // 1_000_000,
        board=str(paths.board),
        schemas={role.name: role.schema for role in (sqlite.BOARD, sqlite.LEDGER, sqlite.SHARD)},
        position=position,
        digest=digest,
        shards=heads,
        size_bytes={path.name: path.stat().st_size for path in sorted(making.glob("*.db"))},
        attachments=attachments,
        problems=problems + unreadable,
        number=number,
    )
    with Folder.given(making) as folder:
        folder.write_whole(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2), FOR_ITS_USER)


def _heads(copy: BoardPaths) -> tuple[dict[str, ShardCopy], list[str]]:
    """The newest change of each shard, and of which it cannot be read."""
    heads, unreadable = {}, []
    for profile, path in copy.shards():
        try:
            heads[profile] = _head(path)
        except (StorageError, Quarantine) as trouble:
            unreadable.append(f"{path.name}: its newest change cannot be read: {trouble}")
    return heads, unreadable


def _head(path: Path) -> ShardCopy:
    """The newest change of a shard, or where it begins. Raises Quarantine for values of the wrong type, and the
    StorageErrors of a shard that cannot be read."""
    with closing(sqlite.open_reader(path, sqlite.SHARD)) as shard, connections.explained(path):
        newest = shard.execute("SELECT seq, digest FROM changes ORDER BY seq DESC LIMIT 1").fetchone()
        seq, digest = newest or base_of(shard)
    if (type(seq), type(digest)) != (int, str):
        raise Quarantine(f"change {seq} holds values of the wrong type")
    return ShardCopy(seq, digest)


def _fresh_name() -> str:
    """For people; what counts is the number in the manifest."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{rest // 1_000:06}"


def _link_or_copy(source: Folder, name: str, target: Folder) -> int:
    """Returns how many files that were: none if it was detached, or attached there, at this moment."""
    try:
        source.link(name, target, name)
    except (FileNotFoundError, FileExistsError):
        return 0
    except OSError:  # another filesystem, or one without links
        with open(source.open_file(name), "rb") as original:
            if os.fstat(original.fileno()).st_size > attachments.LIMIT_BYTES:  # not one that this program put there
                return 0
            with open(target.new_file(name, target.mode_for(GROUP_READS)), "wb") as copy:
                shutil.copyfileobj(original, copy)
                copy.flush()
                os.fsync(copy.fileno())
    return 1


def _mark(paths: BoardPaths) -> str:
    """What tells the board's unfinished folders from those of others that share a store: they hold another lock."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(paths.board)), digest_size=4).hexdigest()


def _remove(paths: BoardPaths, store: Folder, name: str) -> None:
    """First the name, so that half a backup never counts as one."""
    going = f"{_REMOVING}{_mark(paths)}-{name}"
    store.rename(name, store, going)
    store.remove_tree(going)


def _remove_leftovers(paths: BoardPaths, store: Folder) -> None:
    """What backups and removals of the board that were killed left; its lock says that nobody is at it."""
    ours = tuple(f"{beginning}{_mark(paths)}-" for beginning in (_MAKING, _REMOVING))
    for name in store.names():
        if name.startswith(ours):
            store.remove_tree(name)


@contextmanager
def _explained(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(error.filename or store, error) from error
