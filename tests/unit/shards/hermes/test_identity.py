"""Who writes: the profile of the moment, and one writer for each."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest

from kanban_shards import Board
from kanban_shards.changes.kinds import Create
from kanban_shards.errors import StorageError
from kanban_shards.hermes import identity
from kanban_shards.paths import BoardPaths


def make(paths: BoardPaths) -> str:
    """A task of whoever the profile is now; returns who made it."""
    identity.writer_of(paths).ask_unseen("t_" + os.urandom(8).hex(), Create(title="T"))
    with Board.open(home=paths.folder) as board:
        return max(board.tasks(), key=lambda task: max(task.vector.values(), default=0)).owner


def test_the_profile_is_that_of_the_call(works_for: SimpleNamespace, paths: BoardPaths) -> None:
    for profile in ("amy", "bingge", "amy"):
        works_for.profile = profile
        assert identity.writer_of(paths).profile == profile
    assert {path.name for path in paths.folder.glob("kanban.*.db")} <= {"kanban.amy.db", "kanban.bingge.db"}


def test_a_writer_is_kept(works_for: SimpleNamespace, paths: BoardPaths) -> None:
    first = identity.writer_of(paths)
    assert identity.writer_of(paths) is first
    assert identity.writer_of(paths, "mafei") is not first


def test_a_board_that_was_made_again_gets_another_writer(works_for: SimpleNamespace, paths: BoardPaths) -> None:
    paths.make_folder()
    named = BoardPaths.of(paths.folder, "two")
    named.make_folder()
    make(named)
    first = identity.writer_of(named)
    shutil.move(named.folder, paths.folder / "away")
    named.make_folder()
    assert identity.writer_of(named) is not first
    assert make(named) == "amy"


def test_a_writer_of_a_fork_is_not_the_parents(works_for: SimpleNamespace, paths: BoardPaths) -> None:
    first = identity.writer_of(paths)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if identity.writer_of(paths) is not first else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(
    ("name", "can"), [("mafei", True), ("a-b_c", True), (None, False), ("", False), ("Mafei", False), ("no one", False)]
)
def test_who_can_be_a_profile(name: str | None, can: bool) -> None:
    assert identity.can_name_a_profile(name) == can


def test_which_board_a_file_is_of(paths: BoardPaths) -> None:
    named = BoardPaths.of(paths.folder, "two")
    assert identity.board_at(paths.board) == paths
    assert identity.board_at(named.board) == named
    with pytest.raises(StorageError):
        identity.board_at(paths.folder / "other.db")


def test_what_is_written_while_it_is_settled_stays_to_be_settled(paths: BoardPaths) -> None:
    class Written:
        def sync_own(self) -> None:
            identity._unsettled[paths.folder, self] = 2  # another thread

    writer = Written()
    identity._unsettled[paths.folder, writer] = 1
    identity.settle(paths)
    assert identity._unsettled.pop((paths.folder, writer)) == 2
