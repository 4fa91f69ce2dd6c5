"""Each invariant of docs/design.md by its name: the shortest histories that would break it."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.collect import QUARANTINED, Collector
from coordinator.verify import verify
from shards import sqlite
from shards.bodies import (
    LIMIT_BYTES,
    NESTING_LIMIT,
    Assign,
    Attach,
    Block,
    Body,
    Claim,
    ClaimNext,
    Comment,
    Complete,
    Create,
    Decompose,
    Delete,
    Delivered,
    Detach,
    Edit,
    Gc,
    Link,
    PlannedChild,
    Progress,
    Promote,
    Release,
    Reopen,
    Review,
    Schedule,
    Settings,
    Subscribe,
    Unblock,
    Unlink,
    Unsubscribe,
)
from shards.changes import chain, genesis
from shards.errors import Damaged, InvalidChange, LedgerBehind
from shards.locks import FileLock
from shards.names import COORDINATOR, BoardPaths
from tests import invariants
from tests.evidence import Evidence, board_tables, ledger_entries
from tests.simulation.changes import Pool, any_kind, drawn
from tests.simulation.world import CRASH_POINTS, World

TASK, PARENT, OTHER, OLD_PARENT = (f"t_{number:08x}" for number in range(1, 5))
quick = settings(max_examples=30, deadline=None, derandomize=True, database=None)


@contextmanager
def a_world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), random.Random(0)) as world:
        yield world


@pytest.fixture
def world() -> Iterator[World]:
    """Three profiles with two processes each: ``world.writers`` are ann, ann, bob, bob, cyd, cyd."""
    with a_world() as made:
        yield made


def verdict_of(evidence: Evidence, profile: str, seq: int) -> str:
    """``applied``, or the reason of the refusal."""
    row = evidence.verdicts[profile, seq]
    return row["reason"] or row["verdict"]


def some_work(world: World, seed: int = 0, changes: int = 30) -> None:
    """Changes of every kind by everybody."""
    chance = random.Random(seed)
    pool = Pool(tuple(sorted({writer.profile for writer in world.writers})))
    for number in range(changes):
        world.write(chance.choice(world.writers), *drawn(any_kind(chance), pool, chance), fresh=number % 3 > 0)


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


@pytest.mark.parametrize("crash", CRASH_POINTS)
@pytest.mark.parametrize("at", [1, 7])
def test_no_lost_change(world: World, crash: str, at: int) -> None:
    """A pass that is killed anywhere, again and again, loses no change and takes back no verdict."""
    for seed in range(3):
        some_work(world, seed)
        world.make_pass(crash, at)
        world.make_pass(crash, 1)
        world.check()
    evidence = world.check_all()
    invariants.no_lost_change(evidence, world.acknowledged, world.remembered, everything=True)


@pytest.mark.parametrize("crash", CRASH_POINTS)
def test_exactly_once(world: World, crash: str) -> None:
    """What a killed pass left behind is applied once by the next, by the same coordinator or by another."""
    some_work(world)
    world.make_pass(crash)
    world.start_daemon()
    assert not world.make_pass() or not world.make_pass().decisions
    invariants.exactly_once(world.check_all())


def test_contiguous(world: World) -> None:
    """Shards and ledger are chains without a gap, also after deaths of everybody."""
    for crash in CRASH_POINTS:
        some_work(world, changes=10)
        world.make_pass(crash)
    invariants.contiguous(world.check_all())


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM changes WHERE seq = 3",
        "UPDATE changes SET body = '{\"text\":\"never said\"}' WHERE seq = 3",
        "UPDATE changes SET task_id = 't_0000000f' WHERE seq = 3",
        "UPDATE changes SET at_ms = at_ms + 1 WHERE seq = 3",
        "UPDATE changes SET digest = 'x' WHERE seq = 3",
    ],
)
def test_contiguous_a_break_in_a_shard(world: World, damage: str) -> None:
    """A missing or rewritten change is noticed: what is before it is merged, nothing after it is, others go on."""
    ann, _, bob, *_ = world.writers
    world.write(ann, TASK, Create(title="t"))
    for text in "abcd":
        world.write(ann, TASK, Comment(text=text))
    world.write(bob, OTHER, Create(title="t"))
    _execute(world, "ann", damage)
    report = world.make_pass()
    assert [(left.profile, left.state, left.seq) for left in report.left] == [("ann", QUARANTINED, 3)]
    assert _merged(world) == {"ann": 2, "bob": 1}
    with pytest.raises(AssertionError):
        world.check()


def test_contiguous_a_break_in_the_ledger(world: World) -> None:
    """A ledger with a gap, or with another past than the board's, is noticed before anything after it is applied."""
    some_work(world)
    world.make_pass()
    some_work(world, 1)
    world.make_pass("before the board's commit")
    shown = world.position()
    _execute_in_ledger(world, f"DELETE FROM entries WHERE position = {shown + 5}")
    with pytest.raises(Damaged):
        world.make_pass()
    assert world.position() == shown
    _execute_in_ledger(world, f"UPDATE entries SET digest = 'x' WHERE position = {shown}")
    with pytest.raises((Damaged, LedgerBehind)):
        world.make_pass()
    assert world.position() == shown


