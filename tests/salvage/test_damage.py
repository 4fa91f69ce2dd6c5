"""Seeded damage of every kind: what lies on undamaged pages is saved, and nothing is saved that was not there."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import BeyondSalvage, NotABoard
from kanban_shards.coordinator.hermes.salvage import Salvage
from kanban_shards.errors import StorageError
from tests.salvage.boards import PAGE_BYTES, rows_of
from tests.salvage.conftest import Original

Damage = tuple[bytes, set[int]]


def flip(original: Original, chance: random.Random, kind: str) -> Damage:
    """Some bits of a page."""
    number, content = chance.choice(original.kinds[kind]), bytearray(original.content)
    for _ in range(chance.choice((1, 8, 60))):
        content[(number - 1) * PAGE_BYTES + chance.randrange(PAGE_BYTES)] ^= 1 << chance.randrange(8)
    return bytes(content), {number}


def zero(original: Original, chance: random.Random, kind: str) -> Damage:
    """Pages that were never written."""
    return _overwritten(original, _some(original, chance, kind), lambda: bytes(PAGE_BYTES))


def noise(original: Original, chance: random.Random, kind: str) -> Damage:
    """Pages that hold something else."""
    return _overwritten(original, _some(original, chance, kind), lambda: chance.randbytes(PAGE_BYTES))


def swap(original: Original, chance: random.Random, kind: str) -> Damage:
    """Two pages, each in the other's place: as where two processes gave the same number to both."""
    first, second = chance.sample(original.kinds[kind], 2)
    content = bytearray(original.content)
    content[_span(first)], content[_span(second)] = original.content[_span(second)], original.content[_span(first)]
    return bytes(content), set()


def twice(original: Original, chance: random.Random, kind: str) -> Damage:
    """A page that another one was written over."""
    lost, doubled = chance.sample(original.kinds[kind], 2)
    return _overwritten(original, {lost}, lambda: original.content[_span(doubled)])


