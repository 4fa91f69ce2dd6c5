"""What can go wrong, each as one sentence that says what happened and what to do next.

The docstring of an exception is its message; names in braces are filled from the facts it is raised with, and the
facts stay readable as attributes, so a caller never parses a sentence. ``exit_code`` is what the commands end with.
"""

from __future__ import annotations

import errno
import resource


class KanbanError(Exception):
    """Something about the board went wrong."""

    exit_code = 1

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)
        sentence = " ".join((type(self).__doc__ or type(self).__name__).split())
        super().__init__(sentence.format(**facts))


# --- 1: refused, or not possible as things stand ---------------------------------------------------------------


class Refused(KanbanError):
    """{sentence}"""

    # The coordinator's verdict on a change. ``reason`` is a word of the closed set in docs/design.md ("Verdicts").
    # ``answer`` holds the facts of the refusal.
    reason: str
    sentence: str
    answer: dict


class UnknownTask(KanbanError):
    """There is no task {task_id} on this board; `kanban list` shows the tasks there are."""


class UnknownRun(KanbanError):
    """There is no run {run_id} on this board; `kanban runs TASK` shows a task's runs."""


class GivenUp(KanbanError):
    """Change {seq} of {profile} was written, but the shard was made again without it (`kanban-merge repair`), so it has
    no verdict. The file that was set aside holds it; repeat the call if it is still wanted."""


class NoOpenRun(KanbanError):
    """Task {task_id} has no open run (its status is {status}); claim it first."""


class DefaultBoardStays(KanbanError):
    """The board {slug} is the home's own and cannot be removed; archive its tasks instead."""


class BoardInUse(KanbanError):
    """The board {slug} is not moved while somebody writes it: a process of {profile} holds {lock}. Stop it, then
    repeat the command."""


class NoService(KanbanError):
    """There is no service {name} (looked for {path}); `kanban-merge service install` makes one."""


class NoLog(KanbanError):
    """There is no log of {task_id} at {path}; its worker has not started, or the log was removed."""


class NotLinked(KanbanError):
    """{child_id} did not wait for {parent_id}; `kanban show {child_id}` shows what it waits for."""


class NotSubscribed(KanbanError):
    """That chat was not subscribed to {task_id}; `kanban notify-list {task_id}` shows which are."""


class UnknownAttachment(KanbanError):
    """There is no attachment {attachment_id} on this board; `kanban attachments TASK` shows a task's."""


class UnknownLetter(KanbanError):
    """There is no dead letter {letter_id} on this board; `kanban notify-dead` shows those there are."""


class ExtraMissing(KanbanError):
    """This needs {package}, which is not installed; `pip install 'kanban-shards[{extra}]'` brings it."""


class UpkeepRunning(KanbanError):
    """Another backup, restore or compaction of this board is under way ({lock} is held); repeat the command when it is
    through."""


class OpenElsewhere(KanbanError):
    """{path} is open for writing in {holders}, so it is not replaced; stop that program, then repeat the command."""


# --- 2: the call itself is wrong -------------------------------------------------------------------------------


class UsageError(KanbanError):
    """The call does not make sense."""

    exit_code = 2


class InvalidName(UsageError):
    """{name!r} cannot name a {what}: use 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or a digit."""


class InvalidTaskId(UsageError):
    """{task_id!r} is not a task id: those look like t_ and at least eight hexadecimal digits."""


class InvalidChange(UsageError):
    """This {kind} cannot be written: {problem}."""


class TooLarge(UsageError):
    """This {kind} is {size_bytes} bytes, and a change holds at most {limit_bytes}; put large content into a file
    and name the file in the task."""


class AttachmentTooLarge(UsageError):
    """{path} is {size_bytes} bytes, and an attachment holds at most {limit_bytes}; attach a part of it, or name where
    it lies in a comment."""


class ServiceNeedsUser(UsageError):
    """A service of the system runs as the user whose board it is, not as root; name that user with --user."""


class DaemonMoved(UsageError):
    """The coordinator is a command of its own: `kanban-merge daemon`; which tasks to start, `kanban dispatch` says."""


# --- 3: a file or its surroundings -----------------------------------------------------------------------------


class StorageError(KanbanError):
    """{path} cannot be used: {problem}."""

    exit_code = 3


class FileMissing(StorageError):
    """There is no {role} at {path}."""


class BoardMissing(FileMissing):
    """There is no board at {path} yet; `kanban init` makes one, and so does the first task that is created."""


class BoardLost(BoardMissing):
    """There is no board at {path}, but its ledger is there: `kanban-merge --once` makes it again."""


class LedgerMissing(FileMissing):
    """There is no ledger at {path}; `kanban-merge repair --ledger` makes it again from board and shards."""


class ShardMissing(FileMissing):
    """There is no shard at {path}, and nothing of {profile} was ever merged, so there is nothing to make it of;
    `kanban-merge status` names the profiles of this board."""


