"""Moving a board in and out of a home, with the process killed before each of its steps: a whole board is in place at
every moment, and repeating the command goes on."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.hermes import adopt
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import DiskFull, StorageError
from kanban_shards.paths import BoardPaths
from tests import forks
from tests.legacy import legacy_rows, rows_of, write_legacy
from tests.unit.coordinator.hermes.test_importer import CRASH

# kanban-merge, killed before the step that its first word counts. Each step gives a file or a folder a name.
KILLED = """
import os, pathlib, sys
left = int(sys.argv.pop(1))
def dying(step):
    def replaced(*given, **named):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return step(*given, **named)
    return replaced
from kanban_shards.coordinator.cli.main import main
pathlib.Path.rename, os.link = dying(pathlib.Path.rename), dying(os.link)
main()
"""
STEPS = range(1, 12)


def merge_killed(home: Path, step: int, *words: str) -> int:
    return forks.python("-c", KILLED, step, "--home", home, *words).returncode


def merge(home: Path, *words: str) -> subprocess.CompletedProcess:
    return forks.python("-m", "kanban_shards.coordinator", "--home", home, *words)


@pytest.fixture
def legacy_home(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A home whose board Hermes wrote; parametrized: whether what it committed last is in the WAL alone."""
    home = tmp_path / "home"
    home.mkdir()
    write_legacy(home / "kanban.db", legacy_rows(random.Random(3), ("ann", "bob"), wrong=False).tables)
    if getattr(request, "param", False):
        subprocess.run([sys.executable, "-c", CRASH, home / "kanban.db"])
    return home


def titles(home: Path) -> dict[str, str]:
    """What whoever opens ``kanban.db`` now finds there, by a copy of it and of what lies beside it."""
    look = home.parent / "look"
    shutil.copytree(home, look)
    try:
        return {dict(row)["id"]: dict(row)["title"] for row in rows_of(look / "kanban.db")["tasks"]}
    finally:
        shutil.rmtree(look)


@pytest.mark.parametrize("legacy_home", [False, True], ids=["closed", "in the WAL"], indirect=True)
def test_adopt_killed_before_any_step(legacy_home: Path, tmp_path: Path) -> None:
    before, kept = titles(legacy_home), tmp_path / "kept"
    shutil.copytree(legacy_home, kept)
    original = (kept / "kanban.db").read_bytes()
    for step in STEPS:
        shutil.rmtree(legacy_home)
        shutil.copytree(kept, legacy_home)
        code = merge_killed(legacy_home, step, "adopt")
        assert titles(legacy_home) == before, f"killed before step {step}"
        if code == 0:
            break
        assert code == 9
        ended = merge(legacy_home, "adopt")
        assert ended.returncode == 0, (step, ended.stderr)
        paths = BoardPaths.find(home=legacy_home)
        assert verify(paths).clean
        with Board(paths) as board:
            assert {task.id: task.title for task in board.tasks(include_archived=True)} == before
        assert (legacy_home / "kanban-legacy.db").read_bytes() == original
        assert not (legacy_home / "kanban-adopting").exists()
    else:
        raise AssertionError("it has more steps than were tried")
    assert step > 3