def cut(original: Original, chance: random.Random, kind: str) -> Damage:
    """A file that ends anywhere, behind its second page."""
    length = chance.randrange(2 * PAGE_BYTES, len(original.content))
    return original.content[:length], set(range(length // PAGE_BYTES + 1, len(original.content) // PAGE_BYTES + 1))


def header(original: Original, chance: random.Random, kind: str) -> Damage:
    """Anything in the header, but what says which pages are free."""
    content = bytearray(original.content)
    places = [place for place in range(100) if not 32 <= place < 40]
    for _ in range(chance.choice((1, 1, 20))):
        content[chance.choice(places)] ^= 1 << chance.randrange(8)
    return bytes(content), set()


def overwritten_mark(original: Original, chance: random.Random, kind: str) -> Damage:
    """A record of an encrypted connection over the header, which a stray descriptor leaves."""
    return original.content[:5] + chance.randbytes(24) + original.content[29:], set()


def page_count(original: Original, chance: random.Random, kind: str) -> Damage:
    """A header that promises more or fewer pages than there are."""
    pages = len(original.content) // PAGE_BYTES
    said = chance.choice((pages + 1, pages + 90, pages - 1, pages - 9, 1))
    return original.content[:28] + said.to_bytes(4) + original.content[32:], set()


def free_list(original: Original, chance: random.Random, kind: str) -> Damage:
    """A list of free pages that is lost, or begins or ends elsewhere: deleted rows must not come back."""
    trunk, count = original.content[32:36], original.content[36:40]
    pages = len(original.content) // PAGE_BYTES
    other = chance.randrange(1, pages).to_bytes(4)
    said = chance.choice((bytes(8), other + count, trunk + other))
    return original.content[:32] + said + original.content[40:], set()


CASES = [
    *((damage, kind) for damage in (flip, zero, noise) for kind in ("leaf", "node", "index", "other")),
    *((damage, kind) for damage in (swap, twice) for kind in ("leaf", "index")),
    (flip, "free"),
    *((damage, "file") for damage in (cut, header, overwritten_mark, page_count, free_list)),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("damage", "kind"), CASES, ids=[f"{damage.__name__}-{kind}" for damage, kind in CASES])
def test_what_is_whole_is_saved_and_nothing_else(
    original: Original, salvaged: Callable[[bytes], Salvage], damage: Callable, kind: str, seed: int
) -> None:
    content, damaged = damage(original, random.Random(f"{damage.__name__} {kind} {seed}"), kind)
    try:
        report = salvaged(content)
    except BeyondSalvage:
        kept = [key for places in original.places.values() for key, where in places.items() if not where & damaged]
        assert damage is cut and not kept
    else:
        check(original, damaged, report)


def test_the_first_page_is_zeroed(original: Original, salvaged: Callable[[bytes], Salvage]) -> None:
    """Neither header nor the beginning of the schema: pages and rows are known by their form."""
    report = salvaged(bytes(PAGE_BYTES) + original.content[PAGE_BYTES:])
    check(original, {1}, report)
    assert rows_of(report.copy) == original.rows


def test_the_whole_schema_is_lost(original: Original, salvaged: Callable[[bytes], Salvage]) -> None:
    content = bytearray(original.content)
    pages = {number for number, page in _pages(original) if b"CREATE " in page}
    assert len(pages) > 1
    for number in pages:
        content[_span(number)] = bytes(PAGE_BYTES)
    report = salvaged(bytes(content))
    assert report.stage == "tables"
    assert "the schema does not say" in report.notes[0]
    assert rows_of(report.copy)["tasks"] == original.rows["tasks"]
    check(original, pages, report)


@pytest.mark.parametrize("length", [1, 50, 100, 2000])
def test_a_file_cut_within_its_first_page(
    original: Original, salvaged: Callable[[bytes], Salvage], length: int
) -> None:
    with pytest.raises(StorageError) as refused:
        salvaged(original.content[:length])
    assert isinstance(refused.value, NotABoard if length < 16 else BeyondSalvage)


def test_a_sound_board_is_copied(original: Original, salvaged: Callable[[bytes], Salvage]) -> None:
    report = salvaged(original.content)
    assert (report.stage, report.complete, report.lost_tasks) == ("sound", True, [])
    assert report.copy.read_bytes() == original.content


def test_a_table_that_an_older_release_has_not(original: Original, tmp_path: Path, salvaged) -> None:
    """It is not lost, and it is not made."""
    path = tmp_path / "older.db"
    path.write_bytes(original.content)
    board = sqlite3.connect(path)
    board.execute("DROP TABLE task_attachments")
    board.commit()
    board.close()
    content = path.read_bytes()
    report = salvaged(content[:36] + (1).to_bytes(4) + content[40:])  # another number of free pages
    assert (report.stage, report.notes) == ("indexes", [])
    assert "task_attachments" not in report.tables
    saved = rows_of(report.copy)
    assert saved == {**original.rows, "task_attachments": {}}


def test_a_row_that_only_indexes_know_is_named(original: Original, salvaged: Callable[[bytes], Salvage]) -> None:
    """Each task on a zeroed page: its id, what indexes say of it, and who else names it."""
    tasks = original.places["tasks"]
    page = max((number for where in tasks.values() for number in where), key=lambda number: _count(tasks, number))
    lost = {key[0]: original.rows["tasks"][key] for key, where in tasks.items() if page in where}
    assert len(lost) > 1
    report = salvaged(_overwritten(original, {page}, lambda: bytes(PAGE_BYTES))[0])
    assert {each.task_id for each in report.lost_tasks} == set(lost)
    for each in report.lost_tasks:
        row = lost[each.task_id]
        assert (each.known["assignee"], each.known["status"]) == (row[3], row[4])
        assert each.named_by["events"] == 3
        assert str(each).startswith(f"{each.task_id}: title unknown, ")
    assert not report.complete


def check(original: Original, damaged: set[int], report: Salvage) -> None:
    """Every row that lies on no damaged page is in the copy, and every row of the copy was in the original."""
    saved = rows_of(report.copy)
    for table, rows in original.rows.items():
        places = original.places.get(table, {})
        for key, row in rows.items():
            if not places[key] & damaged:
                assert saved[table].get(key) == row, (table, key, report.stage)
        # A bit that was flipped within a row's text is nobody's to see; such a row lies on a damaged page.
        invented = [row for key, row in saved[table].items() if rows.get(key) != row]
        on_damaged = [key for key, where in places.items() if where & damaged]
        assert len(invented) <= len(on_damaged), (table, invented[:3])
    board = sqlite3.connect(report.copy)
    assert board.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    board.close()


def _some(original: Original, chance: random.Random, kind: str) -> set[int]:
    pages = original.kinds[kind]
    return set(chance.sample(pages, min(len(pages), chance.choice((1, 3)))))


def _overwritten(original: Original, numbers: set[int], what: Callable[[], bytes]) -> Damage:
    content = bytearray(original.content)
    for number in sorted(numbers):
        content[_span(number)] = what()
    return bytes(content), numbers


def _span(number: int) -> slice:
    return slice((number - 1) * PAGE_BYTES, number * PAGE_BYTES)


def _pages(original: Original):
    return [(place + 1, original.content[_span(place + 1)]) for place in range(len(original.content) // PAGE_BYTES)]


def _count(places: dict[tuple, set[int]], number: int) -> int:
    return sum(number in where for where in places.values())
