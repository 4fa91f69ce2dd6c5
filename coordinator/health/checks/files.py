"""The files of a board: who may use them, who has them open, what they are, and what lies beside them."""

from __future__ import annotations

import os
import pwd
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from kanban_shards import wording
from kanban_shards.attachments import lost
from kanban_shards.board import Board
from kanban_shards.coordinator.health.checks import workbench
from kanban_shards.coordinator.health.checks.machine import libraries_in
from kanban_shards.coordinator.health.read import read_sizes
from kanban_shards.coordinator.hermes.salvage import stages
from kanban_shards.coordinator.merge.coordinator_lock import holder
from kanban_shards.coordinator.processes import FileHolder, can_tell, holders_of
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import FileMissing, KanbanError, StorageError
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections, files, sqlite

MIB = 2**20
# A doctor that works takes seconds; what is older was left by one that was killed.
LEFT_BEHIND_S = 600
# Who makes a folder beside the board whose name begins so, and removes it at the end.
_BY_WHOM = {workbench.PREFIX: "doctor", stages.PREFIX: "salvage"}
# How long a process that was seen writing has to end its pass before it counts as a stranger.
SECOND_LOOK_S = 0.5


def permissions(paths: BoardPaths) -> Iterator[Finding]:
    """Owners and modes of the folder and of all that is the board's in it."""
    folder, there = os.stat(paths.folder), _ours(paths)
    shared = bool(folder.st_mode & stat.S_IWGRP)  # several users' processes have files in it
    troubles = []
    for path, found in [(paths.folder, folder), *there]:
        needed = os.R_OK | os.W_OK | (os.X_OK if path == paths.folder else 0)
        if found.st_uid != folder.st_uid and not shared:
            owners = f"{_user(found.st_uid)}, and the folder to {_user(folder.st_uid)}"
            troubles.append(f"{path} belongs to {owners}; `chown` it to the one who runs the gateways.")
        elif found.st_mode & stat.S_IWOTH and not stat.S_ISSOCK(found.st_mode):
            troubles.append(f"Every user may write {path}; `chmod o-w {path}` keeps them out.")
        elif not os.access(path, needed, effective_ids=os.access in os.supports_effective_ids):
            troubles.append(
                f"This user, {_user(os.geteuid())}, may not write {path}; it can look at the board, and merge nothing."
            )
    yield from (Finding("permissions", WARNING, trouble) for trouble in troubles)
    board = next((found for path, found in there if path == paths.board), None)
    if folder.st_mode & stat.S_IXOTH and board is not None and board.st_mode & stat.S_IROTH:
        said = f"Every user of this machine may read the board; `chmod go-rwx {paths.folder}` keeps it to its owner."
        yield Finding("permissions", NOTE, said)
    elif not troubles:
        owner = _user(folder.st_uid)
        yield Finding(
            "permissions", OK, f"The folder and {wording.many(len(there), 'file')} in it: of {owner}, and writable."
        )


def holders(paths: BoardPaths) -> Iterator[Finding]:
    """Who has the files open; writers that are not the coordinator; files that are open and have no name any more."""
    if not can_tell():
        yield Finding("holders", NOTE, "This system does not say which processes have the files open; `lsof` may.")
        return
    found = _holders(paths)
    yield from _deleted(found)
    yield from _strangers(paths, found)
    yield from _two_libraries(found)
    by_file = Counter((each.path.name, str(each)) for each in found if not each.path.name.endswith(files.SIDECARS))
    if by_file:
        yield Finding("holders", OK, f"Open now: {', '.join(f'{file} by {who}' for file, who in sorted(by_file))}.")
    else:
        yield Finding("holders", OK, "No other process has a file of the board open now.")


def schemas(paths: BoardPaths) -> Iterator[Finding]:
    """What the files are that can be opened; why the others cannot is said where they are judged."""
    versions, wrong = [], []
    for path, role in _databases(paths):
        try:
            with closing(sqlite.open_reader(path, role)) as connection, connections.explained(path):
                versions.append(f"{path.name} {connections.schema_of(connection)}")
                journal, _ = connections.durability(connection)
        except KanbanError:
            continue
        if (journal == "wal") != (role.journal == "wal"):
            wrong.append(f"{path} has the {journal} journal, and a {role.name} needs {role.journal}: another program "
                         "changed it. The next writer of this program sets it right.")  # fmt: skip
    yield from (Finding("schemas", WARNING, sentence) for sentence in wrong)
    if versions:
        yield Finding("schemas", OK, f"Schemas, all known to this program: {', '.join(versions)}.")


def leftovers(paths: BoardPaths) -> Iterator[Finding]:
    """What was set aside, and what a killed process left unfinished."""
    sizes, left = read_sizes(paths), []
    for name in sorted(os.listdir(paths.folder)):
        if name.endswith(".db.repair"):
            left.append(f"{name} was left by a repair that was killed, unless one runs now; the next repair removes it")
        for beginning, whose in _BY_WHOM.items():
            if name.startswith(beginning) and time.time() - _modified(paths.folder / name) > LEFT_BEHIND_S:
                left.append(f"{name} was left by a {whose} that was killed; it may be deleted")
    yield from (Finding("leftovers", NOTE, f"{sentence}.") for sentence in left)
    if sizes.aside_files:
        said = (
            f"{wording.many(sizes.aside_files, 'damaged file')} set aside as *.damaged-* ({sizes.aside / MIB:,.1f} MiB)"
        )
        yield Finding("leftovers", NOTE, f"{said}; of each file the newest {files.ASIDE_KEPT} are kept to look at.")
    elif not left:
        yield Finding("leftovers", OK, "Nothing was set aside, and nothing is left half done.")


