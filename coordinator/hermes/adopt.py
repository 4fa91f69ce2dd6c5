"""Adopt: the board that lies in a home, and that Hermes wrote, becomes one of this program, in place; and back.

Nothing is deleted. The former file gets another name in the same folder, and what this program made is set aside in a
folder of its own when Hermes's board comes back. At ``kanban.db`` there is a whole board at every moment: each step is
one rename, and where a kill leaves off, repeating the command goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kanban_shards.board import Board
from kanban_shards.boards import every_lock
from kanban_shards.changes.kinds import Settings
from kanban_shards.coordinator.errors import (
    NotAdopted,
    NothingAdopted,
    NotLegacy,
    NotMerged,
    OthersThere,
    StaysShared,
    WrittenMeanwhile,
)
from kanban_shards.coordinator.hermes.export import export
from kanban_shards.coordinator.hermes.importer import Imported, check_closed, import_board, stamp
from kanban_shards.coordinator.hermes.salvage import salvage
from kanban_shards.coordinator.hermes.salvage.report import SOUND
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.errors import BoardMissing, Damaged, StorageError, cannot_write
from kanban_shards.paths import COORDINATOR, DEFAULT_BOARD, BoardPaths, printable_name
from kanban_shards.sharing import read_sharing
from kanban_shards.storage import connections, copies, files, numbered, owners, sqlite
from kanban_shards.storage.filesystems import sync_folder
from kanban_shards.storage.folders import Folder, make_below, open_below

# Where a board is built for its home; no shard can be called so, and no board.
BUILDING = "kanban-adopting"
LEGACY = "kanban-legacy"
# Where ledger, shards and board lie after Hermes's board came back.
ASIDE = "kanban-set-aside"
_RESTORING = "restoring.db"
_WHOLE = "whole.db"
_LOGS = ("-wal", "-journal")


@dataclass(frozen=True)
class Adopted:
    """What ``adopt`` did: the import, and where the former file lies. ``limits``: those of the board that was set aside
    here last, which hold again."""

    imported: Imported
    legacy: Path
    limits: dict[str, int]


@dataclass(frozen=True)
class GivenBack:
    """What ``restore_legacy`` did: the folder with what was set aside, and the ledger position that Hermes's board
    shows; None if the original is back as it was. ``limits``: of the board that was set aside. Hermes has no place for
    them, and they hold again when the board is adopted again."""

    path: Path
    set_aside: Path
    position: int | None
    limits: dict[str, int]


def adopt(
    paths: BoardPaths, *, trust_closed: bool = False, progress: ProgressCallback = lambda done, total: None
) -> Adopted:
    """Make the board that Hermes wrote at ``paths`` a board of this program, in place.

    Attachments, workspaces and logs stay where they lie. Raises BoardMissing, NotLegacy, StillOpen, CannotTell,
    OthersThere, WrittenMeanwhile, CoordinatorRunning, and the StorageErrors of files that cannot be used.
    """
    _require(paths)
    with _explained(paths):
        return _adopt(paths, trust_closed, progress)


def restore_legacy(paths: BoardPaths, *, original: bool = False, trust_closed: bool = False) -> GivenBack:
    """Give ``kanban.db`` back to Hermes: with everything that happened since, or, ``original``, as it was.

    The original comes back in place of a damaged board, too. Raises BoardMissing, Damaged, NotAdopted, NothingAdopted,
    StillOpen, CannotTell, NotMerged if a shard has what the board lacks, WrittenMeanwhile, BoardInUse,
    CoordinatorRunning.
    """
    _require(paths)
    with _explained(paths):
        return _restore(paths, original, trust_closed)


def is_legacy(path: Path) -> bool:
    """Whether the file is none of this program's boards. Raises the StorageErrors of one that cannot be read."""
    with closing(copies.open_foreign(path)) as connection, connections.explained(path):
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(application_id != sqlite.BOARD.application_id)


def is_half_adopted(paths: BoardPaths) -> bool:
    """Whether an ``adopt`` was killed here, and Hermes's board is still in place."""
    if not paths.board.exists() or is_ours(paths.board):
        return False
    legacy = _last_legacy(paths)
    if legacy is not None and files.identity(legacy) == files.identity(paths.board):
        return True
    return os.path.lexists(paths.folder / BUILDING)


