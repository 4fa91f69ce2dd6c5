"""What can go wrong, each as one sentence that says what happened and what to do next.

An error's ``template`` is its message; names in braces are filled from the facts it is raised with, and the facts stay
readable as attributes, so a caller never parses a sentence. ``exit_code`` is what the commands end with.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from pathlib import Path
from typing import Any, ClassVar

# The exit code of a command that did what it was asked, and found something that needs a person.
NEEDS_ATTENTION = 6
# In the words of a sentence, not in the facts that fill it.
_END_OF_FACTS = re.compile(r"[.;](?= |$)")


class LawBroken(RuntimeError):
    """This program was about to break a law of docs/design/sqlite.md, and did not: a bug that no caller can mend.
    Raised and not asserted, because ``python -O`` drops assertions."""


class KanbanError(Exception):
    """Something about the board went wrong. Each kind declares the facts it is raised with, and its sentence,
    ``template``: an attribute and no docstring, which ``python -OO`` would take away."""

    template: ClassVar[str] = "Something about the board went wrong."
    exit_code: ClassVar[int] = 1
    # Facts that a program is told beside the sentence.
    told: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **facts: object) -> None:
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)
        super().__init__(_printable(self.template.format(**facts)))

    @property
    def happened(self) -> str:
        """What happened, without what to do about it: the sentence up to its first semicolon or full stop. This is what
        another sentence quotes, whose advice is its own."""
        return _printable(_END_OF_FACTS.split(self.template, maxsplit=1)[0].format(**self.facts))

    @property
    def advice(self) -> str:
        """The rest of the sentence: what to do, as a sentence of its own; empty if there is none."""
        rest = str(self)[len(self.happened) :].lstrip(".; ")
        return rest[:1].upper() + rest[1:]

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it survives the way from one process to another."""
        return _restored, (type(self), self.args, self.__dict__)


def _printable(sentence: str) -> str:
    """A sentence may quote what others wrote, and is printed and logged by whoever catches it."""
    if sentence.isprintable():
        return sentence
    return "".join(each if each.isprintable() or each in "\n\t" else _as_code(each) for each in sentence)


