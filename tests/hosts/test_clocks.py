"""A clock of the service that is wrong for a moment: what is stamped then, and what becomes of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from kanban_shards import clocks
from kanban_shards.changes.kinds import Claim, Create, Progress, Schedule, Supervise
from kanban_shards.coordinator.merge.outage import outage_of
from kanban_shards.coordinator.shared import clock
from kanban_shards.coordinator.shared.clock import APART_MS, STRANGE_MS, FarClock, stamp_ms
from kanban_shards.coordinator.shared.errors import ClockStrange
from kanban_shards.coordinator.shared.far import Standing
from kanban_shards.coordinator.shared.standings import as_heard
from tests.hosts.hosts import Host
from tests.hosts.worlds import LEASE_S, World, at_work, said_of_runs
from tests.ids import new_task_id

YEAR_MS = 365 * 86_400_000
HOURS_MS = 20 * 3_600_000
NOW_MS = 1_700_000_000_000


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with at_work(tmp_path, monkeypatch) as there:
        yield there


@contextmanager
def told_wrong(host: Host, wrong_ms: int) -> Iterator[None]:
    """For a moment the service's answers to ``host`` tell another time."""
    host.far.link.wrong_ms = wrong_ms
    yield
    host.far.link.wrong_ms = 0


@pytest.mark.parametrize("wrong_ms", [YEAR_MS, -YEAR_MS])
def test_an_answer_that_nothing_bears_out_stamps_nothing(world: World, wrong_ms: int) -> None:
    """It is said where status and doctor look, and the next answer is believed."""
    seq = world.laptop.write("ann", new_task_id(), Create(title="meanwhile"))
    with told_wrong(world.laptop, wrong_ms):
        with pytest.raises(ClockStrange, match=r"365 d (ahead of|behind) this host's"):
            world.times.on(world.laptop).follow()
        world.laptop.stop()
        with pytest.raises(ClockStrange):  # and one that begins now has the ledger to hold it against
            world.laptop.follow()
        outage = outage_of(world.laptop.paths)
        assert outage is not None and "more than a day off" in outage.why("fake")
        assert world.laptop.verdict("ann", seq) is None
    world.times.on(world.laptop).follow()
    assert outage_of(world.laptop.paths) is None
    assert world.laptop.verdict("ann", seq) == "applied"
    assert all(abs(entry.at_ms - world.times.now_ms) < 60_000 for entry in world.laptop.entries())


def test_what_was_fetched_beside_it_is_shown(world: World) -> None:
    """Others append by the clock that they know; whoever is told a wrong one follows all the same."""
    seq = world.times.on(world.server).write("bob", new_task_id(), Create(title="of another"))
    world.server.make_pass()
    with told_wrong(world.laptop, YEAR_MS):
        for _ in range(2):
            with pytest.raises(ClockStrange):
                world.times.on(world.laptop).follow()
        assert world.laptop.verdict("bob", seq) == "applied"