def test_contiguous_a_rewritten_ledger_entry(world: World) -> None:
    """An entry whose text was rewritten in the ledger is noticed before it is applied."""
    world.write(world.writers[0], TASK, Create(title="as it was written"))
    world.make_pass("after the ledger's commit")
    _execute_in_ledger(world, "UPDATE entries SET body = '{\"title\":\"rewritten\"}'")
    with pytest.raises(Damaged):
        world.make_pass()


@given(st.integers(0, 2**16))
@settings(quick, max_examples=10)
def test_rebuild_equals_board(seed: int) -> None:
    """The board is a replay of its ledger, in any batches, also when it is deleted in between."""
    with a_world() as world:
        for _ in range(2):
            some_work(world, seed)
            world.make_pass("while deciding", 3)
            world.delete_board()
        evidence = world.check_all()
        invariants.rebuild_equals_board(evidence, random.Random(seed))


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
    """Two processes of one profile have eyes of their own: neither overwrites what only the other saw."""
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
    ann.fail_to_write(TASK, Edit(title="never"))
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


ADDITIONS = [
    (0, TASK, Comment(text="one")),
    (1, TASK, Comment(text="two")),
    (2, TASK, Link(parent=PARENT)),
    (3, OTHER, Link(parent=PARENT)),
    (4, TASK, Unlink(parent=OLD_PARENT)),
    (5, OTHER, Comment(text="three")),
    (0, OTHER, Subscribe(platform="p", chat_id="1")),
    (2, TASK, Subscribe(platform="p", chat_id="2", notifier_profile="ann")),
    (4, PARENT, Unsubscribe(platform="p", chat_id="3")),
    (3, TASK, Attach(filename="f", stored_path="s", size=1)),
    (1, OTHER, Detach(attachment_id=1)),
    (0, OLD_PARENT, Delivered(platform="p", chat_id="4", upto=1)),
    (1, OLD_PARENT, Delivered(platform="p", chat_id="5", upto=1, error="no", attempts=6)),
]


@given(st.permutations(ADDITIONS), st.sets(st.integers(0, len(ADDITIONS) - 1)))
@settings(quick, max_examples=15)
def test_additions_commute(order: list[tuple[int, str, Body]], passes: set[int]) -> None:
    """Adding changes that do not take back one another give the same board in any order, over any passes."""
    with _with_additions(ADDITIONS, set()) as one, _with_additions(order, passes) as other:
        invariants.additions_commute(one.check_all(), other.check_all())


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
    first, second, third, fourth = (f"t_{number:08x}" for number in range(11, 15))
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


