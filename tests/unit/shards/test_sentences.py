"""Events in words: every kind that a rule can make, and payloads that mean harm."""

from __future__ import annotations

import ast
import re
import time
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kanban_shards import Board, Gateway, coordinator, wording
from kanban_shards.changes.kinds import Outcome
from kanban_shards.records import Event
from kanban_shards.sentences import _SENTENCES, sentence

HERE = "t_0123456789"
EPOCH = re.compile(r"\b1[0-9]{9}\b")
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300)
values = plain | st.lists(plain, max_size=9) | st.dictionaries(st.text(max_size=5), plain, max_size=3)
NAMES = [
    "by",
    "reason",
    "run_id",
    "len",
    "expires",
    "due",
    "parents",
    "child_ids",
    "status",
    "note",
    "fields",
    "failures",
    "summary",
    "author",
    "size",
    "pid",
]


def told(kind: str, payload: dict | None = None, run_id: int | None = None, at: int = 1_700_000_000) -> str:
    return sentence(Event(1, HERE, kind, payload, at, run_id))


def test_every_kind_that_a_rule_makes_has_a_sentence() -> None:
    found = set(get_args(Outcome))
    folder = Path(coordinator.__file__).parent / "rules"
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_event":
                kind = node.args[1]
                if isinstance(kind, ast.Constant):
                    found.add(kind.value)
    assert len(found) > 25 and found <= _SENTENCES.keys()


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        ("claimed", {"lock": "amy", "expires": 1_700_000_900, "run_id": 3, "profile": "amy", "by": "amy"},
         "claimed by amy (run 3, with a lease of 15 min)"),
        ("claimed", {"lock": "d", "profile": "amy", "by": "d", "source_status": "review"},
         "claimed by d for amy to review it (its run)"),
        ("created", {"assignee": "amy", "status": "todo", "parents": ["t_a", "t_b"]},
         "created, todo, assigned to amy; waits for t_a, t_b"),
        ("created", {"by": "amy", "from_decompose_of": "t_a"}, "created by amy as a part of t_a"),
        ("commented", {"author": "root", "len": 1, "by": "mallory"},
         "root commented (1 character, written by mallory)"),
        ("reclaimed", {"manual": True, "reason": "stuck", "by": "amy"},
         "its run was ended without a result by amy: stuck"),
        ("status", {"status": "todo", "reason": "parent_reopened", "parent": "t_a"},
         "waits again, because t_a was reopened"),
        ("status", {"status": "ready", "reason": "again", "by": "amy"}, "its status is ready now, said amy: again"),
        ("linked", {"parent": HERE, "child": "t_b"}, "t_b waits for it now"),
        ("linked", {"parent": "t_a", "child": HERE}, "waits for t_a now"),
        ("crashed", {"error": "no display", "failures": 2}, "its run crashed (2 failures in a row): no display"),
        ("decomposed", {"child_ids": [f"t_{n}" for n in range(7)], "by": "amy"},
         "decomposed by amy into 7 tasks (t_0, t_1, t_2, t_3, t_4 and 2 more)"),
        ("respawn_guarded", {"reason": "recent_success", "empty": None, "age": 3},
         "respawn guarded: reason recent_success, age 3"),
        ("something_new", None, "something new"),
        ("completed", {"summary": "two\nlines"}, "completed: two"),
    ],
)  # fmt: skip
def test_sentences(kind: str, payload: dict | None, said: str) -> None:
    assert told(kind, payload) == said


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])  # the first text reads tables of Unicode
@given(
    st.sampled_from([*_SENTENCES, "unheard_of", "\x1b[2J"]), st.none() | st.dictionaries(st.sampled_from(NAMES), values)
)
def test_no_payload_draws_on_a_terminal_or_fails(kind: str, payload: dict | None) -> None:
    said = told(kind, payload, run_id=2**70)
    assert said and said.isprintable() and wording.columns(said) < 2_000


def test_what_a_board_tells_has_no_epoch_and_no_json(home: str) -> None:
    with Gateway("amy", home=home) as amy:
        parent = amy.create("a", assignee="amy")
        child = amy.create("b", parents=[parent])
        run = amy.claim(parent)
        amy.heartbeat(run, "half")
        amy.comment(parent, "hello")
        amy.subscribe(parent, platform="p", chat_id="1")
        amy.fail(run, "rate_limited", "slow down", cooldown_s=1)
        amy.edit(parent, title="c", priority=3)
        amy.schedule(parent, "later", due_s=int(time.time()) + 3_600)
        amy.unblock(parent)
        amy.complete(parent, summary="done")
        amy.reopen(parent, "todo", "again")
        amy.archive(child)
        amy.sync()
    with Board.open(home=home) as board:
        said = [sentence(event) for event in board.events()]
    assert len(said) > 15
    assert not [each for each in said if EPOCH.search(each) or "{" in each or "None" in each or "_" in each[:12]]


@pytest.mark.parametrize(
    ("span", "said"),
    [(0, "just now"), (5, "5 s ago"), (125, "2 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago"), (-90, "in 1 min")],
)
def test_how_long_ago(span: int, said: str) -> None:
    assert wording.ago(1_000_000, 1_000_000 + span) == said


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    assert wording.when(2**60) == str(2**60)
