"""The doctor: a closed list of checks that prove the mechanism on this machine, and say how this board is.

It changes nothing on the board. Each check stands alone, so that whatever is damaged, missing or forbidden hides
nothing of the rest.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.coordinator.health import problems
from kanban_shards.coordinator.health.checks import files, machine
from kanban_shards.coordinator.health.checks.workbench import NoAnswer
from kanban_shards.coordinator.health.read import read_health, read_sizes, read_undelivered
from kanban_shards.coordinator.hermes.bridges import bridges
from kanban_shards.errors import BoardLost, BoardMissing, CannotOpen, HistoryLost, KanbanError
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.paths import BoardPaths

Check = Callable[[BoardPaths], Iterator[Finding]]

# A gateway that runs tells its chats within seconds, and tries for a little over an hour.
UNDELIVERED_S = 2 * 3_600
# SQLite checks so much in a second or less.
QUICK_BYTES = 64 * 1024 * 1024
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def board(paths: BoardPaths) -> Iterator[Finding]:
    """How the board is now; if it cannot be read, why, and how the other files are."""
    try:
        health = read_health(paths)
    except BoardMissing as error:
        level = FAULT if isinstance(error, HistoryLost) else WARNING if isinstance(error, BoardLost) else NOTE
        yield Finding("board", level, str(error))
    except KanbanError as error:
        yield Finding("board", FAULT, str(error))
    else:
        yield Finding("board", OK, f"{paths.board} can be read; it shows {wording.many(health.position, 'entry')}.")
        yield from problems.findings(health)
        return
    yield from files.each_by_itself(paths)
    yield from problems.of_bridges(bridges(paths.home))


def deliveries(paths: BoardPaths) -> Iterator[Finding]:
    """Chats that were not told, and notifications that nobody could deliver."""
    try:
        waiting = read_undelivered(paths)
        with Board(paths) as opened:
            dead = len(opened.dead_letters())
    except KanbanError:
        yield Finding("deliveries", NOTE, "What chats were not told is not known, because the board cannot be read.")
        return
    if dead:
        said = f"{wording.many(dead, 'notification')} could not be delivered; `kanban notify-dead` says which and why"
        yield Finding("deliveries", WARNING, f"{said}; `kanban notify-resend` sends it again.")
    for each in waiting:
        old_s = time.time() - each.since_s
        said = f"{wording.many(each.chats, 'chat')} not told by {each.profile} for up to {wording.age(max(0, old_s))}"
        if old_s > UNDELIVERED_S:
            yield Finding("deliveries", WARNING, f"{said}; look whether the gateway of that profile runs.")
        else:
            yield Finding("deliveries", NOTE, f"{said}; its gateway delivers when it looks next.")
    if not dead and not waiting:
        yield Finding("deliveries", OK, "Every chat was told, and no notification failed for good.")


def service(paths: BoardPaths) -> Iterator[Finding]:
    """The service in which several hosts share the board; nothing of a board that they do not share."""
    if paths.is_shared:
        from kanban_shards.coordinator.health.checks import service as checks  # what no other board needs

        yield from checks.service(paths)


CHECKS: tuple[Check, ...] = (
    machine.sqlite_version,
    machine.sqlite_libraries,
    machine.filesystem,
    machine.locks,
    machine.record_locks,
    machine.journals,
    machine.syncing,
    machine.disk_space,
    files.permissions,
    files.holders,
    files.schemas,
    files.leftovers,
    board,
    files.attachments,
    deliveries,
    service,
)
DEEP_CHECKS: tuple[Check, ...] = (files.integrity, files.replay)


def examine(paths: BoardPaths, deep: bool = False) -> list[Finding]:
    """What every check finds. ``deep`` replays the ledger, and reads every page of every file; of files that have no
    more than QUICK_BYTES together, every page is read in any case.

    Raises CannotOpen if there is no folder to look into.
    """
    try:
        next(paths.folder.iterdir(), None)
    except OSError as error:
        raise CannotOpen(path=paths.folder, problem=(error.strerror or str(error)).lower()) from error
    sizes = read_sizes(paths)
    is_small = sizes.board + sizes.ledger + sizes.shards <= QUICK_BYTES
    more = DEEP_CHECKS if deep else (files.integrity,) * is_small
    return [finding for check in CHECKS + more for finding in _made(check, paths)]


def _made(check: Check, paths: BoardPaths) -> list[Finding]:
    """The findings of one check, or why it could not be made; what it found until then is kept."""
    found, name = [], check.__name__.replace("_", "-")
    try:
        for finding in check(paths):
            found.append(finding)
    except NoAnswer as trouble:
        found.append(Finding(name, WARNING, f"This could not be tried: {trouble}."))
    except KanbanError as error:
        found.append(Finding(name, FAULT, str(error)))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        if error.errno in _FORBIDDEN:
            found.append(Finding(name, NOTE, f"This user may not try it ({why}); run the doctor as the board's owner."))
        else:
            found.append(Finding(name, FAULT, f"This could not be tried in {paths.folder}: {why}."))
    except Exception as error:  # a bug of this program hides no other
        found.append(Finding(name, FAULT, f"This check itself is at fault ({error!r}); please report it."))
    return found
