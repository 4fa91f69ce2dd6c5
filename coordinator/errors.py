"""What can go wrong for whoever makes passes, or moves, mends and keeps a board's files; see shards/errors.py.

Only ``kanban-merge`` and the daemon meet these, so that who reads ``shards`` alone need not know of them.
"""

from __future__ import annotations

from pathlib import Path

from kanban_shards.errors import (
    CoordinatorRunning,
    FileBusy,
    FileMissing,
    KanbanError,
    StorageError,
    UsageError,
    cure_of,
)

# --- 1: refused, or not possible as things stand ---------------------------------------------------------------


class NoHermes(KanbanError):
    template = (
        "There is no `hermes` on the PATH, and none where its installers put it; name the interpreter of its "
        "environment with --python."
    )


class NoHermesThere(KanbanError):
    template = (
        "No hermes-agent is installed for {python}; name the interpreter of its environment with --python: "
        "`head -3 $(which hermes)` shows it."
    )
    python: Path


class OldPython(KanbanError):
    template = "{python} is older than Python 3.11, which kanban-shards needs; install Hermes in a newer one."
    python: Path


class StaysShared(KanbanError):
    template = (
        "{board} is shared with other hosts, and Hermes's own board belongs to one; `kanban-merge unshare` makes it "
        "one of this host alone, with everything. Nothing was changed."
    )
    board: object


class NotInstalledThere(KanbanError):
    template = (
        "kanban-shards is not installed where Hermes is ({site}); run `{command}`, then repeat this. "
        "Nothing was changed."
    )
    site: Path
    command: str


class HermesRuns(KanbanError):
    template = (
        "Hermes runs in {processes}; stop it (`hermes gateway stop` for each profile, and the dashboard), then repeat "
        "the command. Nothing was changed."
    )
    processes: str


class BridgeFails(KanbanError):
    template = "Hermes cannot be bridged in {python}: {problem} Nothing was changed."
    python: Path
    problem: str


class NoService(KanbanError):
    template = "There is no service {name} (looked for {path}); `kanban-merge service install` makes one."
    name: str
    path: Path | str


class UpkeepRunning(KanbanError):
    template = (
        "Another backup, restore or compaction of that board is under way ({lock} is held); repeat the command "
        "when it is through."
    )
    lock: Path | str


class OpenElsewhere(KanbanError):
    template = (
        "{path} is open for writing in {holders}, so it is not replaced; stop that program, then repeat the command."
    )
    path: Path | str
    holders: str


class HistoryGone(KanbanError):
    template = (
        "What the board showed at {asked} is gone: a compaction dropped what came before position {first}; ask for "
        "that position or a later one, or look into a backup from before the compaction (`kanban-merge backups`)."
    )
    asked: str
    first: int


class NoSuchPosition(KanbanError):
    template = (
        "There is no position {position} yet: the ledger ends at {last}; ask for that position or an earlier one."
    )
    position: int
    last: int


# --- 2: the call itself is wrong -------------------------------------------------------------------------------


class ServiceNeedsUser(UsageError):
    template = "A service of the system runs as the user whose board it is, not as root; name that user with --user."


class UnknownUser(UsageError):
    template = "This system knows no user {name!r}; name the one whose board it is with --user."
    name: str


# --- 3: a file or its surroundings -----------------------------------------------------------------------------


class ShardMissing(FileMissing):
    template = (
        "There is no shard at {path}, and nothing of {profile} was ever merged, so there is nothing to make it "
        "of; `kanban-merge status` names the profiles that there are."
    )
    profile: str


class NotLegacy(StorageError):
    template = (
        "{path} is not a board that Hermes wrote ({problem}), so there is nothing to take from it; nothing was changed."
    )


class StillOpen(StorageError):
    template = "{path} is still open in {holders}; stop what runs there, then repeat the command. Nothing was changed."
    holders: str


class CannotTell(StorageError):
    template = (
        "This system does not say who has {path} open; stop everything that may use it, and say so with --trust-closed."
    )


class WrittenMeanwhile(StorageError):
    template = (
        "{path} was written while it was read; stop what writes it, then repeat the command. Nothing was changed."
    )


