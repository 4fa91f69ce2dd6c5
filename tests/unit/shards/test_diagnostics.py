"""Diagnostics: each kind has its cause, and ends with it."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from kanban_shards import Gateway, Refused, suspects
from kanban_shards.cli.verbs import maintenance
from kanban_shards.diagnostics import BLOCKED_S, CHECKS, CYCLES, SEVERITIES, STRANDED_S, diagnose
from kanban_shards.errors import UnknownTask
from tests.unit.verbs import Shell

HERMES_KEYS = ["kind", "severity", "title", "detail", "actions", "first_seen_at", "last_seen_at", "count", "run_id",
               "data"]  # fmt: skip
SOON_S = 60


@pytest.fixture
def kinds(gateway: Gateway):
    """``kinds(task_id, later_s)``: ``{kind: diagnostic}`` of a task, so many seconds after its newest event."""

    def found(task_id: str, later_s: int = SOON_S) -> dict:
        gateway.sync()
        now_s = gateway.board.event(gateway.board.last_event_id()).created_at + later_s
        diagnosed = diagnose(gateway.board, now_s, task_id=task_id)
        return {each.kind: each for _, diagnostics in diagnosed for each in diagnostics}

    return found


def test_nothing_is_wrong_with_a_task_that_does_well(gateway: Gateway, kinds) -> None:
    task_id = gateway.create("a task", assignee="amy")
    assert kinds(task_id) == {}
    run = gateway.claim(task_id)
    assert kinds(task_id, 10 * STRANDED_S) == {}
    gateway.complete(run, summary=f"see {task_id}")
    assert kinds(task_id, 10 * BLOCKED_S) == {}


def test_hallucinated_cards(gateway: Gateway, kinds) -> None:
    task_id = gateway.create("a task", assignee="amy")
    run = gateway.claim(task_id)
    with pytest.raises(Refused):
        gateway.complete(run, created_cards=["t_00000000"])
    found = kinds(task_id)["hallucinated_cards"]
    assert (found.severity, found.data, found.run_id) == ("error", {"phantom_ids": ["t_00000000"]}, run.id)
    assert [action["kind"] for action in found.actions] == ["cli_hint", "reclaim", "reassign"]
    gateway.complete(run)
    assert kinds(task_id) == {}


def test_prose_phantom_refs(gateway: Gateway, kinds) -> None:
    deleted = gateway.create("deleted later")
    task_id = gateway.create("a task", assignee="amy")
    gateway.delete(deleted)
    gateway.complete(gateway.claim(task_id), summary=f"made {task_id}, {deleted} and t_00000000")
    found = kinds(task_id)["prose_phantom_refs"]
    assert (found.severity, found.data) == ("warning", {"phantom_refs": ["t_00000000"]})
    gateway.edit(task_id, summary=f"made {task_id}")
    assert kinds(task_id) == {}


def test_repeated_failures(gateway: Gateway, kinds) -> None:
    """From the breaker's limit on, twice the limit is critical; an attempt under way is given a chance."""
    gateway.set_limits(failure_limit=3)
    task_id = gateway.create("a task", assignee="amy")
    for _ in range(2):
        gateway.fail(gateway.claim(task_id), "timed_out", error="too slow")
    assert "repeated_failures" not in kinds(task_id)
    gateway.set_limits(failure_limit=2)
    found = kinds(task_id)["repeated_failures"]
    assert (found.severity, found.count, found.data["most_recent_outcome"]) == ("error", 2, "timed_out")
    assert "too slow" in found.title
    gateway.set_limits(failure_limit=1)
    assert kinds(task_id)["repeated_failures"].severity == "critical"
    gateway.claim(task_id)
    assert kinds(task_id) == {}


def test_repeated_crashes(gateway: Gateway, kinds) -> None:
    """Counted over unblocking, which begins a new row of failures; told once, not twice."""
    task_id = gateway.create("a task", assignee="amy")
    gateway.fail(gateway.claim(task_id), "crashed", error="first")
    assert kinds(task_id) == {}
    gateway.fail(gateway.claim(task_id), "crashed", error="second")
    assert set(kinds(task_id)) == {"repeated_failures"}
    gateway.unblock(task_id)
    found = kinds(task_id)["repeated_crashes"]
    assert (found.severity, found.count, found.data["last_error"]) == ("error", 2, "second")
    gateway.complete(gateway.claim(task_id))
    gateway.reopen(task_id)
    assert kinds(task_id) == {}


@pytest.mark.parametrize("starts", [None, "blocked"])
def test_stuck_in_blocked(gateway: Gateway, kinds, starts: str | None) -> None:
    """A day without an answer; also where the task began blocked."""
    task_id = gateway.create("a task", starts=starts)
    if starts is None:
        gateway.block(task_id, "what color?")
    assert kinds(task_id, BLOCKED_S - 1) == {}
    assert kinds(task_id, BLOCKED_S + 1)["stuck_in_blocked"].severity == "warning"
    gateway.comment(task_id, "green")
    assert kinds(task_id, BLOCKED_S + 1) == {}


def test_block_unblock_cycling(gateway: Gateway, kinds) -> None:
    task_id = gateway.create("a task")
    for number in range(CYCLES + 1):
        assert "block_unblock_cycling" not in kinds(task_id)
        gateway.block(task_id, f"reason {number}", kind=("needs_input", "capability")[number % 2])
        if number < CYCLES:
            gateway.unblock(task_id)
    assert kinds(task_id)["block_unblock_cycling"].data["cycles"] == CYCLES
    assert "block_unblock_cycling" not in kinds(task_id, 2 * BLOCKED_S)


