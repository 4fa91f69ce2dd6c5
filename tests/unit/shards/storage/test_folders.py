"""Links that somebody planted in a home or in a board's folder are not followed: nothing is written, removed or read
behind one. The links on the way to the home are its user's choice, and are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kanban_shards import Gateway, attachments, boards
from kanban_shards.coordinator.backup import backup
from kanban_shards.coordinator.backup.backup import limit_backups, make_backup
from kanban_shards.coordinator.backup.manifest import backups_in
from kanban_shards.coordinator.backup.restore import restore
from kanban_shards.coordinator.hermes.adopt import ASIDE, BUILDING, adopt, restore_legacy
from kanban_shards.coordinator.hermes.export import HERMES, JSON_LINES, export
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.errors import AlreadyThere, NotAFile, NotAFolder, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import folders
from kanban_shards.storage.folders import Folder, make_below, open_below, write_whole
from kanban_shards.workspaces import make_workspace


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of somebody else's, with files under the names that ours have; in the end it is as it was."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("mine.txt", "t_00000000.log", "report.txt", "current", "board.json"):
        (folder / name).write_text("mine")
        os.utime(folder / name, (0, 0))
    (folder / "t_0123456789abcdef").mkdir()
    (folder / "t_0123456789abcdef" / "mine.txt").write_text("mine")
    before = _tree(folder)
    yield folder
    assert _tree(folder) == before


def _tree(folder: Path) -> dict[str, tuple[int, float, str]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        found[str(path)] = (seen.st_mode, seen.st_mtime, "" if path.is_dir() else path.read_text())
    return found


@pytest.fixture
def task(gateway: Gateway) -> str:
    task_id = gateway.create("a task")
    gateway.sync()
    return task_id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("words")
    return path


def _plant(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("place", ["kanban", "kanban/attachments", "kanban/attachments/TASK"])
def test_attaching(gateway: Gateway, task: str, paths: BoardPaths, file: Path, elsewhere: Path, place: str) -> None:
    _plant(paths.folder / place.replace("TASK", task), elsewhere)
    with pytest.raises(NotAFolder, match="is a link or a file and no folder"):
        gateway.attach(task, file)


@pytest.mark.parametrize("place", ["kanban/attachments", "kanban/attachments/TASK"])
def test_removing_attachments(paths: BoardPaths, elsewhere: Path, place: str) -> None:
    task_id = "t_0123456789abcdef"
    is_own = place.endswith("TASK")
    link = paths.folder / place.replace("TASK", task_id)
    _plant(link, elsewhere / task_id if is_own else elsewhere)
    named = str(paths.attachments / task_id / "mine.txt")
    for remove in (lambda: attachments.remove(paths, task_id, named), lambda: attachments.remove_all(paths, task_id)):
        if is_own:
            remove()
        else:
            with pytest.raises(NotAFolder):
                remove()
    assert link.is_symlink() != is_own  # that of the task goes itself, with the task


@pytest.mark.parametrize("place", ["logs", "workspaces"])
def test_gc(kanban, failed, gateway: Gateway, paths: BoardPaths, elsewhere: Path, place: str) -> None:
    gateway.archive(gateway.create("a task"))
    _plant(paths.folder / "kanban" / place, elsewhere)
    said = failed(kanban("-p", "amy", "gc", "--log-retention-days", 0), 3)
    assert f"{paths.folder}/kanban/{place} is a link" in said


def test_gc_of_logs_and_workspaces_that_are_links(kanban, gateway: Gateway, paths: BoardPaths, elsewhere: Path) -> None:
    task_id = gateway.create("a task")
    gateway.archive(task_id)
    _plant(paths.logs / "t_11111111.log", elsewhere / "t_00000000.log")
    _plant(paths.workspaces / task_id, elsewhere)
    assert kanban("-p", "amy", "gc", "--log-retention-days", 0).returncode == 0
    _plant(paths.workspaces / "t_22222222" / "inside", elsewhere)
    with open_below(paths.folder, paths.workspaces) as workspaces:
        workspaces.remove_tree("t_22222222")
        assert workspaces.names() == [task_id]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_log_that_is_none(kanban, failed, task: str, paths: BoardPaths, elsewhere: Path, what: str) -> None:
    path = paths.logs / f"{task}.log"
    _plant(path, elsewhere / "mine.txt")
    if what == "pipe":
        path.unlink()
        os.mkfifo(path)
    assert "is a folder, a pipe, a link or a device" in failed(kanban("log", task), 3)


def test_workspaces(gateway: Gateway, task: str, paths: BoardPaths, elsewhere: Path) -> None:
    _plant(paths.workspaces, elsewhere)
    with pytest.raises(NotAFolder):
        make_workspace(paths, gateway.board.task(task))


@pytest.mark.parametrize("place", ["kanban", "kanban/boards", "kanban/boards/team"])
def test_a_board_behind_a_link(kanban, failed, home: str, elsewhere: Path, place: str) -> None:
    link = Path(home) / place
    _plant(link, elsewhere)
    for verb in (["-p", "amy", "create", "x"], ["boards", "switch", "team"], ["boards", "create", "team"],
                 ["boards", "rm", "team", "--delete"], ["boards", "rename", "team", "x"]):  # fmt: skip
        board = [] if verb[0] == "boards" else ["--board", "team"]
        assert f"{link} is a link" in failed(kanban(*board, *verb), 3), verb


@pytest.mark.parametrize("name", ["current", "board.json"])
def test_small_files_are_replaced_and_not_followed(home: str, elsewhere: Path, name: str) -> None:
    root = Path(home)
    boards.create_board(root, "team")
    place = root / "kanban" / name if name == "current" else root / "kanban" / "boards" / "team" / name
    place.unlink(missing_ok=True)
    _plant(place, elsewhere / name)
    if name == "current":
        with pytest.raises(NotAFile):
            BoardPaths.find(home=root)
    boards.switch_board(root, "team")
    boards.write_metadata(BoardPaths.of(root, "team"), name="Team")
    assert not place.is_symlink()
    assert BoardPaths.find(home=root).slug == "team"


def test_a_temporary_name_that_somebody_foresaw(tmp_path: Path, elsewhere: Path, monkeypatch) -> None:
    """Names are random, and one that is taken, by a link too, is not opened."""
    monkeypatch.setattr(folders, "free_name", lambda name: f".{name}.{os.getpid()}")
    _plant(tmp_path / f".figures.{os.getpid()}", elsewhere / "mine.txt")
    with pytest.raises(StorageError, match="File exists"):
        write_whole(tmp_path / "figures", "text")
    monkeypatch.undo()
    assert folders.free_name("figures") != folders.free_name("figures")
    write_whole(tmp_path / "figures", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]


def test_putting_boards_away(home: str, elsewhere: Path) -> None:
    boards.create_board(Path(home), "team")
    _plant(Path(home) / "kanban" / "boards" / boards.ARCHIVE, elsewhere)
    with pytest.raises(NotAFolder):
        boards.remove_board(Path(home), "team", delete=True)
    assert BoardPaths.of(Path(home), "team").board.exists()


def test_backups(task: str, paths: BoardPaths, elsewhere: Path) -> None:
    _plant(paths.backups, elsewhere)
    with pytest.raises(NotAFolder):
        make_backup(paths, paths.backups)


def test_what_a_killed_backup_left_is_a_link(task: str, paths: BoardPaths, elsewhere: Path) -> None:
    made = make_backup(paths, paths.backups)
    left = next(iter(backups_in(paths.backups))).folder.with_name(f".making-{backup._mark(paths)}-x")
    left.symlink_to(elsewhere)
    newer = make_backup(paths, paths.backups)
    assert not left.is_symlink()
    assert limit_backups(paths, paths.backups, 1, None) == [made.folder]
    assert [each.folder for each in backups_in(paths.backups)] == [newer.folder]


@pytest.mark.parametrize("place", ["attachments", "attachments/TASK"])
def test_attachments_of_a_backup(
    gateway: Gateway, task: str, paths: BoardPaths, file: Path, elsewhere: Path, place: str
) -> None:
    """None are taken from behind a link, and none are put there."""
    gateway.attach(task, file)
    made = make_backup(paths, paths.backups)
    (paths.attachments / task / file.name).unlink()
    (paths.attachments / task).rmdir()
    link = paths.folder / "kanban" / place.replace("TASK", task)
    if place == "attachments":
        link.rmdir()
    link.symlink_to(elsewhere)
    with locks.holding(paths, locks.COMMAND) as lock, pytest.raises(NotAFolder):
        restore(paths, made, lock)
    if place == "attachments":
        with pytest.raises(NotAFolder):
            make_backup(paths, paths.backups)
    else:
        assert not make_backup(paths, paths.backups).is_good  # it names what is not where the board says


@pytest.mark.parametrize("format", [HERMES, JSON_LINES])
def test_an_export_over_a_link(task: str, paths: BoardPaths, tmp_path: Path, elsewhere: Path, format: str) -> None:
    for target in (elsewhere / "mine.txt", elsewhere / "new"):
        (tmp_path / "out").symlink_to(target)
        with pytest.raises(AlreadyThere):
            export(paths, tmp_path / "out", format)
        (tmp_path / "out").unlink()


def test_adopting_and_giving_back(home: str, paths: BoardPaths, elsewhere: Path) -> None:
    with Gateway("amy", home=home) as amy:
        amy.create("a task")
        amy.sync()
    _plant(paths.folder / ASIDE, elsewhere)
    with pytest.raises(NotAFolder):
        restore_legacy(paths, trust_closed=True)
    (paths.folder / ASIDE).unlink()
    restore_legacy(paths, trust_closed=True)
    _plant(paths.folder / BUILDING, elsewhere)
    adopt(paths, trust_closed=True)
    assert not (paths.folder / BUILDING).is_symlink()


def test_the_home_itself_may_be_a_link(tmp_path: Path, file: Path) -> None:
    """It is what its user chose, and everything works behind it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    home = tmp_path / "home"
    boards.create_board(home, "team", name="Team")
    boards.switch_board(home, "team")
    with Gateway("amy", home=home) as amy:
        number = amy.attach(amy.create("a task"), file)
        assert Path(amy.board.attachment(number).stored_path).read_text() == "words"
    boards.remove_board(home, "team")
    assert len(boards.archived_boards(home)) == 1


