"""The pages as they were, and the graph."""

from __future__ import annotations

import re

import pytest

from kanban_shards import Gateway
from kanban_shards.web import graph
from tests.docs import story
from tests.unit.shards.web.test_pages import CARD


def test_the_board_at_each_position_is_the_board_as_it_stood(get, gateway: Gateway) -> None:
    """Row for row: the history's own tests hold it to the replay; here, that a page shows that and nothing else."""
    stood = {0: set()}
    first, second = gateway.make("First").task_id, None
    stood[gateway.board.position()] = {("ready", first)}
    run = gateway.claim(first)
    stood[gateway.board.position()] = {("running", first)}
    second = gateway.make("Second").task_id
    stood[gateway.board.position()] = {("running", first), ("ready", second)}
    gateway.complete(run)
    stood[gateway.board.position()] = {("done", first), ("ready", second)}
    for position, cards in stood.items():
        body = get("board", "", ("at", str(position))).body
        assert {*CARD.findall(body)} == cards, position
        assert f"entry {position} of {max(stood)}" in body
        assert {*CARD.findall(get("columns", "", ("at", str(position))).body)} == cards
    assert {*CARD.findall(get("board", "", ("at", "now")).body)} == stood[max(stood)]


def test_what_the_entry_brought_is_told(get, gateway: Gateway) -> None:
    task_id = gateway.make("First").task_id
    gateway.claim(task_id)
    gateway.block(task_id, "which one?")
    body = get("board", "", ("at", "2")).body
    assert re.search(rf'<a href="/b/default/t/{task_id}\?at=2"><bdi>First</bdi></a>: <bdi>claimed by amy', body)
    assert 'href="?at=1"' in body and 'href="?at=3"' in body


def test_a_task_as_it_stood(get, gateway: Gateway) -> None:
    task_id = gateway.make("First").task_id
    gateway.edit(task_id, title="Another title")
    body = get("task", task_id, ("at", "1")).body
    assert "<bdi>First</bdi></h1>" in body and "As it stood at entry 1 of 2" in body
    assert get("task", task_id, ("at", "0")).status == 404


def test_ages_count_from_then(get, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.make("First")
    made_s = gateway.board.tasks()[0].created_at
    monkeypatch.setattr("kanban_shards.web.site.time.time", lambda: made_s + 90_000)
    gateway.make("Second")
    assert "1 d" in get("board").body
    then = get("board", "", ("at", "1")).body
    assert "0 s</time>" in then and f'data-now="{made_s}"' in then


@pytest.mark.parametrize("at", ["2h ago", "2000-01-01", "2000-01-01T10:00"])
def test_a_moment_before_the_first_entry(get, gateway: Gateway, at: str) -> None:
    gateway.make("First")
    body = get("board", "", ("at", at)).body
    assert CARD.findall(body) == [] and "before the first entry" in body


@pytest.mark.parametrize("at", ["yesterday", "-1", "99", "9" * 400, "<b>", "1e9"])
def test_no_place_in_time_is_a_sentence(get, gateway: Gateway, at: str) -> None:
    gateway.make("First")
    for page in ("board", "graph"):
        found = get(page, "", ("at", at))
        assert found.status == 404 and 'class="sentence"' in found.body and "<b>" not in found.body.partition("<h1>")[2]


def test_the_filters_keep_the_place_in_time(get, gateway: Gateway) -> None:
    gateway.make("First", assignee="bob")
    gateway.make("Second")
    body = get("board", "", ("at", "1"), ("assignee", "bob")).body
    assert '<input type="hidden" name="at" value="1">' in body and "assignee=bob&amp;at=0" in body


def test_forms_are_not_of_the_past(writing, gateway: Gateway) -> None:
    from kanban_shards.web.pages import answer
    from kanban_shards.web.wire import Ask

    task_id = gateway.make("First").task_id
    gateway.make("Second")
    body = answer(writing, Ask(1, "task", "", task_id, [("at", "1")])).body
    assert 'method="post"' not in body


# --- the graph -----------------------------------------------------------------------------------------------------


def test_a_task_stands_behind_all_that_it_waits_for(get, gateway: Gateway, home: str) -> None:
    ids = story.play(home)
    drawing = graph.draw(gateway.board, ids["build"])
    x = {node.id: node.x for node in drawing.nodes}
    assert x[ids["prd"]] < x[ids["mockups"]] == x[ids["copy"]] < x[ids["build"]] < x[ids["test"]] < x[ids["launch"]]
    assert len(drawing.lines) == 6 and drawing.is_whole and len(x) == 6
    assert len({(node.x, node.y) for node in drawing.nodes}) == 6
    body = get("graph", "", ("task", ids["build"])).body
    assert body.count('class="node') == 6 and "is-meant" in body


def test_no_two_tasks_stand_in_the_same_place(gateway: Gateway) -> None:
    parents = [gateway.create(f"Parent {number}") for number in range(5)]
    for number in range(6):
        gateway.create(f"Child {number}", parents=parents[number % 3 : number % 3 + 3])
    alone = gateway.create("Another")
    gateway.create("Its child", parents=[alone])
    gateway.sync()
    drawing = graph.draw(gateway.board, None)
    places = [(node.x, node.y) for node in drawing.nodes]
    assert len({*places}) == len(places) == 13
    apart = [(a, b) for a in places for b in places if a < b and a[0] == b[0] and abs(a[1] - b[1]) < graph.HIGH]
    assert apart == []


def test_a_circle_ends(gateway: Gateway) -> None:
    """No rule makes one; a board that somebody wrote by hand may have one."""
    assert graph.layers(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "b")]) == {"a": 0, "b": 1, "c": 0}


def test_a_large_graph_is_cut_and_says_so(get, gateway: Gateway) -> None:
    root = gateway.create("Root")
    for number in range(graph.MOST_TASKS + 5):
        gateway.create(f"Child {number}", parents=[root])
    gateway.sync()
    assert "This is not all" in get("graph").body
    near = graph.draw(gateway.board, root)
    assert len(near.nodes) <= graph.MOST_TASKS and not near.is_whole


def test_a_board_without_links_says_what_to_type(get, gateway: Gateway) -> None:
    task_id = gateway.make("Alone").task_id
    assert "kanban --profile NAME link" in get("graph").body
    assert get("graph", "", ("task", task_id)).body.count('class="node') == 1
    assert get("graph", "", ("task", "<b>")).status == 404
