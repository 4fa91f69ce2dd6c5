"""What a change may hold: the same for every process that reads it, whatever its stack and its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kanban_shards.changes import vectors
from kanban_shards.changes.codec import decode_body, encode_body
from kanban_shards.changes.fields import PARENTS_LIMIT, TEXT_LIMIT
from kanban_shards.changes.kinds import (
    PLAN_LINKS_LIMIT,
    ClaimNext,
    Complete,
    Create,
    Decompose,
    Edit,
    Gc,
    Link,
    PlannedChild,
)
from kanban_shards.errors import InvalidChange
from tests.ids import new_task_id

DECODE = "import sys; from kanban_shards.changes.codec import decode_body; decode_body('complete', sys.stdin.read())"


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**400, float("nan"), float("inf"), -float("inf")])
def test_a_number_that_not_everybody_reads_is_refused(number: float) -> None:
    for metadata in ({"n": number}, {"n": [{"deep": (number,)}]}):
        with pytest.raises(InvalidChange, match=r"write that as a text|out of range"):
            encode_body(Complete(metadata=metadata))


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 1e308, 5e-324, -0.0, True])
def test_the_largest_numbers_come_back(number: float) -> None:
    back = decode_body("complete", encode_body(Complete(metadata={"n": number}))).metadata["n"]
    assert (back, type(back)) == (number, type(number))


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata":{"n":9223372036854775808}}',
        '{"metadata":{"n":%s}}' % ("9" * 5_000),
        '{"metadata":{"n":1e400}}',
        '{"metadata":{"n":NaN}}',
        '{"metadata":{"n":Infinity}}',
        '{"metadata":{"n":"\\ud800"}}',
        '{"metadata":{"\\udfff":1}}',
        '{"result":"\\ud800"}',
        '{"metadata":' + '{"n":' * 65 + "1" + "}" * 66,
        '{"run_id":1.0}',
        '{"run_id":9007199254740993}',
    ],
)
def test_a_text_that_not_everybody_reads_is_refused(text: str) -> None:
    with pytest.raises(InvalidChange):
        decode_body("complete", text)


@pytest.mark.parametrize("digits", ["0", "640", "100000"])
def test_decoding_does_not_depend_on_the_environment(digits: str) -> None:
    """Python reads integers of as many digits as PYTHONINTMAXSTRDIGITS allows; a change of 5,000 is refused by all."""
    environment = {**os.environ, "PYTHONINTMAXSTRDIGITS": digits}
    text = '{"metadata":{"n":%s}}' % ("9" * 5_000)
    ended = subprocess.run([sys.executable, "-c", DECODE], input=text, env=environment, capture_output=True, text=True)
    assert "InvalidChange" in ended.stderr


def test_of_a_name_given_twice_the_last_counts() -> None:
    """For every process alike; the chain is over the text, so nobody can tell it differently later."""
    assert decode_body("complete", '{"result":"a","result":"b","metadata":{"n":1,"n":2}}') == Complete(
        result="b", metadata={"n": 2}
    )


def test_a_vector_has_one_text() -> None:
    assert vectors.decode('{"amy":1,"bob":2}') == {"amy": 1, "bob": 2}
    for text in ('{"bob":2,"amy":1}', '{"amy": 1}', ' {"amy":1}', '{"amy":1,"amy":1}', '{"\\u0061my":1}'):
        with pytest.raises(ValueError, match="not spelled"):
            vectors.decode(text)


@pytest.mark.parametrize(
    "text", ['{"amy":0}', '{"amy":1.0}', '{"amy":true}', '{"\\ud800":1}', "[]", "null", "[" * 9_999]
)
def test_a_text_that_is_no_vector(text: str) -> None:
    with pytest.raises(ValueError):
        vectors.decode(text)


def test_a_vector_of_too_many() -> None:
    names = {f"p{number}": 1 for number in range(vectors.COMPONENTS_LIMIT + 1)}
    with pytest.raises(ValueError, match="more than"):
        vectors.decode(vectors.encode(names))


def test_a_plan_of_too_many_links_is_refused() -> None:
    """When it is made, and when it is read: such a plan would hold up everybody for seconds."""

    def plan(links: int) -> tuple[PlannedChild, ...]:
        first = [PlannedChild(id=new_task_id(), title="x") for _ in range(links // 2)]
        parents = tuple(range(links // 2))
        return (*first, *(PlannedChild(id=new_task_id(), title="y", parents=parents) for _ in range(2)))

    assert Decompose(children=plan(PLAN_LINKS_LIMIT))
    with pytest.raises(InvalidChange, match="wait for each other"):
        Decompose(children=plan(PLAN_LINKS_LIMIT + 2))
    text = encode_body(Decompose(children=plan(PLAN_LINKS_LIMIT)))
    with pytest.raises(InvalidChange, match="wait for each other"):
        decode_body("decompose", text.replace('"parents":[0,', '"parents":[0,0,'))


def test_what_names_many_tasks_weighs_more() -> None:
    many = tuple(new_task_id() for _ in range(PARENTS_LIMIT))
    assert Create(title="x").weight() == 1
    assert Create(title="x", parents=many).weight() > 100
    assert Complete(created_cards=many).weight() > 100
    assert Decompose(children=tuple(PlannedChild(id=each, title="x") for each in many)).weight() > 100


def test_what_looks_through_a_part_of_the_board_weighs_more() -> None:
    assert Link(parent=new_task_id()).weight() > 10
    assert ClaimNext().weight() >= 10
    assert Gc(events_before_s=1).weight() > 100


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("create", {"title": ""}, "title is empty"),
        ("create", {"title": "x" * 10_001}, "title is longer than 10000 characters"),
        ("create", {"title": 5}, "title is a whole number, and not a text"),
        ("create", {}, "it lacks title"),
        ("create", {"title": "x", "nonsense": 1}, "it has no field nonsense"),
        ("create", {"title": "x", "priority": 2**31 + 1}, "priority is more than 2147483648"),
        ("create", {"title": "x", "priority": -(2**32)}, "priority is less than -2147483648"),
        ("create", {"title": "x", "parents": ["nonsense"]}, "parents[0] is not a task id"),
        ("create", {"title": "x", "skills": ["x"] * 101}, "skills has more than 100 entries"),
        ("create", {"title": "x", "starts": "done"}, "starts cannot be 'done'"),
        ("claim", {"runs_as": "A B"}, "runs_as cannot name a profile"),
        ("home", {"profile": "amy", "shard": "0" * 32, "host": "a.b"}, "host cannot name a profile"),
        ("decompose", {"children": []}, "children is empty"),
        ("decompose", {"children": [{"title": ""}]}, "children[0].title is empty"),
        ("complete", {"metadata": 3}, "metadata is a whole number, and not an object or nothing"),
    ],
)
def test_what_is_wrong_with_a_body_in_words(kind: str, body: dict, said: str) -> None:
    with pytest.raises(InvalidChange) as caught:
        decode_body(kind, json.dumps(body))
    assert caught.value.problem == said


def test_a_large_text_where_metadata_is_not_said() -> None:
    """What is not said is no metadata, however large the rest of the change is."""
    change = Edit(title="T" * 100, body="x" * TEXT_LIMIT)
    assert decode_body("edit", encode_body(change)) == change
