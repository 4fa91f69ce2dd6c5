"""What can go wrong, each as one sentence that says what happened and what to do next.

The docstring of an exception is its message; names in braces are filled from the facts it is raised with, and the
facts stay readable as attributes, so a caller never parses a sentence. ``exit_code`` is what the commands end with.
"""

from __future__ import annotations

import errno
import os
import re
import resource

# The exit code of a command that did what it was asked, and found something that needs a person.
NEEDS_ATTENTION = 6
# In the words of a sentence, not in the facts that fill it.
_END_OF_FACTS = re.compile(r"[.;](?= |$)")


class KanbanError(Exception):
    """Something about the board went wrong."""

    exit_code = 1
    # Facts that a program is told beside the sentence.
    told: tuple[str, ...] = ()

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)
        super().__init__(_printable(_template(type(self)).format(**facts)))

    @property
    def happened(self) -> str:
        """What happened, without what to do about it: the sentence up to its first semicolon or full stop. This is what
        another sentence quotes, whose advice is its own."""
        return _printable(_END_OF_FACTS.split(_template(type(self)), maxsplit=1)[0].format(**self.facts))

    @property
    def advice(self) -> str:
        """The rest of the sentence: what to do, as a sentence of its own; empty if there is none."""
        rest = str(self)[len(self.happened) :].lstrip(".; ")
        return rest[:1].upper() + rest[1:]

    def __reduce__(self) -> tuple:
        """So that it survives the way from one process to another."""
        return _restored, (type(self), self.args, self.__dict__)


def _template(kind: type[KanbanError]) -> str:
    return " ".join((kind.__doc__ or kind.__name__).split())


def _printable(sentence: str) -> str:
    """A sentence may quote what others wrote, and is printed and logged by whoever catches it."""
    if sentence.isprintable():
        return sentence
    return "".join(each if each.isprintable() or each in "\n\t" else _as_code(each) for each in sentence)


def _as_code(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _restored(kind: type[KanbanError], args: tuple, state: dict) -> KanbanError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


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


class EarlierUndecided(KanbanError):
    """Nothing was written, because change {seq} of {profile}, which was written before, has no verdict yet; {why}.
    Repeat the call once that one is merged; `kanban-merge status` shows what holds it up."""


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


class Reentered(UsageError):
    """This call interrupts another one of the same thread, as a signal handler does, and would wait for it without end;
    note the signal there, and make the call when the other one has returned. Nothing was written."""


class GatewayClosed(UsageError):
    """This gateway of {profile} is closed, so nothing was written; open a new one."""


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
    """There is no board at {path}, but its ledger is there; `kanban-merge --once` makes it again."""


class HistoryLost(BoardMissing):
    """There is neither a board at {path} nor its ledger, and {problem}. No new board is made over that:
    `kanban-merge restore BACKUP` puts a backup back (`kanban-merge backups` shows those there are); {otherwise}."""

    def __init__(self, *, path: object, has_snapshot: bool) -> None:
        if has_snapshot:
            problem = "what was merged before its last compaction is in the snapshot alone"
            otherwise = "`kanban-merge rebuild` makes one of snapshot and shards, and decides anew what came since"
        else:
            problem = "the shards no longer hold what a compaction dropped"
            otherwise = "to begin anew without it, move the shards away"
        super().__init__(path=path, has_snapshot=has_snapshot, problem=problem, otherwise=otherwise)


class LedgerMissing(FileMissing):
    """There is no ledger at {path}; `kanban-merge repair --ledger` makes it again from board and shards."""


class UnknownBoard(StorageError):
    """There is no board named {slug} (looked for {path}); `kanban boards create {slug}` makes one."""


class BoardGone(UnknownBoard):
    """There is no board named {slug} any more (looked for {path}), and {pointer} points to it; {cure}."""

    def __init__(self, *, slug: str, path: object, pointer: str) -> None:
        if pointer.startswith("HERMES_"):
            cure = f"set {pointer} to another board (`kanban boards list` shows them), or unset it"
        else:
            cure = "`kanban boards switch default` makes it point to the home's own (`kanban boards list` shows others)"
        super().__init__(slug=slug, path=path, pointer=pointer, cure=cure)


class ForeignFile(StorageError):
    """{path} is not a {role} of this project, so nothing was written to it; move it aside, or name another folder
    with --home."""


class LegacyBoard(StorageError):
    """{path} is a board that Hermes writes itself, so nothing was written to it; `kanban-merge adopt` moves it here
    (and `kanban-merge restore-legacy` back), or use another folder with --home."""


class StrangeSchema(StorageError):
    """{path} holds tables, triggers or views that no version of this program makes, so nothing in it is trusted;
    {cure}."""

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, cure=cure_of(path))


class NotAFile(StorageError):
    """{path} is a folder, a pipe, a link or a device and no file, so it was not opened; move it away, then {cure}."""

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, cure=cure_of(re.sub("-(journal|wal|shm)$", "", str(path))))


class StrangeJournal(StorageError):
    """{path}-journal {problem}, so nothing was rolled back or written; move that journal away, and if {path} is damaged
    without it, {cure}."""

    def __init__(self, *, path: object, problem: str) -> None:
        cure = "`kanban-merge adopt` saves what can be read" if is_without_ledger(path) else cure_of(path)
        super().__init__(path=path, problem=problem, cure=cure)


class NotAFolder(StorageError):
    """{path} is a link or a file and no folder, so nothing was done behind it: below a home, and in a board's folder,
    no link is followed. Move it away and repeat the command; to keep what belongs there on another disk, mount a folder
    of that disk in its place."""


