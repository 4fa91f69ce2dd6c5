"""Invariants of what follows from a change: promotion, and what chats are told. The shortest histories that would
break them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanban_shards.changes.kinds import (
    AddComment,
    Claim,
    Complete,
    Create,
    Decompose,
    Delete,
    Delivered,
    Gc,
    Link,
    PlannedChild,
    Promote,
    Release,
    Reopen,
    Subscribe,
    Unlink,
)
from tests import invariants
from tests.evidence import board_tables
from tests.model.worlds import OTHER, PARENT, TASK, a_world, quick, verdict_of
from tests.simulation.world import World


@given(st.permutations(["link", "release", "complete_parent", "unlink"]))
@quick
def test_promotion(order: list[str]) -> None:
    """A task is ready only when all its parents are terminal, also one that was linked while it was running."""
    with a_world() as world:
        ann, bob = world.writers[0], world.writers[2]
        world.write(ann, TASK, Create(title="t"))
        world.write(bob, PARENT, Create(title="p"))
        world.make_pass()
        world.write(ann, TASK, Claim())
        world.make_pass()
        steps: dict[str, Callable[[], int]] = {
            "link": lambda: world.write(bob, TASK, Link(parent=PARENT)),
            "release": lambda: world.write(ann, TASK, Release(run_id=1)),
            "complete_parent": lambda: world.write(bob, PARENT, Complete()),
            "unlink": lambda: world.write(bob, TASK, Unlink(parent=PARENT)),
        }
        for name in order:
            steps[name]()
            world.make_pass()
            invariants.promotion(world.check())


@pytest.mark.parametrize("edges", [[(TASK, PARENT), (PARENT, TASK)], [(TASK, PARENT), (PARENT, OTHER), (OTHER, TASK)]])
def test_promotion_no_cycle(world: World, edges: list[tuple[str, str]]) -> None:
    """Links that would close a circle, each from a profile that could not know of the others, are refused."""
    for task_id in (TASK, PARENT, OTHER):
        world.write(world.writers[0], task_id, Create(title="t"))
    world.make_pass()
    for writer, (child, parent) in zip(world.writers[::2], edges, strict=False):
        world.write(writer, child, Link(parent=parent))
    evidence = world.check_all()
    reasons = [row["reason"] for row in evidence.tables["merge_verdicts"] if row["reason"]]
    assert reasons == ["cycle"]


def test_promotion_of_a_forced_task(world: World) -> None:
    """Who forced a gate may go on; who did not waits, also for a parent that is opened again."""
    ann, *_ = world.writers
    for task_id, parents in ((PARENT, ()), (TASK, (PARENT,)), (OTHER, (PARENT,))):
        world.write(ann, task_id, Create(title="t", parents=parents))
    world.make_pass()
    refused = world.write(ann, OTHER, Promote())
    world.write(ann, TASK, Promote(force=True))
    world.write(ann, TASK, Claim())
    world.make_pass()
    world.write(ann, PARENT, Complete())
    world.make_pass()
    invariants.promotion(world.check())
    assert _statuses(world) == {PARENT: "done", TASK: "running", OTHER: "ready"}
    world.write(ann, PARENT, Reopen())
    world.write(ann, TASK, Release(run_id=1))
    evidence = world.check_all()
    invariants.promotion(evidence)
    assert verdict_of(evidence, "ann", refused) == "parents_open"
    assert _statuses(world) == {PARENT: "ready", TASK: "ready", OTHER: "todo"}


def test_promotion_of_a_plan(world: World) -> None:
    """A plan's tasks wait for each other, the planned one for all of them; a plan with a circle makes nothing."""
    ann, _, bob, *_ = world.writers
    for task_id in (TASK, OTHER):
        world.write(ann, task_id, Create(title="t", starts="triage"))
    world.make_pass()
    first, second, third, fourth = (f"t_{number:016x}" for number in range(11, 15))
    children = (PlannedChild(first, "a", assignee="bob"), PlannedChild(second, "b", parents=(0,)))
    world.write(ann, TASK, Decompose(children=children))
    circle = (PlannedChild(third, "a", parents=(1,)), PlannedChild(fourth, "b", parents=(0,)))
    refused = world.write(ann, OTHER, Decompose(children=circle))
    world.make_pass()
    assert _statuses(world) == {TASK: "todo", OTHER: "triage", first: "ready", second: "todo"}
    world.write(bob, first, Complete())
    world.make_pass()
    world.write(bob, second, Complete())
    evidence = world.check_all()
    invariants.promotion(evidence)
    assert verdict_of(evidence, "ann", refused) == "cycle"
    assert _statuses(world) == {TASK: "ready", OTHER: "triage", first: "done", second: "done"}


