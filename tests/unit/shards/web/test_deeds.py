"""What a form changes: as the profile of the command, never over what somebody else did meanwhile."""

from __future__ import annotations

import json
import re

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.web import deeds
from kanban_shards.web.pages import answer
from kanban_shards.web.wire import Ask


@pytest.fixture
def seen(gateway: Gateway):
    """``seen(task_id)``: what the page of the task shows, as its forms bring it back."""

    def fields(task_id: str) -> dict[str, str]:
        events = gateway.board.events(task_id=task_id)
        return {"seen": json.dumps(gateway.board.task(task_id).vector), "last": str(events[-1].id)}

    return fields


def test_a_task_is_made_once_however_often_its_form_is_sent(post, home: str) -> None:
    form = {"title": "From the page", "text": "all of it", "assignee": " Bob ", "priority": "7", "tenant": "north",
            "triage": "1", "once": "abc"}  # fmt: skip
    first, second = post("new", **form), post("new", **form)
    assert first.location == second.location
    with Board.open(home=home) as board:
        (task,) = board.tasks()
        assert first.location == f"/b/default/t/{task.id}"
        assert (task.title, task.body, task.assignee, task.priority, task.tenant, task.status, task.created_by) == (
            "From the page", "all of it", "bob", 7, "north", "triage", "cleo",
        )  # fmt: skip


def test_a_task_that_waits(post, gateway: Gateway) -> None:
    parent = gateway.make("First").task_id
    made = post("new", title="Second", parents=f"{parent},  ", priority="no number")
    task_id = made.location.rpartition("/")[2]
    assert gateway.board.parents(task_id) == [parent] and gateway.board.task(task_id).status == "todo"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"title": " "}, "title"),
        ({"title": "x" * 10_001}, "longer than 10000"),
        ({"title": "ok", "assignee": "no such / name"}, "profile"),
        ({"title": "ok", "parents": "t_00000000"}, "There is no task t_00000000"),
        ({"title": "ok", "parents": "<b>"}, "is not a task id"),
        ({"title": "ok", "priority": "9" * 30}, "priority"),
    ],
)
def test_a_form_that_makes_no_sense_is_a_sentence_and_keeps_what_was_written(
    post, gateway: Gateway, form: dict[str, str], said: str
) -> None:
    gateway.make("There is a board")
    found = post("new", text="a long text that took an hour", **form)
    assert found.status == 409 and found.location is None
    assert said in found.body and "a long text that took an hour" in found.body
    assert len(gateway.board.tasks()) == 1


def test_every_deed_is_done_as_the_profile_of_the_command(post, gateway: Gateway, seen) -> None:
    task_id = gateway.make("A task").task_id
    board = gateway.board
    assert post("task", task_id, deed="comment", text="from a person").location.endswith("?did=comment")
    assert [(each.author, each.body) for each in board.comments(task_id)] == [("cleo", "from a person")]
    post("task", task_id, deed="assign", assignee="bob", **seen(task_id))
    assert board.task(task_id).assignee == "bob"
    post("task", task_id, deed="assign", assignee="", **seen(task_id))
    assert board.task(task_id).assignee is None
    post("task", task_id, deed="block", text="wait", kind="needs_input", **seen(task_id))
    assert (board.task(task_id).status, board.task(task_id).block_kind) == ("blocked", "needs_input")
    post("task", task_id, deed="unblock", text="go on", **seen(task_id))
    assert board.task(task_id).status == "ready"
    waits = gateway.create("Waits", parents=[task_id])
    gateway.sync()
    refused = post("task", waits, deed="promote", **seen(waits))
    assert refused.status == 409 and "That was refused" in refused.body
    assert post("task", waits, deed="promote", force="1", **seen(waits)).location
    assert board.task(waits).status == "ready"
    post("task", task_id, deed="archive", **seen(task_id))
    assert board.task(task_id).status == "archived"


def test_what_somebody_else_did_meanwhile_is_shown_and_not_overwritten(post, gateway: Gateway, seen, home: str) -> None:
    task_id = gateway.make("A task").task_id
    before = seen(task_id)
    with Gateway("bob", home=home) as bob:
        bob.claim(task_id)
    found = post("task", task_id, deed="archive", **before)
    assert found.status == 409 and "somebody changed this task since your page showed it" in found.body
    assert re.search(r'class="notice is-stale".*?claimed by bob', found.body, re.S)
    assert gateway.board.task(task_id).status == "running"
    now = dict(re.findall(r'name="(seen|last)" value="([^"]*)"', found.body))
    assert post("task", task_id, deed="archive", seen=now["seen"].replace("&#34;", '"'), last=now["last"]).location
    assert gateway.board.task(task_id).status == "archived"


