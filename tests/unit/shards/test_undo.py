"""Undoing the last change: the task is as it was before, or a sentence says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kanban_shards import Gateway
from kanban_shards.errors import NothingToUndo, NotUndone
from kanban_shards.inline_merge import open_history
from kanban_shards.records import Task
from kanban_shards.undo import Undone, undo
from tests.unit.verbs import Shell

Undo = Callable[..., Undone]
# What undoing may leave otherwise than it was: a history goes on.
PASSING = {"vector", "epoch", "owner", "started_at"}


@pytest.fixture
def amy(home: str):
    with Gateway("amy", home=home) as gateway:
        yield gateway


@pytest.fixture
def take_back(amy: Gateway) -> Undo:
    def call(task_id: str | None = None, gateway: Gateway = amy) -> Undone:
        with open_history(gateway.paths) as history:
            return undo(gateway, history, task_id)

    return call


def state(gateway: Gateway, task_id: str) -> dict[str, object]:
    task = gateway.board.task(task_id)
    assert isinstance(task, Task)
    facts = {name: value for name, value in task.as_dict().items() if name not in PASSING}
    links = [gateway.board.parents(task_id), [each.chat for each in gateway.board.subscriptions(task_id)]]
    return {**facts, "links": links, "files": gateway.board.attachments(task_id), "limits": gateway.board.settings()}


CHANGES: dict[str, Callable[[Gateway, str, str], object]] = {
    "edit": lambda amy, task, other: amy.edit(task, title="new", priority=9, body=None, tenant="x"),
    "assign": lambda amy, task, other: amy.assign(task, "bob"),
    "unassign": lambda amy, task, other: amy.assign(task, None),
    "link": lambda amy, task, other: amy.link(other, task),
    "claim": lambda amy, task, other: amy.claim(task),
    "claim_next": lambda amy, task, other: amy.claim_next(),
    "block": lambda amy, task, other: amy.block(task, kind="needs_input"),
    "schedule": lambda amy, task, other: amy.schedule(task, "later"),
    "archive": lambda amy, task, other: amy.archive(task),
    "complete": lambda amy, task, other: amy.complete(task),
    "review": lambda amy, task, other: amy.review(task),
    "limits": lambda amy, task, other: amy.set_limits(max_in_progress=3, failure_limit=None),
    "subscribe": lambda amy, task, other: amy.subscribe(task, platform="p", chat_id="1"),
}
# What is remembered of a block or an assignment, and is no part of where the task stands.
REMEMBERED = {"block": {"block_kind", "block_recurrences"}}


@pytest.mark.parametrize("name", CHANGES)
def test_the_task_is_as_it_was(amy: Gateway, take_back: Undo, name: str) -> None:
    amy.set_limits(failure_limit=4)
    other = amy.create("other", assignee="bob")
    task_id = amy.create("old", body="text", assignee="amy", priority=2)
    amy.sync()
    before = state(amy, task_id)
    CHANGES[name](amy, task_id, other)
    amy.sync()
    assert state(amy, task_id) != before
    take_back()
    amy.sync()
    left = {field for field, value in state(amy, task_id).items() if value != before[field]}
    assert left <= REMEMBERED.get(name, set())


def test_files_and_what_was_created(amy: Gateway, take_back: Undo, tmp_path: Path) -> None:
    task_id = amy.create("x")
    file = tmp_path / "plan.md"
    file.write_text("a plan")
    amy.attach(task_id, file)
    (kept,) = amy.board.attachments(task_id)
    assert "removed plan.md" in take_back().said
    assert amy.board.attachments(task_id) == [] and not Path(kept.stored_path).exists()
    second = amy.create("y", parents=[task_id])
    assert take_back(second).kind == "create"
    assert amy.board.known_task(second).status == "archived"
    take_back(second)  # the undo of the undo
    assert amy.board.known_task(second).status == "todo"


def test_nothing_of_others_is_taken_back(amy: Gateway, take_back: Undo, home: str) -> None:
    task_id = amy.create("x", assignee="amy")
    amy.edit(task_id, title="mine")
    with Gateway("bob", home=home) as bob:
        with pytest.raises(NothingToUndo):
            take_back(gateway=bob)
        bob.edit(bob.board.known_task(task_id), title="bob's")
        with pytest.raises(NotUndone, match="bob changed the task since"):
            take_back()
        assert amy.board.known_task(task_id).title == "bob's"
        assert take_back(gateway=bob).kind == "edit"
    assert amy.board.known_task(task_id).title == "mine"


def test_a_refused_change_is_no_change(amy: Gateway, take_back: Undo) -> None:
    task_id = amy.create("x")
    amy.edit(task_id, title="y")
    with pytest.raises(Exception, match="cannot wait for itself"):
        amy.link(task_id, task_id)
    assert take_back().kind == "edit"


@pytest.mark.parametrize("name", ["comment", "complete", "delete", "reclaim", "unblock", "archive"])
def test_what_cannot_be_taken_back_says_why(amy: Gateway, take_back: Undo, name: str) -> None:
    task_id = amy.create("x", assignee="amy")
    run = amy.claim(task_id)
    if name == "comment":
        amy.comment(task_id, "said")
    elif name == "complete":
        amy.complete(run)
    elif name == "delete":
        amy.delete(task_id)
    elif name == "reclaim":
        amy.reclaim(task_id)
    elif name == "unblock":
        amy.block(run)
        amy.unblock(task_id)
    else:
        amy.archive(task_id)
    amy.sync()
    position = amy.board.position()
    with pytest.raises(NotUndone) as not_undone:
        take_back()
    assert amy.board.position() == position
    assert ("`kanban" in str(not_undone.value)) or "stays" in str(not_undone.value) or "backup" in str(not_undone.value)


def test_as_a_command(shell: Shell) -> None:
    task_id = shell.create("x")
    assert "nothing to undo" in shell.refuses(1, "undo", profile="eve")
    shell.says("block", task_id, "for a reason", "--kind", "needs_input")
    assert "Undone: block" in shell.says("undo", task_id[:14])
    assert shell.status(task_id) == "ready"


def test_limits_that_somebody_set_again_are_left(amy: Gateway, take_back: Undo, home: str) -> None:
    amy.set_limits(max_in_progress=2)
    with Gateway("bob", home=home) as bob:
        bob.set_limits(max_in_progress=9)
    with pytest.raises(NotUndone, match="max-in-progress was set again since"):
        take_back()
    assert amy.board.settings() == {"max_in_progress": 9}