@given(st.permutations(["claim", "edit", "comment", "delete", "create", "subscribe"]))
@quick
def test_single_owner_of_a_deleted_task(order: list[str]) -> None:
    """Behind its deletion nothing applies to a task, in whatever order it was written, and its id is never used."""
    bodies = {"claim": Claim(), "edit": Edit(title="e"), "comment": Comment(text="c"), "delete": Delete(),
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


@given(st.permutations(range(6)), st.booleans(), st.sampled_from([0, 1, 2, 4]), st.sampled_from([1, 2, None]))
@quick
def test_capacity(order: list[int], at_once: bool, total: int, own: int | None) -> None:
    """However many claim at once, no more runs are open than the limits allow; a lower limit ends no run."""
    with a_world() as world:
        for number in range(6):
            world.write(world.writers[number], f"t_{number:08x}", Create(title="t"))
        world.write(world.writers[0], "", Settings(max_in_progress=total, max_in_progress_per_profile=own))
        world.make_pass()
        for writer in order:
            world.write(world.writers[writer], f"t_{writer:08x}", Claim())
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


@given(st.permutations(["ann", "bob", "back", "forward"]), st.booleans())
@quick
def test_delivery(order: list[str], from_start: bool) -> None:
    """Only the profile that delivers to a chat moves its cursor, and only forward."""
    with a_world() as world:
        ann, _, bob, *_ = world.writers
        world.write(ann, TASK, Create(title="t"))
        world.write(ann, TASK, Subscribe(platform="p", chat_id="1", from_start=from_start))
        for _ in range(4):
            world.write(ann, TASK, Comment(text="c"))
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


@pytest.mark.parametrize("seed", range(40))
def test_isolation(tmp_path: Path, seed: int) -> None:
    """Whatever bytes of a shard are damaged, the pass goes on: the other shards are merged in it, and the tasks that
    the damaged one neither owns nor claims are as they would have been."""
    with World(tmp_path / "before", random.Random(0)) as world:
        world.paths.folder.mkdir()
        _work_apart(world)
    whole, damaged = (shutil.copytree(tmp_path / "before", tmp_path / name) for name in ("whole", "damaged"))
    _flip_bits(damaged / "kanban.ann.db", random.Random(seed))
    invariants.isolation(_merged_later(damaged), _merged_later(whole), "ann")


def test_isolation_of_every_text_of_a_schema(tmp_path: Path) -> None:
    """A shard whose schema is no text any more, or whose change is a blob, is quarantined, and no pass fails."""
    with World(tmp_path, random.Random(0)) as world:
        _work_apart(world)
    original = (tmp_path / "kanban.ann.db").read_bytes()
    places = [original.index(b"CREATE TABLE") + 20, original.index(b"liveness") + 2]
    places += [at - 1 for at in range(len(original)) if original[at : at + 10] == TASK.encode()]
    marks = Evidence.read(BoardPaths(tmp_path)).watermarks
    states = set()
    for at in places:
        for flipped in (at, at - 1, at - 2, at - 3):
            for bit in (0x80, 1):
                data = bytearray(original)
                data[flipped] ^= bit
                (tmp_path / "kanban.ann.db").write_bytes(data)
                collector = Collector(BoardPaths(tmp_path))
                try:
                    states.add(tuple(left.state for left in collector.collect(lambda name: marks[name]).left))
                    collector.last_sign_ms("ann", 1)
                finally:
                    collector.close()
    assert (QUARANTINED,) in states


def test_isolation_of_a_name_that_is_none(world: World) -> None:
    """A profile's name that ends in a newline is no name; a run of such a one could never be looked after."""
    world.write(world.writers[0], TASK, Create(title="t"))
    with pytest.raises(InvalidChange):
        world.write(world.writers[0], TASK, Claim(runs_as="bob\n", lease_s=1))
    with pytest.raises(InvalidChange):
        world.write(world.writers[0], TASK, Link(parent=f"{PARENT}\n"))


@pytest.mark.parametrize(
    "seen",
    ['{"\\ud800":1}', "{" + " " * (LIMIT_BYTES + 1) + "}", '{"ann":99}', '{"ann":"1"}', "null", "[" * 5_000],
    ids=["no text", "too large", "not there", "no number", "nothing", "nested"],
)
def test_isolation_of_a_forged_row(world: World, seen: str) -> None:
    """A row that no program of ours writes, with its digest right, is quarantined; nobody else waits for it."""
    world.write(world.writers[0], TASK, Create(title="t"))
    _forge(world, "eve", (1, TASK, "comment", '{"text":"a"}', seen, 1))
    report = world.make_pass()
    assert [(left.profile, left.state, left.seq) for left in report.left] == [("eve", QUARANTINED, 1)]
    assert _merged(world) == {"ann": 1}


def test_isolation_of_nested_metadata(world: World) -> None:
    """What is nested too deeply is refused where it is written, whatever the stack; what is not is merged and
    replayed however deep the caller's stack is."""
    world.write(world.writers[0], TASK, Create(title="t"))
    with pytest.raises(InvalidChange, match="nested"):
        world.write(world.writers[0], TASK, Complete(metadata=_nested(NESTING_LIMIT + 1)))
    world.write(world.writers[0], TASK, Complete(metadata=_nested(NESTING_LIMIT)))
    world.check_all()
    assert _deep_in_the_stack(600, lambda: verify(world.paths)).clean


# --- how -----------------------------------------------------------------------------------------------------------


def _statuses(world: World) -> dict[str, str]:
    return {row["id"]: row["status"] for row in board_tables(world.paths)["tasks"]}


def _count(evidence: Evidence, table: str, column: str, value: object) -> int:
    return sum(row[column] == value for row in evidence.rows(table))


def _meddling(name: str) -> Body:
    return {
        "comment": Comment(text="hm"),
        "link": Link(parent=PARENT),
        "edit": Edit(title="bob was here"),
        "assign": Assign(assignee="bob"),
        "complete": Complete(result="bob's"),
        "block": Block(reason="bob's"),
    }[name]


@contextmanager
def _with_additions(order: list[tuple[int, str, Body]], passes: set[int]) -> Iterator[World]:
    with a_world() as world:
        for task_id in (TASK, PARENT, OTHER, OLD_PARENT):
            world.write(world.writers[0], task_id, Create(title="t"))
        world.write(world.writers[0], PARENT, Subscribe(platform="p", chat_id="3"))
        for chat_id in "45":
            world.write(world.writers[0], OLD_PARENT, Subscribe(platform="p", chat_id=chat_id, from_start=True))
        world.write(world.writers[0], OTHER, Attach(filename="f", stored_path="s", size=1))
        world.write(world.writers[0], TASK, Link(parent=OLD_PARENT))
        world.make_pass()
        for index, (writer, task_id, body) in enumerate(order):
            world.write(world.writers[writer], task_id, body)
            if index in passes:
                world.make_pass()
        yield world


def _work_apart(world: World) -> None:
    """Merged and unmerged changes: ann's on her task alone, and the others' on theirs."""
    ann, _, bob, _, cyd, _ = world.writers
    for writer, task_id in ((ann, TASK), (bob, OTHER), (cyd, PARENT)):
        world.write(writer, task_id, Create(title="t"))
        world.make_pass()
        world.write(writer, task_id, Claim(lease_s=1))
        world.make_pass()
    for run_id in range(1, 4):
        ann.sign_of_life(run_id)
    for _ in range(8):
        world.write(ann, TASK, Progress(run_id=1, note="on it"))
        world.write(bob, OTHER, Comment(text="on it"))
        world.write(cyd, PARENT, Complete(run_id=3, result="done"))


def _merged_later(folder: Path) -> Evidence:
    """One pass, when the shards are to be read, and one when every lease has run out."""
    with World(folder, random.Random(0)) as world:
        for _ in range(2):
            world.make_pass()
            world.now_ms += 1_000_000
        world.make_pass()
        tables = board_tables(world.paths)
        return Evidence(world.paths, ledger_entries(world.paths), tables, {}, {})


def _flip_bits(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 4))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _execute(world: World, profile: str, sql: str) -> None:
    _execute_in(world.paths.shard(profile), sqlite.SHARD, world.paths.shard_lock(profile), sql)