def test_an_owner_does_not_overwrite_either(post, gateway: Gateway, seen, home: str) -> None:
    """The rule lets an owner's change apply unseen; a person at a page has to have seen what is there."""
    task_id = gateway.make("cleo's", assignee="cleo").task_id
    before = seen(task_id)
    gateway.block(task_id, "not yet", kind="needs_input")
    assert post("task", task_id, deed="archive", text="my words", **before).status == 409
    assert gateway.board.task(task_id).status == "blocked"


def test_what_changes_between_the_look_and_the_verdict_is_stale_too(
    post, gateway: Gateway, seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = gateway.make("A task").task_id
    real = deeds.DEEDS["archive"]

    def late(of_cleo: Gateway, task, form) -> object:
        gateway.claim(task_id)
        return real.do(of_cleo, task, form)

    monkeypatch.setitem(deeds.DEEDS, "archive", deeds.Deed(real.label, real.said, late, real.asks, real.of))
    found = post("task", task_id, deed="archive", **seen(task_id))
    assert found.status == 409 and "is-stale" in found.body and "claimed by amy" in found.body
    assert gateway.board.task(task_id).status == "running"


def test_a_comment_is_never_stale(post, gateway: Gateway, seen) -> None:
    task_id = gateway.make("A task").task_id
    before = seen(task_id)
    gateway.claim(task_id)
    assert post("task", task_id, deed="comment", text="still true", **before).location


@pytest.mark.parametrize("key", ["", "another", "\u00e9"])
def test_a_form_of_another_server_is_refused(post, gateway: Gateway, seen, key: str) -> None:
    task_id = gateway.make("A task").task_id
    for page, name in (("task", task_id), ("new", "")):
        found = post(page, name, deed="archive", title="x", **{**seen(task_id), "key": key})
        assert found.status == 403 and "That form is old" in found.body
    assert gateway.board.task(task_id).status == "ready" and len(gateway.board.tasks()) == 1


def test_a_page_that_shows_only_has_no_form_and_takes_none(get, site, gateway: Gateway) -> None:
    task_id = gateway.make("A task").task_id
    for page, name in (("board", ""), ("task", task_id)):
        assert 'method="post"' not in get(page, name).body
    assert get("new").status == 403
    form = [("key", site.forms_key), ("deed", "archive"), ("title", "x")]
    for page, name in (("task", task_id), ("new", "")):
        found = answer(site, Ask(1, page, "", name, [], form))
        assert found.status == 403 and "kanban --profile NAME web --write" in found.body
    assert gateway.board.task(task_id).status == "ready"


@pytest.mark.parametrize(
    "strange", [{"deed": "delete"}, {"seen": "["}, {"seen": "[1]"}, {"last": "9" * 99}, {"seen": "[" * 9_999}]
)
def test_a_strange_form_changes_nothing(post, gateway: Gateway, seen, strange: dict[str, str]) -> None:
    task_id = gateway.make("A task").task_id
    gateway.claim(task_id)
    stale = {"seen": "{}", "last": "0"}
    assert post("task", task_id, **{"deed": "archive", **stale, **strange}).status == 409
    assert gateway.board.task(task_id).status == "running"


def test_the_first_task_of_a_board_is_made_on_the_page(post, writing, home: str) -> None:
    assert "New task" in answer(writing, Ask(1, "board")).body
    assert answer(writing, Ask(1, "new")).status == 200
    assert post("new", title="The first").location
    with Board.open(home=home) as board:
        assert [task.title for task in board.tasks()] == ["The first"]


def test_a_form_is_there_for_what_its_status_allows(gateway: Gateway) -> None:
    made = gateway.make("A task").task_id
    assert {*deeds.forms_for(gateway.board.task(made))} == {"comment", "assign", "block", "archive"}
    gateway.archive(made)
    assert {*deeds.forms_for(gateway.board.task(made))} == {"comment"}