class OthersThere(StorageError):
    template = (
        "{folder} holds {names} beside a board that Hermes wrote: what another board is made of, and must not be "
        "merged into this one. Move these files away, then repeat the command."
    )
    folder: Path | str
    names: str


class CannotBridge(StorageError):
    template = (
        "The files by which Hermes loads kanban-shards cannot be changed in {path}: {problem}. Run this as whoever "
        "owns that environment; where nobody may write it, install hermes-agent and kanban-shards in a virtual "
        "environment, and name that with --python."
    )


class NotAdopted(StorageError):
    template = (
        "{path} is a board that Hermes writes itself, and nothing of this program lies beside it: there is "
        "nothing to restore."
    )


class NotMerged(StorageError):
    template = (
        "Not everything that was written is on the board: {shards} could not be merged; `kanban-merge status` "
        "says why, and `kanban-merge repair PROFILE` mends a shard. Nothing was changed."
    )
    shards: str


class NothingAdopted(StorageError):
    template = (
        "{path} is not there, so there is no original to put back; leave out --original, and {board} becomes a "
        "file of Hermes's with everything that is on it."
    )
    board: str


class LedgerBehind(StorageError):
    template = (
        "{path} ends at entry {held}, but the board stands at {shown}: the ledger is missing, was replaced by an "
        "older copy, or is another board's. Nothing was changed; put the ledger back that belongs to this board, "
        "or make it again from board and shards with `kanban-merge repair --ledger`."
    )
    held: int
    shown: int


class Overtaken(StorageError):
    template = (
        "{path} ends with entry {held}, and not with the entry {behind} that was to be continued: another process "
        "wrote it meanwhile. Nothing was appended, and the next pass continues what it holds; if this comes again, "
        "find out with `kanban-merge doctor` who opens the file."
    )
    held: int
    behind: int


class BoardAhead(StorageError):
    template = (
        "{path} stands at entry {shown}, and no such point is in its ledger, so a rebuild would take from it what "
        "it alone has. Nothing was changed; `kanban-merge repair --ledger` makes the ledger fit the board. If the "
        "ledger is right and the board is not, move {path} away, and the next pass makes it again."
    )
    shown: int


class NothingToRepair(StorageError):
    template = "{path} is sound, so nothing was changed; `kanban-merge verify` checks everything."

    exit_code = 1


class SnapshotMissing(StorageError):
    template = (
        "There is no snapshot at {path}, and the ledger begins after one, at {base}; `kanban-merge repair "
        "--snapshot` makes a new one of the board as it stands."
    )
    base: int


class SnapshotStrange(StorageError):
    template = (
        "{path} shows the board at {shown}, and no such point is in the ledger: one of them is another board's, "
        "or an older copy. Nothing was changed; {cure}."
    )
    shown: int
    cure: str

    def __init__(self, *, path: object, shown: int, has_board: bool) -> None:
        cure = "`kanban-merge repair --snapshot` makes a new one of the board as it stands"
        if not has_board:
            cure = "`kanban-merge rebuild` makes the board of the one that leads further, and keeps the other"
        super().__init__(path=path, shown=shown, has_board=has_board, cure=cure)


class BoardBehind(StorageError):
    template = (
        "The board stands at entry {shown}, and its ledger begins after {base}, so it cannot catch up; "
        "`kanban-merge rebuild` makes it again from the snapshot and the ledger."
    )
    shown: int
    base: int


class NotVerified(StorageError):
    template = (
        "{path} is not what its ledger gives ({problem}), so nothing was dropped; `kanban-merge verify` says more."
    )


class NoBackup(StorageError):
    template = "There is no backup at {path}; `kanban-merge backups` shows those there are."


class BackupFailed(StorageError):
    template = (
        "No backup of {path} was made, because its copy is not sound: {problem}. Earlier backups are as they "
        "were; `kanban-merge verify` says what to mend first."
    )


class BackupUnsound(StorageError):
    template = "The backup {path} is not sound: {problem}. Nothing was changed; take another one."


class AnotherBoard(StorageError):
    template = (
        "{path} is intact but does not share its history with the backup {backup}: it is another board's, or "
        "diverged since. Nothing was changed; name the board that is meant with --home or --board, or, if the backup "
        "shall take its place, move {away} away and repeat the command."
    )
    backup: Path | str
    away: Path | str