def test_stranded_in_ready(gateway: Gateway, kinds) -> None:
    """It grows more severe with time, and begins anew when the task is given to somebody else."""
    task_id = gateway.create("a task", assignee="nobody-here")
    severities = [kinds(task_id, later).get("stranded_in_ready") for later in
                  (STRANDED_S - 1, STRANDED_S, 2 * STRANDED_S, 6 * STRANDED_S)]  # fmt: skip
    assert [each and each.severity for each in severities] == [None, *SEVERITIES]
    gateway.assign(task_id, None)
    assert kinds(task_id, 6 * STRANDED_S) == {}


def test_refused_late_result(gateway: Gateway, kinds) -> None:
    task_id = gateway.create("a task", assignee="amy")
    run = gateway.claim(task_id)
    gateway.reclaim(task_id)
    with pytest.raises(Refused):
        gateway.complete(run, summary="all of it")
    found = kinds(task_id)["refused_late_result"]
    assert (found.severity, found.run_id) == ("warning", run.id)
    (event_id,) = found.data["events"]
    assert gateway.board.event(event_id).payload["summary"] == "all of it"
    gateway.complete(gateway.claim(task_id), summary="done anyway")
    assert kinds(task_id) == {}


def test_the_verb(kanban, failed, gateway: Gateway) -> None:
    """Hermes's keys; filters by severity and task; archived tasks are left in peace."""
    gateway.set_limits(failure_limit=1)
    bad, fine, away = (gateway.create(name, assignee="amy") for name in ("bad", "fine", "away"))
    for task_id in (bad, away):
        gateway.fail(gateway.claim(task_id), "crashed", error="boom")
    gateway.archive(away)
    (found,) = json.loads(kanban("diagnostics", "--json").stdout)
    assert list(found) == ["task_id", "title", "status", "assignee", "diagnostics"]
    assert (found["task_id"], found["status"]) == (bad, "blocked")
    assert list(found["diagnostics"][0]) == HERMES_KEYS
    assert json.loads(kanban("diag", "--severity", "critical", "--json").stdout) == []
    assert json.loads(kanban("diag", "--task", fine, "--json").stdout) == []
    assert "boom" in kanban("diag").stdout
    assert "There is no task" in failed(kanban("diag", "--task", "t_00000000"), 1)
    with pytest.raises(UnknownTask):
        diagnose(gateway.board, 0, task_id="t_00000000")


def test_whoever_needs_a_person_is_suspected(gateway: Gateway) -> None:
    """Looking only at suspects finds what judging every task finds, whatever became of them, in the usual order."""
    chance = random.Random(4)
    gateway.set_limits(failure_limit=3)
    tasks = [
        gateway.create(f"task {number}", assignee=chance.choice(["amy", None]), priority=number % 3)
        for number in range(30)
    ]
    for number, task_id in enumerate(tasks):
        for did in [MISHAPS[number % len(MISHAPS)]] * chance.randint(2, 3) + [
            chance.choice([*MISHAPS, "rest", "rest"])
        ]:
            with suppress(Refused):
                _mishap(gateway, task_id, did, chance)
    gateway.sync()
    board, kinds = gateway.board, set()
    for later_s in (0, STRANDED_S, 2 * BLOCKED_S):
        now_s = board.event(board.last_event_id()).created_at + later_s
        each = [found for task in board.tasks() for found in diagnose(board, now_s, task_id=task.id)]
        assert list(diagnose(board, now_s)) == each
        kinds |= {diagnostic.kind for _, diagnostics in each for diagnostic in diagnostics}
    assert len(kinds) == len(CHECKS), kinds


MISHAPS = ("crash", "slow", "cards", "complete", "late", "cycle", "comment")


def _mishap(gateway: Gateway, task_id: str, did: str, chance: random.Random) -> None:
    if did == "cycle":
        for kind in ("needs_input", "capability"):
            with suppress(Refused):
                gateway.unblock(task_id)
            gateway.block(task_id, "again", kind=kind)
    elif did == "comment":
        gateway.comment(task_id, "hm")
    elif did != "rest":
        run = gateway.claim(task_id)
        if did in ("crash", "slow"):
            gateway.fail(run, "crashed" if did == "crash" else "timed_out")
        elif did == "cards":
            gateway.complete(run, created_cards=["t_00000000"])
        elif did == "late":
            gateway.release(run)
            gateway.complete(run, summary="too late")
        else:
            gateway.complete(run, summary=chance.choice(["made t_00000000", f"made {task_id}", None]))
            if chance.random() < 0.3:
                gateway.archive(task_id)


def test_reads_what_it_shows(gateway: Gateway, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time; where a person reads it, as many as they can read, and that there are more."""
    for number in range(7):
        gateway.block(gateway.create(f"task {number}"), "why")
    gateway.sync()
    monkeypatch.setattr(suspects, "TOGETHER", 2)
    read: list[int] = []
    events = suspects._events
    monkeypatch.setattr(suspects, "_events", lambda *given: read.append(1) or events(*given))
    now_s = gateway.board.event(gateway.board.last_event_id()).created_at + 2 * BLOCKED_S
    next(diagnose(gateway.board, now_s))
    assert len(read) == 1
    monkeypatch.setattr(maintenance.time, "time", lambda: now_s)
    assert len(shell.json("diagnostics")) == 7
    assert len(shell.json("diagnostics", "--limit", 3)) == 3
    assert shell.says("diagnostics", "--limit", 3).splitlines()[-1] == "There are more; --limit 6 shows more of them."
    assert "There are more" not in shell.says("diagnostics")
