"""Importing: what an old board holds comes here with its ids, or is named; the original is only read."""

from __future__ import annotations

import copy
import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.kinds import LEASE_S
from kanban_shards.coordinator.errors import CannotTell, NotABoard, StillOpen, WrittenMeanwhile
from kanban_shards.coordinator.hermes import importer
from kanban_shards.coordinator.hermes.export import export
from kanban_shards.coordinator.hermes.importer import Imported, import_board
from kanban_shards.coordinator.hermes.legacy import Legacy, read
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.processes import can_tell
from kanban_shards.errors import FileMissing, KanbanError
from kanban_shards.paths import COORDINATOR, BoardPaths
from tests import invariants
from tests.evidence import Evidence
from tests.legacy import VERSIONS, legacy_rows, rows_of, write_legacy

# Ends as a killed Hermes does: what it committed last is in the WAL alone.
CRASH = (
    "import os, sqlite3, sys; board = sqlite3.connect(sys.argv[1]); board.execute('PRAGMA journal_mode=WAL'); "
    "board.execute(\"UPDATE tasks SET title = 'in the WAL'\"); board.commit(); os._exit(9)"
)
HOLDER = "import os, sys; os.open(sys.argv[1], os.O_RDWR); print('open', flush=True); sys.stdin.read()"


def checked(paths: BoardPaths) -> Evidence:
    """Every invariant holds on the board."""
    evidence = Evidence.read(paths)
    invariants.check(evidence)
    invariants.rebuild_equals_board(evidence, random.Random(1))
    return evidence


def sound(path: Path, seed: int = 1, version: str = "0.19") -> Path:
    """A board as Hermes keeps it."""
    write_legacy(path, legacy_rows(random.Random(seed), ("ann", "bob"), wrong=False).tables, version)
    return path


# --- nothing is lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(6))
def test_export_gives_back_what_was_imported(tmp_path: Path, version: str, seed: int) -> None:
    """import → export → import is the identity, and the export is the original but for the new leases."""
    source = sound(tmp_path / "old.db", seed, version)
    first, second = BoardPaths(tmp_path / "first"), BoardPaths(tmp_path / "second")
    done = import_board(source, first)
    assert not done.notes.lost
    checked(first)
    exported = export(first, tmp_path / "out.db")
    again = import_board(exported.path, second)
    assert again.notes.changed == again.notes.lost == []
    assert again.digest == exported.digest == export(second, tmp_path / "again.db").digest
    assert rows_of(tmp_path / "again.db") == rows_of(tmp_path / "out.db")
    _same_but_for_leases(rows_of(source) if version == "0.19" else None, rows_of(tmp_path / "out.db"), done)


def _same_but_for_leases(before: dict | None, after: dict, done: Imported) -> None:
    if before is None:  # another version's columns; what they hold was compared by the digest
        return
    renewed = {note.id for note in done.notes.changed}
    assert all("begins anew" in note.what for note in done.notes.changed)
    for table, rows in before.items():
        for old, new in zip(rows, after[table], strict=True):
            differs = {name for (name, was), (_, now) in zip(old, new, strict=True) if was != now}
            told = dict(old)
            assert differs <= ({"claim_expires"} if {told.get("id"), told.get("task_id")} & renewed else set())


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_wrong_the_invariants_hold(tmp_path: Path, seed: int) -> None:
    """Each row of a board with everything wrong is imported, or named as lost, and the board is sound."""
    source, paths = tmp_path / "old.db", BoardPaths(tmp_path / "here")
    write_legacy(source, legacy_rows(random.Random(seed), ("ann", "bob")).tables)
    said = import_board(source, paths, dry_run=True)
    done = import_board(source, paths)
    checked(paths)
    assert (said.counts, said.notes) == (done.counts, done.notes)
    for table, count in done.counts.items():
        assert count.found == count.imported + count.skipped + count.lost, table
        assert count.lost == sum(note.table == table for note in done.notes.lost), table
    with Board(paths) as board:
        assert len(board.tasks(include_archived=True)) == done.counts["tasks"].imported


# --- the original, and doing it again ------------------------------------------------------------------------------


@pytest.mark.parametrize("killed", [False, True], ids=["closed", "in the WAL"])
def test_the_original_is_only_read(tmp_path: Path, killed: bool) -> None:
    source, paths = sound(tmp_path / "kanban.db"), BoardPaths(tmp_path / "here")
    if killed:
        subprocess.run([sys.executable, "-c", CRASH, source])
    before = _bytes(source)
    assert ("kanban.db-wal" in before) == killed
    import_board(source, paths, dry_run=True)
    assert not paths.folder.exists()
    done = import_board(source, paths)
    assert _bytes(source) == before
    with Board(paths) as board:
        assert {task.title == "in the WAL" for task in board.tasks(include_archived=True)} == {killed}
    with closing(FileLedger(paths.ledger)) as ledger:
        first = next(ledger.after(0))
    assert (first.change.profile, first.change.kind, json.loads(first.change.body)["digest"]) == (
        COORDINATOR,
        "import",
        done.digest,
    )


