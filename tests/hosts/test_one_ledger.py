"""Several hosts on one ledger, pass by pass: one order, one winner, one clock, and a tail that is put back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from kanban_shards.changes.codec import Change
from kanban_shards.changes.kinds import AddComment, Claim, Complete, Create, Schedule
from kanban_shards.clocks import steady_ms
from kanban_shards.coordinator.history.task_changes import of_task
from kanban_shards.coordinator.ledger import GENESIS, Entry, FileLedger, Point, continued
from kanban_shards.coordinator.merge import clock as merge_clock
from kanban_shards.coordinator.merge import other_hosts, verdict_digest
from kanban_shards.coordinator.rules import TASKLESS_RULES
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.coordinator.shared import ledger as shared_ledger
from kanban_shards.coordinator.shared.errors import (
    AnotherLedger,
    FarBroken,
    NoSharedLedger,
    OtherRules,
    Parted,
    TailGone,
    Unreachable,
)
from kanban_shards.coordinator.shared.ledger import SharedLedger
from kanban_shards.heard import forget_heard, read_heard
from kanban_shards.paths import COORDINATOR
from kanban_shards.sharing import Sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock
from tests.far import fake
from tests.far.fake import Service
from tests.hosts.hosts import LEDGER_ID, Host, assert_alike, hosts
from tests.ids import new_task_id

TASK, OTHER = new_task_id(), new_task_id()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Service, Host, Host]]:
    with hosts(tmp_path, "one", "two") as (service, (one, other)):
        yield service, one, other


def a_task(host: Host, profile: str = "ann", task_id: str = TASK) -> None:
    host.write(profile, task_id, Create(title="shared"))
    host.make_pass()


def writers(entries: list[Entry]) -> list[str]:
    """Whose changes they are, without what coordinators say."""
    return [entry.change.profile for entry in entries if entry.change.profile != COORDINATOR]


def test_what_one_host_writes_the_other_shows(world) -> None:
    _, one, other = world
    a_task(one)
    assert other.make_pass().decisions == []
    assert other.board.task(TASK).title == "shared"
    assert_alike(one, other)


def test_the_bell_wakes_who_has_just_looked(world) -> None:
    """A pass asks the service only if there may be something: that rang, or a second went by."""
    _, one, other = world
    other.make_pass()
    trips = other.far.link.trips
    other.make_pass()
    assert other.far.link.trips == trips
    a_task(one)
    other.make_pass()
    assert other.far.link.trips > trips and other.board.task(TASK)


def test_one_winner(world) -> None:
    """Each has seen the task ready, and claims it before it hears of the other."""
    _, one, other = world
    for number in range(20):
        task_id = new_task_id()
        a_task(one, task_id=task_id)
        other.make_pass()
        claims = {one: one.write("ann", task_id, Claim()), other: other.write("bob", task_id, Claim())}
        first, second = (one, other) if number % 2 else (other, one)
        first.make_pass()
        second.make_pass()  # which was overtaken, and hears of it by that
        first.make_pass()
        profiles = {one: "ann", other: "bob"}
        for look in (one, other):
            said = {host: look.verdict(profiles[host], seq) for host, seq in claims.items()}
            assert said == {first: "applied", second: "stale"}
    assert_alike(one, other)


def test_whoever_was_overtaken_goes_behind_in_the_same_pass(world) -> None:
    """The bell is silent, so neither knows of the other before it appends."""
    _, one, other = world
    for host in (one, other):
        host.make_pass()
        host.far.link.deaf = True
    one.write("ann", TASK, Create(title="of one"))
    other.write("bob", OTHER, Create(title="of the other"))
    one.make_pass()
    report = other.make_pass()
    assert [(each.entry.change.kind, each.applied) for each in report.decisions] == [("home", True), ("create", True)]
    assert writers(other.entries()) == ["ann", "bob"]
    one.follow()
    assert_alike(one, other)


def test_coordinators_share_what_comes_of_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hosts see that one task is due; one entry says so."""
    with hosts(tmp_path, "one", "two", "three") as (service, there):
        one, *_ = there
        a_task(one)
        due_s = service.now_ms() // 1_000 + 60
        one.write("ann", TASK, Schedule(due_s=due_s))
        for host in there:
            host.follow()
            host.far.link.deaf = True
        service.now_ms.now_ms += 120_000
        for host in there:
            host.follow()
        for host in there:
            host.follow()
        kinds = [entry.change.kind for entry in one.entries() if entry.change.profile == COORDINATOR]
        assert kinds == ["home", "due"]
        assert_alike(*there)


