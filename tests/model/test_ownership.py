"""Invariants of who may change a task: the shortest histories that would break them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import (
    AddComment,
    Assign,
    Block,
    Claim,
    ClaimNext,
    Complete,
    Create,
    Delete,
    Edit,
    Link,
    Progress,
    Review,
    Schedule,
    Settings,
    Subscribe,
    Unblock,
)
from kanban_shards.paths import COORDINATOR
from tests import invariants
from tests.evidence import Evidence
from tests.model.worlds import OTHER, PARENT, TASK, a_world, quick, verdict_of
from tests.simulation.world import World


@given(st.permutations(range(6)), st.booleans())
@quick
def test_single_owner(order: list[int], runs_as_another: bool) -> None:
    """Whoever wins the task owns it in a new epoch, and nobody else ever holds that epoch."""
    with a_world() as world:
        world.write(world.writers[0], TASK, Create(title="t", assignee="cyd"))
        world.make_pass()
        for writer in order:
            world.write(world.writers[writer], TASK, Claim(runs_as="bob" if runs_as_another else None))
            world.write(world.writers[writer], TASK, Assign(assignee="ann"))
        world.make_pass()
        invariants.single_owner(world.check_all())


@given(st.permutations(["claim", "edit", "comment", "delete", "create", "subscribe"]))
@quick
def test_single_owner_of_a_deleted_task(order: list[str]) -> None:
    """Behind its deletion nothing applies to a task, in whatever order it was written, and its id is never used."""
    bodies = {"claim": Claim(), "edit": Edit(title="e"), "comment": AddComment(text="c"), "delete": Delete(),
              "create": Create(title="again"), "subscribe": Subscribe(platform="p", chat_id="1")}  # fmt: skip
    with a_world() as world:
        ann = world.writers[0]
        world.write(ann, TASK, Create(title="t"))
        world.make_pass()
        seqs = {name: world.write(ann, TASK, bodies[name]) for name in order}
        evidence = world.check_all()
        invariants.single_owner(evidence)
        behind = order[order.index("delete") + 1 :]
        verdicts = [verdict_of(evidence, "ann", seqs[name]) for name in behind]
        assert verdicts == ["taken_id" if name == "create" else "gone" for name in behind]
        assert not evidence.rows("tasks") and not evidence.rows("task_events")


@given(st.permutations(range(6)), st.booleans())
@quick
def test_one_winner(order: list[int], at_once: bool) -> None:
    """Of all that claim a ready task, one gets it, whoever they are and however the passes fall."""
    with a_world() as world:
        world.write(world.writers[0], TASK, Create(title="t"))
        world.make_pass()
        dots = []
        for writer in order:
            world.writers[writer].look(TASK)
        for writer in order:
            world.now_ms -= 1
            profile = world.writers[writer].profile
            dots.append((profile, world.write(world.writers[writer], TASK, Claim(), fresh=False)))
            if not at_once:
                world.make_pass()
        evidence = world.check_all()
        invariants.one_winner(evidence)
        assert sorted(verdict_of(evidence, *dot) == "applied" for dot in dots) == [False] * 5 + [True]


@given(st.lists(st.sampled_from(["comment", "link", "edit", "assign", "complete", "block"]), max_size=8))
@quick
def test_owner_never_stale(meanwhile: list[str]) -> None:
    """Whatever others wrote meanwhile, what the owner of an open run says of that run, unseeing, is never refused for
    concurrency; unless one who had seen the run ended it first."""
    with a_world() as world:
        ann, bob = world.writers[0], world.writers[2]
        world.write(ann, TASK, Create(title="t"))
        world.write(ann, PARENT, Create(title="p"))
        world.make_pass()
        world.write(ann, TASK, Claim())
        world.make_pass()
        ann.look(TASK)
        for name in meanwhile:
            world.write(bob, TASK, _meddling(name), fresh=name != "assign")
        world.make_pass()
        progress = world.write(ann, TASK, Progress(run_id=1, note="still here"), fresh=False)
        complete = world.write(ann, TASK, Complete(run_id=1), fresh=False)
        evidence = world.check_all()
        invariants.owner_never_stale(evidence)
        expected = "late" if {"complete", "block"} & set(meanwhile) else "applied"
        assert verdict_of(evidence, "ann", progress) == verdict_of(evidence, "ann", complete) == expected


def test_nothing_overwritten_by_the_unseeing(world: World) -> None:
    """A change by one who neither owns the task nor saw its last change is refused, and kept whole."""
    ann, _, bob, *_ = world.writers
    world.write(ann, TASK, Create(title="t"))
    world.make_pass()
    bob.look(TASK)
    world.write(ann, TASK, Edit(title="ann's"))
    world.make_pass()
    seq = world.write(bob, TASK, Edit(title="bob's"), fresh=False)
    evidence = world.check_all()
    assert verdict_of(evidence, "bob", seq) == "stale"
    assert evidence.tables["merge_kept"][0]["body"] == '{"title":"bob\'s"}'


def test_nothing_overwritten_by_another_process_of_the_profile(world: World) -> None:
    """Two processes of one profile have a view each: neither overwrites what only the other saw."""
    ann, other_ann, bob, *_ = world.writers
    world.write(bob, TASK, Create(title="t"))
    world.make_pass()
    for writer in (ann, other_ann):
        writer.look(TASK)
    first = world.write(ann, TASK, Edit(title="one"), fresh=False)
    second = world.write(other_ann, TASK, Edit(title="two"), fresh=False)
    third = world.write(ann, TASK, Edit(title="three"), fresh=False)
    evidence = world.check_all()
    assert [verdict_of(evidence, "ann", seq) for seq in (first, second, third)] == ["applied", "stale", "applied"]


def test_nothing_overwritten_after_an_undecided_claim_next(world: World) -> None:
    """Until it is decided, another process's ``claim_next`` may be on any task, so nobody may say to have seen it."""
    ann, other_ann, bob, *_ = world.writers
    world.write(bob, TASK, Create(title="t"))
    world.make_pass()
    ann.look(TASK)
    world.write(other_ann, "", ClaimNext(runs_as="cyd"))
    unseeing = [world.write(ann, TASK, Edit(title=title), fresh=False) for title in ("one", "two")]
    evidence = world.check_all()
    assert [verdict_of(evidence, "ann", seq) for seq in unseeing] == ["stale", "stale"]


