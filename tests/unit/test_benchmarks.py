"""What the benchmarks count as wrong, and the page that is made of their figures."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import click
import pytest

from benchmarks.figures import Figures, Spread, page
from benchmarks.peers import COMMANDS, PEERS, Outcome, find
from benchmarks.peers.shared import SharedFile, read_outcome
from benchmarks.peers.work import Notes
from benchmarks.together import Wrong, judge

FOUND = Outcome(tasks={"t_1": ("one", "done"), "t_2": ("two", "ready")}, comments={"hello"}, subscribed={"t_1"})


def test_nothing_is_wrong_with_what_is_there() -> None:
    """Everything that was acknowledged is on the board, and each claim was won once."""
    first = Notes(created={"t_1": "one"}, subscribed=["t_1"], comments=["hello"], claimed=["t_1"], completed=["t_1"])
    second = Notes(created={"t_2": "two"}, refused=1)
    assert judge([first, second], FOUND) == Wrong(refused=1)


@pytest.mark.parametrize(
    ("notes", "found", "wrong"),
    [
        (Notes(created={"t_3": "three"}), FOUND, Wrong(lost=1)),
        (Notes(subscribed=["t_2"]), FOUND, Wrong(lost=1)),
        (Notes(comments=["hello", "gone"]), FOUND, Wrong(lost=1)),
        (Notes(completed=["t_2"]), FOUND, Wrong(lost=1)),
        (Notes(claimed=["t_1", "t_1", "t_2"]), FOUND, Wrong(doubled=1)),
        (Notes(), Outcome(tasks={"t_1": ("one", "ready"), "t_2": ("one", "ready")}), Wrong(doubled=1)),
        (Notes(), Outcome(integrity="row 3 missing from index"), Wrong(corrupt=1)),
        (Notes(errors=Counter({"create: OperationalError: disk I/O error": 2})), FOUND, Wrong(errors=2)),
    ],
)
def test_each_fault_is_counted(notes: Notes, found: Outcome, wrong: Wrong) -> None:
    """One fault at a time."""
    assert judge([notes], found) == wrong
    assert wrong.faults == sum(vars(wrong).values())


def test_a_damaged_board_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """What cannot be read counts as lost, and the file as corrupt; reading it is no error of the benchmark."""
    path = tmp_path / "board.db"
    file = SharedFile(path)
    with file.transaction():
        for number in range(500):
            file.create("bingge", f"task {number}", "text " * 50)
    file.close()
    assert len(read_outcome(path).tasks) == 500
    with path.open("r+b") as damaged:
        damaged.seek(path.stat().st_size // 2)
        damaged.write(b"\xff" * (path.stat().st_size // 2))
    found = read_outcome(path)
    assert found.integrity != "ok"
    assert len(found.tasks) < 500


@pytest.mark.parametrize("name", [*PEERS, *COMMANDS])
def test_each_peer_is_there_or_says_why_not(name: str) -> None:
    """None is left out silently."""
    why = find(name).missing()
    assert why is None or "installed" in why or "not there" in why


def test_a_verb_of_the_shared_file_is_a_cas(tmp_path: Path) -> None:
    """The rival that is written here does its work: a task is won once, and completed by its run only."""
    file = SharedFile(tmp_path / "board.db")
    with file.transaction():
        task_id = file.create("bingge", "task", "text")
        run_id = file.claim("bingge", task_id)
        assert file.claim("pixiel", task_id) is None
        assert not file.complete(task_id, run_id + 1, "not mine")
        assert file.complete(task_id, run_id, "done")
    file.close()
    with sqlite3.connect(tmp_path / "board.db") as connection:
        assert connection.execute("SELECT status FROM tasks").fetchall() == [("done",)]


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which the machine was slow is slow for both."""
    ratio = Spread.of_ratios(Spread((100.0, 10.0, 50.0)), Spread((50.0, 5.0, 10.0)))
    assert ratio.values == (2.0, 2.0, 5.0)
    assert ratio.said() == "2.0 (2.0..5.0)"


def test_the_page_has_each_table_with_its_command(tmp_path: Path) -> None:
    """From what is said on the terminal, over the JSON, to the page."""
    figures = Figures()
    command = click.Command("merge", params=[click.Option(["--changes"])], help="Changes in a second.")
    with click.Context(command, info_name="merge") as context:
        context.params = {"changes": 5}
        figures.line("merged a second", "5", "a|b")
        figures.asked("merged a second", 5, least=20_000)
    figures.save(tmp_path / "figures.json", {"cores": "2"})
    text = page(tmp_path / "figures.json")
    assert "## Changes in a second\n\n`python -m benchmarks merge --changes 5`" in text
    assert "| merged a second | 5 | a\\|b |" in text
    assert "- merged a second: 5.00; asked at least 20,000: NOT met" in text
    assert "| cores | 2 |" in text