@given(st.permutations(["ann", "bob", "back", "forward"]), st.booleans())
@quick
def test_delivery(order: list[str], from_start: bool) -> None:
    """Only the profile that delivers to a chat moves its cursor, and only forward."""
    with a_world() as world:
        ann, _, bob, *_ = world.writers
        world.write(ann, TASK, Create(title="t"))
        world.write(ann, TASK, Subscribe(platform="p", chat_id="1", from_start=from_start))
        for _ in range(4):
            world.write(ann, TASK, AddComment(text="c"))
        world.make_pass()
        said = {"ann": (ann, 3), "bob": (bob, 5), "back": (ann, 2), "forward": (ann, 4)}
        seqs = {}
        for name in order:
            writer, upto = said[name]
            seqs[name] = world.write(writer, TASK, Delivered(platform="p", chat_id="1", upto=upto))
            world.make_pass()
            invariants.delivery(world.check(), world.memory)
        evidence = world.check_all()
        assert verdict_of(evidence, "bob", seqs["bob"]) == "not_your_chat"
        assert evidence.cursors[TASK, "p", "1", ""]["last_event_id"] == 4


def test_delivery_of_a_dead_letter(world: World) -> None:
    """What could not be told is kept until it is told, and only whoever delivers to that chat can say that it was."""
    ann, _, bob, *_ = world.writers
    world.write(ann, TASK, Create(title="t"))
    world.make_pass()
    for writer, chat_id in ((ann, "1"), (bob, "2")):
        world.write(writer, TASK, Subscribe(platform="p", chat_id=chat_id, from_start=True))
    world.make_pass()
    world.write(bob, TASK, Delivered(platform="p", chat_id="2", upto=1, events=(1,), error="no", attempts=6))
    world.make_pass()
    world.write(ann, TASK, Delivered(platform="p", chat_id="1", upto=1, letter_id=1))
    world.make_pass()
    world.write(ann, TASK, Delivered(platform="p", chat_id="1", upto=1, letter_id=1, error="never"))
    world.make_pass()
    evidence = world.check()
    invariants.delivery(evidence, world.memory)
    assert [(row["chat_id"], row["error"]) for row in evidence.rows("merge_dead_letters")] == [("2", "no")]
    world.write(bob, TASK, Delivered(platform="p", chat_id="2", upto=1, letter_id=1))
    assert not world.check_all().rows("merge_dead_letters")


def test_delivery_is_not_forgotten(world: World) -> None:
    """What a chat is still to be told of outlives the sweeping of old events, and no event's id comes back."""
    ann, *_ = world.writers
    for task_id in (TASK, OTHER):
        world.write(ann, task_id, Create(title="t"))
        world.write(ann, task_id, Complete())
    world.make_pass()
    world.write(ann, TASK, Subscribe(platform="p", chat_id="1", from_start=True))
    world.make_pass()
    world.check()
    world.write(ann, "", Gc(events_before_s=world.now_ms // 1000 + 1))
    world.write(ann, OTHER, Delete())
    world.make_pass()
    left = world.check().rows("task_events")
    assert [row["task_id"] for row in left] == [TASK, TASK]
    world.write(ann, TASK, Delete())
    world.write(ann, PARENT, Create(title="t"))
    world.delete_board()
    evidence = world.check_all()
    invariants.never_reused(evidence, world.memory)
    assert [row["id"] for row in evidence.rows("task_events")] == [5]


# --- how -----------------------------------------------------------------------------------------------------------


def _statuses(world: World) -> dict[str, str]:
    return {row["id"]: row["status"] for row in board_tables(world.paths)["tasks"]}
