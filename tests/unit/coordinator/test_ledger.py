"""The port of the ledger: an append continues the entry that it names, whole, or nothing is appended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.ledger import GENESIS, FileLedger, Point
from kanban_shards.storage.locks import FileLock

NOW_MS = 1_700_000_000_000
BEGINNING = Point(0, GENESIS)


def change(profile: str, seq: int) -> Change:
    """A change as the ledger sees it: eight values."""
    return Change(profile, seq, "t_1", "comment", "{}", "{}", NOW_MS, f"{profile}{seq}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kanban-ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[FileLedger]:
    with closing(FileLock(path.with_suffix(".lock"))) as lock:
        lock.acquire(1)
        with closing(FileLedger(path, lock)) as opened:
            yield opened


def test_an_append_continues_the_entry_that_it_names(ledger: FileLedger) -> None:
    first = ledger.append([change("amy", 1), change("bob", 1)], NOW_MS, BEGINNING)
    assert ledger.head() == Point(2, first[-1].digest)
    ledger.append([change("amy", 2)], NOW_MS, ledger.head())
    assert [entry.position for entry in ledger.after(0)] == [1, 2, 3]


def test_whoever_was_overtaken_appends_nothing(ledger: FileLedger, path: Path) -> None:
    """Two who both hold a lock, because one of them lost its lock's file: the second one adds nothing of its own."""
    with closing(FileLock(path.with_suffix(".another-lock"))) as lock:
        lock.acquire(1)
        with closing(FileLedger(path, lock)) as other:
            seen = other.head()
            ledger.append([change("amy", 1)], NOW_MS, seen)
            with pytest.raises(Overtaken, match="ends with entry 1, and not with the entry 0") as overtaken:
                other.append([change("bob", 1), change("bob", 2)], NOW_MS, seen)
            assert "Nothing was appended" in str(overtaken.value)
            assert [entry.change for entry in other.after(0)] == [change("amy", 1)]
            other.append([change("bob", 1)], NOW_MS, other.head())


@pytest.mark.parametrize("behind", [Point(1, "another"), Point(0, GENESIS), Point(3, "more than there is")])
def test_position_and_digest_both_count(ledger: FileLedger, behind: Point) -> None:
    (entry,) = ledger.append([change("amy", 1)], NOW_MS, BEGINNING)
    with pytest.raises(Overtaken):
        ledger.append([change("amy", 2)], NOW_MS, behind)
    assert ledger.head() == Point(1, entry.digest)


def test_a_ledger_that_was_cut_off_is_continued_from_its_base(ledger: FileLedger) -> None:
    (_, entry) = ledger.append([change("amy", 1), change("amy", 2)], NOW_MS, BEGINNING)
    ledger.drop(2)
    ledger.append([change("amy", 3)], NOW_MS, Point(2, entry.digest))
    assert [each.position for each in ledger.after(2)] == [3]


def test_an_append_of_which_a_part_cannot_be_is_none(ledger: FileLedger) -> None:
    ledger.append([change("amy", 1)], NOW_MS, BEGINNING)
    head = ledger.head()
    with pytest.raises(Exception, match="UNIQUE"):
        ledger.append([change("bob", 1), change("amy", 1)], NOW_MS, head)
    assert ledger.head() == head