def test_nothing_overwritten_after_a_write_that_failed(world: World) -> None:
    """A change that was never committed is not among its process's own, whoever gets its seq."""
    ann, other_ann, bob, *_ = world.writers
    world.write(bob, TASK, Create(title="t"))
    world.make_pass()
    for writer in (ann, other_ann):
        writer.look(TASK)
    assert not ann.write_if_there_is_room(TASK, Edit(body="never" * 100_000))
    world.write(other_ann, TASK, Edit(title="one"), fresh=False)
    seq = world.write(ann, TASK, Edit(title="two"), fresh=False)
    assert verdict_of(world.check_all(), "ann", seq) == "stale"


@pytest.mark.parametrize("again_in_s", [None, 5, 1_000])
def test_nothing_overwritten_by_an_appointment(world: World, again_in_s: int | None) -> None:
    """The coordinator's word that a task is due counts only if the task still waits for that very time."""
    ann, *_ = world.writers
    now_s = world.now_ms // 1000
    world.write(ann, TASK, Create(title="t"))
    world.write(ann, TASK, Schedule(due_s=now_s + 10))
    world.make_pass()
    world.now_ms += 20_000
    world.write(ann, TASK, Unblock())
    if again_in_s is not None:
        world.write(ann, TASK, Schedule(due_s=now_s + again_in_s))
    world.make_pass()
    evidence = world.check()
    assert verdict_of(evidence, COORDINATOR, 1) == "wrong_status"
    later = now_s + 1_000 if again_in_s == 1_000 else None
    assert [row["due_s"] for row in world.check_all().rows("merge_tasks")] == [later]


@given(st.permutations(range(6)), st.booleans(), st.sampled_from([0, 1, 2, 4]), st.sampled_from([1, 2, None]))
@quick
def test_capacity(order: list[int], at_once: bool, total: int, own: int | None) -> None:
    """However many claim at once, no more runs are open than the limits allow; a lower limit ends no run."""
    with a_world() as world:
        for number in range(6):
            world.write(world.writers[number], f"t_{number:016x}", Create(title="t"))
        world.write(world.writers[0], "", Settings(max_in_progress=total, max_in_progress_per_profile=own))
        world.make_pass()
        for writer in order:
            world.write(world.writers[writer], f"t_{writer:016x}", Claim())
            if not at_once:
                world.make_pass()
        world.make_pass()
        world.write(world.writers[0], "", Settings(max_in_progress=0))
        world.write(world.writers[0], "", ClaimNext())
        evidence = world.check_all()
        invariants.capacity(evidence)
        expected = min(total, 6 if own is None else 3 * own)
        assert _count(evidence, "tasks", "status", "running") == expected


def test_capacity_of_reviews(world: World) -> None:
    """A review is a run like another: it takes a place, and whoever else claims it is too late."""
    ann, _, bob, _, cyd, _ = world.writers
    for task_id in (TASK, OTHER):
        world.write(ann, task_id, Create(title="t"))
    world.write(ann, TASK, Review(summary="look"))
    world.write(ann, "", Settings(max_in_progress=1))
    world.make_pass()
    world.write(bob, TASK, Claim())
    world.make_pass()
    lost = world.write(cyd, TASK, Claim())
    full = world.write(cyd, OTHER, Claim())
    evidence = world.check_all()
    invariants.one_winner(evidence)
    assert [verdict_of(evidence, "cyd", seq) for seq in (lost, full)] == ["wrong_status", "at_capacity"]


def test_capacity_when_the_clock_is_set_back(world: World) -> None:
    """Room is kept for whoever asked in vain a moment ago, and for nobody who asks only in the future."""
    ann, _, bob, *_ = world.writers
    for task_id in (TASK, OTHER, PARENT):
        world.write(ann, task_id, Create(title="t"))
    world.write(ann, "", Settings(max_in_progress=1))
    world.write(ann, TASK, Claim())
    world.make_pass()
    world.write(bob, OTHER, Claim())
    world.make_pass()
    world.write(ann, "", Settings(max_in_progress=2))
    kept_for_bob = world.write(ann, OTHER, Claim())
    world.make_pass()
    world.now_ms -= 2_000_000
    taken = world.write(ann, OTHER, Claim())
    evidence = world.check_all()
    assert [verdict_of(evidence, "ann", seq) for seq in (kept_for_bob, taken)] == ["at_capacity", "applied"]


# --- how -----------------------------------------------------------------------------------------------------------


def _count(evidence: Evidence, table: str, column: str, value: object) -> int:
    return sum(row[column] == value for row in evidence.rows(table))


def _meddling(name: str) -> Body:
    return {
        "comment": AddComment(text="hm"),
        "link": Link(parent=PARENT),
        "edit": Edit(title="bob was here"),
        "assign": Assign(assignee="bob"),
        "complete": Complete(result="bob's"),
        "block": Block(reason="bob's"),
    }[name]