class CompactedPast(StorageError):
    template = (
        "{path} no longer holds the changes {first} to {last}, and neither does the backup. Nothing was changed; "
        "take a newer backup, or, if those changes may be lost, move that file away and repeat the command."
    )
    first: int
    last: int


class BeyondRepair(StorageError):
    template = (
        "{path} cannot be made again: {problem}. Put the newest copy of that file back and repeat the repair, or "
        "put a backup back (`kanban-merge backups` shows those there are, `kanban-merge restore BACKUP` does it); "
        "nothing was changed."
    )


class LedgerBeyondRepair(BeyondRepair):
    template = (
        "{path} cannot be made again of board and shards: {problem}. Put the newest copy of that file back and "
        "repeat the repair, or put a backup back (`kanban-merge backups` shows those there are, `kanban-merge "
        "restore BACKUP` does it). Without either, `kanban-merge repair --ledger --from-board` begins a new "
        "ledger after the board as it stands: the board keeps every task, and a replay begins there. Nothing was "
        "changed."
    )


class NoneOfThree(BeyondRepair):
    template = (
        "{path} cannot be made again: {problem}, and there is no board. Put a backup back (`kanban-merge backups` "
        "shows those there are, `kanban-merge restore BACKUP` does it); without one, `kanban-merge rebuild` keeps "
        "this file under another name and begins with what snapshot and shards hold. Nothing was changed."
    )


class NotABoard(StorageError):
    template = (
        "{path} is not a board of Hermes: {problem}. Nothing was read from it or changed; name a board's kanban.db."
    )


class NoBoards(StorageError):
    template = (
        "There is no board of Hermes's in {path}: no kanban.db there, and none in a folder of kanban/boards; name "
        "a board's kanban.db, or the home of a Hermes."
    )


class BeyondSalvage(StorageError):
    template = (
        "{path} is damaged, and not one row of a task, event or comment could be read from it ({problem}). "
        "Nothing was changed; put a backup in its place."
    )


class FileReplaced(StorageError):
    template = (
        "{path} was removed or replaced while this coordinator had it open, so this pass merged nothing; the next "
        "one opens what is there. Nothing is lost: what was written meanwhile is in the shards."
    )


class BoardAndLedgerGone(StorageError):
    template = (
        "{board} and {ledger} were both removed, so the order of the merged changes is lost, and "
        "nothing is merged. Put one of them back; or start this program again, and it begins a new board with "
        "what the shards hold."
    )
    board: str
    ledger: Path | str


class BreaksAgain(StorageError):
    template = (
        "{path} was rebuilt {times} times within an hour and is damaged again ({problem}), so it is left "
        "as it is. Look for what damages it (another program that writes there, the disk); {cure}, and so does "
        "the daemon once it is started again."
    )
    times: int
    cure: str

    def __init__(self, *, path: object, times: int, problem: str) -> None:
        super().__init__(path=path, times=times, problem=problem, cure=cure_of(path))


class NotOurService(StorageError):
    template = "{path} was not written by this program, so it stays as it is; move it away, or remove it yourself."


class FileHeld(FileBusy):
    template = (
        "{path} is locked by {holder}, which is not the coordinator, so nothing is merged; end that process, and "
        "what is written is merged."
    )
    holder: str


# --- 4 and 5: the coordinator ----------------------------------------------------------------------------------


class CompactionWaits(CoordinatorRunning):
    template = (
        "Nothing was compacted, because the {holder} merges {board}, and a compaction is the coordinator while it "
        "works. Stop that daemon (a service with `systemctl --user stop 'kanban-merge-*'`, or with `launchctl`), "
        "repeat the command, and start it again; gateways may go on meanwhile."
    )


class LockHeld(CoordinatorRunning):
    template = (
        "The coordinator's lock, {lock}, is held by {holder}; unless that process ends, nothing is merged. "
        "Whoever may read that file may take the lock."
    )
    lock: Path | str


class NotCoordinator(KanbanError):
    template = (
        "Process {pid} no longer is the coordinator of {folder}, because {lock} was removed or replaced; it "
        "merged nothing more. A lock file is never to be removed, not even one that looks old."
    )
    pid: int
    folder: Path | str
    lock: Path | str

    exit_code = 5
