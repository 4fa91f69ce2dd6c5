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
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgspec

from kanban_shards import attachments, wording
from kanban_shards.board import Board
from kanban_shards.coordinator.backup.trimming import leave_out_what_came_later
from kanban_shards.coordinator.errors import BackupFailed, NoBackup, UpkeepRunning
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.coordinator.merge.shard_reader import Quarantine, base_of, locked_shard
from kanban_shards.coordinator.recovery.verify import Discrepancy, verify
from kanban_shards.errors import NEEDS_ATTENTION, FileBusy, InvalidName, KanbanError, NotAFile, StorageError
from kanban_shards.paths import BoardPaths, expanded
from kanban_shards.records import Attachment
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.filesystems import FOR_ITS_USER, GROUP_READS, open_plain
from kanban_shards.storage.folders import Folder, make_below, open_below
from kanban_shards.storage.locks import FileLock

KEPT = 14
MANIFEST = "backup.json"
ATTACHMENTS = "attachments"
# After a backup that failed, the next one is tried this soon.
RETRY_S = 600.0
UPKEEP_WAIT_S = 5.0

_MAKING = ".making-"
_REMOVING = ".removing-"


class ShardCopy(msgspec.Struct, frozen=True):
    """A shard in a backup: its newest change."""

    seq: int
    digest: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself, as JSON.

    ``number``: counted up with each backup of the board in its folder. ``position``, ``digest``: where its board stands
    in the ledger. ``schemas``: of each role of file. ``size_bytes``:
    of each database file. ``problems``: what was not sound when it was made; empty for a good backup.
    """

    made_ms: int
    board: str
    schemas: dict[str, int]
    position: int
    digest: str
    shards: dict[str, ShardCopy]
    size_bytes: dict[str, int]
    attachments: int
    problems: list[str]
    number: int = 0


class Backup(msgspec.Struct, frozen=True):
    """A complete backup: where it lies, and what it says of itself."""

    folder: Path
    manifest: Manifest

    @property
    def problems(self) -> list[str]:
        """What was not sound when it was made, and what became of its files since."""
        return self.manifest.problems + [f"{name} {how}" for name, how in self.lacks().items()]

    @property
    def is_good(self) -> bool:
        """Whether every file of the board was sound when it was made, and is still there."""
        return not self.problems

    def is_of(self, paths: BoardPaths) -> bool:
        """Whether it was made of the board that lies at ``paths``, however the way there is spelled."""
        return os.path.realpath(self.manifest.board) == os.path.realpath(paths.board)

    def lacks(self) -> dict[str, str]:
        """Those of its database files that are gone, or of another size than they were made with: how, by their names.
        None is opened."""
        lacks = {}
        for name, size_bytes in self.manifest.size_bytes.items():
            path = self.folder / name
            if not _is_regular(path):
                lacks[name] = "is not there"
            elif path.stat().st_size != size_bytes:
                lacks[name] = f"has {path.stat().st_size} bytes, and was made with {size_bytes}"
        return lacks

    @property
    def size_bytes(self) -> int:
        """What it takes of the disk: a file that has several names counts for its part."""
        stats = [os.lstat(os.path.join(folder, name)) for folder, _, names in os.walk(self.folder) for name in names]
        return sum(each.st_size // each.st_nlink for each in stats)

    def paths(self, slug: str) -> BoardPaths:
        """Its files, as those of a board ``slug``."""
        return BoardPaths(self.folder, slug)

    def as_dict(self) -> dict:
        """For programs."""
        return {
            "path": str(self.folder),
            "good": self.is_good,
            "bytes": self.size_bytes,
            **msgspec.to_builtins(self.manifest),
            "problems": self.problems,
        }


def store_of(paths: BoardPaths, into: str | None) -> Path:
    """The folder of the board's backups: its own, or the board's part of ``into``."""
    return paths.backups if into is None else expanded(into).absolute() / paths.slug


def _base_of(paths: BoardPaths, store: Path) -> Path:
    """Up to where links on the way to ``store`` are followed: the board's folder, or what was given with --into."""
    return paths.folder if store == paths.backups else store.parent


