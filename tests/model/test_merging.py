"""Invariants of shards, ledger and board as files: the shortest histories that would break them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kanban_shards.changes.codec import chain, genesis
from kanban_shards.changes.fields import LIMIT_BYTES, NESTING_LIMIT, Body
from kanban_shards.changes.kinds import (
    AddComment,
    Attach,
    Claim,
    Complete,
    Create,
    Delivered,
    Detach,
    Link,
    Progress,
    Subscribe,
    Unlink,
    Unsubscribe,
)
from kanban_shards.coordinator.errors import LedgerBehind
from kanban_shards.coordinator.merge.collector import QUARANTINED, Collector
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import Damaged, InvalidChange
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock
from tests import invariants
from tests.evidence import Evidence, board_tables, ledger_entries
from tests.model.worlds import OLD_PARENT, OTHER, PARENT, TASK, a_world, quick, some_work
from tests.simulation.world import CRASH_POINTS, World


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
        'UPDATE changes SET body = \'{"text":"never said"}\' WHERE seq = 3',
        "UPDATE changes SET task_id = 't_000000000000000f' WHERE seq = 3",
        "UPDATE changes SET at_ms = at_ms + 1 WHERE seq = 3",
        "UPDATE changes SET digest = 'x' WHERE seq = 3",
    ],
)
def test_contiguous_a_break_in_a_shard(world: World, damage: str) -> None:
    """A missing or rewritten change is noticed: what is before it is merged, nothing after it is, others go on."""
    ann, _, bob, *_ = world.writers
    world.write(ann, TASK, Create(title="t"))
    for text in "abcd":
        world.write(ann, TASK, AddComment(text=text))
    world.write(bob, OTHER, Create(title="t"))
    _execute(world, "ann", damage)
    report = world.make_pass()
    assert [(left.profile, left.state, left.seq) for left in report.skipped] == [("ann", QUARANTINED, 3)]
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
    _execute_in_ledger(world, 'UPDATE entries SET body = \'{"title":"rewritten"}\'')
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


ADDITIONS = [
    (0, TASK, AddComment(text="one")),
    (1, TASK, AddComment(text="two")),
    (2, TASK, Link(parent=PARENT)),
    (3, OTHER, Link(parent=PARENT)),
    (4, TASK, Unlink(parent=OLD_PARENT)),
    (5, OTHER, AddComment(text="three")),
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
    watermarks = Evidence.read(BoardPaths(tmp_path)).watermarks
    states = set()
    for at in places:
        for flipped in (at, at - 1, at - 2, at - 3):
            for bit in (0x80, 1):
                data = bytearray(original)
                data[flipped] ^= bit
                (tmp_path / "kanban.ann.db").write_bytes(data)
                collector = Collector(BoardPaths(tmp_path))
                try:
                    states.add(tuple(left.state for left in collector.collect(lambda name: watermarks[name]).skipped))
                    collector.last_heartbeat_ms("ann", 1)
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
    assert [(left.profile, left.state, left.seq) for left in report.skipped] == [("eve", QUARANTINED, 1)]
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
        ann.heartbeat(run_id)
    for _ in range(8):
        world.write(ann, TASK, Progress(run_id=1, note="on it"))
        world.write(bob, OTHER, AddComment(text="on it"))
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
        first = genesis(profile, "forged")
        digest = chain(first, profile, *row)
        connection.execute("INSERT INTO meta VALUES (1, ?, 'forged', 0, ?)", (profile, first))
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
