"""Boards of real Hermes come here and go back, and the real program works on what comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.hermes.adopt import adopt, restore_legacy
from kanban_shards.coordinator.hermes.export import export
from kanban_shards.coordinator.hermes.importer import import_board
from kanban_shards.coordinator.hermes.legacy import stock_schema
from kanban_shards.paths import BoardPaths
from tests.hermes.test_legacy_boards import HEALTHY
from tests.legacy import rows_of
from tests.unit.coordinator.hermes.test_importer import checked

# What 0.14.0 did not have yet, as 0.19.0 fills it.
_DEFAULTS = {None, 0}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_real_board_is_the_same_afterwards(fixtures: Path, tmp_path: Path, name: str) -> None:
    """import → export → import is the identity, and nothing of the original differs but leases that were over."""
    source = tmp_path / "kanban.db"
    shutil.copyfile(fixtures / name, source)
    first, second = BoardPaths(tmp_path / "first"), BoardPaths(tmp_path / "second")
    done = import_board(source, first)
    assert done.notes.lost == []
    assert {note.what.split(",")[0] for note in done.notes.changed} <= {"its lease"}
    checked(first)
    exported = export(first, tmp_path / "out.db")
    again = import_board(exported.path, second)
    assert (again.digest, again.notes.changed, again.notes.lost) == (exported.digest, [], [])
    assert rows_of(export(second, tmp_path / "again.db").path) == rows_of(exported.path)
    _compare(_rows(source), _rows(exported.path), {note.id for note in done.notes.changed})


def _rows(path: Path) -> dict[str, list[dict]]:
    return {table: [dict(row) for row in rows] for table, rows in rows_of(path).items() if table != "sqlite_sequence"}


def _compare(before: dict[str, list[dict]], after: dict[str, list[dict]], renewed: set[str]) -> None:
    for table, rows in after.items():
        assert len(rows) == len(before.get(table, ()))
        old = {_key(row): row for row in before.get(table, ())}
        for row in rows:
            was = old[_key(row)]
            differs = {name for name in was if was[name] != row[name]}
            allowed = {"claim_expires"} if {row.get("id"), row.get("task_id")} & renewed else set()
            assert differs <= allowed, (table, row)
            assert {row[name] for name in row.keys() - was.keys()} <= _DEFAULTS


def _key(row: dict) -> tuple:
    names = ("id",) if "id" in row else ("parent_id", "child_id", "task_id", "platform", "chat_id", "thread_id")
    return tuple(row.get(name) for name in names)


@pytest.fixture
def adopted(fixtures: Path, tmp_path: Path) -> BoardPaths:
    """A home whose board Hermes 0.19.0 wrote, adopted."""
    shutil.copyfile(fixtures / "hermes-0.19.0-sprints.db", tmp_path / "kanban.db")
    paths = BoardPaths.find(home=tmp_path)
    adopt(paths, trust_closed=True)
    return paths


@pytest.mark.hermes
def test_hermes_works_on_what_comes_back(adopted: BoardPaths, hermes, hermes_json) -> None:
    """It lists what was done here, claims and completes, and what it did is here after the next adoption."""
    home = adopted.folder
    with Gateway("bingge", home=str(home)) as gateway:
        made = gateway.create("made meanwhile", assignee="bingge")
        waits = gateway.create("waits for it", parents=[made])
    restore_legacy(adopted, trust_closed=True)
    listed = {task["id"]: task["status"] for task in hermes_json(home, "list")}
    assert (listed[made], listed[waits]) == ("ready", "todo")
    assert hermes(home, "claim", made).returncode == 0
    hermes(home, "complete", made, "--summary", "by Hermes")
    listed = {task["id"]: task["status"] for task in hermes_json(home, "list")}
    assert (listed[made], listed[waits]) == ("done", "ready")
    adopt(adopted, trust_closed=True)
    with Board(adopted) as board:
        assert board.task(made).status == "done"
        assert board.runs(made)[0].summary == "by Hermes"


@pytest.mark.hermes
def test_an_export_has_the_schema_of_hermes(adopted: BoardPaths, tmp_path: Path, hermes, hermes_environment) -> None:
    """Tables, columns, types, defaults, keys and indexes are those of the file that Hermes makes; nothing else is."""
    stock = tmp_path / "stock"
    stock.mkdir()
    hermes(stock, "init")
    exported = export(adopted, tmp_path / "out.db").path
    assert _schema(exported) == _schema(stock / "kanban.db")
    assert len(list(stock_schema())) == 7 + 14


def _schema(path: Path) -> dict:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(path)) as connection:
        made = connection.execute("SELECT type, name FROM sqlite_schema ORDER BY 1, 2").fetchall()
        watermarks = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "application_id")]
        watermarks += [connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "page_size")]
        columns = {
            name: [row[1:] for row in connection.execute(f"PRAGMA table_info({name})")]
            for kind, name in made
            if kind == "table"
        }
        indexed = {
            name: connection.execute(f"PRAGMA index_info({name})").fetchall() for kind, name in made if kind == "index"
        }
    return {"made": made, "marks": watermarks, "columns": columns, "indexed": indexed}