def test_what_is_exchanged_meanwhile(tmp_path: Path, elsewhere: Path) -> None:
    """An open folder stays the one that it was, whatever lies at its name."""
    with make_below(tmp_path, tmp_path / "a" / "b") as folder:
        (tmp_path / "a").rename(tmp_path / "moved")
        (tmp_path / "a").symlink_to(elsewhere)
        folder.write_whole("mine.txt", b"ours")
        folder.remove_tree("t_0123456789abcdef")
    assert (tmp_path / "moved" / "b" / "mine.txt").read_text() == "ours"
    with pytest.raises(NotAFolder), open_below(tmp_path, tmp_path / "a"):
        pass
    with pytest.raises(NotAFolder), open_below(tmp_path, tmp_path / "moved" / ".." / "a"):
        pass


UMASKS = [0o000, 0o022, 0o077]


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    former = os.umask(request.param)
    yield request.param
    os.umask(former)


def _modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


@pytest.mark.parametrize("shared", [False, True])
def test_every_file_and_folder_has_the_mode_that_is_promised(umask: int, tmp_path: Path, shared: bool) -> None:
    """Everything that the product makes in a home, and beside it: for its user, or as the folder says for a group."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o2770 if shared else 0o700)
    _use_everything(home, tmp_path)
    wrong = {}
    for name, mode in _modes(home).items():
        widest = 0o770 if shared else 0o700
        if mode & 0o777 & ~widest or (mode & 0o111 and not (home / name).is_dir()):
            wrong[name] = oct(mode)
    assert wrong == {}
    assert _modes(tmp_path)["out.jsonl"] == _modes(tmp_path)["out.db"] == 0o600
    assert _modes(tmp_path)["figures"] == 0o644  # for whoever collects figures, who is another user


def _use_everything(home: Path, beside: Path) -> None:
    (beside / "file").write_text("words")
    boards.create_board(home, "team", name="Team")
    boards.switch_board(home, "team")
    paths = BoardPaths.of(home, "default")
    boards.write_metadata(paths, name="Ours")
    with Gateway("amy", home=home, board="default") as amy:
        task_id = amy.create("a task")
        amy.attach(task_id, beside / "file")
        make_workspace(paths, amy.board.task(task_id))
    make_backup(paths, paths.backups)
    export(paths, beside / "out.jsonl", JSON_LINES)
    export(paths, beside / "out.db", HERMES)
    write_whole(beside / "figures", "text", for_all=True)
    boards.remove_board(home, "team")
    restore_legacy(paths, trust_closed=True)
    adopt(paths, trust_closed=True)


def test_a_move_is_synced_where_it_arrives_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each folder that is made, in the one it lies in, also if whoever made it was killed before."""
    synced: list[Path] = []
    monkeypatch.setattr(Folder, "sync", lambda folder: synced.append(folder.path))
    for _ in range(2):
        synced.clear()
        with make_below(tmp_path, tmp_path / "a" / "b") as folder:
            pass
        assert synced == [tmp_path, tmp_path / "a"]
    (tmp_path / "a" / "file").touch()
    synced.clear()
    with open_below(tmp_path, tmp_path / "a") as source, open_below(tmp_path, tmp_path / "a" / "b") as target:
        source.rename("file", target, "moved")
    assert synced == [folder.path, tmp_path / "a"]
    assert (folder.path / "moved").is_file()