def is_half_restored(paths: BoardPaths) -> bool:
    """Whether a ``restore_legacy`` was killed here, and Hermes's board is in place again."""
    return paths.board.exists() and not is_ours(paths.board) and bool(_ours(paths)) and _was_put_back(paths)


def clear_unfinished(paths: BoardPaths, *, trust_closed: bool = False) -> None:
    """Leave Hermes's board as it is in place, and set aside what a killed attempt left beside it.

    Raises what ``restore_legacy`` does.
    """
    with _explained(paths):
        if _ours(paths):
            _restore(paths, False, trust_closed)
        with locks.holding(paths, COMMAND):
            _remove_building(paths)


@contextmanager
def _explained(paths: BoardPaths) -> Iterator[None]:
    """Files that cannot be named or moved, as a sentence."""
    try:
        yield
    except OSError as error:
        raise cannot_write(error.filename or paths.folder, error) from error


def _require(paths: BoardPaths) -> None:
    paths.require_board()
    if not paths.board.exists():
        raise BoardMissing(path=paths.board)
    if read_sharing(paths) is not None:
        raise StaysShared(board=paths)


# --- adopting ------------------------------------------------------------------------------------------------------


def _adopt(paths: BoardPaths, trust_closed: bool, progress: ProgressCallback) -> Adopted:
    building = BoardPaths(paths.folder / BUILDING, paths.slug)
    with locks.holding(paths, COMMAND) as lock:
        if is_ours(paths.board):
            with suppress(OSError):  # of an attempt that was killed when all was done
                _remove_building(paths)
            raise NotLegacy(path=paths.board, problem="it is a board of this program already")
        _check_alone(paths)
        check_closed(paths.board, trust_closed)
        try:
            limits = _limits_aside(paths)
            done = _build(paths, building, limits, trust_closed, progress)
        except BaseException:
            with suppress(OSError):  # it may be what fills the disk
                _remove_building(paths)
            raise
        legacy = _swap(paths, building, done.salvage.stage == SOUND)
        with Coordinator(paths, lock):  # opening it says whether the two files fit each other
            pass
        _remove_building(paths)
    return Adopted(done, legacy, limits)


def is_ours(path: Path) -> bool:
    """Whether the board is one of this program, and not for ``adopt`` to read. Raises the StorageErrors of one that
    cannot be read, and that is none of Hermes's either."""
    try:
        return not is_legacy(path)
    except Damaged:  # a board of Hermes's so damaged that it is for salvage to read
        return False
    except StorageError as error:
        if connections.is_hot_journal(error.__cause__):  # for salvage, which rolls back a copy, and knows ours too
            return False
        raise


def _check_alone(paths: BoardPaths) -> None:
    """Refuse where another board's changes would be merged into this one, or its ledger be moved."""
    others = [printable_name(path.name) for _, path in paths.shards()]
    if paths.ledger.exists() and not _is_of_a_killed_attempt(paths.ledger):
        others.append(paths.ledger.name)
    if paths.snapshot.exists():
        others.append(paths.snapshot.name)
    if others:
        raise OthersThere(folder=paths.folder, names=", ".join(others))


def _is_of_a_killed_attempt(path: Path) -> bool:
    with closing(FileLedger(path)) as ledger:
        return all(entry.change.profile == COORDINATOR for entry in ledger.after(0))


def _build(
    paths: BoardPaths, building: BoardPaths, limits: dict[str, int], trust_closed: bool, progress: ProgressCallback
) -> Imported:
    """The new board and its ledger, in a folder of their own, and a copy of the former without a WAL: all of them
    whole, and of the board as it still lies there."""
    before = stamp(paths.board)
    _remove_building(paths)  # of a killed attempt; Hermes may have gone on since
    with make_below(paths.folder, building.folder) as folder:
        folder.made_folder("whole", private=True).close()
    done = import_board(
        paths.board, building, trust_closed=trust_closed, copy_files=False, scratch=building.folder, progress=progress
    )
    if limits:
        with locks.holding(building, COMMAND) as lock, Coordinator(building, lock) as coordinator:
            coordinator.write([("", Settings(**limits))])
    if _logs(paths.board):
        files.give_name(salvage(paths.board, building.folder / "whole").copy, building.folder / _WHOLE)
    for made in (building.ledger, building.board):
        files.require_whole(made)
    check_closed(paths.board, trust_closed)
    if stamp(paths.board) != before:
        raise WrittenMeanwhile(path=paths.board)
    return done


