"""Flipped bits in the texts of a schema: all rows are there, so all of them are saved, under their right names."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards import Board
from kanban_shards.coordinator.hermes.adopt import adopt
from kanban_shards.coordinator.hermes.importer import import_board
from kanban_shards.coordinator.hermes.salvage import Salvage, salvage
from kanban_shards.errors import Damaged
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import connections
from tests.salvage.boards import PAGE_BYTES, rows_of
from tests.salvage.conftest import Original

Salvaged = Callable[[bytes], Salvage]


def schema_pages(content: bytes) -> list[int]:
    """The numbers of the pages that hold the schema's texts."""
    starts = range(0, len(content), PAGE_BYTES)
    return [start // PAGE_BYTES + 1 for start in starts if b"CREATE " in content[start : start + PAGE_BYTES]]


def flipped(content: bytes, seed: int) -> bytes:
    """``content`` with one bit flipped in a letter of the schema; seeds from 8 on leave no text there."""
    chance = random.Random(seed)
    texts = [
        place
        for number in schema_pages(content)
        for place in range((number - 1) * PAGE_BYTES, number * PAGE_BYTES)
        if chr(content[place]).isalpha() and content[place] < 0x80
    ]
    damaged = bytearray(content)
    damaged[chance.choice(texts)] ^= 1 << (7 if seed >= 8 else seed % 7)
    return bytes(damaged)


def once(content: bytes, was: bytes, now: bytes) -> bytes:
    """``content`` with the first ``was`` in it made into ``now``, of the same length."""
    assert len(was) == len(now)
    assert was in content
    return content.replace(was, now, 1)


@pytest.mark.parametrize("seed", range(24))
def test_one_flipped_bit(original: Original, salvaged: Salvaged, seed: int) -> None:
    report = salvaged(flipped(original.content, seed))
    assert rows_of(report.copy) == original.rows
    assert report.lost_tasks == []


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"CREATE INDEX idx_tasks_status", b"CREATE INDEX idx_tasks\xdfstatus"),
        (b"indexidx_tasks_status", b"indexidx_tasks\xdfstatus"),  # as the schema's row has it, beside the statement
        (b"tabletaskstasks", b"tabletas\xebstasks"),
        (b"tabletaskstasks", b"tabletasKstasks"),
        (b"tabletaskstasks", b"tabldtaskstasks"),
        (b"CREATE TABLE tasks ", b"CREATE TABLE tbsks "),
        (b" title TEXT", b" titl\xe5 TEXT"),
        (b" title TEXT", b" titme TEXT"),
        (b"created_by TEXT,", b"created_by TEXT\x0c"),  # swallows the next column
        (b"created_at INTEGER", b"created_at INTEGDR"),
        (b"created_at INTEGER", b"created_at \xc9NTEGER"),
        (b"CREATE TABLE task_events", b"CREATE TABME task_events"),
    ],
)
def test_the_word_that_is_hit(original: Original, salvaged: Salvaged, was: bytes, now: bytes) -> None:
    report = salvaged(once(original.content, was, now))
    assert rows_of(report.copy) == original.rows
    assert report.lost_tasks == []


def test_what_was_read_otherwise_is_said(original: Original, salvaged: Salvaged) -> None:
    report = salvaged(once(original.content, b" title TEXT", b" titme TEXT"))
    assert report.notes[0] == "a column of tasks is called 'titme' there, and read as title TEXT"


def test_texts_of_rows(original: Original, salvaged: Salvaged) -> None:
    """A text that is none is replaced and named, whichever stage reads it."""
    content = once(original.content, b"Title of t_00000003", b"Title of t_0000\xb0003")
    for damaged in (content, content[:36] + bytes(4) + content[40:]):
        assert [each.now for each in salvaged_again(salvaged, damaged).replaced] == ["Title of t_0000\ufffd003"]


def salvaged_again(salvaged: Salvaged, content: bytes) -> Salvage:
    """As ``salvaged``, more than once in a test."""
    report = salvaged(content)
    report.copy.unlink()
    report.copy.parent.rmdir()
    return report


def test_import_and_adopt(original: Original, tmp_path: Path) -> None:
    content = once(original.content, b"indexidx_tasks_status", b"indexidx_tasks\xdfstatus")
    (tmp_path / "kanban.db").write_bytes(content)
    paths = BoardPaths(tmp_path, "default")
    dry = import_board(paths.board, BoardPaths(tmp_path / "elsewhere", "default"), dry_run=True)
    assert (dry.counts["tasks"].imported, dry.notes.lost) == (len(original.rows["tasks"]), [])
    assert adopt(paths).imported.complete
    with Board(paths) as board:
        assert len(list(board.tasks())) == len(original.rows["tasks"])


def test_an_error_whose_message_is_no_text(original: Original, tmp_path: Path) -> None:
    """It is a sentence, of whatever file."""
    path = tmp_path / "kanban.db"
    path.write_bytes(once(original.content, b"CREATE INDEX idx_tasks_status", b"CREATE INDE\xd8 idx_tasks_status"))
    connection = sqlite3.connect(path)
    try:
        with pytest.raises(Damaged, match="malformed database schema"), connections.explained(path):
            connection.execute("SELECT count(*) FROM tasks")
        with pytest.raises(Damaged, match="Could not decode"), connections.explained(path):
            connection.execute("SELECT CAST(x'ff' AS TEXT)").fetchone()
    finally:
        connection.close()


def test_a_task_on_a_page_that_a_false_list_gives_back_is_named(tmp_path: Path) -> None:
    """The tree has a gap there and no index is left: deleted or lost, its id is told."""
    path = tmp_path / "kanban.db"
    board = sqlite3.connect(path, isolation_level=None)
    declared = "id TEXT, title TEXT NOT NULL, status TEXT NOT NULL, created_at INTEGER NOT NULL"
    board.execute(f"CREATE TABLE tasks ({declared})")
    for number in range(120):
        values = (f"t_{number:08x}", "Title " * 20, "done", 1_700_000_000 + number)
        board.execute("INSERT INTO tasks VALUES (?, ?, ?, ?)", values)
    board.close()
    content = bytearray(path.read_bytes())
    root = PAGE_BYTES  # the tree's root is the second page: its first child is lost to it, and a list of free pages
    count = int.from_bytes(content[root + 3 : root + 5])
    assert content[root] == 5 and count > 1
    cell = root + int.from_bytes(content[root + 12 : root + 14])
    child = int.from_bytes(content[cell : cell + 4])
    content[cell : cell + 4] = (0).to_bytes(4)
    content += _trunk(child)
    content[32:40] = (len(content) // PAGE_BYTES).to_bytes(4) + (7).to_bytes(4)
    path.write_bytes(content)
    (tmp_path / "made").mkdir()
    report = salvage(path, tmp_path / "made")
    saved = {key[0] for key in _ids(report.copy)}
    gone = {f"t_{number:08x}" for number in range(120)} - saved
    assert gone
    assert {each.task_id for each in report.lost_tasks} == gone


def _trunk(page: int) -> bytes:
    return (bytes(4) + (1).to_bytes(4) + page.to_bytes(4)).ljust(PAGE_BYTES, b"\0")


def _ids(path: Path) -> list[tuple[str]]:
    board = sqlite3.connect(path)
    try:
        return board.execute("SELECT id FROM tasks").fetchall()
    finally:
        board.close()
