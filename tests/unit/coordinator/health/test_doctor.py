"""The doctor: each check on real files, in the state that it is there to find."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.coordinator.health import doctor
from kanban_shards.coordinator.health.checks import files, machine, workbench
from kanban_shards.coordinator.hermes.salvage import stages
from kanban_shards.errors import CannotOpen
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files as storage_files


@pytest.fixture
def used(home: str, paths: BoardPaths) -> BoardPaths:
    """A board with a task, that nobody has open."""
    paths.folder.chmod(0o700)
    with Gateway("amy", home=home) as gateway:
        gateway.claim(gateway.create("a task"))
    return paths


def levels(found: list[Finding]) -> dict[str, str]:
    """The worst level of each check."""
    order = (OK, NOTE, WARNING, FAULT)
    return {each.check: each.level for each in sorted(found, key=lambda each: order.index(each.level))}


def bad(found: list[Finding]) -> list[str]:
    return [each.sentence for each in found if each.needs_a_person]


def everything_in(folder: Path) -> dict[str, tuple]:
    """Name, size and time of each file, except what every reader of a WAL makes."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.name.endswith(("-shm", "-wal"))
    }


def test_a_board_in_order(used: BoardPaths) -> None:
    """Nothing is wrong, each sentence ends as one, and nothing is changed or left behind."""
    before = everything_in(used.folder)
    found = doctor.examine(used, deep=True)
    assert bad(found) == []
    assert len(found) >= len(doctor.CHECKS + doctor.DEEP_CHECKS)
    assert all(each.sentence.endswith(".") for each in found), found
    assert everything_in(used.folder) == before


def test_as_a_command(used: BoardPaths, kanban_merge) -> None:
    plain, as_json = kanban_merge("doctor"), kanban_merge("doctor", "--json", "--deep")
    assert (plain.returncode, as_json.returncode) == (0, 0), plain
    assert "0 faults, 0 warnings" in plain.stdout
    found = json.loads(as_json.stdout)
    assert found["worst"] in (OK, NOTE)
    assert {"locks", "journals", "replay"} <= {each["check"] for each in found["findings"]}


def test_of_all_boards(used: BoardPaths, kanban, kanban_merge) -> None:
    kanban("boards", "create", "infra")
    used.shard("eve").write_bytes(b"no database" * 1_000)
    ended = kanban_merge("doctor", "--all-boards", "--json")
    default, infra = json.loads(ended.stdout)
    assert (ended.returncode, default["worst"], infra["slug"]) == (6, FAULT, "infra")
    assert infra["worst"] in (OK, NOTE)


def test_where_there_is_nothing_to_look_into(tmp_path: Path, kanban_merge, failed) -> None:
    with pytest.raises(CannotOpen):
        doctor.examine(BoardPaths(tmp_path / "missing"))
    assert "There is no folder" in failed(kanban_merge("doctor", home=tmp_path / "missing"), 3)
    tmp_path.joinpath("file").touch()
    with pytest.raises(CannotOpen):
        doctor.examine(BoardPaths(tmp_path / "file"))


def test_a_folder_without_a_board(paths: BoardPaths) -> None:
    paths.folder.chmod(0o700)
    found = doctor.examine(paths, deep=True)
    assert bad(found) == []
    assert levels(found)["board"] == NOTE


def test_a_board_that_is_lost_or_damaged(used: BoardPaths) -> None:
    """The other files are looked at all the same."""
    used.shard("eve").write_bytes(b"no database" * 1_000)
    for suffix in ("", *storage_files.SIDECARS):
        used.board.with_name(used.board.name + suffix).unlink(missing_ok=True)
    found = doctor.examine(used)
    assert levels(found) | {"board": WARNING, "shard": FAULT, "deliveries": NOTE} == levels(found)
    used.board.write_bytes(b"no database" * 1_000)
    found = doctor.examine(used, deep=True)
    assert levels(found) | {"board": FAULT, "shard": FAULT, "integrity": FAULT} == levels(found)
    assert any("kanban-merge rebuild" in sentence for sentence in bad(found))
    assert any("kanban-merge repair eve" in sentence for sentence in bad(found))


