"""A journal says what SQLite deletes: none that names a file is rolled back or written, wherever it lies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from kanban_shards import Gateway
from kanban_shards.changes.kinds import AddComment
from kanban_shards.coordinator.cli.main import main as kanban_merge
from kanban_shards.errors import KanbanError, NotAFile, StrangeJournal
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import journals, sqlite
from kanban_shards.storage.locks import FileLock
from tests.salvage.boards import make_board
from tests.strange import name_in_journal

both = pytest.mark.parametrize("hot", [True, False], ids=["hot", "cold"])


@pytest.fixture
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the user's that has nothing to do with any board."""
    path = tmp_path_factory.mktemp("elsewhere") / "precious"
    path.write_text("precious")
    return path


@pytest.fixture
def merge(home: str) -> Callable[..., tuple[int, str]]:
    """``merge(*words)``: exit code and output of ``kanban-merge``, on one line."""

    def run(*words: str) -> tuple[int, str]:
        ended = CliRunner().invoke(kanban_merge, ["--home", home, *words])
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended
        return ended.exit_code, " ".join(ended.output.split())

    return run


@pytest.fixture
def written(paths: BoardPaths, home: str) -> BoardPaths:
    """A board with one task of bob's, merged, and one that is not."""
    with Gateway("bob", home=home) as gateway:
        gateway.create("merged")
        gateway.settle()
    return paths


@both
def test_sqlite_by_itself_deletes_the_file(written: BoardPaths, tmp_path: Path, victim: Path, hot: bool) -> None:
    """So the journals of these tests are what they should be: rolled back when hot, and written over when cold."""
    copy = tmp_path / "copy.db"
    shutil.copy(written.shard("bob"), copy)
    name_in_journal(copy, victim, hot)
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=PERSIST")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM changes")
        connection.execute("ROLLBACK")
    assert not victim.exists()


@both
@pytest.mark.parametrize("which", ["shard", "board", "ledger"])
def test_no_command_deletes_the_file(
    written: BoardPaths, victim: Path, merge: Callable, home: str, which: str, hot: bool
) -> None:
    database = written.shard("bob") if which == "shard" else getattr(written, which)
    name_in_journal(database, victim, hot)
    try:
        with Gateway("bob", home=home, patience_s=0.2) as gateway:
            gateway.create("another")
            gateway.merge_now()
    except KanbanError as error:
        assert isinstance(error, StrangeJournal), error
    commands = ("status", "--once", "verify", "backup", "compact --keep-days 0", "doctor --deep", "repair --ledger",
                "repair bob", "rebuild", "restore-legacy")  # fmt: skip
    for command in commands:
        merge(*command.split())
        assert victim.exists(), command


def test_a_hot_one_quarantines_the_shard_and_the_others_go_on(
    written: BoardPaths, victim: Path, merge: Callable, home: str
) -> None:
    name_in_journal(written.shard("bob"), victim)
    code, said = merge("--once")
    assert code == 6
    assert f"kanban.bob.db-journal ends with the name of another file ({victim}), which SQLite would delete" in said
    with Gateway("cleo", home=home) as gateway:
        assert gateway.board.task(gateway.create("of cleo's")).status == "ready"
    with pytest.raises(StrangeJournal), Gateway("bob", home=home) as gateway:
        gateway.create("of bob's")


def test_the_way_out_is_to_move_it_away(written: BoardPaths, victim: Path, merge: Callable, home: str) -> None:
    name_in_journal(written.shard("bob"), victim).unlink()
    assert merge("--once")[0] == 0
    with Gateway("bob", home=home) as gateway:
        gateway.create("goes on")
        gateway.settle()
    assert merge("verify")[0] == 0


@both
def test_repair_sets_it_aside_and_keeps_what_was_not_merged(
    written: BoardPaths, victim: Path, merge: Callable, paths: BoardPaths, hot: bool
) -> None:
    with (
        Gateway("bob", home=str(paths.folder), patience_s=0.1) as gateway,
        closing(FileLock(paths.coordinator_lock)) as busy,
    ):
        busy.acquire(1)
        gateway._writer.write(gateway.board.tasks()[0].id, AddComment(text="written, and not merged"))
        name_in_journal(paths.shard("bob"), victim, hot)
    assert merge("repair", "bob")[0] == 0
    assert victim.exists()
    assert merge("--once")[0] == 0 and merge("verify")[0] == 0
    with Gateway("bob", home=str(paths.folder)) as gateway:
        said = [each.body for each in gateway.board.comments(gateway.board.tasks()[0].id)]
    assert said == ["written, and not merged"]
    assert any(name.endswith("-journal") and ".damaged-" in name for name in os.listdir(paths.folder))