def _bytes(path: Path) -> dict[str, tuple[bytes, int]]:
    """Of a file that no process has open: its content and when it was written, and so of its WAL."""
    return {
        each.name: (each.read_bytes(), each.stat().st_mtime_ns)
        for each in (path, path.with_name(path.name + "-wal"))
        if each.exists() and each.stat().st_size
    }


def test_a_second_import_brings_nothing_twice(tmp_path: Path) -> None:
    source, paths = sound(tmp_path / "old.db"), BoardPaths(tmp_path / "here")
    first = import_board(source, paths)
    before = Evidence.read(paths)
    second = import_board(source, paths)
    assert Evidence.read(paths).tables == before.tables
    for table, count in second.counts.items():
        assert (count.imported, count.skipped) == (0, first.counts[table].imported), table


def test_what_was_deleted_here_does_not_come_back(tmp_path: Path) -> None:
    source, paths = sound(tmp_path / "old.db"), BoardPaths(tmp_path / "here")
    import_board(source, paths)
    with Gateway("ann", home=str(paths.folder)) as gateway:
        (first, *_) = Board(paths).tasks(include_archived=True)
        gateway.delete(first.id)
    assert import_board(source, paths).counts["tasks"].imported == 0
    checked(paths)


@pytest.mark.parametrize("after", range(1, 6))
def test_an_import_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Killed between any two of its commits, and repeated, it gives the board that it gives at once."""
    source = sound(tmp_path / "old.db", seed=4)
    whole, paths = BoardPaths(tmp_path / "whole"), BoardPaths(tmp_path / "killed")
    import_board(source, whole)
    monkeypatch.setattr("kanban_shards.coordinator.hermes.importer.BATCH_CHANGES", 1)
    with monkeypatch.context() as patches, pytest.raises(KeyboardInterrupt):
        patches.setattr(FileLedger, "append", _killed_at(after))
        import_board(source, paths)
    import_board(source, paths)
    checked(paths)
    assert export(paths, tmp_path / "one.db").rows == export(whole, tmp_path / "other.db").rows
    ours, theirs = rows_of(tmp_path / "one.db"), rows_of(tmp_path / "other.db")
    assert {name: _without_leases(rows) for name, rows in ours.items()} == {
        name: _without_leases(rows) for name, rows in theirs.items()
    }


def test_no_copy_of_the_original_is_left_by_an_import_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill leaves is what lies there at that moment: while it writes, nothing. While it reads, the copy is its
    user's alone."""
    source, copies, modes, left = sound(tmp_path / "old.db"), tmp_path / "copies", [], []
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))

    def read_here(connection: sqlite3.Connection) -> Legacy:
        modes.extend(stat.S_IMODE(each.stat().st_mode) for each in copies.iterdir())
        return read(connection)

    monkeypatch.setattr(importer, "read", read_here)
    import_board(source, BoardPaths(tmp_path / "here"), progress=lambda *_: left.append(os.listdir(copies)))
    assert modes == [0o700]
    assert left and not any(left)


def _killed_at(call: int):
    append, left = FileLedger.append, call

    def killed(self, *given, **named):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return append(self, *given, **named)

    return killed


def _without_leases(rows: list[tuple]) -> list[list]:
    return sorted(([pair for pair in row if pair[0] != "claim_expires"] for row in rows), key=repr)


def test_a_lost_ledger_is_made_again(tmp_path: Path, kanban_merge) -> None:
    """The board keeps what an import wrote into it."""
    source, paths = sound(tmp_path / "old.db"), BoardPaths(tmp_path / "here")
    import_board(source, paths)
    before = Evidence.read(paths).entries
    paths.ledger.unlink()
    assert kanban_merge("repair", "--ledger", home=paths.folder).returncode == 0
    assert Evidence.read(paths).entries == before
    checked(paths)


# --- who has it open -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not can_tell(), reason="this system does not say who has a file open")
def test_it_is_refused_while_somebody_may_write_the_original(tmp_path: Path, kanban_merge) -> None:
    source = sound(tmp_path / "old.db")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "open\n"
    try:
        with pytest.raises(StillOpen, match=str(holder.pid)):
            import_board(source, BoardPaths(tmp_path / "here"))
        looked = kanban_merge("import", source, "--dry-run", "--json", home=tmp_path / "here")
        assert [told.split()[0] for told in json.loads(looked.stdout)["still_open"]] == [str(holder.pid)]
        assert not (tmp_path / "here").exists()
    finally:
        holder.communicate("", timeout=10)
    import_board(source, BoardPaths(tmp_path / "here"))