@pytest.mark.parametrize(
    ("legacy_home", "words"), [(False, ()), (True, ("--original",))], ids=["all", "original"], indirect=["legacy_home"]
)
def test_restore_killed_before_any_step(legacy_home: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    before, kept = titles(legacy_home), tmp_path / "kept"
    assert merge(legacy_home, "adopt").returncode == 0
    with Gateway("ann", home=str(legacy_home)) as gateway:
        made = gateway.create("made since")
    after = before if words else {**before, made: "made since"}
    shutil.copytree(legacy_home, kept)
    for step in STEPS:
        shutil.rmtree(legacy_home)
        shutil.copytree(kept, legacy_home)
        code = merge_killed(legacy_home, step, "restore-legacy", *words)
        assert titles(legacy_home).keys() >= before.keys(), f"killed before step {step}"
        ended = merge(legacy_home, "restore-legacy", *words)
        assert ended.returncode == (3 if code == 0 else 0), (step, ended.stderr)
        assert titles(legacy_home) == after, f"killed before step {step}"
        beside = {path.name for path in legacy_home.glob("*.db*")} - {"kanban.db", "kanban.db-wal", "kanban.db-shm"}
        assert beside == set(), f"killed before step {step}"
        aside = {path.name for path in legacy_home.glob("kanban-set-aside/*/*.db")}
        assert aside >= {"kanban.db", "kanban-ledger.db", "kanban.ann.db"}
        if code == 0:
            break
    else:
        raise AssertionError("it has more steps than were tried")
    assert step > 3


def test_there_and_back_and_there_again(legacy_home: Path) -> None:
    """What was done here is on Hermes's file, and on the board that it becomes again."""
    assert merge(legacy_home, "adopt").returncode == 0
    with Gateway("ann", home=str(legacy_home)) as gateway:
        made = gateway.create("made since")
        gateway.complete(gateway.claim(made), summary="done since")
    assert merge(legacy_home, "restore-legacy").returncode == 0
    rows = rows_of(legacy_home / "kanban.db")
    assert merge(legacy_home, "adopt").returncode == 0
    with Board.open(home=str(legacy_home)) as board:
        assert board.task(made).status == "done"
        assert board.runs(made)[0].summary == "done since"
    assert merge(legacy_home, "export", legacy_home / "again.db").returncode == 0
    assert rows_of(legacy_home / "again.db") == rows


def test_there_and_back_and_there_again_from_a_compacted_board(legacy_home: Path) -> None:
    """Its snapshot is no part of Hermes's board, and none of the one that it becomes again."""
    assert merge(legacy_home, "adopt").returncode == 0
    assert merge(legacy_home, "compact", "--keep-days", "0").returncode == 0
    paths = BoardPaths.find(home=legacy_home)
    assert paths.snapshot.exists()
    assert merge(legacy_home, "restore-legacy").returncode == 0
    assert not paths.snapshot.exists()
    assert merge(legacy_home, "adopt").returncode == 0
    assert verify(paths).clean
    made = titles(legacy_home)
    paths.board.unlink()
    assert merge(legacy_home, "--once").returncode == 0
    assert titles(legacy_home) == made


def test_a_snapshot_of_another_board_is_not_begun_with(legacy_home: Path, tmp_path: Path) -> None:
    """A home in which a compacted board lay, of which somebody removed the board and its ledger: a person looks."""
    other = tmp_path / "other"
    with Gateway("ann", home=str(other)) as gateway:
        gateway.create("another board's")
        gateway.sync()
    assert merge(other, "compact", "--keep-days", "0").returncode == 0
    paths = BoardPaths.find(home=legacy_home)
    shutil.copy(BoardPaths.find(home=other).snapshot, paths.snapshot)
    ended = merge(legacy_home, "adopt")
    assert (ended.returncode, paths.snapshot.name in ended.stderr) == (3, True), ended.stderr
    paths.snapshot.unlink()
    ended = merge(legacy_home, "adopt")
    assert ended.returncode == 0, ended.stderr
    assert verify(paths).clean


def test_every_board_of_a_home(legacy_home: Path) -> None:
    """``--all-boards`` moves each; attachments stay where they lie."""
    folder = legacy_home / "kanban" / "boards" / "infra"
    folder.mkdir(parents=True)
    file = folder / "attachments" / "t_0000000a" / "a.txt"
    file.parent.mkdir(parents=True)
    file.write_text("abc")
    task = {"id": "t_0000000a", "title": "infra's", "status": "done", "created_at": 1}
    attached = {"id": 1, "task_id": task["id"], "filename": "a.txt", "stored_path": str(file), "created_at": 1}
    write_legacy(folder / "kanban.db", {"tasks": [task], "task_attachments": [attached]})
    ended = merge(legacy_home, "adopt", "--all-boards", "--json")
    assert [board["slug"] for board in json.loads(ended.stdout)] == ["default", "infra"]
    with Board.open(board="infra", home=str(legacy_home)) as board:
        assert [each.stored_path for each in board.attachments(task["id"])] == [str(file)]
    assert file.read_text() == "abc"
    assert merge(legacy_home, "restore-legacy", "--all-boards").returncode == 0
    assert rows_of(folder / "kanban.db")["tasks"][0][0] == ("id", task["id"])


def test_it_is_refused_while_a_gateway_is_inside(legacy_home: Path) -> None:
    assert merge(legacy_home, "adopt").returncode == 0
    with Gateway("ann", home=str(legacy_home)) as gateway:
        gateway.create("still at work")
        ended = merge(legacy_home, "restore-legacy")
        assert ended.returncode == 3
        assert "is still open in" in ended.stderr
    assert merge(legacy_home, "restore-legacy").returncode == 0


def test_another_boards_shards_are_not_merged_into_it(legacy_home: Path, tmp_path: Path) -> None:
    with Gateway("ann", home=str(tmp_path / "other")) as gateway:
        gateway.create("of another board")
    shutil.copyfile(tmp_path / "other" / "kanban.ann.db", legacy_home / "kanban.ann.db")
    ended = merge(legacy_home, "adopt")
    assert (ended.returncode, "kanban.ann.db beside a board" in ended.stderr) == (3, True)
    (legacy_home / "kanban.ann.db").unlink()
    shutil.copyfile(tmp_path / "other" / "kanban-ledger.db", legacy_home / "kanban-ledger.db")
    assert "kanban-ledger.db beside a board" in merge(legacy_home, "adopt").stderr


@pytest.mark.parametrize("name", ["kanban.db", "kanban-ledger.db"])
def test_a_full_disk_leaves_the_board_as_it_is(legacy_home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Closing what was built could not bring its WAL into it: nothing of it is put in place, and nothing is left on
    that disk."""
    original, paths = (legacy_home / "kanban.db").read_bytes(), BoardPaths.find(home=legacy_home)
    build = adopt.import_board

    def build_on_a_full_disk(source: Path, building: BoardPaths, **how):
        done = build(source, building, **how)
        (building.folder / f"{name}-wal").write_bytes(b"what did not fit")
        return done

    with monkeypatch.context() as patches:
        patches.setattr(adopt, "import_board", build_on_a_full_disk)
        with pytest.raises(DiskFull, match=f"kanban-adopting/{name} is full"):
            adopt.adopt(paths)
    assert {path.name for path in legacy_home.iterdir()} == {"kanban.db", "kanban-coordinator.lock"}
    assert paths.board.read_bytes() == original
    adopt.adopt(paths)
    assert verify(paths).clean


def test_what_cannot_be_adopted_leaves_nothing_behind(legacy_home: Path) -> None:
    paths = BoardPaths.find(home=legacy_home)
    paths.board.write_text("no board " * 99)
    with pytest.raises(StorageError, match="is not a board of Hermes"):
        adopt.adopt(paths)
    assert {path.name for path in legacy_home.iterdir()} == {"kanban.db", "kanban-coordinator.lock"}


def test_the_original_comes_back_in_place_of_a_damaged_board(legacy_home: Path) -> None:
    """Whatever became of what this program made: of the board, and of its ledger."""
    original = (legacy_home / "kanban.db").read_bytes()
    assert merge(legacy_home, "adopt").returncode == 0
    for name in ("kanban.db", "kanban-ledger.db"):
        (legacy_home / name).write_text("no database " * 99)
        ended = merge(legacy_home, "restore-legacy")
        assert (ended.returncode, "kanban.db is damaged" in ended.stderr) == (3, True), ended.stderr
    ended = merge(legacy_home, "restore-legacy", "--original")
    assert ended.returncode == 0, ended.stderr
    assert (legacy_home / "kanban.db").read_bytes() == original
    aside = {path.name for path in legacy_home.glob("kanban-set-aside/*/*.db")}
    assert aside == {"kanban.db", "kanban-ledger.db"}


def test_a_damaged_original_in_place_of_a_damaged_board_killed_before_any_step(
    legacy_home: Path, tmp_path: Path
) -> None:
    """Neither says whose it is: a repeated command goes on, and does not take the original for ours."""
    board, kept = legacy_home / "kanban.db", tmp_path / "kept"
    original = bytes(100) + board.read_bytes()[100:]
    board.write_bytes(original)
    assert merge(legacy_home, "adopt").returncode == 0
    board.write_text("no database " * 99)
    shutil.copy(legacy_home / "kanban-legacy.db", legacy_home / "kanban-legacy-2.db")
    (legacy_home / "kanban-legacy.db").write_text("an earlier one, of another time")
    shutil.copytree(legacy_home, kept)
    for step in STEPS:
        shutil.rmtree(legacy_home)
        shutil.copytree(kept, legacy_home)
        code = merge_killed(legacy_home, step, "restore-legacy", "--original")
        ended = merge(legacy_home, "restore-legacy", "--original")
        assert ended.returncode == (3 if code == 0 else 0), (step, ended.stderr)
        assert board.read_bytes() == original, f"killed before step {step}"
        assert {path.name for path in legacy_home.glob("*.db*")} == {"kanban.db"}, f"killed before step {step}"
        if code == 0:
            break
    else:
        raise AssertionError("it has more steps than were tried")
    assert step > 3