def _as_code(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _restored(kind: type[KanbanError], args: tuple[Any, ...], state: dict[str, Any]) -> KanbanError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


# --- 1: refused, or not possible as things stand ---------------------------------------------------------------


class Refused(KanbanError):
    template = "{sentence}"

    # The coordinator's verdict on a change. ``reason`` is a word of the closed set in docs/design/rule.md ("Verdicts").
    # ``answer`` holds the facts of the refusal.
    reason: str
    sentence: str
    answer: dict[str, Any]


class UnknownTask(KanbanError):
    template = "There is no task {task_id} on {board}; `kanban list` shows the tasks there are."
    task_id: str
    board: object


class UnknownRun(KanbanError):
    template = "There is no run {run_id} on {board}; `kanban runs TASK` shows a task's runs."
    run_id: int
    board: object


class EarlierUndecided(KanbanError):
    template = (
        "Nothing was written, because change {seq} of {profile}, which was written before, has no verdict yet; "
        "{why}. Repeat the call once that one is merged; `kanban-merge status` shows what holds it up."
    )
    seq: int
    profile: str
    why: str


class GivenUp(KanbanError):
    template = (
        "Change {seq} of {profile} was written, but the shard was made again without it (`kanban-merge repair`), "
        "so it has no verdict. The file that was set aside holds it; repeat the call if it is still wanted."
    )
    seq: int
    profile: str


class NoOpenRun(KanbanError):
    template = "Task {task_id} has no open run (its status is {status}); claim it first."
    task_id: str
    status: str


class RunNotClaimedHere(KanbanError):
    template = (
        "Run {run_id} works on {task_id}, and was not claimed over this connection. If it is yours, say so with "
        "run_id={run_id}; else leave the task to whoever works on it."
    )
    run_id: int
    task_id: str


class NothingToUndo(KanbanError):
    template = "None of the newest changes{on_task} of {profile} was applied, so there is nothing to undo."
    profile: str
    on_task: str


class NotUndone(KanbanError):
    template = "The last change, {kind}{on_task}, is not undone: {why}."
    kind: str
    on_task: str
    why: str


class DefaultBoardStays(KanbanError):
    template = "The board {slug} is the home's own and cannot be removed; archive its tasks instead."
    slug: str


class BoardInUse(KanbanError):
    template = (
        "The board {slug} is not moved while somebody writes it: a process of {profile} holds {lock}. Stop it, "
        "then repeat the command."
    )
    slug: str
    profile: str
    lock: Path | str


class NoLog(KanbanError):
    template = "There is no log of {task_id} at {path}; its worker has not started, or the log was removed."
    task_id: str
    path: Path | str


class HermesNotKnown(KanbanError):
    template = (
        "Hermes {version} in {place} cannot work on boards of kanban-shards, which knows {known}, and stops before it "
        "writes; install one of these, or a kanban-shards that knows this one, or give the boards back with "
        "`kanban-merge hermes uninstall`."
    )
    version: str
    known: str
    place: str


class HermesDiffers(KanbanError):
    template = (
        "Hermes {version} in {place} has functions that are not those of that release ({names}), so it cannot work on "
        "boards of kanban-shards, and stops before it writes; install a release, or a kanban-shards that knows this "
        "one, or give the boards back with `kanban-merge hermes uninstall`."
    )
    version: str
    names: str
    place: str


class WorkerAlive(KanbanError):
    template = (
        "{task_id} was not claimed, because the worker of run {run_id}, process {pid}, still lives on this host; end "
        "that process first, or let it come to its end."
    )
    task_id: str
    run_id: int
    pid: int


class NotLinked(KanbanError):
    template = "{child_id} did not wait for {parent_id}; `kanban show {child_id}` shows what it waits for."
    child_id: str
    parent_id: str


class NotSubscribed(KanbanError):
    template = "That chat was not subscribed to {task_id}; `kanban notify-list {task_id}` shows which are."
    task_id: str


class UnknownAttachment(KanbanError):
    template = "There is no attachment {attachment_id} on {board}; `kanban attachments TASK` shows a task's."
    attachment_id: int
    board: object


class UnknownLetter(KanbanError):
    template = "There is no dead letter {letter_id} on {board}; `kanban notify-dead` shows those there are."
    letter_id: int
    board: object


class ExtraMissing(KanbanError):
    template = "This needs {package}, which is not installed; `pip install 'kanban-shards[{extra}]'` brings it."
    package: str
    extra: str


# --- 2: the call itself is wrong -------------------------------------------------------------------------------


class UsageError(KanbanError):
    template = "The call does not make sense."

    exit_code = 2


class InvalidName(UsageError):
    template = (
        "{name!r} cannot name a {what}: use 1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter or a digit."
    )
    name: str
    what: str


class NoServiceName(UsageError):
    template = (
        "That is not the name of a libpq service (1 to 64 letters, digits, '.', '_' and '-'): write host, dbname and "
        "user into a section of ~/.pg_service.conf and the password into ~/.pgpass, and say the section's name."
    )


class InvalidTaskId(UsageError):
    template = "{task_id!r} is not a task id: those look like t_ and at least eight hexadecimal digits."
    task_id: str


class AmbiguousTask(UsageError):
    template = "{beginning} is the beginning of several tasks ({task_ids}); write more of the id."
    beginning: str
    task_ids: str


class InvalidMoment(UsageError):
    template = "{said!r} is no position and no time; write 1234, '2h ago', 2026-12-24T18:00 or 2026-12-24."
    said: str


class InvalidChange(UsageError):
    template = "This {kind} cannot be written: {problem}."
    kind: str
    problem: str


class WrongRow(UsageError):
    template = "Line {line}: {problem}; nothing was written."
    line: int
    problem: str


class TooLarge(UsageError):
    template = (
        "This {kind} is {size_bytes} bytes, and a change holds at most {limit_bytes}; put large content into a "
        "file and name the file in the task."
    )
    kind: str
    size_bytes: int
    limit_bytes: int


class AttachmentTooLarge(UsageError):
    template = (
        "{path} is {size_bytes} bytes, and an attachment holds at most {limit_bytes}; attach a part of it, or "
        "name where it lies in a comment."
    )
    path: Path | str
    size_bytes: int
    limit_bytes: int


class Reentered(UsageError):
    template = (
        "This call interrupts another one of the same thread, as a signal handler does, and would wait for it "
        "without end; note the signal there, and make the call when the other one has returned. Nothing was "
        "written."
    )


class GatewayClosed(UsageError):
    template = "This gateway of {profile} is closed, so nothing was written; open a new one."
    profile: str


class WrongArguments(UsageError):
    template = "{tool} was not called, because {problems}; its input schema says what it takes."
    tool: str
    problems: str


class NoSuchTool(UsageError):
    template = "There is no tool {tool!r}; there are {tools}."
    tool: str
    tools: str


class PortTaken(UsageError):
    template = "Nobody can listen on {host} port {port}: {problem}; name another one with --port, or 0 for a free one."
    host: str
    port: int
    problem: str


class DaemonMoved(UsageError):
    template = (
        "The coordinator is a command of its own: `kanban-merge daemon`; which tasks to start, `kanban dispatch` says."
    )


# --- 3: a file or its surroundings -----------------------------------------------------------------------------


class StorageError(KanbanError):
    template = "{path} cannot be used: {problem}."
    path: Path | str
    problem: str

    exit_code = 3


class FileMissing(StorageError):
    template = "There is no {role} at {path}."
    role: str


class HomeMissing(StorageError):
    template = (
        "There is no folder {path}, which --home names. Mind its spelling; `kanban --home {path} init` makes a "
        "board there."
    )


class BoardMissing(FileMissing):
    template = "There is no board at {path} yet; `kanban init` makes one, and so does the first task that is created."


class BoardLost(BoardMissing):
    template = "There is no board at {path}, but its ledger is there; `kanban-merge --once` makes it again."


class HistoryLost(BoardMissing):
    template = (
        "There is neither a board at {path} nor its ledger, and {problem}. No new board is made over that: "
        "`kanban-merge restore BACKUP` puts a backup back (`kanban-merge backups` shows those there are); "
        "{otherwise}."
    )
    otherwise: str

    def __init__(self, *, path: object, has_snapshot: bool) -> None:
        if has_snapshot:
            problem = "what was merged before its last compaction is in the snapshot alone"
            otherwise = "`kanban-merge rebuild` makes one of snapshot and shards, and decides anew what came since"
        else:
            problem = "the shards no longer hold what a compaction dropped"
            otherwise = "to begin anew without it, move the shards away"
        super().__init__(path=path, has_snapshot=has_snapshot, problem=problem, otherwise=otherwise)


class LedgerMissing(FileMissing):
    template = "There is no ledger at {path}; `kanban-merge repair --ledger` makes it again from board and shards."


class UnknownBoard(StorageError):
    template = "There is no board named {slug} (looked for {path}); `kanban boards create {slug}` makes one."
    slug: str


class BoardGone(UnknownBoard):
    template = "There is no board named {slug} any more (looked for {path}), and {pointer} points to it; {cure}."
    pointer: Path | str
    cure: str

    def __init__(self, *, slug: str, path: object, pointer: str) -> None:
        if pointer.startswith("HERMES_"):
            cure = f"set {pointer} to another board (`kanban boards list` shows them), or unset it"
        else:
            cure = "`kanban boards switch default` makes it point to the home's own (`kanban boards list` shows others)"
        super().__init__(slug=slug, path=path, pointer=pointer, cure=cure)


class BoardRenamed(UnknownBoard):
    template = (
        "There is no board named {slug} any more (looked for {path}), it was renamed or put away; "
        "`hermes kanban boards list` shows those that there are."
    )


class ForeignFile(StorageError):
    template = (
        "{path} is not a {role} of this project, so nothing was written to it; move it aside, or name another "
        "folder with --home."
    )
    role: str


class LegacyBoard(StorageError):
    template = (
        "{path} is a board that Hermes writes itself, so nothing was written to it; `kanban-merge adopt` moves it "
        "here (and `kanban-merge restore-legacy` back), or use another folder with --home."
    )


class StrangeSchema(StorageError):
    template = (
        "{path} holds tables, triggers or views that no version of this program makes, so nothing in it is "
        "trusted; {cure}."
    )
    cure: str

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, cure=cure_of(path))