class HomeMissing(StorageError):
    """There is no folder {path}, which --home names. Mind its spelling; `kanban --home {path} init` makes a board
    there."""


class UnknownBoard(StorageError):
    """There is no board named {slug} (looked for {path}); `kanban boards create {slug}` makes one."""


class ForeignFile(StorageError):
    """{path} is not a {role} of this project, so nothing was written to it; move it aside, or name another folder
    with --home."""


class LegacyBoard(StorageError):
    """{path} is a board that Hermes writes itself, so nothing was written to it; `kanban-merge adopt` moves it here
    (and `kanban-merge restore-legacy` back), or use another folder with --home."""


class NotLegacy(StorageError):
    """{path} is not a board that Hermes wrote ({problem}), so there is nothing to take from it; nothing was changed."""


class StillOpen(StorageError):
    """{path} is still open in {holders}; stop what runs there, then repeat the command. Nothing was changed."""


class CannotTell(StorageError):
    """This system does not say who has {path} open; stop everything that may use it, and say so with
    --trust-closed."""


class WrittenMeanwhile(StorageError):
    """{path} was written while it was read; stop what writes it, then repeat the command. Nothing was changed."""


class OthersThere(StorageError):
    """{folder} holds {names} beside a board that Hermes wrote: what another board is made of, and must not be merged
    into this one. Move these files away, then repeat the command."""


class NotAdopted(StorageError):
    """{path} is a board that Hermes writes itself, and nothing of this program lies beside it: there is nothing to
    restore."""


class NotMerged(StorageError):
    """Not everything that was written is on the board: {shards} could not be merged; `kanban-merge status` says why,
    and `kanban-merge repair PROFILE` mends a shard. Nothing was changed."""


class NothingAdopted(StorageError):
    """{path} is not there, so there is no original to put back; leave out --original, and {board} becomes a file of
    Hermes's with everything that is on it."""


class StrangeSchema(StorageError):
    """{path} holds tables, triggers or views that no version of this program makes, so nothing in it is trusted;
    {cure}."""

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, cure=_cure(str(path).rpartition("/")[2]))


class NotAFile(StorageError):
    """{path} is a folder, a pipe, a link or a device and no file, so it was not opened; move it away, then {cure}."""

    def __init__(self, *, path: object) -> None:
        name = str(path).rpartition("/")[2]
        super().__init__(path=path, cure=_cure(name.removesuffix("-journal").removesuffix("-wal").removesuffix("-shm")))


class NewerSchema(StorageError):
    """{path} was made by a newer version of this program (schema {found}, this one knows {known}); update this
    program. Nothing was read or changed."""


class Damaged(StorageError):
    """{path} is damaged ({problem}). Nothing was changed; {cure}."""

    def __init__(self, *, path: object, problem: str) -> None:
        super().__init__(path=path, problem=problem, cure=_cure(str(path).rpartition("/")[2]))


class CannotOpen(StorageError):
    """{path} cannot be opened ({problem}); check that its folder exists and that this user may write there."""


class OutputLost(StorageError):
    """The output cannot be written ({problem}). A change that was asked for may be made all the same: look before you
    repeat it."""


class DiskFull(StorageError):
    """The disk that holds {path} is full. What was being written is not in the file; free some space and repeat it."""


class FileBusy(StorageError):
    """{path} stayed locked by another process for {waited_s:g} seconds; repeat the command, and if that does not
    help, look for a stopped process that holds {lock}."""


class NoSharedMemory(StorageError):
    """{path} lies on a filesystem that cannot share memory between processes ({found}); put the board on a local disk
    with --home."""


class ShardBehind(StorageError):
    """{path} holds {head} changes, but {merged} of this profile were merged already: the file is missing or was
    replaced by an older copy. Nothing was written; put the newest copy back, or make the shard again from the ledger
    with `kanban-merge repair {profile}`."""


class LedgerBehind(StorageError):
    """{path} holds {held} entries, but the board shows {shown}: the ledger is missing, was replaced by an older copy,
    or is another board's. Nothing was changed; put the ledger back that belongs to this board, or make it again from
    board and shards with `kanban-merge repair --ledger`."""


class NothingToRepair(StorageError):
    """{path} is sound, so nothing was changed; `kanban-merge verify` checks everything."""

    exit_code = 1


class SnapshotMissing(StorageError):
    """There is no snapshot at {path}, and the ledger begins behind one, at {base}; `kanban-merge repair --snapshot`
    makes a new one of the board as it stands."""


class SnapshotStrange(StorageError):
    """{path} shows the board at {shown}, and no such point is in the ledger: it is another board's, or older than the
    ledger. Nothing was changed; `kanban-merge repair --snapshot` makes a new one of the board as it stands."""


class BoardBehind(StorageError):
    """The board shows {shown} entries, and its ledger begins behind {base}, so it cannot catch up;
    `kanban-merge rebuild` makes it again from the snapshot and the ledger."""


