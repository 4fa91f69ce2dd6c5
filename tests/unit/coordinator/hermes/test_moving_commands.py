"""``kanban-merge import`` of a home, attachments' files, and ``export``: what the commands say and write."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway, boards
from kanban_shards.paths import BoardPaths
from tests.legacy import legacy_rows, rows_of, write_legacy

TASK = {"id": "t_0000000a", "title": "看板", "status": "ready", "created_at": 1_700_000_000}


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """A Hermes home with a default board and another, with files of attachments: one is there, one is not."""
    home = tmp_path / "old"
    infra = home / "kanban" / "boards" / "infra"
    kept = home / "kanban" / "attachments" / TASK["id"] / "kept.txt"
    for folder in (infra, kept.parent):
        folder.mkdir(parents=True)
    kept.write_text("kept")
    attached = [
        {"id": number, "task_id": TASK["id"], "filename": path.name, "stored_path": str(path), "created_at": 1}
        for number, path in enumerate((kept, kept.with_name("gone.txt")), 1)
    ]
    write_legacy(home / "kanban.db", {"tasks": [TASK], "task_attachments": attached})
    write_legacy(infra / "kanban.db", legacy_rows(random.Random(2), ("ann",), wrong=False).tables)
    (infra / "board.json").write_text(json.dumps({"slug": "infra", "name": "Infra & Co", "color": "#fff"}))
    return home


def test_a_whole_home(old_home: Path, home: str, kanban_merge) -> None:
    """Each board becomes one here, shown as it was; a file that is not there is named, and the exit code says so."""
    looked = kanban_merge("import", old_home, "--dry-run", "--json", home=Path(home) / "new")
    assert [each["board"] for each in json.loads(looked.stdout)] == ["default", "infra"]
    assert not (Path(home) / "new").exists()
    ended = kanban_merge("import", old_home, "--json", home=Path(home) / "new")
    assert ended.returncode == 6, ended.stderr
    told = json.loads(ended.stdout)
    infra = BoardPaths.of(Path(home) / "new", "infra")
    assert boards.read_metadata(infra)["name"] == "Infra & Co"
    with Board(infra) as board:
        assert len(board.tasks(include_archived=True)) == told[1]["tables"]["tasks"]["imported"]
    assert told[0]["files"]["missing"] == [str(old_home / "kanban" / "attachments" / TASK["id"] / "gone.txt")]
    with Board.open(home=str(Path(home) / "new")) as board:
        kept, gone = board.attachments(TASK["id"])
    assert Path(kept.stored_path).read_text() == "kept"
    assert Path(home) / "new" in Path(kept.stored_path).parents
    assert gone.stored_path == told[0]["files"]["missing"][0]
    again = kanban_merge("import", old_home, "--json", home=Path(home) / "new")
    assert again.returncode == 0
    assert {each["tables"]["tasks"]["imported"] for each in json.loads(again.stdout)} == {0}


def test_a_table_for_people(old_home: Path, home: str, kanban_merge) -> None:
    ended = kanban_merge("import", old_home / "kanban.db", home=Path(home) / "new")
    assert "tasks               1      1         0             0" in ended.stdout
    assert "attachment not copied, it is not there or too large" in ended.stdout


def test_a_folder_without_boards(tmp_path: Path, kanban_merge, failed) -> None:
    (tmp_path / "empty").mkdir()
    said = failed(kanban_merge("import", tmp_path / "empty", home=tmp_path / "new"), 3)
    assert f"There is no board of Hermes's in {tmp_path / 'empty'}" in said
    assert "kanban init" not in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["import", "dry run"])
def test_a_home_with_boards_that_cannot_be_used(
    old_home: Path, home: str, kanban_merge, words: tuple[str, ...]
) -> None:
    """Whichever they are, the others are imported, each is told of, and no board is made for those."""
    new, default = Path(home) / "new", old_home / "kanban.db"
    junk = old_home / "kanban" / "boards" / "hurt" / "kanban.db"
    junk.parent.mkdir()
    junk.write_text("no database " * 99)
    default.write_text("no database " * 99)
    ended = kanban_merge("import", old_home, "--json", *words, home=new)
    assert ended.returncode == 6, ended.stderr
    told = {each["slug"]: each for each in json.loads(ended.stdout)}
    assert (told["default"]["error"], told["hurt"]["error"]) == ("NotABoard", "NotABoard")
    assert str(junk) in told["hurt"]["message"]
    assert told["infra"]["tables"]["tasks"]["imported"]
    made = {path.relative_to(new).as_posix() for path in new.rglob("kanban.db")}
    assert made == (set() if words else {"kanban/boards/infra/kanban.db"})
    assert not (new / "kanban" / "boards" / "hurt").exists()
    ended = kanban_merge("import", old_home, *words, home=new)
    assert ended.returncode == 6, ended.stderr
    for part in (f"== hurt\n{junk} is not a board of Hermes", "into the board infra"):
        assert part in ended.stdout


def test_the_legacy_board_here_is_to_be_adopted(old_home: Path, kanban_merge, failed) -> None:
    assert "`kanban-merge adopt`" in failed(kanban_merge("import", old_home / "kanban.db", home=old_home), 3)
    failed(kanban_merge("restore-legacy", home=old_home), 3)
    assert "kanban-merge adopt" in failed(kanban_merge("export", old_home / "x.db", home=old_home), 3)


@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "damaged"])
def test_whatever_is_tried_leads_to_adopting(old_home: Path, kanban, kanban_merge, failed, damaged: bool) -> None:
    """No command sends somebody whose board Hermes wrote, sound or damaged, to another that sends them back."""
    if damaged:
        board = old_home / "kanban.db"
        board.write_bytes(bytes(100) + board.read_bytes()[100:])
    for words in (["status"], ["verify"], ["rebuild"], ["repair", "--ledger"], ["--once"]):
        said = failed(kanban_merge(*words, home=old_home), 3)
        assert "`kanban-merge adopt`" in said, words
        assert "rebuild" not in said, words
    assert "`kanban-merge adopt`" in kanban_merge("doctor", home=old_home).stdout
    assert "`kanban-merge adopt`" in failed(kanban("-p", "ann", "create", "a task", home=old_home), 3)
    adopted = kanban_merge("adopt", home=old_home)
    assert adopted.returncode == 0, adopted.stderr


def test_an_adopted_board_is_not_adopted_again(old_home: Path, kanban_merge, failed) -> None:
    assert kanban_merge("adopt", home=old_home).returncode == 0
    assert "already" in failed(kanban_merge("adopt", home=old_home), 3)


def test_a_compacted_board_leaves_no_snapshot_for_the_next_one(old_home: Path, kanban_merge, failed) -> None:
    """Found beside another ledger, it would be taken for that one's beginning."""
    for words in (["adopt"], ["compact", "--keep-days", "0"], ["restore-legacy"]):
        assert kanban_merge(*words, home=old_home).returncode == 0, words
    (aside,) = (old_home / "kanban-set-aside").iterdir()
    assert (aside / "kanban-snapshot.db").exists()
    assert kanban_merge("adopt", home=old_home).returncode == 0
    assert kanban_merge("verify", home=old_home).returncode == 0
    assert kanban_merge("restore-legacy", home=old_home).returncode == 0
    (aside / "kanban-snapshot.db").rename(old_home / "kanban-snapshot.db")
    assert "kanban-snapshot.db" in failed(kanban_merge("adopt", home=old_home), 3)