class NotAFile(StorageError):
    template = (
        "{path} is a folder, a pipe, a link or a device and no file, so it was not opened; move it away, then {cure}."
    )
    cure: str

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, cure=cure_of(re.sub("-(journal|wal|shm)$", "", str(path))))


class StrangeJournal(StorageError):
    template = (
        "{path}-journal {problem}, so nothing was rolled back or written; move that journal away, and if {path} "
        "is damaged without it, {cure}."
    )
    cure: str

    def __init__(self, *, path: object, problem: str) -> None:
        cure = "`kanban-merge adopt` saves what can be read" if is_without_ledger(path) else cure_of(path)
        super().__init__(path=path, problem=problem, cure=cure)


class NotAFolder(StorageError):
    template = (
        "{path} is a link or a file and no folder, so nothing was done through it: below a home, and in a board's "
        "folder, no link is followed. Move it away and repeat the command; to keep what belongs there on another "
        "disk, mount a folder of that disk in its place."
    )


class NewerSchema(StorageError):
    template = (
        "{path} was made by a newer version of this program (schema {found}, this one knows {known}); update this "
        "program. Nothing was read or changed."
    )
    found: object
    known: object


class SchemaMoved(NewerSchema):
    template = (
        "{path} was brought to schema {found} by a newer version of this program while this process, which knows "
        "{known}, had it open; restart this process, with the newer version. Nothing was read or changed."
    )