def each_by_itself(paths: BoardPaths) -> Iterator[Finding]:
    """Why files other than the board cannot be opened: for when there is no board to judge them by."""
    for path, role in _databases(paths):
        if role is sqlite.BOARD:
            continue
        try:
            sqlite.open_reader(path, role).close()
        except FileMissing:  # made, and nothing was committed to it yet
            continue
        except KanbanError as error:
            yield Finding(role.name, FAULT, str(error))


def integrity(paths: BoardPaths) -> Iterator[Finding]:
    """Every page of every file: for ``--deep``, and of small ones in any case."""
    checked = []
    for path, role in _databases(paths):
        try:
            with closing(sqlite.open_reader(path, role)) as connection, connections.explained(path):
                answer = connections.quick_check(connection)
        except FileMissing:
            continue
        except KanbanError as error:
            yield Finding("integrity", FAULT, str(error))
            continue
        if answer == "ok":
            checked.append(path.name)
        else:
            yield Finding("integrity", FAULT, f"{path} is damaged ({answer}); `kanban-merge verify` says what to do.")
    if checked:
        yield Finding("integrity", OK, f"SQLite finds nothing wrong with {', '.join(checked)}.")


def attachments(paths: BoardPaths) -> Iterator[Finding]:
    """Whether the files of the tasks lie where the board says."""
    try:
        with Board(paths) as board:
            there, gone = len(board.attachments()), lost(board)
    except KanbanError:
        yield Finding("attachments", NOTE, "Attachments were not looked for, because the board cannot be read.")
        return
    if gone:
        first = f"the first at {gone[0].stored_path} ({gone[0].task_id})"
        said = f"Of {wording.many(there, 'attachment')}, {len(gone)} not where the board says, {first}"
        yield Finding("attachments", FAULT, f"{said}; `kanban-merge restore BACKUP` puts back those that it has.")
    else:
        yield Finding("attachments", OK, f"{wording.many(there, 'attachment')} on the board, and all on the disk.")


def replay(paths: BoardPaths) -> Iterator[Finding]:
    """The board against a replay of its ledger: for ``--deep``."""
    try:
        found = verify(paths)
    except StorageError as error:  # a fault is said by the checks of that file
        yield Finding("replay", NOTE, f"The ledger was not replayed: {error.happened}.")
        return
    for each in found.findings:
        yield Finding("replay", FAULT, f"{each.where}: {each.problem}; `kanban-merge verify` says what to do.")
    if found.clean:
        said = (
            f"{wording.many(found.entries, 'ledger entry')}, replayed, give the board: "
            f"{wording.many(found.rows, 'row')}, {wording.many(found.shards, 'shard')}"
        )
        yield Finding("replay", OK, f"{said}.")


def _databases(paths: BoardPaths) -> Iterator[tuple[Path, sqlite.Role]]:
    """Every database file that there is."""
    for path, role in ((paths.board, sqlite.BOARD), (paths.ledger, sqlite.LEDGER)):
        if path.exists():
            yield path, role
    yield from ((path, sqlite.SHARD) for _, path in paths.shards())


def _ours(paths: BoardPaths) -> list[tuple[Path, os.stat_result]]:
    """The board's databases, what SQLite keeps beside them, locks and bells, each as ``stat`` shows it."""
    found = []
    for name in sorted(os.listdir(paths.folder)):
        if name.startswith(("kanban.", "kanban-")) and ".damaged-" not in name:
            try:
                seen = os.lstat(paths.folder / name)
            except OSError:  # it went away meanwhile
                continue
            found.append((paths.folder / name, seen))
    return found


def _holders(paths: BoardPaths) -> list[FileHolder]:
    return holders_of([paths.board, paths.ledger, *(path for _, path in paths.shards())])


def _deleted(found: list[FileHolder]) -> Iterator[Finding]:
    for each in found:
        if each.deleted:
            lost = "what it writes there is lost" if each.writing else "it reads what nobody else sees"
            said = f"Process {each} has {each.path} open, and that file was deleted or replaced: {lost}. Restart it."
            yield Finding("deleted-files", FAULT, said)


def _strangers(paths: BoardPaths, found: list[FileHolder]) -> Iterator[Finding]:
    """Who may write board or ledger, and does not hold the coordinator's lock. A short pass is over at a second look,
    and a reader is none: SQLite opens a WAL and its memory for writing for everybody, the database itself not."""
    strangers = _writers(paths, found)
    if strangers:
        time.sleep(SECOND_LOOK_S)
        again = _writers(paths, _holders(paths))
        strangers = {key: each for key, each in strangers.items() if key in again}
    for each in strangers.values():
        yield Finding(
            "foreign-writers",
            WARNING,
            f"Process {each} has {each.path} open for writing and is not the coordinator; stop it, or let it open the "
            "file with mode=ro. A second writer is what damages boards.",
        )


def _writers(paths: BoardPaths, found: list[FileHolder]) -> dict[tuple[int, Path], FileHolder]:
    held_by = holder(paths)
    guarded = {os.path.realpath(path) for path in (paths.board, paths.ledger)}
    return {
        (each.pid, each.path): each
        for each in found
        if each.writing and not each.deleted and str(each.path) in guarded and each.pid != getattr(held_by, "pid", None)
    }


def _two_libraries(found: list[FileHolder]) -> Iterator[Finding]:
    for pid, who in sorted({each.pid: str(each) for each in found}.items()):
        libraries = libraries_in(pid)
        if len(libraries) > 1:
            said = f"Process {who} has loaded several SQLite libraries ({', '.join(sorted(libraries))})"
            yield Finding("libraries", WARNING, f"{said}; they do not see each other's locks. Keep it to one of them.")


def _modified(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return time.time()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