def test_where_the_system_cannot_tell_somebody_must_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, paths = sound(tmp_path / "old.db"), BoardPaths(tmp_path / "here")
    monkeypatch.setattr("kanban_shards.coordinator.hermes.importer.can_tell", lambda: False)
    with pytest.raises(CannotTell, match="--trust-closed"):
        import_board(source, paths)
    assert import_board(source, paths, trust_closed=True).counts["tasks"].imported


def test_a_write_in_the_middle_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, paths = sound(tmp_path / "old.db"), BoardPaths(tmp_path / "here")

    def read_and_write(connection):
        legacy = read(connection)
        os.utime(source)
        return legacy

    monkeypatch.setattr(importer, "read", read_and_write)
    with pytest.raises(WrittenMeanwhile):
        import_board(source, paths)
    assert not paths.board.exists()
    assert import_board(source, paths, dry_run=True).counts["tasks"].imported


@pytest.mark.parametrize("what", ["a board of ours", "a database", "a text", "nothing"])
def test_what_is_no_board_of_hermes(tmp_path: Path, what: str, kanban_merge, failed) -> None:
    source = tmp_path / "there" / "kanban.db"
    source.parent.mkdir()
    if what == "a board of ours":
        with Gateway("ann", home=str(source.parent)) as gateway:
            gateway.create("a task")
    elif what == "a database":
        with closing(sqlite3.connect(source)) as connection, connection:
            connection.execute("CREATE TABLE other (x)")
    elif what == "a text":
        source.write_text("no database " * 99)
    failed(kanban_merge("import", source, home=tmp_path / "here"), 3)
    assert not (tmp_path / "here").exists()
    with pytest.raises(KanbanError) as raised:
        import_board(source, BoardPaths(tmp_path / "here"))
    assert isinstance(raised.value, FileMissing if what == "nothing" else NotABoard)


# --- a board that has ids already ----------------------------------------------------------------------------------


def test_ids_move_behind_those_that_were_given_here(tmp_path: Path) -> None:
    """References, cursors and the numbers in payloads move along."""
    source, paths = tmp_path / "old.db", BoardPaths(tmp_path / "here")
    legacy = legacy_rows(random.Random(6), ("ann", "bob"), wrong=False)
    write_legacy(source, copy.deepcopy(legacy.tables))
    with Gateway("ann", home=str(paths.folder)) as gateway:
        mine = gateway.claim(gateway.create("a task of ours"))
        here = Board(paths).events()[-1].id
        done = import_board(source, paths)
        gateway.complete(mine)
    assert sum("ids are" in note.what for note in done.notes.changed) >= 2
    checked(paths)
    with Board(paths) as board:
        events = {event.id: event for event in board.events(limit=10_000)}
    for row in legacy.tables["task_events"]:
        event = events[row["id"] + here]
        assert (event.task_id, event.kind) == (row["task_id"], row["kind"])
        assert event.run_id == (row["run_id"] and row["run_id"] + mine.id)
        if row["kind"] == "claimed":
            assert event.payload["run_id"] == event.run_id
    cursors = {sub.task_id: sub.last_event_id for sub in Board(paths).subscriptions()}
    old = {row["task_id"]: row["last_event_id"] for row in legacy.tables["kanban_notify_subs"]}
    assert cursors == {task_id: cursor and cursor + here for task_id, cursor in old.items()}


def test_a_run_goes_on_or_expires(tmp_path: Path) -> None:
    """Its profile completes it as if it had been claimed here; if nobody does, its lease ends it."""
    source, paths = tmp_path / "old.db", BoardPaths(tmp_path / "here")
    task = {"id": "t_0000000a", "title": "a", "status": "running", "created_at": 1, "current_run_id": 7,
            "assignee": "bob", "created_by": "ann", "claim_lock": "h:1", "claim_expires": 5}  # fmt: skip
    run = {"id": 7, "task_id": task["id"], "profile": "bob", "status": "running", "started_at": 2, "claim_lock": "h:1"}
    write_legacy(source, {"tasks": [task], "task_runs": [run]})
    import_board(source, paths)
    with Board(paths) as board, Gateway("bob", home=str(paths.folder)) as bob:
        shown = board.task(task["id"])
        assert (shown.owner, shown.current_run_id, shown.run_claimer) == ("bob", 7, "bob")
        assert LEASE_S - 60 < shown.claim_expires - Evidence.read(paths).entries[-1].at_ms // 1000 <= LEASE_S
        bob.complete(bob.open_run(task["id"]))
        assert board.task(task["id"]).status == "done"
