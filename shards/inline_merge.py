"""The one door from what a gateway imports to the coordinator.

A process that only writes and reads never loads the coordinator: each function imports it when it is called, which
costs some 20 ms once. What is here is all that ``shards`` asks of it: a pass where no daemon makes one, a board's
files, the coordinator's lock, who holds it, and what the board was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from kanban_shards.board import Board
from kanban_shards.errors import BoardMissing, CoordinatorRunning
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock

if TYPE_CHECKING:
    from kanban_shards.health import BoardStanding, Finding
    from kanban_shards.past import History

# How soon a call is told that the other hosts of a shared board cannot be reached.
CUT_OFF_S = 1.5
# Of many who need a verdict, one asks those hosts in vain, and the others believe it for so long.
ASK_AGAIN_MS = 1_000


class Stay(Protocol):
    """Coordinator for a moment, in a thread of its own: ``Stay`` of coordinator/merge/staying.py."""

    def begin(self) -> bool:
        """Take the coordinator's lock and make a pass; False if somebody else has it, or wants to have it. Raises the
        StorageErrors of a ledger or a board that cannot be used."""
        ...

    def make_pass(self) -> bool:
        """Have a pass made that begins now; False if this is the coordinator no longer."""
        ...

    def end(self) -> None:
        """Make a last pass, if need be, and let go."""
        ...


def stay(paths: BoardPaths) -> Stay:
    """For a gateway that makes passes in a row; not begun."""
    from kanban_shards.coordinator.merge.staying import Stay

    return Stay(paths)


def pass_if_free(paths: BoardPaths, lock: FileLock) -> bool:
    """Make passes for at most half a second, unless somebody else holds the coordinator's ``lock``: then the
    coordinator is not even loaded.

    Returns whether a pass was made. Raises the StorageErrors of a ledger or a board that cannot be used.
    """
    if not lock.try_acquire():
        return False
    try:
        from kanban_shards.coordinator.merge.inline import make_pass

        return make_pass(paths, lock, ASK_AGAIN_MS)
    finally:
        lock.release()


def make_files(paths: BoardPaths) -> None:
    """Make the files of the board, if they are not there, however many processes do so at once. Raises
    CoordinatorRunning while a coordinator that stays has made none yet, StorageError."""
    from kanban_shards.coordinator.merge.coordinator import Coordinator

    if _is_there(paths):
        return
    try:
        with holding_coordinator_lock(paths) as lock, Coordinator(paths, lock):
            pass
    except CoordinatorRunning:  # which makes what is missing when it begins
        if not _is_there(paths):
            raise


def _is_there(paths: BoardPaths) -> bool:
    try:
        with Board(paths) as board, board.reading():
            return paths.ledger.exists()
    except BoardMissing:
        return False


@contextmanager
def holding_coordinator_lock(paths: BoardPaths) -> Iterator[FileLock]:
    """Hold the board's coordinator lock, as a command does. Raises CoordinatorRunning."""
    from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, holding

    with holding(paths, COMMAND) as lock:
        yield lock


def why_undecided(paths: BoardPaths) -> str:
    """Why no pass decides anything now, as a part of a sentence: who holds the coordinator's lock, or that nobody
    does."""
    from kanban_shards.coordinator.merge.coordinator_lock import holder

    found = holder(paths)
    return found.why() if found else "no coordinator took it"


def why_cut_off(paths: BoardPaths, since_ms: int) -> str | None:
    """Why nothing that was written since is decided, as a part of a sentence, if it is known: the board is shared, and
    its coordinator has asked the others in vain since ``since_ms`` (milliseconds since 1970)."""
    if not paths.is_shared:
        return None
    from kanban_shards.coordinator.merge.outage import outage_of
    from kanban_shards.sharing import read_sharing

    outage, sharing = outage_of(paths), read_sharing(paths)
    if outage is None or sharing is None or not outage.was_tried_since(since_ms):
        return None
    return outage.why(sharing.service)


def why_quarantined(
    paths: BoardPaths, profile: str, watermarks: Callable[[], dict[str, tuple[int, str]]]
) -> str | None:
    """Why no pass takes anything from the profile's shard, and the cure; None if that is not so.

    ``watermarks``: how far the board shows each shard merged, asked again where it moved meanwhile. Raises the
    StorageErrors of files that cannot be read.
    """
    from kanban_shards.coordinator.merge.collector import QUARANTINED, look

    for skipped in look(paths, watermarks).skipped:
        if (skipped.profile, skipped.state) == (profile, QUARANTINED):
            return skipped.why
    return None


def open_history(paths: BoardPaths) -> History:
    """The past of the board: as it stood at a position or a moment, and what was done to a task. Keep it open while it
    is used, and close it."""
    from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory

    return ReplayedHistory(paths)


def standing(paths: BoardPaths) -> BoardStanding:
    """How the board stands now. Raises BoardMissing and the StorageErrors of a board that cannot be read."""
    from kanban_shards.coordinator.health.standing import standing

    return standing(paths)


def examine(paths: BoardPaths) -> list[Finding]:
    """What the doctor finds, who tries out this machine, too. Raises CannotOpen if there is no folder to look into."""
    from kanban_shards.coordinator.health.doctor import examine

    return examine(paths)


def last_heartbeats(paths: BoardPaths, runs: Iterable[tuple[int, str]]) -> dict[int, float]:
    """When each of ``runs``, ``(run, profile)``, last gave a heartbeat that its shard holds, in seconds since 1970.
    Raises nothing: a shard that cannot be read says nothing."""
    from kanban_shards.coordinator.health.standing import last_heartbeats

    return last_heartbeats(paths, runs)