@both
def test_one_that_is_put_beside_an_open_shard_is_seen(written: BoardPaths, victim: Path, home: str, hot: bool) -> None:
    """SQLite looks for a journal in each transaction, so each looks first."""
    with Gateway("bob", home=home) as gateway:
        gateway.create("before")
        gateway.settle()
        journal = written.shard("bob").with_name("kanban.bob.db-journal")
        journal.unlink()
        name_in_journal(written.shard("bob"), victim, hot)
        with pytest.raises(StrangeJournal):
            gateway.create("meanwhile")
        journal.unlink()
        gateway.create("after")
        gateway.settle()
    assert victim.exists()


@pytest.mark.parametrize("role", [sqlite.SHARD, sqlite.LEDGER, sqlite.BOARD], ids=lambda role: role.name)
def test_a_hermes_board_with_a_journal_is_left_as_it_is(tmp_path: Path, victim: Path, role: sqlite.Role) -> None:
    """Whoever wrote it rolls it back, or an adoption does, on a copy: "nothing was written to it" is said of it."""
    path = make_board(tmp_path / "kanban.db", tasks=60)
    journal = name_in_journal(path, victim)
    before = path.read_bytes(), journal.read_bytes()
    with closing(FileLock(tmp_path / "kanban.lock")) as lock:
        lock.acquire(1)
        for open_it in (lambda: sqlite.open_writer(path, role, lock), lambda: sqlite.open_reader(path, role)):
            with pytest.raises(KanbanError):
                open_it().close()
    assert (path.read_bytes(), journal.read_bytes()) == before and victim.exists()


@pytest.mark.parametrize("command", ["import {source} --dry-run", "import {source}", "salvage {source} --into {copy}"])
def test_a_foreign_board_is_read_without_it(tmp_path: Path, victim: Path, merge: Callable, command: str) -> None:
    (tmp_path / "theirs").mkdir()
    source = make_board(tmp_path / "theirs" / "kanban.db", tasks=60)
    journal = name_in_journal(source, victim)
    before = source.read_bytes(), journal.read_bytes()
    code, said = merge(*command.format(source=source, copy=tmp_path / "copy.db").split())
    assert code in (0, 6), said
    assert f"ends with the name of another file ({victim})" in said
    assert (source.read_bytes(), journal.read_bytes()) == before and victim.exists()


def test_a_board_is_adopted_without_it(paths: BoardPaths, victim: Path, merge: Callable) -> None:
    paths.folder.mkdir(exist_ok=True)
    make_board(paths.board, tasks=60)
    name_in_journal(paths.board, victim)
    assert "adopt" in merge("status")[1]
    code, said = merge("adopt")
    assert code in (0, 6) and f"ends with the name of another file ({victim})" in said, said
    assert victim.exists() and merge("verify")[0] == 0


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_what_is_no_journal_is_not_opened(written: BoardPaths, victim: Path, what: str) -> None:
    journal = written.shard("bob").with_name("kanban.bob.db-journal")
    journal.unlink()
    {"link": lambda: journal.symlink_to(victim), "pipe": lambda: os.mkfifo(journal), "folder": journal.mkdir}[what]()
    with pytest.raises(NotAFile):
        journals.check(written.shard("bob"))
    assert victim.read_text() == "precious"


def test_a_second_name_of_another_file_is_not_opened(written: BoardPaths, victim: Path) -> None:
    """To close a descriptor of a database takes its locks away, whatever name it was opened by."""
    journal = written.shard("bob").with_name("kanban.bob.db-journal")
    journal.unlink()
    os.link(victim, journal)
    with pytest.raises(StrangeJournal, match="is a second name of another file"):
        journals.check(written.shard("bob"))


def test_a_database_that_is_open_is_not_opened_as_a_journal(written: BoardPaths) -> None:
    journal = written.shard("bob").with_name("kanban.bob.db-journal")
    with closing(FileLock(written.shard_lock("bob"))) as lock:
        lock.acquire(1)
        with closing(sqlite.open_writer(written.shard("bob"), sqlite.SHARD, lock)):
            written.shard("bob").rename(journal)
            written.shard("bob").touch()
            with pytest.raises(StrangeJournal, match="is another file, which this process has open"):
                journals.check(written.shard("bob"))