def test_a_board_that_hermes_made(tmp_path: Path) -> None:
    """It is named, and stays byte for byte."""
    paths = BoardPaths(tmp_path)
    made = sqlite3.connect(paths.board)
    made.executescript("CREATE TABLE tasks (id); CREATE TABLE task_events (id); PRAGMA journal_mode=WAL;")
    made.close()
    before = paths.board.read_bytes()
    assert any("is a board that Hermes writes itself" in sentence for sentence in bad(doctor.examine(paths, deep=True)))
    assert paths.board.read_bytes() == before


def test_a_damaged_page_is_found_by_looking_deep(used: BoardPaths) -> None:
    """Not every damage shows in what a look reads."""
    with used.shard("amy").open("r+b") as file:
        file.seek(os.path.getsize(used.shard("amy")) - 4_096)
        file.write(b"\xff" * 4_096)
    found = doctor.examine(used, deep=True)
    assert levels(found)["integrity"] == FAULT
    assert any("kanban.amy.db" in sentence for sentence in bad(found))


def test_notifications_that_nobody_gets(used: BoardPaths, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = gateway.create("to be told of")
    gateway.subscribe(task_id, platform="telegram", chat_id="42")
    gateway.complete(gateway.claim(task_id))
    assert levels(list(doctor.deliveries(used)))["deliveries"] == NOTE
    monkeypatch.setattr(doctor, "UNDELIVERED_S", -1)
    (sentence,) = bad(list(doctor.deliveries(used)))
    assert "1 chat not told by amy" in sentence
    monkeypatch.setattr("kanban_shards.deliveries.PAUSES_S", ())
    for delivery in gateway.deliveries():
        assert delivery.fail("no such chat") is False
    gateway.sync()
    (sentence,) = bad(list(doctor.deliveries(used)))
    assert sentence.startswith("1 notification could not be delivered")


def test_a_check_that_fails_hides_no_other(used: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(paths: BoardPaths):
        yield Finding("broken", OK, "This much is known.")
        raise ZeroDivisionError("oops")

    def full(paths: BoardPaths):
        raise OSError(28, "No space left on device")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (broken, full, files.leftovers))
    monkeypatch.setattr(doctor, "QUICK_BYTES", -1)
    found = doctor.examine(used)
    assert [(each.check, each.level) for each in found] == [
        ("broken", OK), ("broken", FAULT), ("full", FAULT), ("leftovers", OK)
    ]  # fmt: skip
    assert "ZeroDivisionError" in found[1].sentence
    assert "no space left" in found[2].sentence


# --- the machine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 45, 0), True), ((3, 50, 4), True), ((3, 50, 7), False), ((3, 51, 0), True), ((3, 51, 2), True),
        ((3, 51, 3), False), ((3, 52, 0), False), ((3, 53, 0), False),
    ],
)  # fmt: skip
def test_the_versions_that_have_the_fault(version: tuple[int, ...], faulty: bool) -> None:
    assert machine.has_wal_fault(version) is faulty


def test_libraries_are_told_by_what_a_process_has_mapped(tmp_path: Path) -> None:
    maps = tmp_path / "7" / "maps"
    maps.parent.mkdir()
    line = "7f00-7f01 r-xp 00000000 08:01 1 {}\n"
    mapped = ("/usr/lib/libsqlite3.so.0.8.6", "/usr/lib/python3/_sqlite3.cpython-311.so", "/venv/apsw/__init__.cp.so")
    maps.write_text("".join(line.format(path) for path in (*mapped, *mapped)))
    assert machine.libraries_in(7, tmp_path) == {"libsqlite3.so.0.8.6"}
    maps.write_text("".join(line.format(path) for path in ("/a/libsqlite3.so.0", "/a/apsw.cpython-311.so")))
    assert len(machine.libraries_in(7, tmp_path)) == 2
    assert machine.libraries_in(8, tmp_path) == set()