class NotVerified(StorageError):
    """{path} is not what its ledger gives ({problem}), so nothing was dropped; `kanban-merge verify` says more."""


class NoBackup(StorageError):
    """There is no backup at {path}; `kanban-merge backups` shows those there are."""


class BackupFailed(StorageError):
    """No backup of {path} was made, because its copy is not sound: {problem}. Earlier backups are as they were;
    `kanban-merge verify` says what to mend first."""


class BackupUnsound(StorageError):
    """The backup {path} is not sound: {problem}. Nothing was changed; take another one."""


class CompactedPast(StorageError):
    """{path} no longer holds the changes {first} to {last}, and neither does the backup. Nothing was changed; take a
    newer backup, or, if those changes may be lost, move that file away and repeat the command."""


class BeyondRepair(StorageError):
    """{path} cannot be made again: {problem}. Put the newest copy of that file back and repeat the repair, or put a
    backup back (`kanban-merge backups` shows those there are, `kanban-merge restore BACKUP` does it); nothing was
    changed."""


class NotABoard(StorageError):
    """{path} is not a board of Hermes: {problem}. Nothing was read from it or changed; name a board's kanban.db."""


class BeyondSalvage(StorageError):
    """{path} is damaged, and not one row of a task, event or comment could be read from it ({problem}). Nothing was
    changed; put a backup in its place."""


class StillWritten(StorageError):
    """{path} is open for writing in {holders}, and what is copied from it now would be worthless; stop that first,
    then repeat the command. Nothing was changed."""

    exit_code = 1


class AlreadyThere(StorageError):
    """There is a file at {path} already, and it is not overwritten; name another one."""

    exit_code = 1


class FileReplaced(StorageError):
    """{path} was removed or replaced while this coordinator had it open, so this pass merged nothing; the next one
    opens what is there. Nothing is lost: what was written meanwhile is in the shards."""


class BoardAndLedgerGone(StorageError):
    """{board} and {ledger} were both removed, so the order of what was merged is known to nobody now, and nothing is
    merged. Put one of them back; or start this program again, and it begins a new board with what the shards hold."""


class BreaksAgain(StorageError):
    """{path} was made again {times} times within an hour and is damaged once more ({problem}), so it is left as it is.
    Look for what damages it (another program that writes there, the disk); {cure}, and so does the daemon once it is
    started again."""

    def __init__(self, *, path: object, times: int, problem: str) -> None:
        super().__init__(path=path, times=times, problem=problem, cure=_cure(str(path).rpartition("/")[2]))


class TooManyFiles(StorageError):
    """{path} cannot be opened, because this process has as many files open as it may ({limit}). Nothing is lost; it
    goes on when some are closed. `ulimit -n`, or LimitNOFILE in a systemd unit, allows more."""

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class NotOurService(StorageError):
    """{path} was not written by this program, so it stays as it is; move it away, or remove it yourself."""


class ShardOfAnother(StorageError):
    """{path} is the shard of {found}, not of {profile}: it was copied or renamed. Nothing was written; give the file
    its own name back."""


class Forked(StorageError):
    """{path} was opened by process {opened_by}, and this is process {pid}, its fork; open a new Gateway or Board
    after the fork."""


# --- 4 and 5: the coordinator ----------------------------------------------------------------------------------


class Undecided(KanbanError):
    """Change {seq} of {profile} is safely written, but has no verdict after {waited_s:g} seconds; {why}. It will be
    merged later; `kanban-merge status` shows what holds it up."""

    exit_code = 4


class Quarantined(Undecided):
    """Change {seq} of {profile} is safely written, and is not merged, because the shard is quarantined: {why}."""


class CoordinatorRunning(KanbanError):
    """Another coordinator works on this board: {holder}. One is enough; stop that one first if this one shall run."""

    exit_code = 5


class NotCoordinator(KanbanError):
    """Process {pid} no longer is the coordinator of {folder}, because {lock} was removed or replaced; it merged nothing
    more. A lock file is never to be removed, not even one that looks old."""

    exit_code = 5


def cannot_open(path: object, error: OSError) -> StorageError:
    """What it means that ``path`` could not be opened or made, as one of the above."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return TooManyFiles(path=path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(path=path)
    if error.errno == errno.ENOENT:
        return CannotOpen(path=path, problem="its folder does not exist")
    return CannotOpen(path=path, problem=(error.strerror or str(error)).lower())


def _cure(file: str) -> str:
    """What makes a damaged file again, by its name."""
    if file == "kanban.db":
        return "`kanban-merge rebuild` makes it again from its ledger"
    if file == "kanban-ledger.db":
        return "`kanban-merge repair --ledger` makes it again from board and shards"
    if file == "kanban-snapshot.db":
        return "`kanban-merge repair --snapshot` makes a new one of the board as it stands"
    if file.startswith("kanban.") and file.endswith(".db"):
        return f"`kanban-merge repair {file[7:-3]}` makes it again from the ledger"
    return "put a good copy of it back"
