"""Import: a board that Hermes wrote becomes entries of this board's ledger. The original is only ever read.

The board is a function of the ledger, so nothing is written into its tables directly: the coordinator writes changes of
its own (coordinator/rules/imports.py), and decides them like all others. A task and everything of it go into the ledger
together, so an import that was killed has brought whole tasks, and goes on with the others when it is repeated.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from kanban_shards import attachments
from kanban_shards.changes.fields import Body
from kanban_shards.changes.imported import ImportRows
from kanban_shards.coordinator.errors import CannotTell, NotLegacy, StillOpen, WrittenMeanwhile
from kanban_shards.coordinator.hermes.coerce import Notes
from kanban_shards.coordinator.hermes.kept_files import KeptFiles, LeftOut
from kanban_shards.coordinator.hermes.legacy import Legacy, is_legacy, read
from kanban_shards.coordinator.hermes.plan import Count, Plan, plan
from kanban_shards.coordinator.hermes.salvage import Salvage, salvage
from kanban_shards.coordinator.hermes.target import EmptyTarget, Target
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.coordinator.processes import can_tell, file_holders, processes_of
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import AttachmentTooLarge, LawBroken, StillWritten, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, copies, files, sqlite

# Changes that go into the ledger together; a task that has more goes in as a whole all the same.
BATCH_CHANGES = 1_000


@dataclass
class Imported:
    """What an import did, or would do. ``salvage``: how the original was read; ``digest``: of the original's rows;
    ``counts``: rows by table; ``missing``: tables and columns that the old version did not have yet; ``files``:
    attachments copied, and those that are not there; ``still_open``: the processes that have the original open."""

    source: str
    slug: str
    dry_run: bool
    salvage: Salvage
    digest: str
    counts: dict[str, Count]
    notes: Notes
    missing: list[str]
    still_open: list[str]
    files: dict[str, list[str]] = field(default_factory=lambda: {"copied": [], "missing": []})

    # The paths of files that are not brought, and why; see kept_files.py.
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether everything that the original held, or is known to have held, is here."""
        return self.salvage.complete and not (self.notes.lost or self.files["missing"] or self.left_out)


def import_board(
    source: Path,
    paths: BoardPaths,
    *,
    dry_run: bool = False,
    trust_closed: bool = False,
    copy_files: bool = True,
    folders: Sequence[Path] = (),
    make_board: Callable[[], object] | None = None,
    scratch: Path | None = None,
    progress: ProgressCallback = lambda done, total: None,
) -> Imported:
    """Bring the board in the file ``source``, which Hermes wrote, to the board ``paths``.

    ``dry_run``: write nothing, not even a new board. ``trust_closed``: where the system cannot tell who has the
    original open, take the caller's word that nobody does. ``copy_files``: bring attachments' bytes, too, of
    files in Hermes's folder for them and in ``folders``.
    ``make_board`` is called once the original is read, and makes the board if it is missing; without it, a named board
    must be there. ``scratch``: the folder for the copy that is read; without it, the system's for temporary files.
    ``progress(done, total)`` is told of tasks. Raises StillOpen, CannotTell, NotLegacy,
    WrittenMeanwhile, CoordinatorRunning, and the StorageErrors of files that cannot be used.
    """
    still_open = processes_of(file_holders(source))
    if not dry_run:
        check_closed(source, trust_closed)
    saved, legacy = _read_original(source, dry_run, scratch)
    if dry_run:
        with _ground_of(paths, source) as target:
            planned = plan(legacy, str(source), target, int(time.time()))
        done = _report(source, paths, saved, legacy, planned, still_open)
        done.dry_run = True
        return done
    (make_board or paths.require_folder)()
    with locks.holding(paths, COMMAND) as lock, Coordinator(paths, lock) as coordinator:
        coordinator.make_passes()
        planned = plan(legacy, str(source), coordinator.board, int(time.time()))
        done = _report(source, paths, saved, legacy, planned, [])
        with_files = partial(_with_files, paths, KeptFiles(source, folders), done)
        write_plan(coordinator, planned, with_files if copy_files else None, progress)
    return done


def _read_original(source: Path, may_change: bool, scratch: Path | None) -> tuple[Salvage, Legacy]:
    """How the original could be read, and its rows. Raises NotLegacy, and WrittenMeanwhile unless it ``may_change``
    while it is read.

    They are read from a sound copy, which is this user's alone, and is gone before anything is written: an import that
    is killed later leaves none of it behind."""
    with tempfile.TemporaryDirectory(prefix="kanban-import-", dir=scratch) as folder:
        before = stamp(source)
        saved = _sound_copy(source, Path(folder), may_change)
        with closing(copies.open_foreign(saved.copy)) as connection, connections.explained(saved.copy):
            if not is_legacy(connection):
                raise NotLegacy(path=source, problem="it lacks Hermes's tables, or is a board of this program")
            legacy = read(connection)
        if stamp(source) != before and not may_change:
            raise WrittenMeanwhile(path=source)
    return saved, legacy