class NewerSchema(StorageError):
    """{path} was made by a newer version of this program (schema {found}, this one knows {known}); update this
    program. Nothing was read or changed."""


class SchemaMoved(NewerSchema):
    """{path} was brought to schema {found} by a newer version of this program while this process, which knows {known},
    had it open; restart this process, with the newer version. Nothing was read or changed."""


class Damaged(StorageError):
    """{path} is damaged ({problem}). Nothing was changed; {cure}."""

    def __init__(self, *, path: object, problem: str) -> None:
        cure = cure_of(path)
        if is_without_ledger(path):
            cure = f"if Hermes wrote it, `kanban-merge adopt` saves what can be read; else {cure}"
        super().__init__(path=path, problem=problem, cure=cure)


class CannotOpen(StorageError):
    """{path} cannot be opened ({problem}); check that its folder exists and that this user may write there."""


class OutputLost(StorageError):
    """The output cannot be written ({problem}). A change that was asked for may be made all the same: look before you
    repeat it."""


class DiskFull(StorageError):
    """The disk that holds {path} is full. What was being written is not in the file; free some space and repeat it."""


class NoRoom(DiskFull):
    """A copy of {path} takes {size_bytes} bytes, and of the {free_bytes} that are free in {folder}, {spare_bytes} must
    stay free. It was not made; free some space and repeat it."""


class FileHollow(StorageError):
    """{path} says that it has {size_bytes} bytes, and holds {held_bytes} of them on the disk: something else than this
    program made it so long, and no copy of it is made. {cure}."""

    def __init__(self, *, path: object, size_bytes: int, held_bytes: int) -> None:
        cure = cure_of(path)
        cure = cure[:1].upper() + cure[1:]
        super().__init__(path=path, size_bytes=size_bytes, held_bytes=held_bytes, cure=cure)


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


class StillWritten(StorageError):
    """{path} is open for writing in {holders}, and what is copied from it now would be worthless; stop that first,
    then repeat the command. Nothing was changed."""

    exit_code = 1


class AlreadyThere(StorageError):
    """There is a file at {path} already, and it is not overwritten; name another one."""

    exit_code = 1


class TooManyFiles(StorageError):
    """{path} cannot be opened, because this process has as many files open as it may ({limit}). Nothing is lost; it
    goes on when some are closed. `ulimit -n`, or LimitNOFILE in a systemd unit, allows more."""

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class ShardOfAnother(StorageError):
    """{path} is the shard of {found}, not of {profile}: it was copied or renamed. Nothing was written; give the file
    its own name back."""


class Forked(StorageError):
    """{path} was opened by process {opened_by}, and this is process {pid}, its fork; open a new Gateway or Board
    after the fork."""


# --- 4 and 5: the coordinator ----------------------------------------------------------------------------------


class Undecided(KanbanError):
    """Change {seq} of {profile}{on_task} is safely written, but has no verdict after {waited_s:g} seconds; {why}. Do
    not repeat it, for it will be merged later; `kanban-merge status` shows what holds it up."""

    exit_code = 4
    told = ("profile", "seq", "task_id")

    def __init__(self, *, seq: int, profile: str, waited_s: float, why: str, task_id: str = "") -> None:
        on_task = f" ({task_id})" if task_id else ""
        super().__init__(seq=seq, profile=profile, waited_s=waited_s, why=why, task_id=task_id, on_task=on_task)


class Quarantined(Undecided):
    """Change {seq} of {profile}{on_task} is safely written, and is not merged, because the shard is quarantined:
    {why}."""


class CoordinatorRunning(KanbanError):
    """Another coordinator works on this board: {holder}. One is enough; stop that one first if this one shall run."""

    exit_code = 5


def cannot_open(path: object, error: OSError) -> StorageError:
    """What it means that ``path`` could not be opened or made, as one of the above."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return TooManyFiles(path=path)
    if is_full(error):
        return DiskFull(path=path)
    if error.errno == errno.ENOENT:
        return CannotOpen(path=path, problem="its folder does not exist")
    return CannotOpen(path=path, problem=(error.strerror or str(error)).lower())


def is_full(error: OSError) -> bool:
    """Whether ``error`` says that the disk, or this user's part of it, is full: the disk of what is written."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def cure_of(path: object) -> str:
    """What makes the file at ``path`` again, which is lost or cannot be used, by its name and what lies beside it."""
    file = os.path.basename(str(path))
    if file.endswith(".lock"):
        return "the next call makes it again"
    if file == "kanban.db":
        if is_without_ledger(path):
            return "`kanban-merge restore BACKUP` puts a backup in its place"
        return "`kanban-merge rebuild` makes it again from its ledger"
    if file == "kanban-ledger.db":
        return "`kanban-merge repair --ledger` makes it again from board and shards"
    if file == "kanban-snapshot.db":
        return "`kanban-merge repair --snapshot` makes a new one of the board as it stands"
    if file.startswith("kanban.") and file.endswith(".db"):
        return f"`kanban-merge repair {file[7:-3]}` makes it again from the ledger"
    return "put a good copy of it back"


def is_without_ledger(path: object) -> bool:
    """Whether ``path`` is a board's, and no ledger lies beside it: Hermes's own, or one that lost it."""
    folder, file = os.path.split(str(path))
    try:
        return file == "kanban.db" and not os.stat(os.path.join(folder, "kanban-ledger.db")).st_size
    except OSError:
        return True