def test_time_goes_on_after_a_wrong_answer_that_was_believed(world: World) -> None:
    """Hosts whose clocks are wrong alike bear it out. Afterwards entries have the right time again, a scheduled task is
    due when its time comes, and a run ends a lease after its last sign."""
    for name in ("laptop", "server"):
        world.times.wrong_ms[name] = YEAR_MS
    with told_wrong(world.laptop, YEAR_MS):
        world.times.on(world.laptop).write("ann", new_task_id(), Create(title="of next year"))
        world.laptop.follow()
    assert world.laptop.entries()[-1].at_ms - world.times.now_ms > YEAR_MS - 60_000
    world.times.wrong_ms.clear()
    waits = new_task_id()
    world.times.on(world.laptop).write("ann", waits, Create(title="later"))
    world.laptop.follow()
    world.laptop.write("ann", waits, Schedule(due_s=world.times.now_ms // 1_000 + 300))
    task_id, _ = world.claimed(world.laptop, "ann")
    assert abs(world.laptop.entries()[-1].at_ms - world.times.now_ms) < 1_000
    world.live(LEASE_S - 5)
    assert world.server.board.task(task_id).status == "running"
    world.live(15)
    assert world.server.board.task(task_id).status == "ready"
    assert world.server.board.task(waits).status == "scheduled"
    world.live(300)
    assert world.server.board.task(waits).status == "ready"


@pytest.mark.parametrize("progress", [False, True])
def test_a_run_that_was_stamped_ahead_goes_on_while_its_worker_lives(world: World, progress: bool) -> None:
    """Claimed, or last heard, 20 hours from now: its host says to the others that it lives, for as long as it does; and
    it ends a lease after its worker fell silent, and not after 20 hours."""
    if not progress:
        world.laptop.far.link.wrong_ms = HOURS_MS
        world.times.on(world.laptop).follow()
    task_id, run_id = world.claimed(world.laptop, "ann")
    if progress:
        world.laptop.far.link.wrong_ms = HOURS_MS
        world.times.on(world.laptop).write("ann", task_id, Progress(run_id=run_id))
        world.laptop.follow()
    world.laptop.far.link.wrong_ms = 0
    world.both()
    assert world.server.board.run(run_id).claim_expires > world.times.now_ms // 1_000 + 19 * 3_600
    world.live(6 * LEASE_S, (world.laptop, "ann", run_id))
    assert world.server.board.task(task_id).status == "running"
    said = said_of_runs(world.server)
    assert set(said) == {"alive"} and 8 <= len(said) <= 14
    began_s = world.times.now_ms // 1_000
    while world.server.board.task(task_id).status == "running":
        world.live(5)
    assert LEASE_S - 10 <= world.times.now_ms // 1_000 - began_s <= 2 * LEASE_S


def test_one_that_is_stamped_ahead_and_unheard_is_ended_by_another_host(world: World) -> None:
    """Its host is gone: two leases after the others saw it first."""
    with told_wrong(world.laptop, HOURS_MS):
        world.times.on(world.laptop).follow()
        task_id, _ = world.claimed(world.laptop, "ann")
    world.live(2 * LEASE_S - 10, hosts=(world.server,))
    assert world.server.board.task(task_id).status == "running"
    world.live(30, hosts=(world.server,))
    assert world.server.board.task(task_id).status == "ready"


def test_nothing_is_due_by_the_time_of_an_entry(world: World) -> None:
    """The newest entry is of tomorrow; what is due tonight waits for tonight."""
    waits = new_task_id()
    with told_wrong(world.laptop, HOURS_MS):
        world.times.on(world.laptop).follow()
        world.laptop.write("ann", waits, Create(title="later"))
        world.laptop.make_pass()
    world.laptop.follow()
    world.laptop.write("ann", waits, Schedule(due_s=world.times.now_ms // 1_000 + 10 * 3_600))
    world.live(30)
    assert world.laptop.board.task(waits).status == "scheduled"


def test_a_supervised_run_that_was_claimed_ahead_goes_on_while_a_dispatcher_sees_its_worker(world: World) -> None:
    """What the dispatcher says begins the lease anew, at the right time; then the grace counts."""
    task_id = new_task_id()
    with told_wrong(world.laptop, HOURS_MS):
        world.times.on(world.laptop).write("ann", task_id, Create(title="work"))
        world.laptop.follow()
        world.laptop.write("ann", task_id, Claim(lease_s=LEASE_S, grace_s=2 * LEASE_S))
        world.laptop.make_pass()
    world.both()
    run_id = world.laptop.board.runs(task_id)[0].id
    for _ in range(8):
        world.times.on(world.laptop).write("ann", task_id, Supervise(run_id=run_id))
        world.live(LEASE_S - 10)
    assert world.server.board.task(task_id).status == "running"
    world.live(3 * LEASE_S)
    assert world.server.board.task(task_id).status == "ready"


# --- who is believed -----------------------------------------------------------------------------------------------


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """This host's clock, right at first."""
    told = SimpleNamespace(now_ms=NOW_MS, steady_ms=0)
    told.time_ns = lambda: told.now_ms * 1_000_000
    told.monotonic_ns = lambda: told.steady_ms * 1_000_000
    for module in (clock, clocks):
        monkeypatch.setattr(module, "time", told)
    return told


@pytest.mark.parametrize("off_ms", [0, STRANGE_MS - 1, 1 - STRANGE_MS, YEAR_MS, -YEAR_MS])
def test_the_first_answer_of_an_empty_ledger_is_believed(own: SimpleNamespace, off_ms: int) -> None:
    heard = FarClock()
    assert heard.heard(NOW_MS + off_ms, 0, None) == 0
    assert heard.now_ms() == NOW_MS + off_ms


@pytest.mark.parametrize(
    ("own_ms", "newest_ms"),
    [(NOW_MS, NOW_MS - YEAR_MS), (NOW_MS - YEAR_MS, NOW_MS), (NOW_MS + YEAR_MS, NOW_MS), (0, NOW_MS - YEAR_MS)],
)
def test_an_answer_is_believed_that_one_witness_bears_out(own: SimpleNamespace, own_ms: int, newest_ms: int) -> None:
    """A ledger that rested, a host whose clock is wrong; one whose clock is behind the ledger is no witness at all."""
    own.now_ms = own_ms
    assert FarClock().heard(NOW_MS, 0, newest_ms) == 0


@pytest.mark.parametrize("off_ms", [YEAR_MS, -YEAR_MS, STRANGE_MS + 10_000, -STRANGE_MS - 10_000])
def test_one_that_none_bears_out_is_not(own: SimpleNamespace, off_ms: int) -> None:
    heard = FarClock()
    assert heard.heard(NOW_MS + off_ms, 0, NOW_MS) == off_ms
    assert heard.now_ms() is None and heard.heard_ms is None
    heard.heard(NOW_MS, 0, NOW_MS)
    own.steady_ms = 5_000
    assert heard.heard(NOW_MS + off_ms, 5_000, NOW_MS + off_ms) == off_ms, "the last answer counts, and not an entry"
    assert (heard.now_ms(), heard.heard_ms) == (NOW_MS + 5_000, 0)


def test_an_entry_is_not_stamped_before_the_last_one_unless_that_is_wrong(own: SimpleNamespace) -> None:
    assert stamp_ms(NOW_MS, None) == NOW_MS
    assert stamp_ms(NOW_MS, NOW_MS + 2_000) == NOW_MS + 2_000
    assert stamp_ms(NOW_MS, NOW_MS - YEAR_MS) == NOW_MS
    assert stamp_ms(NOW_MS, NOW_MS + APART_MS + 1) == NOW_MS
    assert stamp_ms(NOW_MS - YEAR_MS, NOW_MS) == NOW_MS, "a service that is behind, says this host's clock"


def test_a_host_that_spoke_in_the_future_did_not_speak_now() -> None:
    said = [Standing("one", "1.0", 1, 7, "", NOW_MS), Standing("two", "1.0", 1, 7, "", NOW_MS + YEAR_MS)]
    assert [each.ago_ms for each in as_heard(said, "one")] == [0, YEAR_MS]