def _remove_building(paths: BoardPaths) -> None:
    """Where a board is built goes, and if it is a link, the link itself."""
    with Folder.given(paths.folder) as folder:
        folder.remove_tree(BUILDING)


def _swap(paths: BoardPaths, building: BoardPaths, was_sound: bool) -> Path:
    """Put the new files in place; returns the former file's new name. Behind every step, ``kanban.db`` is a whole
    board: Hermes's, and at the end ours. One that was not sound is whole from where the copy takes its place."""
    legacy = _name_for_legacy(paths)
    _link(paths.board, legacy)
    if logs := _logs(paths.board):
        for suffix in logs:
            _link(files.beside(paths.board, suffix), files.beside(legacy, suffix))
        # Without its WAL the file lacks what was written last. The copy has it, page for page, and so it does not
        # matter whether the WAL still lies beside it. The same holds for the journal of a transaction cut short.
        if not was_sound:  # the copy is another file then, which the WAL would damage
            files.move_sidecars(paths.board, building.folder / "former.db")
        (building.folder / _WHOLE).rename(paths.board)
    files.move_sidecars(paths.board, building.folder / "former.db")
    if found := [path for path in (paths.snapshot, paths.ledger) if path.exists()]:
        aside = _new_folder_aside(paths)
        for path in found:
            _move(path, aside)
        sync_folder(aside)  # first: no cut may leave a file without a name
    sync_folder(paths.folder)
    building.ledger.rename(paths.ledger)
    sync_folder(paths.folder)
    building.board.rename(paths.board)
    sync_folder(paths.folder)
    return legacy


def _name_for_legacy(paths: BoardPaths) -> Path:
    """The first name that is free, or that the file has since a killed attempt."""
    here, number = files.identity(paths.board), 1
    while files.identity(_legacy_name(paths, number)) not in (None, here):
        number += 1
    return _legacy_name(paths, number)


# --- restoring -----------------------------------------------------------------------------------------------------


def _restore(paths: BoardPaths, original: bool, trust_closed: bool) -> GivenBack:
    for path in (paths.board, paths.ledger, *(shard for _, shard in paths.shards())):
        check_closed(path, trust_closed)
    is_back = _is_back(paths, original)
    if original and not is_back:
        _original(paths)  # before anything is changed
    written = {shard: stamp(shard) for _, shard in paths.shards()}
    if not original and not is_back:
        _merge_everything(paths)
    with every_lock(paths):
        for shard, before in written.items():
            if stamp(shard) != before:
                raise WrittenMeanwhile(path=shard)
        position = None
        if not is_back:
            aside = _new_folder_aside(paths)
            position = _put_back(paths, original, aside)
        elif _ours(paths):  # a former attempt was killed after its first step
            aside = _filled_in_part(paths) or _new_folder_aside(paths)
        else:
            raise NotAdopted(path=paths.board)
        _clear(paths, aside)
    return GivenBack(paths.board, aside, position, _limits_in(aside / paths.board.name))


def _is_back(paths: BoardPaths, original: bool) -> bool:
    """Whether Hermes's board is in place already. One that is too damaged to say whose it is counts as ours if the
    ``original`` is to take its place, unless that one is it. Raises Damaged for any other."""
    try:
        return is_legacy(paths.board)
    except Damaged:
        legacy = _last_legacy(paths)
        if _was_put_back(paths) or (legacy and files.identity(legacy) == files.identity(paths.board)):
            return True
        if original and legacy:
            return False
        raise


def _was_put_back(paths: BoardPaths) -> bool:
    """Whether a killed attempt set our board aside, and put another file in its place. It would have cleared away
    originals before the ledger, so one without a ledger is of another time."""
    folder = _filled_in_part(paths)
    if folder is None or (_last_legacy(paths) and not paths.ledger.exists()):
        return False
    return files.identity(folder / paths.board.name) not in (None, files.identity(paths.board))


def _merge_everything(paths: BoardPaths) -> None:
    with locks.holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        skipped = coordinator.make_passes().skipped
    if skipped:
        raise NotMerged(shards=", ".join(each.file for each in skipped))