def test_the_original_is_asked_for_and_there_is_none(home: str, kanban_merge, failed) -> None:
    with Gateway("ann", home=home) as gateway:
        gateway.create("never Hermes's")
    assert "leave out --original" in failed(kanban_merge("restore-legacy", "--original"), 3)
    assert not (Path(home) / "kanban-set-aside").exists()
    assert kanban_merge("restore-legacy").returncode == 0
    assert len(rows_of(Path(home) / "kanban.db")["tasks"]) == 1


def test_a_shard_that_is_not_merged_is_not_left_behind(home: str, kanban_merge, failed) -> None:
    with Gateway("ann", home=home) as gateway:
        gateway.create("a task")
    with closing(sqlite3.connect(Path(home) / "kanban.ann.db")) as shard, shard:
        shard.execute("UPDATE changes SET digest = 'another'")
    assert "kanban.ann.db could not be merged" in failed(kanban_merge("restore-legacy"), 3)
    with Board.open(home=home) as board:
        assert len(board.tasks()) == 1


def test_a_damaged_board_of_ours_is_not_taken_for_hermes(home: str, kanban_merge, failed) -> None:
    """Nothing is set aside, and nothing is adopted; a rebuild mends it."""
    with Gateway("ann", home=home) as gateway:
        gateway.create("a task")
    (Path(home) / "kanban.db").write_bytes(b"damaged" * 999)
    assert "kanban-merge rebuild" in failed(kanban_merge("restore-legacy"), 3)
    assert "kanban-ledger.db beside" in failed(kanban_merge("adopt"), 3)
    assert kanban_merge("rebuild").returncode == 0
    with Board.open(home=home) as board:
        assert len(board.tasks()) == 1


