"""The board as it stood: where a replay starts, what is kept of it, and what is not believed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway, inline_merge
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.errors import HistoryGone, NoSuchPosition, SnapshotMissing
from kanban_shards.coordinator.history import keyframes, replayed_boards
from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.errors import LedgerMissing
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock

TITLES = [f"task {number}" for number in range(40)]


@pytest.fixture
def worked(home: str) -> list[str]:
    """Forty tasks, one for each position of the ledger; returns their ids."""
    with Gateway("amy", home=home) as amy:
        made = [amy.create(title) for title in TITLES]
        amy.sync()
    return made


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, in which each ten entries leave a keyframe."""
    monkeypatch.setattr(keyframes, "LEAST_ENTRIES", 10)
    monkeypatch.setattr(keyframes, "ENTRIES_PER_PAGE", 0)
    return tmp_path / "cache" / "kanban-shards" / "history"


@pytest.fixture
def history(paths: BoardPaths, worked: list[str], cache: Path) -> Iterator[ReplayedHistory]:
    """The past of that board."""
    with ReplayedHistory(paths, cache) as opened:
        yield opened


def test_reads_as_a_board_does(paths: BoardPaths, home: str, worked: list[str], history: ReplayedHistory) -> None:
    """Every read that a board has; its ages count from then; and the present is as it was."""
    with Gateway("bob", home=home) as bob:
        bob.complete(bob.claim(worked[0]), summary="done")
    with history.board_at(position=40) as board:
        assert sorted(task.title for task in board.tasks()) == sorted(TITLES)
        assert {run.id for run in board.runs(worked[0])} == set()
        assert board.stats()["now"] * 1_000 <= (board.at_ms or 0) < board.stats()["now"] * 1_000 + 1_000
    with history.board_at(position=41) as board:
        (run,) = board.runs(worked[0])
        assert (run.profile, run.ended_at) == ("bob", None)
    with Board(paths) as present:
        assert present.task(worked[0]).status == "done"
    with history.board_at(position=0) as board:
        assert (board.tasks(), board.at_ms) == ([], None)


def test_a_moment_is_a_position(paths: BoardPaths, history: ReplayedHistory) -> None:
    """The last entry that was decided by then: at each entry's own time, before the first, and after the last."""
    with closing(FileLedger(paths.ledger)) as ledger:
        times = [entry.at_ms for entry in ledger.after(0)]
    for at_ms in {*times, *(at_ms - 1 for at_ms in times), times[-1] + 10**9, 0}:
        assert history.position_at(at_ms) == sum(each <= at_ms for each in times)
    span = history.span()
    assert (span.first, span.last, span.first_ms, span.last_ms) == (0, 40, times[0], times[-1])


def test_what_there_is_not(paths: BoardPaths, home: str, history: ReplayedHistory) -> None:
    with pytest.raises(NoSuchPosition, match="position 41 yet: the ledger ends at 40"), history.board_at(position=41):
        pass
    for wrong in ({}, {"position": 1, "at_ms": 1}):
        with pytest.raises(TypeError), history.board_at(**wrong):
            pass
    elsewhere = BoardPaths.find(home=Path(home) / "elsewhere")
    with ReplayedHistory(elsewhere) as nothing, pytest.raises(LedgerMissing):
        nothing.span()