def _put_back(paths: BoardPaths, original: bool, aside: Path) -> int | None:
    """Replace our board by Hermes's file. Returns the ledger position that it shows; None for the original."""
    position = None
    if original:
        legacy = _original(paths)
    else:
        legacy = aside / _RESTORING
        position = export(paths, legacy).position
        owners.make_like(legacy, paths.board.stat())  # for whoever used the board until now
    files.move_sidecars(paths.board, aside / paths.board.name)  # empty: whoever wrote the board closed it
    _link(paths.board, aside / paths.board.name)
    sync_folder(aside)
    legacy.rename(paths.board)
    sync_folder(paths.folder)
    return position


def _clear(paths: BoardPaths, aside: Path) -> None:
    """Set aside all that is of no use to Hermes. A WAL whose file is at ``kanban.db`` again follows it."""
    for suffix in _LOGS:
        for log in sorted(paths.folder.glob(f"{LEGACY}*.db{suffix}")):
            if not log.with_name(log.name.removesuffix(suffix)).exists() and suffix not in _logs(paths.board):
                log.rename(files.beside(paths.board, suffix))
    for path in _ours(paths):
        _move(path, aside)
    sync_folder(aside)
    sync_folder(paths.folder)


def _ours(paths: BoardPaths) -> list[Path]:
    """What lies beside a board because of this program, in the order in which it is cleared away."""
    shards = [shard for _, shard in paths.shards()]
    legacy = sorted(paths.folder.glob(f"{LEGACY}*.db"))
    return [path for path in (*legacy, *shards, paths.ledger, paths.snapshot) if path.exists()]


def _folders_aside(paths: BoardPaths) -> list[Path]:
    """What ``restore_legacy`` set aside, the oldest first."""
    try:
        with open_below(paths.folder, paths.folder / ASIDE) as aside:
            names = [name for name in aside.names() if aside.has_folder(name)]
            return [aside.path / name for name in sorted(names, key=lambda name: numbered.order("", name))]
    except FileNotFoundError:
        return []


def _limits_aside(paths: BoardPaths) -> dict[str, int]:
    """The limits of the board that was set aside here last; none if there was none, or it cannot be read."""
    boards = [folder / paths.board.name for folder in _folders_aside(paths)]
    return next((_limits_in(board) for board in reversed(boards) if board.exists()), {})


def _limits_in(board: Path) -> dict[str, int]:
    with suppress(StorageError), Board(BoardPaths(board.parent, DEFAULT_BOARD)) as opened:
        return {name: value for name, value in opened.settings().items() if name in Settings.__struct_fields__}
    return {}


def _filled_in_part(paths: BoardPaths) -> Path | None:
    """The folder in which a killed attempt began to set aside what is ours."""
    folders = _folders_aside(paths)
    if folders and not any((folders[-1] / path.name).exists() for path in _ours(paths)):
        return folders[-1]
    return None


def _original(paths: BoardPaths) -> Path:
    """The file that was set aside last. Raises NothingAdopted if there is none."""
    legacy = _last_legacy(paths)
    if legacy is None:
        raise NothingAdopted(path=_legacy_name(paths, 1), board=paths.board)
    return legacy


def _last_legacy(paths: BoardPaths) -> Path | None:
    """The file that was set aside last."""
    number = 1
    while _legacy_name(paths, number).exists():
        number += 1
    return _legacy_name(paths, number - 1) if number > 1 else None


# --- names and moves -----------------------------------------------------------------------------------------------


def _legacy_name(paths: BoardPaths, number: int) -> Path:
    return paths.folder / (f"{LEGACY}.db" if number == 1 else f"{LEGACY}-{number}.db")


def _logs(path: Path) -> list[str]:
    """Which logs lie beside the file, and may have something in them that it lacks."""
    logs = {suffix: files.beside(path, suffix) for suffix in _LOGS}
    return [suffix for suffix, log in logs.items() if log.exists() and log.stat().st_size > 0]


def _link(path: Path, other: Path) -> None:
    if not other.exists():
        os.link(path, other)


def _move(path: Path, folder: Path) -> None:
    files.move_sidecars(path, folder / path.name)  # first: no other file may ever get this one's journal
    path.rename(folder / path.name)


def _new_folder_aside(paths: BoardPaths) -> Path:
    """The coordinator's lock is held, so nobody else makes one."""
    with make_below(paths.folder, paths.folder / ASIDE) as aside:
        name = numbered.next_name("", aside.names())
        aside.made_folder(name, private=True).close()
        return aside.path / name
