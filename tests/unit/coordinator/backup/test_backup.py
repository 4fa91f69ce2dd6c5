"""Backups: complete or absent, proved, bounded; and restoring takes from one only what is lost."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.backup import backup as backups
from kanban_shards.coordinator.backup.backup import limit_backups, make_backup
from kanban_shards.coordinator.backup.manifest import Backup, ShardCopy, backups_in
from kanban_shards.coordinator.backup.restore import REPAIRED, RESTORED, STAYED, restore
from kanban_shards.coordinator.backup.schedule import RETRY_S, BackupSchedule
from kanban_shards.coordinator.errors import (
    AnotherBoard,
    BackupFailed,
    BackupUnsound,
    NoBackup,
    OpenElsewhere,
    UpkeepRunning,
)
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import BoardMissing
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock
from tests import forks
from tests.dying import DYING
from tests.legacy import write_legacy
from tests.untyped import write_untyped


@pytest.fixture
def task(home: str) -> str:
    """A task of amy's, on which bob commented; all merged."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("the task")
        amy.sync()
        bob.comment(task_id, "before")
        bob.sync()
    return task_id


@pytest.fixture
def store(paths: BoardPaths) -> Path:
    return paths.backups


def test_a_backup_is_a_board_of_its_own(paths: BoardPaths, store: Path, task: str) -> None:
    made = make_backup(paths, store)
    assert made.is_good
    assert made.manifest.position == 2
    assert {name: copy.seq for name, copy in made.manifest.shards.items()} == {"amy": 1, "bob": 1}
    assert verify(made.paths("default")).clean
    assert [each.folder for each in backups_in(store)] == [made.folder]
    assert not list(made.folder.glob("*-wal"))