def test_two_coordinators_write_into_one_chain_of_their_own(world) -> None:
    """``@coordinator`` is every host's; what the overtaken one says by itself is worked out anew."""
    service, one, other = world
    for host, profile, task_id in ((one, "ann", TASK), (other, "bob", OTHER)):
        a_task(host, profile, task_id)
        host.write(profile, task_id, Schedule(due_s=service.now_ms() // 1_000 + 60))
        host.make_pass()
    for host in (one, other):
        host.follow()
        host.far.link.deaf = True
    service.now_ms.now_ms += 120_000
    # Each knows the time by an answer that came before the other's entries.
    for host in (one, other):
        host.far.read(0)
        host.coordinator._hosts._ledger._clock.heard(service.now_ms(), steady_ms(), None)
    one.make_pass()
    other.make_pass()
    one.follow()
    assert {one.board.task(each).status for each in (TASK, OTHER)} == {"ready"}
    own = [(entry.change.seq, entry.change.kind) for entry in one.entries() if entry.change.profile == COORDINATOR]
    assert own == [(1, "home"), (2, "home"), (3, "due"), (4, "due")]
    assert_alike(one, other)


@pytest.mark.parametrize("wrong_ms", [-600_000, 600_000])
def test_one_clock(world, monkeypatch: pytest.MonkeyPatch, wrong_ms: int) -> None:
    """A host's own clock, ten minutes wrong and then set back an hour, stamps nothing."""
    service, one, other = world
    true = merge_clock.time
    for step, off_ms in enumerate((wrong_ms, wrong_ms - 3_600_000, 0)):
        clock = SimpleNamespace(
            time_ns=lambda off=off_ms: true.time_ns() + off * 1_000_000, monotonic_ns=true.monotonic_ns
        )
        monkeypatch.setattr(merge_clock, "time", clock)
        a_task(one, "ann", new_task_id())
        service.now_ms.now_ms += 5_000 if step < 1 else -5_000  # the service's clock may be set back, too
        a_task(other, "bob", new_task_id())
    one.follow()
    times = [entry.at_ms for entry in one.entries()]
    assert times == sorted(times)
    assert all(abs(at_ms - service.now_ms()) < 60_000 for at_ms in times)
    assert_alike(one, other)


def test_a_lost_tail_is_put_back(world) -> None:
    """A failover or an old dump takes the tail; the first host that has it gives it back, byte for byte."""
    service, one, other = world
    for _ in range(6):
        a_task(one, task_id=new_task_id())
    other.make_pass()
    whole = list(service.ledgers["default"].entries)
    service.lose_tail(5)
    other.follow()
    assert service.ledgers["default"].entries == whole
    one.follow()
    assert_alike(one, other)


def test_all_of_it_is_put_back_and_whoever_writes_first_comes_after_it(world) -> None:
    service, one, other = world
    a_task(one)
    other.make_pass()
    other.far.link.deaf = True
    service.lose_tail(2)
    other.write("bob", OTHER, Create(title="behind it"))
    other.make_pass()  # its append names an entry that is not there
    assert writers(service.ledgers["default"].entries) == ["ann", "bob"]
    one.follow()
    assert_alike(one, other)


def test_a_ledger_that_was_dropped_is_begun_again_and_filled(world) -> None:
    service, one, other = world
    a_task(one)
    service.drop()
    with pytest.raises(NoSharedLedger):
        one.follow()
    one.far.begin(LEDGER_ID)
    one.follow()
    other.make_pass()
    assert_alike(one, other)


def test_a_tail_that_was_compacted_away_is_left_to_another_host(world) -> None:
    service, one, other = world
    for _ in range(3):
        a_task(one, task_id=new_task_id())
    other.make_pass()
    one.coordinator._ledger.drop(3)
    service.lose_tail(2)
    with pytest.raises(TailGone, match=r"ends at entry 2.*dropped its own copy up to 3"):
        one.follow()
    other.follow()
    one.follow()
    assert_alike_from(one, other, 3)


def assert_alike_from(one: Host, other: Host, position: int) -> None:
    assert one.tables() == other.tables()
    assert list(one.coordinator._ledger.after(position)) == list(other.coordinator._ledger.after(position))


def part(service: Service, one: Host, other: Host) -> None:
    """The service loses two entries while their host is away, and another host goes on from there."""
    for _ in range(4):
        a_task(one, task_id=new_task_id())
    other.follow()
    other.stop()
    for _ in range(2):
        a_task(one, task_id=new_task_id())
    service.lose_tail(2)
    a_task(other, "bob", OTHER)


def test_a_split_is_not_followed(world) -> None:
    """What a host has shown it shows still; a person decides."""
    service, one, other = world
    part(service, one, other)
    before = one.tables()
    for _ in range(2):
        with pytest.raises(Parted) as parted:
            one.follow()
        assert "holds another entry 6 than this host does" in str(parted.value)
        assert "2 verdicts may change, and 2 changes of this host are decided anew" in str(parted.value)
    assert one.tables() == before
    one.write("ann", TASK, AddComment(text="written all the same"))


def test_another_ledger_of_that_name_is_not_followed(world) -> None:
    service, one, _ = world
    a_task(one)
    service.drop()
    service.far("three", "f" * 32).begin("f" * 32)
    before = one.tables()
    with pytest.raises(AnotherLedger):
        one.follow()
    assert one.tables() == before


def test_an_append_whose_answer_was_lost_is_found_again(world) -> None:
    """A commit in doubt: the changes are in the ledger, and are not appended a second time."""
    _, one, other = world
    one.make_pass()
    seq = one.write("ann", TASK, Create(title="in doubt"))
    one.far.link.lose_answers = 1
    with pytest.raises(Unreachable):
        one.make_pass()
    assert one.verdict("ann", seq) is None
    one.make_pass()
    other.make_pass()
    assert one.verdict("ann", seq) == "applied"
    assert writers(one.entries()) == ["ann"]
    assert_alike(one, other)


def test_an_append_that_arrives_after_it_was_given_up(world) -> None:
    """The service commits it behind the host's back, between its look and its second try."""
    service, one, other = world
    a_task(one)
    before = len(one.entries())
    one.write("ann", OTHER, Create(title="late"))
    one.far.link.lose_requests = 1
    with pytest.raises(Unreachable):
        one.make_pass()
    (change,) = one.coordinator._collector.collect(one.coordinator.board.watermark).changes["ann"]
    true_read = one.far.read

    def read(position: int):
        page = true_read(position)
        if len(service.ledgers["default"].entries) == before:
            service.ledgers["default"].entries += continued([change], service.now_ms(), page.end)
        return page

    one.far.read = read  # type: ignore[method-assign]
    one.make_pass()
    other.make_pass()
    assert one.verdict("ann", 2) == "applied"
    assert writers(one.entries()) == ["ann", "ann"]
    assert_alike(one, other)


def test_a_host_killed_between_the_service_and_its_copy(world, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, other = world
    one.make_pass()
    seq = one.write("ann", TASK, Create(title="in the service alone"))
    with monkeypatch.context() as killing, pytest.raises(KeyboardInterrupt):
        killing.setattr(FileLedger, "store", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        one.make_pass()
    one.stop()
    one.make_pass()
    other.make_pass()
    assert one.verdict("ann", seq) == "applied"
    assert_alike(one, other)


def test_a_new_host_fetches_everything(tmp_path: Path) -> None:
    with hosts(tmp_path, "one", "two") as (_, (one, other)):
        for _ in range(30):
            one.write("ann", new_task_id(), Create(title="before"))
        one.make_pass()
        other.write("bob", OTHER, Create(title="its first"))
        other.make_pass()
        assert other.verdict("bob", 1) == "applied"
        one.follow()
        assert_alike(one, other)


def test_a_lost_copy_is_fetched_again(world) -> None:
    _, one, other = world
    a_task(one)
    other.make_pass()
    other.stop()
    files.set_aside(other.paths.ledger, _held(other))
    other.stop()
    a_task(one, task_id=OTHER)
    other.make_pass()
    assert_alike(one, other)


def test_an_older_copy_catches_up(world, tmp_path: Path) -> None:
    """Somebody put an older copy of the ledger back: the service has what it lacks."""
    _, one, other = world
    a_task(one)
    other.make_pass()
    other.stop()
    older = other.paths.ledger.read_bytes()
    a_task(one, task_id=OTHER)
    other.make_pass()
    other.stop()
    other.paths.ledger.write_bytes(older)
    other.make_pass()
    assert_alike(one, other)


def test_board_and_copy_lost_come_back(world) -> None:
    _, one, other = world
    a_task(one)
    other.make_pass()
    other.stop()
    for path in (other.paths.ledger, other.paths.board):
        files.set_aside(path, _held(other))
    other.stop()
    other.make_pass()
    assert_alike(one, other)


def _held(host: Host):
    assert host.lock.held or host.lock.try_acquire()
    return host.lock


def test_a_broken_chain_stops_before_it(world) -> None:
    """Somebody with rights on the tables rewrote an entry."""
    service, one, other = world
    a_task(one)
    a_task(one, task_id=OTHER)
    entry = service.ledgers["default"].entries[1]
    service.ledgers["default"].entries[1] = entry._replace(at_ms=entry.at_ms + 1)
    with pytest.raises(FarBroken, match="at entry 2"):
        other.make_pass()


@pytest.mark.parametrize("theirs", [0, 2])
def test_an_older_host_appends_nothing_and_is_read(world, theirs: int) -> None:
    """The two hosts have other rules. What was written waits; readers see the board as it was."""
    service, one, other = world
    a_task(one)
    other.make_pass()
    service.ledgers["default"].rules = theirs
    seq = other.write("bob", OTHER, Create(title="waits"))
    with pytest.raises(OtherRules):
        other.follow()
    assert other.verdict("bob", seq) is None
    assert other.board.task(TASK)
    service.ledgers["default"].rules = 1
    other.follow()
    assert other.verdict("bob", seq) == "applied"


def test_differing_rule(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts of one version that decide otherwise all the same are named, by both, wherever each of them is."""
    _, one, other = world

    def refuse(board, entry, body):
        raise Refusal("taken_id", "another rule")

    a_task(one)
    other.make_pass()
    one.write("ann", OTHER, Create(title="which only one of them takes"))
    one.make_pass()
    with monkeypatch.context() as patched:
        patched.setitem(TASKLESS_RULES, "create", refuse)
        other.follow()
    one.write("ann", TASK, AddComment(text="one is further"))
    one.make_pass()
    for host in (one, other, one):
        host.coordinator._hosts._meet_at_s = 0
        host.follow()
    assert [str(each) for each in one.coordinator.troubles] == [
        "host two decided one of the entries up to 4 otherwise than this one; run `kanban-merge verify` on both, and "
        "the same version of kanban-shards"
    ]
    assert {each.host: each.differs for each in read_heard(one.paths).hosts} == {"one": False, "two": True}


def test_hosts_that_decide_alike_are_not_named(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the verdicts of a board are read in many pieces, by a coordinator that begins late."""
    _, one, other = world
    monkeypatch.setattr(verdict_digest, "AT_ONCE", 3)
    for number in range(7):
        a_task(one, task_id=new_task_id())
        if number == 4:
            other.make_pass()
    for host in (one, other, one, other) * 3:
        host.coordinator._hosts._meet_at_s = 0
        host.follow()
    assert one.coordinator.troubles == other.coordinator.troubles == set()
    assert [each.position for each in read_heard(other.paths).hosts] == [8, 8]
    one.stop()
    a_task(one, task_id=new_task_id())
    for host in (one, other) * 4:
        host.coordinator._hosts._meet_at_s = 0
        host.follow()
    assert one.coordinator.troubles == other.coordinator.troubles == set()
    assert [each.position for each in read_heard(other.paths).hosts] == [9, 9]


def test_that_the_service_answered_is_noted_while_verdicts_are_still_read(
    world, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large board takes many passes to read, in which nobody shall be told that the service is silent."""
    _, one, other = world
    for _ in range(7):
        a_task(one, task_id=new_task_id())
    one.make_pass()
    other.follow()
    other.stop()
    forget_heard(other.paths)
    monkeypatch.setattr(verdict_digest, "AT_ONCE", 1)
    other.follow()
    heard = read_heard(other.paths)
    assert heard is not None and heard.end == 8 and heard.hosts == []


def test_what_was_noted_is_not_read_at_each_pass(world, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one, _ = world
    noted: list[int] = []

    def note_heard(paths: object, end: int, *hosts: object) -> float:
        noted.append(end)
        return 60.0

    monkeypatch.setattr(other_hosts, "note_heard", note_heard)
    for _ in range(3):
        a_task(one, task_id=new_task_id())
        one.make_pass()
    assert len(noted) == 1


POISON = {
    "no such kind": {"kind": "telepathy"},
    "no body": {"body": "no JSON"},
    "too deep": {"body": "[" * 100_000},
    "no sight": {"kind": "edit", "body": '{"title":"x"}', "seen": "[]"},
    "no profile": {"profile": "../../etc/passwd"},
    "no task": {"task_id": "; DROP TABLE tasks"},
    "an own kind of the coordinator": {"kind": "expire", "body": '{"run_id":1}'},
    "a name that only looks like the coordinator's": {"profile": "@coordinator "},
    "a time without a year": {"written_ms": 2**62},
    "before all time": {"written_ms": -(2**62)},
    "more digits than are read": {"kind": "edit", "body": '{"title":"x"}', "seen": f'{{"ann":{"1" * 5_000}}}'},
    "what begins an import": {"kind": "import", "task_id": "", "body": "no JSON"},
}


@pytest.mark.parametrize("what", POISON)
def test_poison(world, what: str) -> None:
    """Another host's entry that nobody can read is refused by all alike, and stops nobody."""
    service, one, other = world
    a_task(one)
    claim = one.write("ann", TASK, Claim())
    one.make_pass()
    ledger = service.ledgers["default"]
    usual = {"profile": "eve", "seq": 1, "task_id": TASK, "kind": "comment", "body": '{"text":"hello"}', "seen": "{}"}
    change = Change(**{**usual, "written_ms": service.now_ms(), "digest": "any", **POISON[what]})
    ledger.entries += continued([change], service.now_ms(), ledger.end)
    for host in (one, other):
        host.follow()
        assert host.verdict(change.profile, 1) == "unreadable"
        [refused] = host.board.refusals()
        assert refused.body in (change.body, json.loads(usual["body"]), {"run_id": 1}, {"title": "x"})
        with closing(FileLedger(host.paths.ledger)) as copy:
            told = of_task(host.paths, copy, TASK).changes
        if change.task_id == TASK:
            assert told[-1].sentence.startswith(f"{change.profile} wrote something that says nothing: ")
        assert msgspec.json.encode([each.as_dict() for each in [*told, refused]])
        assert host.coordinator.board.earlier_import("any") is None
    one.write("ann", TASK, Complete(run_id=1))
    one.make_pass()
    other.follow()
    assert other.board.task(TASK).status == "done" and claim
    assert_alike(one, other)


@pytest.mark.parametrize("lost", range(1, 9))
@pytest.mark.parametrize("base", [0, 2, 5])
def test_where_they_parted_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int, base: int) -> None:
    """However far back that is, in pages of three entries; as far as the copy goes back."""
    monkeypatch.setattr(fake, "PAGE_ENTRIES", 3)
    monkeypatch.setattr(shared_ledger, "PAGE_ENTRIES", 3)
    service = Service(lambda: 1_700_000_000_000)
    sharing = Sharing(service="fake", board="default", ledger_id=LEDGER_ID, host="one")
    whole = continued(
        [Change("ann", seq, TASK, "note", "{}", "{}", 1, "") for seq in range(1, 9)], 1, Point(0, GENESIS)
    )
    with (
        closing(service.far("one", LEDGER_ID)) as far,
        closing(FileLock(tmp_path / "lock")) as lock,
    ):
        assert lock.try_acquire()
        far.begin(LEDGER_ID)
        with closing(FileLedger(tmp_path / "ledger.db", lock)) as copy:
            copy.store(whole, Point(0, GENESIS))
            if base:
                copy.drop(base)
            entries = service.ledgers["default"].entries
            entries += whole[:-lost]
            end = entries[-1].point if entries else Point(0, GENESIS)
            entries += continued(_notes("bob", lost), 1, end)
            with pytest.raises(Parted) as parted:
                SharedLedger(copy, far, sharing, 1, lambda profile: profile == "ann").pull()
    first = max(9 - lost, base)
    assert (parted.value.position, parted.value.verdicts) == (first, 8 - max(first - 1, base))


def _notes(profile: str, count: int) -> list[Change]:
    return [Change(profile, seq, TASK, "note", "{}", "{}", 1, "") for seq in range(1, 1 + count)]
