"""The check that the demo, the chaos, the crash points and the power cuts end with: it notices what it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest

from kanban_shards import Gateway, Refused
from kanban_shards.coordinator.demo.check import Account, check
from kanban_shards.coordinator.demo.worker import Journal, Witness
from kanban_shards.paths import BoardPaths


@pytest.fixture
def told(home: str) -> tuple[dict[str, Account], str]:
    """amy made, claimed and completed a task, and bob came too late; what they were told, and the task."""
    accounts = {"amy": Account(), "bob": Account()}
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("amy's")
        run = amy.claim(task_id)
        amy.complete(run)
        with pytest.raises(Refused):
            bob.claim(task_id)
    for line in (f"wrote 1 create {task_id}", f"wrote 2 claim {task_id}", "told 2 applied", f"run {run.id} {task_id}",
                 f"wrote 3 complete {task_id}", "told 3 applied"):  # fmt: skip
        accounts["amy"].take(line)
    for line in (f"wrote 1 claim {task_id}", "told 1 wrong_status"):
        accounts["bob"].take(line)
    return accounts, task_id


def test_a_witness_notes_what_is_durable_and_each_verdict(home: str, tmp_path: Path) -> None:
    journal = tmp_path / "amy"
    with Witness("amy", home, Journal(journal)) as amy:
        task_id = amy.create("amy's")
        amy.sync()
        amy.claim(task_id)
    assert journal.read_text().splitlines() == [
        f"wrote 1 create {task_id}", "told 1 applied", f"wrote 2 claim {task_id}", "told 2 applied"
    ]  # fmt: skip


def test_what_was_told_and_holds(paths: BoardPaths, told: tuple[dict[str, Account], str]) -> None:
    checked = check(paths, told[0])
    assert checked.problems == []
    assert (checked.acknowledged, checked.changes, checked.runs) == (4, 4, 1)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("wrote 4 comment {task}", "bob: change 4, comment of {task}, was acknowledged; the ledger holds [], and the "
                                   "verdicts are []"),
        ("told 1 applied", "bob: the verdict on change 1 was told as wrong_status, and as applied"),
        ("told 2 applied", "bob: change 2 was told as applied; the board says []"),
        ("wrote 1 claim {task}", "bob: change 1 was acknowledged twice"),
        ("run 1 {task}", "bob was given run 1 of {task}; the board says ('amy', '{task}')"),
    ],
)  # fmt: skip
def test_what_was_told_and_does_not_hold(
    paths: BoardPaths, told: tuple[dict[str, Account], str], line: str, problem: str
) -> None:
    accounts, task_id = told
    accounts["bob"].take(line.format(task=task_id))
    assert problem.format(task=task_id) in check(paths, accounts).problems


def test_an_effect_that_is_missing(paths: BoardPaths, told: tuple[dict[str, Account], str], monkeypatch) -> None:
    monkeypatch.setitem(check.__globals__["_EFFECTS"], "complete", "SELECT id FROM tasks WHERE status = 'ready'")
    assert check(paths, told[0]).problems == [f"complete of {told[1]} was applied 1 times, and shows 0 times"]