def backups_in(store: Path) -> list[Backup]:
    """Every complete backup, the oldest first: those of one board by their numbers, whatever the clock said. A folder
    whose manifest cannot be read is none."""
    found = []
    for folder in store.iterdir() if store.is_dir() else []:
        if not folder.name.startswith("."):
            try:
                found.append(read_backup(folder))
            except NoBackup:
                continue
    return sorted(found, key=lambda each: (each.manifest.number, each.manifest.position, each.folder.name))


def read_backup(folder: Path) -> Backup:
    """The backup that ``folder`` is. Raises NoBackup."""
    try:
        with open(open_plain(folder / MANIFEST, os.O_RDONLY), "rb") as file:
            return Backup(folder, msgspec.json.decode(file.read(), type=Manifest))
    except (OSError, NotAFile, msgspec.MsgspecError) as error:
        raise NoBackup(path=folder) from error


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


class BackupSchedule:
    """Backups of one board, ``every_s`` seconds, each made by a process of its own so that no pass waits for it."""

    def __init__(self, paths: BoardPaths, every_s: float) -> None:
        self._paths = paths
        self._every_s = every_s
        self._child: subprocess.Popen | None = None
        self._trouble: set[str] = set()
        newest = [backup for backup in backups_in(paths.backups) if backup.is_of(paths)][-1:]
        age_s = time.time() - newest[0].manifest.made_ms / 1000 if newest else every_s
        self._next_s = time.monotonic() + max(0.0, every_s - max(0.0, age_s))

    def run_if_due(self) -> set[str]:
        """Start a backup if its time has come, and see how the last one ended; never waits. Returns what is wrong."""
        if self._child is not None and self._child.poll() is not None:
            self._see_how_it_ended()
        if self._child is None and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "kanban_shards.coordinator", "backup"],  # -P: as in a service's command
                env={**os.environ, "HERMES_KANBAN_DB": str(self._paths.board)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        return set(self._trouble)

    def close(self) -> None:
        """End a backup that is being made; the next one removes what it leaves. If the board is opened again, it is
        soon tried again."""
        child, self._child = self._child, None
        if child is not None:
            child.terminate()
            child.communicate()
            self._next_s = min(self._next_s, time.monotonic() + RETRY_S)

    def _see_how_it_ended(self) -> None:
        _, said = self._child.communicate()
        self._trouble = set()
        if self._child.returncode == NEEDS_ATTENTION:
            self._trouble = {"backup: the newest one is not whole; `kanban-merge backups` says what it lacks"}
        elif self._child.returncode:
            self._trouble = {f"backup: {said.strip()}"}
            self._next_s = min(self._next_s, time.monotonic() + RETRY_S)
        self._child = None


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
        gone = [each for each in board.attachments() if each.id in named and not _is_kept(each, paths, linked)]
    first = f", the first at {gone[0].stored_path}" if gone else ""
    return (
        [f"{wording.many(len(gone), 'attachment')} not where the board says, or no regular file{first}"] if gone else []
    )


def _is_kept(attachment: Attachment, paths: BoardPaths, linked: Path) -> bool:
    """Whether the backup has the file, or need not have it, because it lies outside of the board's own folder."""
    folder, name = os.path.split(attachment.stored_path)
    if _is_regular(linked / attachment.task_id / name):
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
                sqlite.write_copy(source, target, role)
    problems = []
    for profile, path in paths.shards():
        try:
            with locked_shard(paths, profile) as source:
                sqlite.write_copy(source, copy.shard(profile), sqlite.SHARD)
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
        head = shard.execute("SELECT seq, digest FROM changes ORDER BY seq DESC LIMIT 1").fetchone() or base_of(shard)
    if tuple(map(type, head)) != (int, str):
        raise Quarantine(f"change {head[0]} holds values of the wrong type")
    return ShardCopy(*head)


def _fresh_name() -> str:
    """For people; what counts is the number in the manifest."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{rest // 1_000:06}"


def _is_regular(path: Path) -> bool:
    """Whether a file lies at ``path`` itself, and not a link, a pipe or a folder."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):  # a name that no file can have
        return False


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
        raise StorageError(path=error.filename or store, problem=error.strerror or str(error)) from error