def _sound_copy(source: Path, folder: Path, may_change: bool) -> Salvage:
    try:
        return salvage(source, folder)
    except StillWritten:
        if not may_change:
            raise
    copy = folder / source.name
    copies.copy_foreign(source, copy)
    return Salvage(source, copy, notes=["it is being written, so SQLite copied it as it stood"])


def check_closed(path: Path, trust_closed: bool) -> None:
    """Raise StillOpen if another process may write the file, CannotTell if the system does not say."""
    if not can_tell():
        if not trust_closed:
            raise CannotTell(path=path)
        return
    writing = processes_of(holder for holder in file_holders(path) if holder.writing)
    if writing:
        raise StillOpen(path=path, holders=", ".join(writing))


def stamp(path: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when somebody writes the file, its WAL or its journal."""
    found = [files.stamp(files.beside(path, suffix)) for suffix in ("", "-wal", "-journal")]
    return tuple(each if each and each[1] else None for each in found)  # an empty WAL is one that a reader left


def _report(
    source: Path, paths: BoardPaths, saved: Salvage, legacy: Legacy, planned: Plan, still_open: list[str]
) -> Imported:
    return Imported(
        source=str(source),
        slug=paths.slug,
        dry_run=False,
        salvage=saved,
        digest=legacy.digest,
        counts=planned.counts,
        notes=planned.notes,
        missing=legacy.missing,
        still_open=still_open,
    )


@contextmanager
def _ground_of(paths: BoardPaths, source: Path) -> Iterator[Target]:
    """What the board has, without making one; nothing where the original itself lies, for that is to be adopted."""
    if files.is_empty(paths.board) or files.identity(paths.board) == files.identity(source):
        yield EmptyTarget()
        return
    with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as connection, connections.one_state(connection):
        yield BoardState(connection)


def write_plan(
    coordinator: Coordinator,
    planned: Plan,
    with_files: Callable[[str, Body], Body] | None = None,
    progress: ProgressCallback = lambda done, total: None,
) -> None:
    """Append the plan to the ledger and decide it. ``with_files``: copies the files that a change to a task names, and
    returns the change that names the copies; None to copy none."""
    if planned.begin is not None:
        coordinator.write([("", planned.begin)])
    brought, total = 0, len(planned.tasks)
    for tasks in _batches(planned.tasks):
        changes = []
        for task_id, bodies in tasks:
            for body in bodies:
                fitted = body if with_files is None else with_files(task_id, body)
                changes.append((task_id, fitted))
        refused = [decision for decision in coordinator.write(changes) if not decision.applied]
        if refused:
            raise LawBroken(f"a plan made under the lock applies: {refused[0]}")
        brought += len(tasks)
        progress(brought, total)


def _batches(tasks: list[tuple[str, list[Body]]]) -> Iterator[list[tuple[str, list[Body]]]]:
    batch: list[tuple[str, list[Body]]] = []
    size = 0
    for task_id, bodies in tasks:
        if batch and size + len(bodies) > BATCH_CHANGES:
            yield batch
            batch, size = [], 0
        batch.append((task_id, bodies))
        size += len(bodies)
    if batch:
        yield batch


def _with_files(paths: BoardPaths, kept: KeptFiles, done: Imported, task_id: str, body: Body) -> Body:
    """``body``, its attachments' files copied beside this board; a file that is not there, or left out, keeps its place
    in the row, and is named."""
    if not isinstance(body, ImportRows) or not body.task_attachments:
        return body
    rows = []
    for row in body.task_attachments:
        path = Path(row.stored_path)
        try:
            if paths.attachments.resolve() not in path.resolve().parents:
                with kept.opened(task_id, row.stored_path) as original:
                    stored = attachments.keep(paths, task_id, original, path, row.filename)
                row = msgspec.structs.replace(row, stored_path=str(stored.path))
                done.files["copied"].append(str(stored.path))
            elif not path.is_file():
                done.files["missing"].append(str(path))
        except LeftOut as left:
            done.left_out[str(path)] = left.why
        except (AttachmentTooLarge, StorageError, OSError, ValueError):  # a NUL, which no path has
            done.files["missing"].append(str(path))
        rows.append(row)
    return msgspec.structs.replace(body, task_attachments=tuple(rows))