class Damaged(StorageError):
    template = "{path} is damaged ({problem}). Nothing was changed; {cure}."
    cure: str

    def __init__(self, *, path: object, problem: str) -> None:
        cure = cure_of(path)
        if is_without_ledger(path):
            cure = f"if Hermes wrote it, `kanban-merge adopt` saves what can be read; else {cure}"
        super().__init__(path=path, problem=problem, cure=cure)


class CannotOpen(StorageError):
    template = "{path} cannot be opened ({problem}); check that its folder exists and that this user may write there."


class SecondName(CannotOpen):
    template = (
        "{path} is a second name of {other}, which a hard link made, so it was not opened; remove that name (`rm`), "
        "which takes nothing from {other}, then {cure}."
    )
    other: str
    cure: str

    def __init__(self, *, path: object, other: str) -> None:
        super().__init__(path=path, other=other, cure=cure_of(re.sub("-(journal|wal|shm)$", "", str(path))))


class MountedReadOnly(CannotOpen):
    template = (
        "{path} lies on a filesystem that is mounted read-only here, so nothing was written; repeat the command where "
        "it is mounted for writing."
    )


class OutputLost(StorageError):
    template = (
        "The output cannot be written ({problem}). The change may have been made; check before you repeat the command."
    )


class DiskFull(StorageError):
    template = (
        "The disk that holds {path} is full. What was being written is not in the file; free some space and repeat it."
    )


class FileSizeLimit(DiskFull):
    template = (
        "{path} may not become any longer: this process may write no file of more than {limit_bytes} bytes. What was "
        "being written is not in the file; `ulimit -f`, or LimitFSIZE in a systemd unit, allows more; then repeat it."
    )
    limit_bytes: int


class NoRoom(DiskFull):
    template = (
        "A copy of {path} takes {size_bytes} bytes, and of the {free_bytes} that are free in {folder}, "
        "{spare_bytes} must stay free. It was not made; free some space and repeat it."
    )
    size_bytes: int
    free_bytes: int
    folder: Path | str
    spare_bytes: int


class FileHollow(StorageError):
    template = (
        "{path} says that it has {size_bytes} bytes, and holds {held_bytes} of them on the disk: something else "
        "than this program made it so long, and no copy of it is made. {cure}."
    )
    size_bytes: int
    held_bytes: int
    cure: str

    def __init__(self, *, path: object, size_bytes: int, held_bytes: int) -> None:
        cure = cure_of(path)
        cure = cure[:1].upper() + cure[1:]
        super().__init__(path=path, size_bytes=size_bytes, held_bytes=held_bytes, cure=cure)


class FileBusy(StorageError):
    template = (
        "{path} stayed locked by another process for {waited_s:g} s; repeat the command, and if that does "
        "not help, look for a stopped process that holds {lock}."
    )
    waited_s: float
    lock: Path | str


class NoSharedMemory(StorageError):
    template = (
        "{path} lies on a filesystem that cannot share memory between processes ({found}); put the board on a "
        "local disk with --home."
    )
    found: object


class ShardBehind(StorageError):
    template = (
        "{path} ends at change {head}, but {merged} of this profile were merged already: the file is missing or "
        "was replaced by an older copy. Nothing was written; put the newest copy back, or make the shard again "
        "from the ledger with `kanban-merge repair {profile}`."
    )
    head: int
    merged: int
    profile: str


class LivesElsewhere(StorageError):
    template = (
        "{profile} lives on {host}, and nothing of a shard that it has on this host ({path}) would be merged. Nothing "
        "was written; write as {profile} on {host}, or, if that host is gone for good, let {profile} live here with "
        "`kanban-merge move {profile}`."
    )
    profile: str
    host: str


class StillWritten(StorageError):
    template = (
        "{path} is open for writing in {holders}, and what is copied from it now would be worthless; stop that "
        "first, then repeat the command. Nothing was changed."
    )
    holders: str

    exit_code = 1


class AlreadyThere(StorageError):
    template = "There is a file at {path} already, and it is not overwritten; name another one."

    exit_code = 1