def test_costs_the_entries_since_the_nearest_start(
    history: ReplayedHistory, paths: BoardPaths, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a board that was shown before, from a keyframe, and from nothing; never more than from there."""
    replayed: list[int] = []
    catch_up = replayed_boards.catch_up

    def counting(state, ledger, upto):
        replayed.append(upto - state.position()[0])
        return catch_up(state, ledger, upto)

    def cost(position: int, of: ReplayedHistory = history) -> int:
        replayed.clear()
        with of.board_at(position=position) as board:
            assert len(board.tasks()) == position
        return sum(replayed)

    monkeypatch.setattr(replayed_boards, "catch_up", counting)
    assert cost(35) == 35
    assert _positions(cache) == [10, 20, 30]
    assert cost(35) == 0  # this process has it still
    assert cost(37) == 2
    assert cost(24) == 4  # from the keyframe at 20
    assert [cost(position) for position in range(38, 41)] == [1, 1, 1]  # moving on in small steps leaves one, too
    assert 40 in _positions(cache)
    with ReplayedHistory(paths, cache) as another:
        assert cost(35, another) == 5  # so it is for another process


def test_keeps_no_more_than_it_may(
    history: ReplayedHistory, cache: Path, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither boards in this process nor keyframes; what was used longest ago goes first."""
    for position in range(40, -1, -2):
        with history.board_at(position=position):
            pass
    assert len(history._idle) == replayed_boards.BOARDS_KEPT
    size_bytes = max(path.stat().st_size for path in cache.glob("*/*"))
    shutil.rmtree(cache)
    monkeypatch.setattr(keyframes, "KEPT_BYTES", 3 * size_bytes)
    with ReplayedHistory(paths, cache) as another:
        with another.board_at(position=30):
            pass
        for number, path in enumerate(sorted(cache.glob("*/*"))):
            os.utime(path, ns=(number, number))
        assert _positions(cache) == [10, 20, 30]
    with ReplayedHistory(paths, cache) as another:
        with another.board_at(position=15):  # uses the one at 10
            pass
        with another.board_at(position=40):
            pass
    assert _positions(cache) == [10, 30, 40]


def _positions(cache: Path) -> list[int]:
    """Where the keyframes stand."""
    return sorted(int(path.name.split("-")[1]) for path in cache.glob("*/*.db"))


def test_a_damaged_keyframe_is_replaced(history: ReplayedHistory, paths: BoardPaths, cache: Path) -> None:
    with history.board_at(position=40):
        pass
    for path in cache.glob("*/*"):
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\xff" * 4_096)
    with ReplayedHistory(paths, cache) as another, another.board_at(position=35) as board:
        assert len(board.tasks()) == 35
        assert len({task.title for task in board.tasks()}) == 35


def test_a_keyframe_of_another_board_is_not_believed(
    history: ReplayedHistory, paths: BoardPaths, cache: Path, tmp_path: Path
) -> None:
    """A file under the name that another one has; and one whose digest is not in this ledger."""
    with history.board_at(position=40):
        pass
    by_position = {int(path.name.split("-")[1]): path for path in cache.glob("*/*")}
    shutil.copyfile(by_position[10], by_position[30])
    with ReplayedHistory(paths, cache) as another, another.board_at(position=34) as board:
        assert len(board.tasks()) == 34
    name = by_position[20].name.split("-")
    by_position[20].rename(by_position[20].with_name("-".join([*name[:2], "0" * 32 + ".db"])))
    with ReplayedHistory(paths, cache) as another, another.board_at(position=24) as board:
        assert len(board.tasks()) == 24


@pytest.mark.parametrize("spoil", ["others may write", "a link", "a file", "full"])
def test_without_a_cache_of_its_own_it_keeps_nothing(
    paths: BoardPaths, worked: list[str], cache: Path, spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And shows the board all the same."""
    if spoil == "others may write":
        cache.mkdir(parents=True)
        cache.chmod(0o777)
    elif spoil == "a link":
        (tmp_path / "another").mkdir()
        cache.parent.mkdir(parents=True)
        cache.symlink_to(tmp_path / "another")
    elif spoil == "a file":
        cache.parent.mkdir(parents=True)
        cache.write_text("")
    else:
        monkeypatch.setattr(keyframes, "has_room", lambda folder, size_bytes: False)
    with ReplayedHistory(paths, cache) as history, history.board_at(position=35) as board:
        assert len(board.tasks()) == 35
    assert list(cache.glob("**/*.db")) == []


def test_what_a_killed_process_left_is_removed(history: ReplayedHistory, cache: Path) -> None:
    """Half a keyframe is none, and goes when it is old; one that is being made elsewhere stays."""
    with history.board_at(position=12):
        pass
    (keyframe,) = cache.glob("*/*")
    old, young = (keyframe.with_name(f"{keyframe.name}-{name}.making") for name in ("old", "young"))
    for half in (old, young):
        half.write_bytes(keyframe.read_bytes()[:5_000])
    os.utime(old, (time.time() - 10_000,) * 2)
    with history.board_at(position=36) as board:
        assert len(board.tasks()) == 36
    assert (old.exists(), young.exists()) == (False, True)


def test_several_processes_at_once_and_one_is_killed(
    home: str, paths: BoardPaths, worked: list[str], cache: Path
) -> None:
    """Each makes keyframes and forgets those of the others; each shows what was."""
    program = (
        "import random, sys; from pathlib import Path\n"
        "from kanban_shards.coordinator.history import keyframes\n"
        "from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory\n"
        "from kanban_shards.paths import BoardPaths\n"
        "keyframes.LEAST_ENTRIES, keyframes.ENTRIES_PER_PAGE, keyframes.KEPT_BYTES = 3, 0, 600_000\n"
        "chance = random.Random(int(sys.argv[3])); print('begun', flush=True)\n"
        "for _ in range(int(sys.argv[4])):\n"
        "    with ReplayedHistory(BoardPaths.find(home=sys.argv[1]), Path(sys.argv[2])) as history:\n"
        "        position = chance.randint(0, 40)\n"
        "        with history.board_at(position=position) as board:\n"
        "            assert len(board.tasks()) == position\n"
    )

    def start(seed: int, looks: int) -> subprocess.Popen:
        argv = [sys.executable, "-c", program, home, str(cache), str(seed), str(looks)]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    victim = start(0, 10_000)
    others = [start(seed, 15) for seed in (1, 2)]
    assert victim.stdout.readline() == "begun\n"
    for process in others:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    victim.kill()
    victim.communicate()
    with ReplayedHistory(paths, cache) as history, history.board_at(position=40) as board:
        assert len(board.tasks()) == 40


def test_threads_share_one(history: ReplayedHistory) -> None:
    """A board that one thread has is not moved on for another."""
    wrong: list[str] = []

    def look(start: int) -> None:
        for step in range(25):
            position = (start * 7 + step * 11) % 41
            with history.board_at(position=position) as board:
                found = len(board.tasks())
                if (board.position(), found) != (position, position):
                    wrong.append(f"{position}: {found}")

    threads = [threading.Thread(target=look, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_after_a_compaction(
    paths: BoardPaths, home: str, worked: list[str], history: ReplayedHistory, cache: Path
) -> None:
    """What is gone is said in a sentence; older keyframes go, too; a lost snapshot is named with its cure."""
    with history.board_at(position=40):
        pass
    with closing(FileLock(paths.coordinator_lock)) as lock:
        assert lock.try_acquire()
        assert compact(paths, lock, time.time_ns() // 1_000_000 + 1).position == 40
    with Gateway("amy", home=home) as amy:
        amy.create("one more")
        amy.sync()
    assert (history.span().first, history.span().last) == (40, 41)
    with (
        pytest.raises(HistoryGone, match=r"at position 39 is gone: .* before position 40"),
        history.board_at(position=39),
    ):
        pass
    with pytest.raises(HistoryGone, match="is gone"):
        history.position_at(0)
    for position in (40, 41):
        with history.board_at(position=position) as board:
            assert len(board.tasks()) == position
    assert all(position >= 40 for position in _positions(cache))
    shutil.rmtree(cache)
    history.close()
    paths.snapshot.unlink()
    with pytest.raises(SnapshotMissing, match="repair --snapshot"), history.board_at(position=41):
        pass


def test_a_board_that_is_lost_or_damaged_hides_no_past(paths: BoardPaths, history: ReplayedHistory) -> None:
    """The past is read from the ledger alone."""
    for name in ("kanban.db", "kanban.db-wal", "kanban.db-shm"):
        (paths.folder / name).unlink(missing_ok=True)
    with history.board_at(position=17) as board:
        assert len(board.tasks()) == 17


def test_the_one_door(paths: BoardPaths, worked: list[str]) -> None:
    with inline_merge.open_history(paths) as history, history.board_at(position=3) as board:
        assert {task.id for task in board.tasks()} == set(worked[:3])
