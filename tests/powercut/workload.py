"""What is recorded: two profiles at work, passes, checkpoints, closings, a new board, an attachment, repairs, the first
backup, a board that is put away, and one that is given back to Hermes and adopted again.

``workload.py ROOT [SYNCHRONOUS]``: one process of one thread. Each thing that it is told goes to the file
``watermarks`` beside ROOT at once, so that the recording says what had been acknowledged when.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import structs

from kanban_shards import Gateway
from kanban_shards.boards import create_board, remove_board
from kanban_shards.coordinator.backup.backup import make_backup
from kanban_shards.coordinator.demo.worker import Journal, Witness
from kanban_shards.coordinator.hermes.adopt import adopt, restore_legacy
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.repair import repair_ledger, repair_shard
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite

HOME = "home"
TEAM = "team"
PUT_AWAY, GIVEN_BACK = "old", "given"
PROFILES = ("amy", "bob")
# Pages, so that checkpoints come between commits and not only when the files are closed.
CHECKPOINT_PAGES = 8
ATTACHED = "what lies in the attachment\n" * 300


def main(root: str, synchronous: str = "") -> None:
    """Do it all."""
    if synchronous:
        for name in ("SHARD", "LEDGER", "BOARD"):
            setattr(sqlite, name, structs.replace(getattr(sqlite, name), synchronous=synchronous))
    notes = Path(root).parent / "marks"
    home = Path(root) / HOME
    work(home, "default", notes)
    coordinate(BoardPaths.of(home, "default"), notes)
    create_board(home, TEAM)
    work(home, TEAM, notes)
    for board in ("default", TEAM):
        attach(home, board, Path(root).parent / "attached.txt", notes)
    keep(home, notes)
    mend(BoardPaths.of(home, "default"), notes)
    work(home, "default", notes)


def keep(home: Path, notes: Path) -> None:
    """What answers that something is kept: as the first of its kind, so that each folder on the way is new."""
    mark = Mark(notes, "default", "amy")
    paths = BoardPaths.of(home, "default")
    mark.note("backup", make_backup(paths, paths.backups).folder.name)
    for slug in (PUT_AWAY, GIVEN_BACK):
        create_board(home, slug)
        with Gateway("amy", board=slug, home=home) as amy:
            amy.create("kept")
            amy.sync()
    mark.note("away", remove_board(home, PUT_AWAY).name)
    given = BoardPaths.of(home, GIVEN_BACK)
    mark.note("given", restore_legacy(given, trust_closed=True).set_aside.name)
    mark.note("adopted", adopt(given, trust_closed=True).legacy.name)


def work(home: Path, board: str, notes: Path) -> None:
    """Make, comment, claim, complete and lose a race, without a daemon: whoever waits makes the pass."""
    with opened("amy", home, board, notes) as amy, opened("bob", home, board, notes) as bob:
        mine = amy.create("amy's", assignee="amy")
        amy.comment(mine, "a remark " * 50)
        run = amy.claim(mine)
        bob.comment(bob.create("bob's"), "said " * 400)
        amy.heartbeat(run)
        amy.complete(run, summary="done")
        bob.sync()


def coordinate(paths: BoardPaths, notes: Path) -> None:
    """As a daemon does: the files stay open over several passes, and their logs are checkpointed between."""
    lock = locks.take(paths, locks.DAEMON, 5)
    with opened("amy", paths.folder, "default", notes) as amy, Coordinator(paths, lock) as coordinator:
        for connection in (coordinator._connection, coordinator._ledger._connection):
            connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        task_id = amy.create("checkpoints")
        coordinator.make_pass()
        for number in range(6):
            seq = amy.comment(task_id, f"{number} " * 1_500)
            coordinator.make_pass()
            amy.wait_for_verdict(seq)
    lock.close()


def attach(home: Path, board: str, file: Path, notes: Path) -> None:
    """A file that is kept with a task."""
    file.write_text(ATTACHED)
    with opened("bob", home, board, notes) as bob:
        attachment_id = bob.attach(bob.create("with a file"), file)
        Mark(notes, board, "bob").note("attached", attachment_id)


def mend(paths: BoardPaths, notes: Path) -> None:
    """Each file is lost, and made again; from here a person with a command belongs to the story."""
    mark = Mark(notes, "default", "amy")
    lock = locks.take(paths, locks.COMMAND, 5)
    for lost, again in (
        (paths.shard("amy"), lambda: repair_shard(paths, lock, "amy")),
        (paths.ledger, lambda: repair_ledger(paths, lock)),
        (paths.board, lambda: rebuild(paths, lock)),
    ):
        mark.note("losing", lost.name)
        lost.unlink()
        again()
        mark.note("again", lost.name)
    lock.close()


class Mark(Journal):
    """A journal that says of each line whose it is, and on which board."""

    def __init__(self, notes: Path, board: str, profile: str) -> None:
        super().__init__(notes)
        self._whose = (board, profile)

    def note(self, *words: object) -> None:
        super().note(*self._whose, *words)


@contextmanager
def opened(profile: str, home: Path, board: str, notes: Path) -> Iterator[Witness]:
    """A gateway that notes what it is told."""
    with Witness(profile, str(home), Mark(notes, board, profile), board=board) as gateway:
        yield gateway


if __name__ == "__main__":
    main(*sys.argv[1:])
