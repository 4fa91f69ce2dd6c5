"""What the pages say of a board: everything in it, nothing as markup, and a sentence where it cannot be read."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Gateway, cards, filters
from kanban_shards.boards import create_board
from kanban_shards.errors import Refused
from kanban_shards.filters import Filters
from kanban_shards.paths import BoardPaths
from kanban_shards.web import task_page

MARKUP = "<script>alert(1)</script> \"quoted\" & 'all' {{ 7 * 7 }}"
CARD = re.compile(r'<li class="card is-(\w+)[^"]*" id="(t_\w+)"')


def test_a_board_that_nobody_made_is_a_sentence(get) -> None:
    found = get("board")
    assert found.status == 200
    assert "There is no board at" in found.body and "kanban init" in found.body


def test_a_card_stands_in_the_column_of_its_status(get, gateway: Gateway) -> None:
    made = {
        "ready": gateway.create("To do now"),
        "triage": gateway.create("To be thought through", starts="triage"),
        "running": gateway.create("At work"),
        "blocked": gateway.create("Stuck"),
        "done": gateway.create("Finished"),
    }
    made["todo"] = gateway.create("Waits", parents=[made["ready"]])
    gateway.claim(made["running"])
    gateway.block(made["blocked"], "what now?", kind="needs_input")
    gateway.complete(made["done"])
    assert {(status, task_id) for status, task_id in CARD.findall(get("board").body)} == {*made.items()}


def test_a_card_says_all_that_it_should(get, gateway: Gateway) -> None:
    parent = gateway.create("The first")
    gateway.create("The second", assignee="bob", priority=7, tenant="north", parents=[parent])
    running = gateway.create("At work", assignee="amy")
    gateway.claim(running, runs_as="cleo", lease_s=900)
    body = get("board").body
    for said in ("waits for", ">The first</bdi>", "bob", "+7", "north", "owner amy", "cleo runs it", "14 min left"):
        assert said in body, said


def test_a_heartbeat_is_seen_although_it_is_no_change(get, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    run = gateway.claim(gateway.create("At work"), lease_s=900)
    before = cards.one(gateway.board, run.task_id)
    monkeypatch.setattr("kanban_shards.shard.time.time_ns", lambda: (before.until_s - 300) * 1_000_000_000)
    gateway.heartbeat(run)
    monkeypatch.setattr("kanban_shards.coordinator.health.standing.time.time", lambda: before.until_s)
    assert f'data-until="{before.until_s + 600}"' in get("board").body
    assert f'data-until="{before.until_s + 600}"' in get("task", run.task_id).body


@pytest.mark.parametrize("page", ["board", "task"])
def test_no_text_becomes_markup(get, gateway: Gateway, page: str) -> None:
    task_id = gateway.create(MARKUP, body=MARKUP, tenant="<u>", created_by="<s>")
    gateway.comment(task_id, MARKUP, author="<u>amy</u>")
    gateway.block(task_id, MARKUP, kind="needs_input")
    gateway.subscribe(task_id, platform="<s>", chat_id="<s>")
    body = get(page, task_id if page == "task" else "").body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body and "{{ 7 * 7 }}" in body
    assert not re.search(r"<script(?! src=\"/static/board.js\" defer></script>)|<u>|<s>| style=| on\w+=", body)


def test_controls_and_turned_directions_do_not_reach_the_page(get, gateway: Gateway) -> None:
    task_id = gateway.create("a\x00b\x1b[31mc\u202edefg\u2066h", body="x\x07y\nz")
    for body in (get("board").body, get("task", task_id).body):
        assert "a\ufffdb\ufffd[31mc\ufffddefg\ufffdh" in body
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", body)
    assert "x\ufffdy\nz" in get("task", task_id).body


def test_a_long_title_is_cut_on_its_card_alone(get, gateway: Gateway) -> None:
    title, text = "word " * 2_000, "word " * 20_000
    task_id = gateway.create(title, body=text)
    gateway.create("x" * 10_000)
    assert len(get("board").body) < 20_000
    body = get("task", task_id).body
    assert title.strip() in body and text.strip() in body


def test_the_task_has_everything(get, gateway: Gateway, tmp_path: Path) -> None:
    parent, child = gateway.create("The one before"), gateway.create("The one after")
    task_id = gateway.create("This one", body=f"As {parent} says", parents=[parent])
    gateway.link(task_id, child)
    gateway.complete(parent)
    (tmp_path / "plan.txt").write_text("1. Begin")
    gateway.attach(task_id, tmp_path / "plan.txt")
    gateway.comment(task_id, "a remark")
    gateway.subscribe(task_id, platform="telegram", chat_id="42")
    gateway.complete(gateway.claim(task_id), summary="what came of it", result="plan.txt", metadata={"words": "<3200>"})
    body = get("task", task_id).body
    said = [
        "The one before",
        "The one after",
        "plan.txt",
        "8 bytes",
        "a remark",
        "telegram 42",
        "run 1",
        "what came of it",
    ]
    for each in [*said, "claimed by amy", "completed", f'<a href="/b/default/t/{parent}">{parent}</a>']:
        assert each in body, each


def test_a_refused_change_is_told_on_its_task(get, gateway: Gateway, home: str) -> None:
    task_id = gateway.create("Wanted by two")
    gateway.claim(task_id)
    with Gateway("bob", home=home) as bob, pytest.raises(Refused) as refused:
        bob.claim(task_id)
    body = get("task", task_id).body
    assert "refused · wrong_status" in body and str(refused.value).split(":")[0] in body and "bob" in body


def test_what_needs_a_person_is_marked_counted_and_found(get, gateway: Gateway) -> None:
    wanted = gateway.create("Stuck")
    gateway.block(wanted, "which one?", kind="needs_input")
    passing = gateway.create("Waits for the network")
    gateway.block(passing, "no route", kind="transient")
    gateway.create("Goes by itself")
    body = get("board").body
    assert body.count('<p class="needs">') == 1 and '<b id="needing">1</b>' in body
    assert CARD.findall(get("board", "", ("needs", "person")).body) == [("blocked", wanted)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ([("q", "LOGIN")], ["login"]),
        ([("q", "100%")], ["percent"]),
        ([("q", "in its text")], ["mail"]),
        ([("q", "_")], []),
        ([("assignee", "bob")], ["login"]),
        ([("assignee", " Bob ")], ["login"]),
        ([("assignee", "-")], ["mail", "percent"]),
        ([("tenant", "north")], ["mail"]),
        ([("tenant", "-")], ["login", "percent"]),
        ([("status", "triage")], ["percent"]),
        ([("status", "triage"), ("status", "ready")], ["login", "mail", "percent"]),
        ([("status", "no such"), ("lanes", "no such")], ["login", "mail", "percent"]),
        ([("n-ready", "-5"), ("n-done", "9" * 400), ("n-triage", "\u0663")], ["login", "mail", "percent"]),
        ([("q", "'; DROP TABLE tasks; --")], []),
    ],
)  # fmt: skip
def test_filters_of_the_address(get, gateway: Gateway, query, found) -> None:
    made = {
        "login": gateway.create("The login page", assignee="bob"),
        "mail": gateway.create("A mail", body="with words in its text", tenant="north"),
        "percent": gateway.create("100% of it", starts="triage"),
    }
    gateway.sync()
    words = {task_id: word for word, task_id in made.items()}
    answer = get("board", "", *query)
    assert answer.status == 200
    assert sorted(words[task_id] for _, task_id in CARD.findall(answer.body)) == found


def test_filters_stand_in_the_addresses_of_the_page() -> None:
    found = Filters.read([("q", "a&b=c#d"), ("status", "done"), ("needs", "person"), ("lanes", "tenant")])
    assert Filters.read([*_words(found.words())]) == found


def test_a_column_shows_some_and_counts_the_rest(get, gateway: Gateway) -> None:
    for number in range(filters.SHOWN + 3):
        gateway.create(f"Task {number}")
    gateway.sync()
    body = get("board").body
    assert len(CARD.findall(body)) == filters.SHOWN and "(3 hidden)" in body
    (more,) = re.findall(r'class="more" href="([^"]+)"', body)
    assert len(CARD.findall(get("board", "", *_words(more)).body)) == filters.SHOWN + 3


def test_rows_by_profile(get, gateway: Gateway) -> None:
    for number in range(filters.SHOWN_IN_LANES + 2):
        gateway.create(f"Task {number} of bob", assignee="bob")
    gateway.create("Task of cleo", assignee="cleo")
    gateway.create("Nobody's task")
    gateway.sync()
    body = get("board", "", ("lanes", "assignee")).body
    lanes = [lane.partition('"') for lane in body.split('<section class="lane" aria-label="')[1:]]
    shown = {name: len(CARD.findall(rest)) for name, _, rest in lanes}
    assert shown == {"bob": filters.SHOWN_IN_LANES, "cleo": 1, "-": 1}
    assert "(2 hidden)" in body


def test_a_column_that_is_shown_already_is_not_sent_again(get, gateway: Gateway) -> None:
    first, second = gateway.create("First"), gateway.create("Second")
    gateway.sync()
    marks = re.findall(r'data-mark="([\w-]+)"', get("board").body)
    assert CARD.findall(get("columns", "", ("have", " ".join(marks))).body) == []
    gateway.claim(first)
    again = get("columns", "", ("have", " ".join(marks))).body
    assert {*CARD.findall(again)} == {("running", first), ("ready", second)}
    assert again.count("data-same") == len(marks) - 2


def test_other_boards_of_the_home(get, gateway: Gateway, home: str) -> None:
    gateway.make("On the first board")
    create_board(Path(home), "side", name="The <other> one")
    with Gateway("amy", home=home, board="side") as side:
        task_id = side.make("On the side").task_id
    assert "The &lt;other&gt; one" in get("board").body
    assert CARD.findall(get("board", board="side").body) == [("ready", task_id)]
    assert get("task", task_id).status == 404
    assert get("board", board="none").status == 404
    assert get("board", board="../side").status == 404


@pytest.mark.parametrize("name", [["a", "list"], 7, "", " ", {"b": 1}, "<b>bold</b>" * 50, "\u202eturned"])
def test_a_board_is_called_by_what_can_be_a_name(get, gateway: Gateway, home: str, name: object) -> None:
    """Whoever may write in the folder writes its board.json."""
    gateway.make("A task")
    create_board(Path(home), "side")
    (Path(home) / "kanban" / "boards" / "side" / "board.json").write_text(json.dumps({"name": name, "color": [1]}))
    for found in (get("board"), get("board", board="side")):
        assert found.status == 200 and "<b>bold" not in found.body and "\u202e" not in found.body


def test_long_lists_of_a_task_show_the_newest_first(get, gateway: Gateway) -> None:
    task_id = gateway.make("Much discussed").task_id
    for number in range(task_page.SHOWN + 5):
        gateway.comment(task_id, f"remark {number}.")
    gateway.sync()
    body = get("task", task_id).body
    assert "remark 4." not in body.partition('id="events"')[0] and "remark 5." in body and "show all 55" in body
    assert "remark 0." in get("task", task_id, ("all", "1")).body


@pytest.mark.parametrize("name", ["t_00000000", "t_", "", "../../etc/passwd", "t_" + "0" * 4_000])
def test_a_task_that_there_is_not_is_a_sentence(get, gateway: Gateway, name: str) -> None:
    gateway.make("There is one")
    found = get("task", name)
    assert found.status == 404 and "no such thing" in found.body


def test_a_damaged_a_newer_and_a_foreign_board_are_sentences(get, gateway: Gateway, paths: BoardPaths) -> None:
    gateway.make("A task")
    gateway.close()
    whole = paths.board.read_bytes()
    paths.board.write_bytes(whole[:100] + b"\xa5" * (len(whole) - 100))
    found = get("board")
    assert found.status == 503 and "is damaged" in found.body and "rebuild" in found.body
    paths.board.write_bytes(b"no database, whatever it is called" * 100)
    assert get("board").status == 503
    paths.board.write_bytes(whole)
    assert get("board").status == 200
    with closing(sqlite3.connect(paths.board)) as connection:
        connection.execute("PRAGMA user_version=99")
    found = get("board")
    assert found.status == 503 and "newer" in found.body


def test_health_says_what_to_type(get, gateway: Gateway, paths: BoardPaths) -> None:
    gateway.make("A task")
    found = get("health").body
    assert "1 entry" in found and "kanban-merge backup" in found and "amy" in found
    gateway.close()
    paths.shard("amy").unlink()
    assert "The shard of amy is missing" in get("health").body
    assert "with nothing to do" in get("health", "", ("examine", "1")).body


def _words(address: str) -> list[tuple[str, str]]:
    from html import unescape
    from urllib.parse import parse_qsl

    return parse_qsl(unescape(address).removeprefix("?"))


def test_a_page_that_is_too_long_for_its_message_is_a_sentence(
    get, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP process would take the reader for one that went wrong, and end it with all its pages."""
    task_id = gateway.create("Much said")
    gateway.comment(task_id, "'" * 20_000)  # each becomes five characters
    gateway.sync()
    assert get("task", name=task_id).status == 200
    monkeypatch.setattr("kanban_shards.web.pages.BODY_BYTES", 100_000)
    found = get("task", name=task_id)
    assert found.status == 413
    assert "too long for it" in found.body and "kanban show" in found.body
    assert len(found.body) < 20_000
