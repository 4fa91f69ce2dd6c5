"""Small things of sentences: the words of whoever gives a value, and numbers that go with their nouns."""

from __future__ import annotations

import pytest

from kanban_shards import Gateway
from kanban_shards.errors import InvalidChange
from kanban_shards.wording import many


@pytest.mark.parametrize(
    ("count", "what", "said"),
    [(1, "failure", "1 failure"), (0, "shard", "0 shards"), (1, "entry", "1 entry"),
     (2, "ledger entry", "2 ledger entries"), (2, "day", "2 days")],
)  # fmt: skip
def test_a_number_goes_with_its_noun(count: int, what: str, said: str) -> None:
    assert many(count, what) == said


def test_a_field_is_called_as_it_is_given(gateway: Gateway) -> None:
    task_id = gateway.create("a task")
    with pytest.raises(InvalidChange, match="kind cannot be 'foo'"):
        gateway.block(task_id, kind="foo")