def _execute_in_ledger(world: World, sql: str) -> None:
    world.stop_daemon()
    _execute_in(world.paths.ledger, sqlite.LEDGER, world.paths.coordinator_lock, sql)


def _execute_in(path: Path, role: sqlite.Role, lock_path: Path, sql: str) -> None:
    lock = FileLock(lock_path)
    lock.acquire(10)
    try:
        connection = sqlite.open_writer(path, role, lock)
        assert connection.execute(sql).rowcount
        connection.close()
    finally:
        lock.close()


def _forge(world: World, profile: str, row: tuple) -> None:
    """A shard of ``profile`` with one row, its chain as it should be."""
    lock = FileLock(world.paths.shard_lock(profile))
    lock.acquire(10)
    try:
        connection = sqlite.open_writer(world.paths.shard(profile), sqlite.SHARD, lock)
        digest = chain(genesis(profile, "forged"), profile, *row)
        connection.execute("INSERT INTO meta VALUES (1, ?, 'forged')", (profile,))
        connection.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, digest))
        connection.close()
    finally:
        lock.close()


def _merged(world: World) -> dict[str, int]:
    return {profile: seq for profile, (seq, _) in world.board.watermarks().items()}


def _nested(levels: int) -> dict:
    value: object = "deep"
    for _ in range(levels - 1):
        value = [value]
    return {"nested": value}


def _deep_in_the_stack(frames: int, call: Callable) -> object:
    return call() if frames == 0 else _deep_in_the_stack(frames - 1, call)