def test_writers_go_on_while_it_is_made(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    """Whatever moment each file is copied at, the set fits together and lacks nothing that was merged before."""
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        with Gateway("amy", home=home) as amy:
            while not stop.is_set():
                written.append(f"meanwhile {len(written)}")
                amy.comment(task, written[-1])
                amy.sync()

    writing = threading.Thread(target=write)
    writing.start()
    try:
        made = [make_backup(paths, store) for _ in range(4)]
    finally:
        stop.set()
        writing.join()
    assert all(each.is_good for each in made)
    assert made[0].manifest.position < made[-1].manifest.position


def test_a_board_that_is_not_sound_makes_none(paths: BoardPaths, store: Path, task: str) -> None:
    earlier = make_backup(paths, store)
    _plainly(paths.ledger, "UPDATE entries SET body = '{}' WHERE position = 1")
    with pytest.raises(BackupFailed, match="its chain breaks at position 1"):
        make_backup(paths, store)
    assert [each.name for each in store.iterdir()] == [earlier.folder.name]


def test_no_board(paths: BoardPaths, store: Path) -> None:
    with pytest.raises(BoardMissing):
        make_backup(paths, store)


def test_a_shard_that_is_not_sound_is_said(paths: BoardPaths, store: Path, task: str) -> None:
    """The others are worth keeping; the earlier backup, which has that shard whole, is not given up for this one."""
    good = make_backup(paths, store)
    paths.shard("bob").write_bytes(b"nonsense" * 1024)
    poor = [make_backup(paths, store) for _ in range(2)]
    assert [each.is_good for each in poor] == [False, False]
    assert "kanban.bob.db" in poor[0].manifest.problems[0]
    assert limit_backups(paths, store, keep=1, keep_bytes=None) == [poor[0].folder]
    assert [each.folder for each in backups_in(store)] == [good.folder, poor[1].folder]


@pytest.mark.parametrize("digest", ["7", "NULL", "x'ff'"])
@pytest.mark.parametrize("where", ["changes SET digest", "meta SET base_digest"])
def test_a_shard_with_values_of_the_wrong_type_is_said(
    paths: BoardPaths, store: Path, home: str, task: str, where: str, digest: str
) -> None:
    """STRICT is no promise; and what is in the backup of the others can be put back."""
    write_untyped(paths.shard("bob"), f"UPDATE {where} = {digest}", *["DELETE FROM changes"] * where.startswith("meta"))
    made = make_backup(paths, store)
    assert (made.is_good, list(made.manifest.shards)) == (False, ["amy"])
    assert [each.folder for each in backups_in(store)] == [made.folder]
    assert all("kanban.bob.db" in problem for problem in made.manifest.problems)
    files.discard(paths.ledger)
    files.discard(paths.board)
    files.discard(paths.shard("bob"))
    assert (_restored(paths, made).findings, verify(paths).findings) == ([], [])


def test_a_shard_with_a_rotten_page_is_said(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    with Gateway("bob", home=home) as bob:
        for number in range(200):
            bob.comment(task, f"{number}")
        bob.sync()
    _rot(paths.shard("bob"), "changes")
    made = make_backup(paths, store)
    assert (made.is_good, list(made.manifest.shards)) == (False, ["amy"])
    assert [each.folder for each in backups_in(store)] == [made.folder]
    assert verify(made.paths("default")).findings[0].where == "kanban.bob.db"


def test_a_manifest_that_cannot_be_read_makes_none(
    paths: BoardPaths, store: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder gets its name when that is certain."""
    monkeypatch.setattr(backups, "_heads", lambda copy: ({"amy": ShardCopy(1, None)}, []))
    with pytest.raises(NoBackup):
        make_backup(paths, store)
    assert list(store.iterdir()) == []


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_manifest(paths: BoardPaths, store: Path, task: str, kanban_merge, failed) -> None:
    """Such a folder is no backup, and nobody waits for what the pipe would say."""
    made, piped = make_backup(paths, store), make_backup(paths, store)
    (piped.folder / "backup.json").unlink()
    os.mkfifo(piped.folder / "backup.json")
    assert [each["path"] for each in json.loads(kanban_merge("backups", "--json", timeout=20).stdout)] == [
        str(made.folder)
    ]
    assert kanban_merge("backup", timeout=20).returncode == 0
    assert kanban_merge("compact", timeout=20).returncode == 0
    assert "There is no backup at" in failed(kanban_merge("restore", piped.folder.name, timeout=20), 3)


def test_the_limits(paths: BoardPaths, store: Path, task: str) -> None:
    made = [make_backup(paths, store) for _ in range(4)]
    assert limit_backups(paths, store, keep=None, keep_bytes=None) == []
    assert limit_backups(paths, store, keep=3, keep_bytes=None) == [made[0].folder]
    room = made[2].size_bytes + made[3].size_bytes
    assert limit_backups(paths, store, keep=3, keep_bytes=room) == [made[1].folder]
    assert limit_backups(paths, store, keep=1, keep_bytes=1) == [made[2].folder]
    assert [each.folder for each in backups_in(store)] == [made[3].folder]


def test_the_limits_of_two_homes_that_share_a_folder(home: str, tmp_path: Path, kanban_merge) -> None:
    """Each counts and removes its own; also if the way to it is spelled otherwise."""
    made: dict[str, list[str]] = {"one": [], "two": []}
    for name in made:
        with Gateway("amy", home=tmp_path / name) as amy:
            amy.create("a task")
            amy.sync()
    (tmp_path / "also two").symlink_to("two")

    def backup(name: str, spelled: str, *limits: object) -> list[str]:
        told = json.loads(kanban_merge("backup", "--into", tmp_path / "far", *limits, "--json", home=spelled).stdout)
        made[name].append(told["path"])
        return told["removed"]

    for _ in range(3):
        assert backup("one", tmp_path / "one") == []
    assert backup("two", tmp_path / "two", "--keep", 1) == []
    assert backup("two", tmp_path / "also two", "--keep", 1, "--keep-bytes", 1) == [made["two"][0]]
    assert backup("one", tmp_path / "one", "--keep", 2) == made["one"][:2]
    left = [str(each.folder) for each in backups_in(tmp_path / "far" / "default")]
    assert sorted(left) == sorted([*made["one"][2:], *made["two"][1:]])


def test_two_homes_make_backups_in_one_folder_at_once(
    paths: BoardPaths, store: Path, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other one is making is nothing that a killed backup left."""
    other = BoardPaths.find(home=tmp_path / "other")
    with Gateway("amy", home=other.folder) as amy:
        amy.create("a task")
        amy.sync()
    fill = backups._fill

    def fill_beside_the_other(*given) -> None:
        monkeypatch.setattr(backups, "_fill", fill)
        make_backup(other, store)
        fill(*given)

    monkeypatch.setattr(backups, "_fill", fill_beside_the_other)
    assert make_backup(paths, store).is_good
    assert len(backups_in(store)) == len(list(store.iterdir())) == 2


def test_one_at_a_time(paths: BoardPaths, store: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "UPKEEP_WAIT_S", 0.0)
    with closing(FileLock(paths.upkeep_lock)) as held:
        held.acquire(0)
        with pytest.raises(UpkeepRunning, match="under way"):
            make_backup(paths, store)


def test_attachments_are_in_it(paths: BoardPaths, store: Path, home: str, task: str, tmp_path: Path) -> None:
    """A file that is detached later stays in the backup; a restore puts back what is gone."""
    (tmp_path / "outline.md").write_text("1. Login")
    with Gateway("amy", home=home) as amy:
        amy.attach(task, tmp_path / "outline.md")
    made = make_backup(paths, store)
    assert made.manifest.attachments == 1
    shutil.rmtree(paths.attachments)
    assert _restored(paths, made).attachments == 1
    assert (paths.attachments / task / "outline.md").read_text() == "1. Login"


def _link(path: Path) -> None:
    path.symlink_to("elsewhere.md")
    path.with_name("elsewhere.md").write_text("not of the board")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


STRANGE = [os.mkfifo, _link, _dangling]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", STRANGE, ids=lambda each: each.__name__)
def test_what_is_no_file_among_the_attachments(paths: BoardPaths, store: Path, home: str, task: str, make) -> None:
    """It is left out, and breaks neither the backup nor the limits; nobody misses it, if the board does not name it."""
    (paths.attachments / task).mkdir(parents=True)
    make(paths.attachments / task / "strange")
    made = [make_backup(paths, store) for _ in range(2)]
    assert [each.is_good for each in made] == [True, True]
    assert not os.path.lexists(made[0].folder / "attachments" / task / "strange")
    os.mkfifo(made[1].folder / "pipe")
    _dangling(made[1].folder / "dangling")
    assert made[1].as_dict()["bytes"] > 0
    assert limit_backups(paths, store, keep=1, keep_bytes=None) == [made[0].folder]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", STRANGE, ids=lambda each: each.__name__)
def test_what_is_no_file_in_the_place_of_an_attachment(
    paths: BoardPaths, store: Path, home: str, task: str, tmp_path: Path, make
) -> None:
    """Then the backup lacks it, and says so; a restore leaves what lies in its place."""
    (tmp_path / "outline.md").write_text("1. Login")
    with Gateway("amy", home=home) as amy:
        amy.attach(task, tmp_path / "outline.md")
    good, kept = make_backup(paths, store), paths.attachments / task / "outline.md"
    kept.unlink()
    make(kept)
    made = make_backup(paths, store)
    assert made.manifest.problems == [f"1 attachment not where the board says, or no regular file, the first at {kept}"]
    assert _restored(paths, good).attachments == 0
    assert not kept.with_name("nowhere").exists(), "nothing is written where a link leads"


def _killing(verb: str, steps: tuple[str, ...]) -> str:
    """A program that does ``verb`` and dies at the how manieth of ``steps`` its second argument says."""
    return f"""
import os, sys
step = int(sys.argv[2])
{DYING}
from kanban_shards.coordinator.cli.main import main
for name in {steps}:
    die_at(name)
main(["--home", sys.argv[1], {verb}], "kanban-merge")
"""


def test_a_killed_backup_counts_as_nothing(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    """At each step; the next one removes what it left, and makes its own."""
    step, killed = 0, True
    while killed:
        step += 1
        code = _killing('"backup", "--keep", "1"', ("mkdir", "rename", "rmdir"))
        killed = forks.python("-c", code, home, step).returncode == 9
        assert all(verify(each.paths("default")).clean for each in backups_in(store))
        make_backup(paths, store)
        limit_backups(paths, store, 1, None)
        assert len(list(store.iterdir())) == len(backups_in(store)) == 1
    assert step > 5


@pytest.fixture
def other(paths: BoardPaths) -> BoardPaths:
    """Another board of the same home, whose amy and bob wrote more than the first one's."""
    other = BoardPaths(paths.folder / "kanban" / "boards" / "other", "other")
    other.make_folder()
    with (
        Gateway("amy", home=paths.folder, board="other") as amy,
        Gateway("bob", home=paths.folder, board="other") as bob,
    ):
        task_id = amy.create("the other board's")
        amy.sync()
        for number in range(3):
            bob.comment(task_id, f"other {number}")
        bob.sync()
    return other


def _files(paths: BoardPaths) -> dict[str, tuple]:
    names = (path.name for path in paths.folder.glob("kanban*.db*") if not path.name.endswith(("-wal", "-shm")))
    return {name: files.stamp(paths.folder / name) for name in sorted(names)}


def _move_away(paths: BoardPaths, *names: str) -> None:
    away = paths.folder / "away"
    away.mkdir(exist_ok=True)
    for name in names:
        for path in paths.folder.glob(f"{name}*"):
            path.rename(away / path.name)


@pytest.mark.parametrize("how", ["longer", "shorter", "with the ledger lost", "with the ledger empty"])
@pytest.mark.parametrize("compacted", ["neither", "here", "backup"])
def test_no_other_board_is_replaced(
    paths: BoardPaths, store: Path, task: str, other: BoardPaths, kanban_merge, failed, how: str, compacted: str
) -> None:
    """Neither by a backup that is longer nor by one that is shorter, whatever of both was dropped."""
    here, there = (paths, other) if how == "shorter" else (other, paths)
    for each in {"neither": [], "here": [here], "backup": [there]}[compacted]:
        assert kanban_merge("--board", each.slug, "compact", "--keep-days", "0").returncode == 0
    made = make_backup(there, store)
    if how.startswith("with"):
        files.discard(here.ledger)
        files.discard(here.shard("amy"))  # so that it cannot be made again
    if how.endswith("empty"):
        here.ledger.touch()
    before = _files(here)
    said = failed(kanban_merge("--board", here.slug, "restore", made.folder), 3)
    ledger_tells = not how.startswith("with") and (how, compacted) != ("longer", "here")
    path = here.ledger if ledger_tells else here.board
    assert f"{path} is intact but does not share its history with the backup {made.folder}: it is another" in said
    assert _files(here) == before


def test_shards_of_another_board_are_not_replaced(paths: BoardPaths, store: Path, task: str, other: BoardPaths) -> None:
    """If its board and ledger are lost, they hold all that is left of it. Moved away, it is replaced as asked for."""
    made = make_backup(paths, store)
    _move_away(other, "kanban.db", "kanban-ledger.db")
    before = _files(other)
    with pytest.raises(AnotherBoard, match=r"move kanban\.amy\.db, kanban\.bob\.db away and repeat"):
        _restored(other, made)
    assert _files(other) == before
    _move_away(other, "kanban.amy.db", "kanban.bob.db")
    assert _restored(other, made).findings == []
    with Board(other) as board:
        assert [each.title for each in board.tasks()] == ["the task"]


def test_a_board_that_went_another_way(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    """Begun anew with the shards, in an order of its own, before anybody thought of the backup: it is not replaced
    unasked. Once it is moved away the shards stay, and nothing of them is lost."""
    made = make_backup(paths, store)
    files.discard(paths.board)
    files.discard(paths.ledger)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    with pytest.raises(AnotherBoard, match="diverged since"):
        _restored(paths, made)
    _move_away(paths, "kanban.db", "kanban-ledger.db")
    done = _restored(paths, made)
    assert (done.ledger, done.shards, done.findings) == (RESTORED, {"amy": STAYED, "bob": STAYED}, [])
    with Board(paths) as board:
        assert [each.body for each in board.comments(task)] == ["before", "since"]


@pytest.mark.parametrize("compacted", [False, True])
def test_an_older_copy_is_replaced(
    paths: BoardPaths, store: Path, home: str, task: str, kanban_merge, compacted: bool
) -> None:
    """As before: it is the backup's own past. Of a shard that was made again since, too, whose id is another one."""
    older = make_backup(paths, store).paths("default")
    files.discard(paths.shard("bob"))
    assert kanban_merge("repair", "bob").returncode == 0
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    if compacted:
        shutil.rmtree(older.folder.rename(paths.folder / "older") / "attachments", ignore_errors=True)
        older = BoardPaths(paths.folder / "older")
        assert kanban_merge("compact", "--keep-days", "0").returncode == 0
    made = make_backup(paths, store)
    for path in (paths.board, paths.ledger, paths.snapshot, paths.shard("amy"), paths.shard("bob")):
        files.discard(path)
    for path in (older.ledger, older.shard("bob")):
        shutil.copyfile(path, paths.folder / path.name)
    done = _restored(paths, made)
    assert (done.ledger, done.findings) == (RESTORED, [])
    with Board(paths) as board:
        assert [each.body for each in board.comments(task)] == ["before", "since"]


@pytest.mark.parametrize("ledger", ["ours", "none"])
def test_a_board_that_hermes_writes_is_left_alone(
    paths: BoardPaths, store: Path, task: str, kanban_merge, failed, ledger: str
) -> None:
    """Closed and healthy, until the user says otherwise (README)."""
    made = make_backup(paths, store)
    files.discard(paths.board)
    if ledger == "none":
        files.discard(paths.ledger)
    files.discard(paths.shard("bob"))
    write_legacy(paths.board, {"tasks": [{"id": "t_0000000a", "title": "x", "status": "ready", "created_at": 1}]})
    before = _files(paths)
    assert "is a board that Hermes writes itself" in failed(kanban_merge("restore", made.folder.name), 3)
    assert _files(paths) == before


@pytest.mark.parametrize("lost", ["everything", "ledger", "board", "amy", "bob", "board and ledger", "ledger and amy"])
def test_restoring_what_is_lost(paths: BoardPaths, store: Path, home: str, task: str, lost: str) -> None:
    """What was merged before the backup is back; what was acknowledged since is there unless its only file is lost."""
    made = make_backup(paths, store)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    everything = {"board": paths.board, "ledger": paths.ledger, "amy": paths.shard("amy"), "bob": paths.shard("bob")}
    for name in everything if lost == "everything" else lost.split(" and "):
        files.discard(everything[name])
    done = _restored(paths, made)
    assert done.findings == []
    ledger = {"everything": RESTORED, "board and ledger": RESTORED, "ledger and amy": RESTORED, "ledger": REPAIRED}
    assert done.ledger == ledger.get(lost, STAYED)
    assert done.shards["amy"] == (RESTORED if "amy" in lost or lost == "everything" else STAYED)
    assert done.shards["bob"] == {"everything": RESTORED, "bob": REPAIRED}.get(lost, STAYED)
    with Gateway("bob", home=home) as bob:
        texts = [comment.body for comment in bob.board.comments(task)]
        assert texts == (["before"] if lost == "everything" else ["before", "since"])
        bob.comment(task, "and on")
        bob.sync()
    assert verify(paths).clean


def test_verdicts_that_were_told_stay(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    """A sound ledger is kept, so what was decided since the backup is not decided anew."""
    made = make_backup(paths, store)
    with Gateway("amy", home=home) as amy:
        run = amy.claim(task)
        amy.complete(run, summary="done since")
        before = amy.board.events(task_id=task)
    done = _restored(paths, made)
    assert (done.ledger, done.merged) == (STAYED, 0)
    with Gateway("amy", home=home) as amy:
        assert amy.board.events(task_id=task) == before


def test_changes_that_saw_one_another_are_merged_again(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    """Many passes' worth of them, each of which had seen the one before, in one restore."""
    made = make_backup(paths, store)
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        for number in range(6):
            (amy, bob)[number % 2].edit(task, priority=number + 1)
    files.discard(paths.ledger)
    files.discard(paths.board)
    done = _restored(paths, made)
    assert (done.merged, done.findings) == (6, [])
    with Gateway("amy", home=home) as amy:
        assert amy.board.task(task).priority == 6


def test_a_damaged_shard_keeps_its_sound_rest(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    made = make_backup(paths, store)
    with Gateway("bob", home=home) as bob:
        for text in ("sound", "rewritten", "behind it"):
            bob.comment(task, text)
        bob.sync()
    files.discard(paths.ledger)
    _plainly(paths.shard("bob"), 'UPDATE changes SET body = \'{"text":"forged"}\' WHERE seq = 3')
    done = _restored(paths, made)
    assert done.shards == {"amy": STAYED, "bob": REPAIRED}
    with Gateway("bob", home=home) as bob:
        assert [comment.body for comment in bob.board.comments(task)] == ["before", "sound"]


def test_a_killed_restore_is_repeated(paths: BoardPaths, store: Path, home: str, task: str) -> None:
    made = make_backup(paths, store)
    with Gateway("bob", home=home) as bob:
        bob.comment(task, "since")
        bob.sync()
    step, killed = 0, True
    while killed:
        step += 1
        for path in (paths.ledger, paths.shard("amy")):
            files.discard(path)
            path.write_bytes(b"nonsense" * 1024)
        code = _killing(f'"restore", {str(made.folder)!r}', ("link", "rename", "replace"))
        ended = forks.python("-c", code, home, step)
        killed = ended.returncode == 9
        assert killed or ended.returncode == 0, ended.stderr
        if killed:
            assert _restored(paths, made).findings == []
        with Gateway("amy", home=home) as amy:
            assert [comment.body for comment in amy.board.comments(task)] == ["before", "since"]
    assert step > 4


def test_a_backup_that_is_not_sound_replaces_nothing(paths: BoardPaths, store: Path, task: str) -> None:
    made = make_backup(paths, store)
    before = files.identity(paths.board)
    _plainly(made.folder / "kanban.db", "PRAGMA user_version=1")
    (made.folder / "kanban-ledger.db").write_bytes(b"nonsense" * 1024)
    with pytest.raises(BackupUnsound, match=r"sound: kanban-ledger.db is damaged \([^.]*\)\. Nothing was changed;"):
        _restored(paths, made)
    assert files.identity(paths.board) == before


@pytest.mark.parametrize(
    ("lost", "how"),
    [(lost, "removed") for lost in ("board", "ledger", "snapshot", "everything")]
    + [("board", "emptied"), ("ledger", "a pipe")],
)
@pytest.mark.timeout(60)
def test_a_backup_whose_files_are_gone(
    paths: BoardPaths, store: Path, task: str, kanban_merge, failed, lost: str, how: str
) -> None:
    """It is not good, says what it lacks, is not what the limits keep, and a restore ends in one sentence about it."""
    good = make_backup(paths, store)
    assert kanban_merge("compact", "--keep-days", "0").returncode == 0
    made = make_backup(paths, store)
    copy = made.paths("default")
    copies = {"board": copy.board, "ledger": copy.ledger, "snapshot": copy.snapshot}
    gone = list(copies.values()) if lost == "everything" else [copies[lost]]
    for path in gone:
        path.unlink()
        if how == "emptied":
            path.touch()
        elif how == "a pipe":
            os.mkfifo(path)
    (shown,) = (each for each in backups_in(store) if each.folder == made.folder)
    assert not shown.is_good
    assert sorted(each.partition(" ")[0] for each in shown.problems) == sorted(path.name for path in gone)
    assert gone[0].name in kanban_merge("backups").stdout
    told = json.loads(kanban_merge("backups", "--json").stdout)
    assert [(each["good"], each["problems"]) for each in told] == [(False, shown.problems), (True, [])]
    assert limit_backups(paths, store, keep=1, keep_bytes=None) == []
    said = failed(kanban_merge("restore", made.folder.name, timeout=20), 3).removeprefix("kanban-merge: ")
    problem = next(each for each in shown.problems if each.startswith(f"{gone[0].name} "))
    assert said == f"The backup {made.folder} is not sound: {problem}. Nothing was changed; take another one."
    assert kanban_merge("restore", good.folder.name).returncode == 0


def test_a_backup_that_lacks_a_shard(paths: BoardPaths, store: Path, task: str) -> None:
    """The other files can be put back all the same."""
    made = make_backup(paths, store)
    (made.folder / "kanban.bob.db").unlink()
    with (made.folder / "kanban.amy.db").open("ab") as file:
        file.write(b"more")
    size = made.manifest.size_bytes["kanban.amy.db"]
    assert made.problems == [
        f"kanban.amy.db has {size + 4} bytes, and was made with {size}",
        "kanban.bob.db is not there",
    ]
    files.discard(paths.board)
    files.discard(paths.ledger)
    assert _restored(paths, made).findings == []


def test_nothing_is_replaced_under_a_writer(paths: BoardPaths, store: Path, task: str) -> None:
    made = make_backup(paths, store)
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version'); print(1, flush=True); input()"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", program, str(paths.board)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        with pytest.raises(OpenElsewhere, match=str(writer.pid)):
            _restored(paths, made)
        writer.communicate(b"\n")
    assert _restored(paths, made).findings == []


def test_the_commands(home: str, paths: BoardPaths, task: str, kanban_merge, failed) -> None:
    assert "There are no backups" in kanban_merge("backups").stdout
    told = json.loads(kanban_merge("backup", "--json", "--keep-bytes", "1G").stdout)
    assert (told["good"], told["position"], told["removed"]) == (True, 2, [])
    name = Path(told["path"]).name
    assert name in kanban_merge("backups").stdout
    assert kanban_merge("backup", "--keep-bytes", "much").returncode == 2
    assert "There is no backup at" in failed(kanban_merge("restore", "nothing"), 3)
    files.discard(paths.board)
    done = kanban_merge("restore", name)
    assert done.returncode == 0, done.stderr
    assert "is restored from" in done.stdout
    assert json.loads(kanban_merge("restore", name, "--json").stdout)["findings"] == []


def test_into_a_folder_elsewhere_and_back_into_an_empty_home(
    paths: BoardPaths, task: str, kanban_merge, tmp_path: Path
) -> None:
    told = json.loads(kanban_merge("backup", "--into", tmp_path / "far", "--json").stdout)
    assert Path(told["path"]).parent == tmp_path / "far" / "default"
    done = kanban_merge("restore", told["path"], home=tmp_path / "fresh")
    assert done.returncode == 0, done.stderr
    assert verify(BoardPaths.find(home=tmp_path / "fresh")).clean


def test_a_schedule(paths: BoardPaths, store: Path, task: str) -> None:
    """It makes one at once if there is none, the next when its time has come, and says what went wrong until it is
    over."""
    schedule = BackupSchedule(paths, 3600.0)
    _awaited(schedule)
    assert len(backups_in(store)) == 1
    _awaited(schedule)
    assert len(backups_in(store)) == 1
    soon = BackupSchedule(paths, 0.01)
    _plainly(paths.ledger, "UPDATE entries SET body = '{}' WHERE position = 1")
    (trouble,) = _awaited(soon)
    assert trouble.startswith("backup: ") and "chain breaks" in trouble
    assert len(backups_in(store)) == 1


def test_a_schedule_beside_a_folder_of_that_name(paths, store, task, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a daemon is started, a folder ``coordinator`` may lie that is somebody else's program."""
    (tmp_path / "work" / "kanban_shards").mkdir(parents=True)
    (tmp_path / "work" / "kanban_shards" / "__init__.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path / "work")
    assert _awaited(BackupSchedule(paths, 3600.0)) == set()
    assert len(backups_in(store)) == 1


def test_a_schedule_goes_on_behind_a_board_that_was_given_up(paths: BoardPaths, store: Path, task: str) -> None:
    """A daemon closes the board while a backup runs, perhaps at each sweep, and opens it again when that is possible:
    the backup that was ended is tried again before a whole period is over."""
    schedule = BackupSchedule(paths, 3600.0)
    schedule.run_if_due()
    schedule.close()
    schedule.close()
    assert schedule.run_if_due() == set()
    assert schedule._next_s - time.monotonic() <= RETRY_S
    schedule._next_s = time.monotonic()
    assert _awaited(schedule) == set()
    assert len(backups_in(store)) == 1


def _awaited(schedule: BackupSchedule) -> set[str]:
    try:
        schedule.run_if_due()
        if schedule._child is not None:
            schedule._child.wait()
        schedule._next_s += 3600
        return schedule.run_if_due()
    finally:
        schedule.close()


def _restored(paths: BoardPaths, backup: Backup):
    with closing(locks.take(paths, locks.COMMAND, 0)) as lock:
        return restore(paths, backup, lock)


def _rot(path: Path, table: str) -> None:
    """Overwrite the pages of a table, all but the first."""
    with closing(sqlite3.connect(path)) as shard:
        (root,) = shard.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (page,) = shard.execute("PRAGMA page_size").fetchone()
        (pages,) = shard.execute("PRAGMA page_count").fetchone()
    assert pages > root
    with path.open("r+b") as file:
        for number in range(max(root, pages - 3), pages):
            file.seek(number * page)
            file.write(b"rotten !" * (page // 8))


def _plainly(path: Path, script: str) -> None:
    """Run by another process, as somebody else's program would."""
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, str(path), script], check=True)