def test_an_export_holds_what_was_written_a_moment_ago(home: str, tmp_path: Path, kanban, kanban_merge, failed) -> None:
    with Gateway("ann", home=home) as gateway:
        gateway.create("a task", model_override="m", provider_override="later than 0.19.0")
    out = tmp_path / "out.db"
    told = json.loads(kanban_merge("export", out, "--json").stdout)
    assert told["rows"]["tasks"] == 1
    (row,) = rows_of(out)["tasks"]
    assert dict(row)["provider_override"] == "later than 0.19.0"
    assert "reasoning_effort" not in dict(row)
    assert "not overwritten" in failed(kanban_merge("export", out), 1)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out.db"]


def test_an_export_as_json_lines(home: str, tmp_path: Path, kanban_merge) -> None:
    """One object for each row, its table named, in an order that stays."""
    with Gateway("ann", home=home) as gateway:
        first = gateway.create("看板")
        gateway.comment(first, "said")
        gateway.create("waits", parents=[first])
    for name in ("one", "other"):
        assert kanban_merge("export", tmp_path / name, "--format", "jsonl").returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "one").read_text(encoding="utf-8").splitlines()]
    assert [line["table"] for line in lines[:4]] == ["tasks", "tasks", "task_links", "task_comments"]
    assert {"看板", "waits"} == {line["title"] for line in lines if line["table"] == "tasks"}
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_nothing_is_exported_of_a_board_that_is_not_there(tmp_path: Path, kanban_merge, failed) -> None:
    failed(kanban_merge("export", tmp_path / "out.db", home=tmp_path / "none"), 3)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "out.db").exists()


def _attached(home: Path, *named: Path) -> None:
    rows = [
        {"id": number, "task_id": TASK["id"], "filename": path.name, "stored_path": str(path), "created_at": 1}
        for number, path in enumerate(named, 1)
    ]
    write_legacy(home / "kanban.db", {"tasks": [TASK], "task_attachments": rows})


def test_a_row_that_names_a_secret_brings_nothing(tmp_path: Path, kanban_merge) -> None:
    """Neither by its path, nor by one that leads out of the folder, nor through a link to a file or to a folder."""
    home, new = tmp_path / "hermes", tmp_path / "new"
    own = home / "kanban" / "attachments"
    (own / TASK["id"]).mkdir(parents=True)
    (tmp_path / "private").mkdir()
    secret = tmp_path / "private" / "key"
    secret.write_text("the secret")
    (own / TASK["id"] / "linked").symlink_to(secret)
    (own / "t_0000000f").symlink_to(secret.parent)
    named = [
        secret,
        own / ".." / ".." / ".." / "private" / "key",
        own / TASK["id"] / "linked",
        own / "t_0000000f" / "key",
    ]
    _attached(home, *named)
    ended = kanban_merge("import", home / "kanban.db", "--json", home=new)
    told = json.loads(ended.stdout)
    assert ended.returncode == 6
    assert {*told["files_left_out"]} == {str(path) for path in named} and told["files"]["copied"] == []
    assert "is a link" in told["files_left_out"][str(named[3])]
    assert not [file for file in new.rglob("*") if file.is_file() and b"the secret" in file.read_bytes()]
    said = kanban_merge("import", home / "kanban.db", home=tmp_path / "another").stdout
    assert f"{secret}: it lies outside of {own}; `--attachments {secret.parent}` allows its folder" in said


def test_a_folder_that_is_named_is_allowed(tmp_path: Path, kanban_merge) -> None:
    home, elsewhere = tmp_path / "hermes", tmp_path / "elsewhere"
    home.mkdir()
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "plan.md").write_text("a plan")
    _attached(home, elsewhere / "deep" / "plan.md")
    ended = kanban_merge("import", home / "kanban.db", "--attachments", elsewhere, "--json", home=tmp_path / "new")
    (copied,) = json.loads(ended.stdout)["files"]["copied"]
    assert (ended.returncode, Path(copied).read_text()) == (0, "a plan")


def test_a_home_that_was_moved_has_its_files(tmp_path: Path, kanban_merge) -> None:
    """The rows say where they lay; the files moved along with the home."""
    home = tmp_path / "moved"
    own = home / "kanban" / "attachments" / TASK["id"]
    own.mkdir(parents=True)
    (own / "plan.md").write_text("a plan")
    _attached(home, Path("/formerly/.hermes/kanban/attachments") / TASK["id"] / "plan.md")
    ended = kanban_merge("import", home / "kanban.db", "--json", home=tmp_path / "new")
    (copied,) = json.loads(ended.stdout)["files"]["copied"]
    assert (ended.returncode, Path(copied).read_text()) == (0, "a plan")