def test_locks_that_exclude_nobody(used: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a filesystem that grants every lock: the second process gets what this one holds."""
    monkeypatch.setattr("fcntl.flock", lambda *given: None)
    (found,) = machine.locks(used)
    assert (found.level, "exclude nobody" in found.sentence) == (FAULT, True)


def test_a_second_process_that_does_not_answer(used: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "_PROGRAM", used.folder / "missing.py")
    found = doctor.examine(used)
    assert levels(found)["locks"] == WARNING
    assert any("could not do its part" in sentence for sentence in bad(found))


def test_a_disk_that_is_nearly_full(used: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = machine.disk_space(used)
    assert found.level == OK
    monkeypatch.setattr(machine, "SPARE_BYTES", 2**70)
    (found,) = machine.disk_space(used)
    assert (found.level, "free some space" in found.sentence) == (WARNING, True)


def test_a_network_filesystem(used: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "not_shared", lambda folder: "nfs4")
    (found,) = machine.filesystem(used)
    assert (found.level, "lies on nfs4" in found.sentence) == (FAULT, True)


# --- the files -----------------------------------------------------------------------------------------------------


def test_what_every_user_may_write_or_read(used: BoardPaths) -> None:
    used.ledger.chmod(0o666)
    assert any(f"may write {used.ledger}" in sentence for sentence in bad(list(files.permissions(used))))
    used.ledger.chmod(0o600)
    used.folder.chmod(0o755)
    used.board.chmod(0o644)
    assert levels(list(files.permissions(used))) == {"permissions": NOTE}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_somebody_else(used: BoardPaths) -> None:
    os.chown(used.ledger, 65_534, 65_534)
    (sentence,) = bad(list(files.permissions(used)))
    assert sentence.startswith(f"{used.ledger} belongs to ")


def test_a_journal_that_another_program_set(used: BoardPaths) -> None:
    made = sqlite3.connect(used.shard("amy"))
    made.execute("PRAGMA journal_mode=WAL")
    made.close()
    (sentence,) = bad(list(files.schemas(used)))
    assert "has the wal journal, and a shard needs persist" in sentence


def test_what_was_set_aside_or_left_half_done(used: BoardPaths) -> None:
    shutil.copyfile(used.shard("amy"), used.folder / "kanban.amy.db.damaged-20260101-000000-000000001")
    used.folder.joinpath("kanban-ledger.db.repair").touch()
    old, older, running = (used.folder / f"{name}x" for name in (workbench.PREFIX, stages.PREFIX, f"{stages.PREFIX}is"))
    for folder in (old, older, running):
        folder.mkdir()
    for folder in (old, older):
        os.utime(folder, (0, 0))
    said = " ".join(each.sentence for each in files.leftovers(used))
    assert "1 damaged file set aside" in said
    assert "kanban-ledger.db.repair was left by a repair" in said
    assert f"{old.name} was left by a doctor" in said
    assert f"{older.name} was left by a salvage" in said
    assert running.name not in said
    assert bad(list(files.leftovers(used))) == []


def test_a_damaged_page_of_a_small_board(used: BoardPaths) -> None:
    """Also where nothing that the doctor reads lies on it."""
    with sqlite3.connect(used.board) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'idx_tasks_tenant'").fetchone()
    connection.close()
    with used.board.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert any("is damaged" in sentence for sentence in bad(doctor.examine(used)))


def test_attachments_that_are_gone(used: BoardPaths, home: str, kanban_merge, tmp_path: Path) -> None:
    """They are missed before the last backup that has them is forgotten."""
    (tmp_path / "a file").write_text("content")
    with Gateway("amy", home=home) as gateway:
        gateway.attach(gateway.create("with a file"), tmp_path / "a file")
        (stored,) = gateway.board.attachments()
    assert levels(doctor.examine(used))["attachments"] == OK
    assert kanban_merge("backup").returncode == 0
    Path(stored.stored_path).unlink()
    assert levels(doctor.examine(used))["attachments"] == FAULT
    assert kanban_merge("backup").returncode == 6
    (good, _) = sorted(used.backups.iterdir())
    assert kanban_merge("restore", good.name).returncode == 0
    assert Path(stored.stored_path).read_text() == "content"


def test_a_board_that_is_behind_its_ledger_blames_no_shard(used: BoardPaths, home: str, kanban_merge) -> None:
    """As after a power cut: what the ledger holds was merged, although the board does not show it yet."""
    earlier = used.folder / "earlier.db"
    with sqlite3.connect(used.board) as board, sqlite3.connect(earlier) as copy:
        board.backup(copy)
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("a task")
        amy.sync()
        bob.comment(task_id, "seen")
        bob.assign(amy.board.task(task_id), "bob")
    storage_files.discard(used.board)
    earlier.rename(used.board)
    told = kanban_merge("status", "--json")
    assert [shard["state"] for shard in json.loads(told.stdout)["shards"]] == ["ok", "ok"], told
