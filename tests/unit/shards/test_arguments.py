"""What a call of a Gateway may say by name is what the change may say, with the same types."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest

from kanban_shards import Gateway
from kanban_shards.arguments import EditFields, Limits, PlannedTask, SpecifyFields, TaskFields
from kanban_shards.changes.kinds import Create, Edit, PlannedChild, Settings, Specify
from kanban_shards.writer import Writer

# What the Gateway itself says, or takes as a parameter.
ITS_OWN = {Create: {"title", "parents", "salt"}, PlannedChild: {"id", "salt"}}


@pytest.mark.parametrize(
    ("fields", "change"),
    [
        (TaskFields, Create),
        (EditFields, Edit),
        (SpecifyFields, Specify),
        (PlannedTask, PlannedChild),
        (Limits, Settings),
    ],
)
def test_the_names_are_those_of_the_change(fields: type[Any], change: type[msgspec.Struct]) -> None:
    assert set(get_type_hints(fields)) == set(change.__struct_fields__) - ITS_OWN.get(change, set())


def test_a_name_that_no_change_has(gateway: Gateway) -> None:
    with pytest.raises(TypeError, match="assigne"):
        gateway.create("x", assigne="amy")
    with pytest.raises(TypeError, match="parent"):
        gateway.decompose(gateway.create("y", starts="triage"), [{"title": "z", "parent": [0]}])


def test_a_gateway_offers_no_change_as_such() -> None:
    """A change that no verb makes is nothing that a gateway's author should write."""
    kept = {"write", "ask", "write_unseen", "ask_unseen", "view_of", "sync_first"}
    kept |= {"attempt", "lease_attempt", "save_attempt"}
    assert kept <= set(vars(Writer))
    assert kept & set(dir(Gateway)) == set()


def test_patience_may_be_set(gateway: Gateway) -> None:
    gateway.patience_s = 5
    assert gateway.patience_s == 5.0
    with pytest.raises(ValueError):
        gateway.patience_s = "long"