class TooManyFiles(StorageError):
    template = (
        "{path} cannot be opened, because this process has as many files open as it may ({limit}). Nothing is "
        "lost; it goes on when some are closed. `ulimit -n`, or LimitNOFILE in a systemd unit, allows more."
    )
    limit: int

    def __init__(self, *, path: object) -> None:
        super().__init__(path=path, limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class ShardOfAnother(StorageError):
    template = (
        "{path} is the shard of {found}, not of {profile}: it was copied or renamed. Nothing was written; give "
        "the file its own name back."
    )
    found: object
    profile: str


class SharingStrange(StorageError):
    template = (
        "{path} does not say where this board is shared ({problem}), so nothing is merged. Put the file back as it "
        "was, or remove it and repeat `kanban-merge share SERVICE`."
    )


class SharingGone(SharingStrange):
    template = (
        "{path} is gone, and the ledger beside it is a copy of one that other hosts share, so nothing is merged. "
        "`kanban-merge share {words}` puts it back, and `kanban-merge unshare` makes this a board of this host alone. "
        "Do neither in a copy of that host's home, such as a drill: it is to be looked at."
    )
    words: str

    def __init__(self, *, path: object, words: str) -> None:
        super().__init__(path=path, problem="it is gone", words=words)


class SharingForgotten(SharingStrange):
    template = (
        "{path} is gone, and so is a sound ledger that knows where this board is shared; one that is made here would "
        "go another way, so nothing is merged. `kanban-merge share SERVICE --host {host}` fetches it again; where the "
        "board is shared no more, `kanban-merge repair --ledger --from-board` makes it one of this host alone."
    )
    host: str

    def __init__(self, *, path: object, host: str) -> None:
        super().__init__(path=path, problem="it is gone", host=host)


class ReaderGone(StorageError):
    template = "The process that reads the board ended over this page; it is started again, so load the page once more."


class Forked(StorageError):
    template = (
        "{path} was opened by process {opened_by}, and this is process {pid}, its fork; open a new Gateway or "
        "Board after the fork."
    )
    opened_by: int
    pid: int


# --- 4 and 5: the coordinator ----------------------------------------------------------------------------------


class Undecided(KanbanError):
    template = (
        "Change {seq} of {profile}{on_task} is safely written, but has no verdict after {waited_s:g} s; "
        "{why}. Do not repeat it, for it will be merged later; `kanban-merge status` shows what holds it up."
    )
    seq: int
    profile: str
    on_task: str
    waited_s: float
    why: str

    exit_code = 4
    told = ("profile", "seq", "task_id")

    def __init__(self, *, seq: int, profile: str, waited_s: float, why: str, task_id: str = "") -> None:
        on_task = f" ({task_id})" if task_id else ""
        super().__init__(seq=seq, profile=profile, waited_s=waited_s, why=why, task_id=task_id, on_task=on_task)


class Quarantined(Undecided):
    template = (
        "Change {seq} of {profile}{on_task} is safely written, and is not merged, because the shard is "
        "quarantined: {why}."
    )


class CoordinatorRunning(KanbanError):
    template = (
        "Another coordinator works on {board}: {holder}. One is enough; stop that one first if this one shall run."
    )
    board: object
    holder: str
    # Which it is, and since when (coordinator/merge/coordinator_lock.py, ``Holder``).
    role: str
    since_ms: int | None

    exit_code = 5


def cannot_open(path: object, error: OSError) -> StorageError:
    """What it means that ``path`` could not be opened or made, as one of the above."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return TooManyFiles(path=path)
    if error.errno == errno.EFBIG:
        return FileSizeLimit(path=path, limit_bytes=resource.getrlimit(resource.RLIMIT_FSIZE)[0])
    if is_full(error):
        return DiskFull(path=path)
    if error.errno == errno.ENOENT:
        return CannotOpen(path=path, problem="its folder does not exist")
    if error.errno == errno.EROFS:
        return MountedReadOnly(path=path, problem="read-only file system")
    return CannotOpen(path=path, problem=(error.strerror or str(error)).lower())


def cannot_write(path: object, error: OSError, what: str = "") -> StorageError:
    """What it means that ``path`` was not written, made or removed; ``what``: how that is said."""
    if error.errno == errno.EROFS:
        return MountedReadOnly(path=path, problem="read-only file system")
    problem = error.strerror or str(error)
    return StorageError(path=path, problem=f"{what}: {problem}" if what else problem)


def is_full(error: OSError) -> bool:
    """Whether ``error`` says that what is written has no room: the disk, or this user's part of it, is full, or the
    file is as long as this process may make one."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
