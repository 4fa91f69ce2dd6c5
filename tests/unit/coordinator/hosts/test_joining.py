"""Joining, leaving and parting, with a service in memory: who may join, what is refused, and what a kill leaves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.hosts.errors import (
    BeginsLate,
    HistoryOfItsOwn,
    HomeIsACopy,
    HostTaken,
    NotFilledYet,
    NotShared,
    SharedElsewhere,
)
from kanban_shards.coordinator.hosts.joining import BEGUN, FILLED, JOINED, KNOWN, plan, share
from kanban_shards.coordinator.hosts.leaving import unshare
from kanban_shards.coordinator.hosts.parting import GONE, ONE, PARTED, look, take_again
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.shared.errors import AnotherLedger, NoSharedLedger, Unreachable
from kanban_shards.coordinator.shared.far import Address, Far
from kanban_shards.errors import SharingForgotten
from kanban_shards.heard import read_heard
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import read_sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock
from tests.evidence import board_tables
from tests.far.fake import FakeFar, Service


class Home:
    """A home, as the host ``name`` of ``service``."""

    def __init__(self, folder: Path, name: str, service: Service, exist_ok: bool = False) -> None:
        folder.mkdir(exist_ok=exist_ok)
        self.name, self.paths, self._service = name, BoardPaths(folder), service
        self.address = Address("fake", "default", name, rules.VERSION)

    def far(self, address: Address) -> FakeFar:
        return self._service.far(address.host, address.ledger_id, board=address.board, rules=address.rules)

    @contextmanager
    def lock(self) -> Iterator[FileLock]:
        with closing(FileLock(self.paths.coordinator_lock)) as lock:
            lock.acquire(5)
            yield lock

    def share(self, open_far=None):
        with self.lock() as lock:
            return share(self.paths, lock, self.address, open_far or self.far)

    def plan(self):
        with closing(self.far(self.address)) as far:
            return plan(self.paths, self.address, far)

    def unshare(self, anyway: bool = False, open_far=None):
        with self.lock() as lock:
            return unshare(self.paths, lock, open_far or self.far, anyway)

    def look(self):
        with self.lock() as lock:
            return look(self.paths, lock, self.far)

    def again(self):
        with self.lock() as lock:
            return take_again(self.paths, lock, self.far)

    def write(self, profile: str, title: str, merges: bool = True) -> str:
        """A new task; merged at once only on a board that is not shared."""
        with Gateway(profile, home=str(self.paths.folder)) as gateway:
            task_id = gateway.create(title)
        if merges:
            self.merge()
        return task_id

    def merge(self) -> None:
        sharing = read_sharing(self.paths)
        with self.lock() as lock:
            if sharing is None:
                with Coordinator(self.paths, lock) as coordinator:
                    coordinator.make_passes()
                return
            far = self._service.far(self.name, sharing.ledger_id, rules=rules.VERSION)
            with closing(far), Coordinator(self.paths, lock, far=far) as coordinator:
                coordinator.make_passes()

    def tasks(self) -> set[str]:
        with Board(self.paths) as board:
            return {task.title for task in board.tasks()}


@pytest.fixture(autouse=True)
def no_pass_of_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway would look for a real server; here a pass is made when a test says so."""
    monkeypatch.setattr("kanban_shards.inline_merge.pass_if_free", lambda *_: False)
    monkeypatch.setattr("kanban_shards.writer.Writer.settle", lambda self: None)


@pytest.fixture
def service() -> Service:
    clock = count(time.time_ns() // 1_000_000, 10)
    return Service(lambda: next(clock))


@pytest.fixture
def homes(tmp_path: Path, service: Service) -> tuple[Home, Home]:
    return Home(tmp_path / "one", "one", service), Home(tmp_path / "two", "two", service)


def test_the_first_fills_the_ledger_and_the_second_fetches_it(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    for number in range(5):
        one.write("ann", f"task {number}")
    assert (one.plan().did, one.plan().send) == (BEGUN, 5)
    assert not service.ledgers and read_sharing(one.paths) is None, "a plan changes nothing"
    assert one.share().did == BEGUN
    assert (two.plan().did, two.plan().send) == (JOINED, 0)
    assert two.share().fetch >= 5
    assert board_tables(one.paths) == board_tables(two.paths)
    heard = read_heard(two.paths)
    assert heard is not None and [each.host for each in heard.hosts] == ["one", "two"]
    assert one.share().did == KNOWN


def test_two_histories_do_not_become_one(homes: tuple[Home, Home]) -> None:
    for home in homes:
        home.write("ann", home.name)
    homes[0].share()
    with pytest.raises(HistoryOfItsOwn, match="a history of its own of 1"):
        homes[1].share()
    assert read_sharing(homes[1].paths) is None


def test_a_name_that_lives_is_taken_and_one_that_is_gone_is_not(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    one.share()
    two.address = two.address._replace(host="one")
    with pytest.raises(HostTaken):
        two.share()
    later_ms = service.now_ms() + 3_600_000
    service.now_ms = lambda: later_ms
    assert two.share().did == JOINED


def test_a_note_that_anybody_may_write_makes_no_copy_the_original(
    homes: tuple[Home, Home], service: Service, tmp_path: Path
) -> None:
    one, _ = homes
    one.share()
    shutil.copytree(one.paths.folder, tmp_path / "copy")
    copy = Home(tmp_path / "copy", "one", service, exist_ok=True)
    one.share()
    shutil.copy(one.paths.heard, copy.paths.heard)  # as if it had said so itself
    assert copy.plan().did == KNOWN
    copy.paths.heard.chmod(0o666)
    with pytest.raises(HomeIsACopy):
        copy.plan()


@pytest.mark.parametrize("without", [(), ("shared.json",), ("shared.json", "kanban-heard.json")])
def test_a_copy_of_a_home_is_refused_while_the_original_lives(
    homes: tuple[Home, Home], service: Service, tmp_path: Path, without: tuple[str, ...]
) -> None:
    one, two = homes
    one.write("ann", "before")
    one.share()
    two.share()
    shutil.copytree(one.paths.folder, tmp_path / "copy")
    copy = Home(tmp_path / "copy", "one", service, exist_ok=True)
    for name in without:
        (copy.paths.folder / name).unlink()
    one.share()  # as it does every few seconds
    for refused in (copy.plan, copy.share):
        with pytest.raises(HomeIsACopy, match="as one, and said so 0 s ago"):
            refused()
    one.paths.shared.unlink()
    assert one.share().did == KNOWN, "the original, in the very same moment"
    later_ms = service.now_ms() + 3_600_000
    service.now_ms = lambda: later_ms
    assert copy.share().did == KNOWN, "the original stopped: its home was moved"


def test_a_name_is_free_again_that_was_said_in_the_future(homes: tuple[Home, Home], service: Service) -> None:
    """The server's clock was a year ahead when that host spoke last: it is not in touch until then."""
    one, two = homes
    one.share()
    two.address = two.address._replace(host="one")
    now_ms = service.now_ms()
    service.now_ms = lambda: now_ms - 30_000
    with pytest.raises(HostTaken, match="0 s ago"):
        two.share()
    service.now_ms = lambda: now_ms - 365 * 86_400_000
    assert two.share().did == JOINED


def test_a_lost_ledger_is_fetched_from_where_the_board_came(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    one.write("ann", "one")
    one.share()
    two.share()
    two.write("bob", "two")
    two.share()
    for path in (one.paths.shared, *one.paths.folder.glob("kanban-ledger.db*")):
        path.unlink()
    another = Home(one.paths.folder.parent / "another", "another", Service(service.now_ms))
    another.write("cleo", "another")
    another.share()
    with pytest.raises(HistoryOfItsOwn):
        one.share(another.far)
    with pytest.raises(SharingForgotten, match="--host one"):
        one.share(Home(one.paths.folder.parent / "empty", "empty", Service(service.now_ms)).far)
    assert read_sharing(one.paths) is None and not one.paths.ledger.exists()
    assert (one.share().did, one.tasks()) == (JOINED, {"one", "two"})


def test_a_board_is_shared_once(homes: tuple[Home, Home]) -> None:
    one, two = homes
    one.share()
    one.address = one.address._replace(host="other")
    with pytest.raises(SharedElsewhere, match="as the host one"):
        one.share()
    with pytest.raises(NotShared):
        two.unshare()
    with pytest.raises(NotShared):
        two.look()


class Killed(BaseException):
    """As if the process ended there."""


@pytest.mark.parametrize("step", range(1, 9))
def test_a_kill_on_the_way_is_continued(homes: tuple[Home, Home], monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Each call of the service is a place to die before and after; what is written meanwhile does not matter."""
    one, two = homes
    monkeypatch.setattr("kanban_shards.coordinator.shared.ledger.PAGE_ENTRIES", 2)
    for number in range(5):
        one.write("ann", f"task {number}")
    with pytest.raises(Killed):
        one.share(lambda address: Dying(one.far(address), step))
    one.write("ann", "meanwhile", merges=read_sharing(one.paths) is None)
    one.share()
    one.merge()
    two.share()
    assert two.tasks() == one.tasks() == {*(f"task {number}" for number in range(5)), "meanwhile"}
    assert board_tables(one.paths) == board_tables(two.paths)


class Dying:
    """A far whose host dies at the n-th call: before it for an odd ``step``, and after it for an even one."""

    def __init__(self, far: Far, step: int) -> None:
        self._far, self._calls, self._step = far, 0, step

    def __getattr__(self, name: str):
        found = getattr(self._far, name)
        if name not in ("read", "append", "begin", "meet"):
            return found

        def call(*given):
            self._calls += 1
            if 2 * self._calls - 1 == self._step:
                raise Killed
            try:
                return found(*given)
            finally:
                if 2 * self._calls == self._step:
                    raise Killed

        return call


def test_nobody_joins_a_ledger_that_is_being_filled(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    for number in range(3):
        one.write("ann", f"task {number}")
    with pytest.raises(Killed):
        one.share(lambda address: Dying(one.far(address), 9))  # it has said how much it will fill, and nothing more
    assert service.ledgers["default"].hosts["one"].position == 3 and not service.ledgers["default"].entries
    with pytest.raises(NotFilledYet, match="the host one has 3"):
        two.share()
    assert one.share().did == FILLED
    assert two.share().did == JOINED


def test_a_ledger_that_begins_late_fills_none(homes: tuple[Home, Home]) -> None:
    one, _ = homes
    for number in range(4):
        one.write("ann", f"task {number}")
    with one.lock() as lock, closing(FileLedger(one.paths.ledger, lock)) as ledger:
        ledger.drop(2)
    with pytest.raises(BeginsLate, match="after entry 2"):
        one.plan()


# --- leaving -------------------------------------------------------------------------------------------------------


def test_who_leaves_has_everything_and_goes_on_alone(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    one.write("ann", "of one")
    one.share()
    two.share()
    two.write("bob", "of two, not merged", merges=False)
    one.write("ann", "late")
    left = two.unshare()
    assert left.without is None and left.shards == ["ann"]
    assert two.tasks() == {"of one", "of two, not merged", "late"}
    assert [*service.ledgers["default"].hosts] == ["one"]
    two.write("ann", "alone")
    one.merge()
    assert "alone" in two.tasks() and "alone" not in one.tasks()
    assert "of two, not merged" in one.tasks(), "it was handed over"


def test_a_service_that_is_gone_is_left_without_a_word(homes: tuple[Home, Home], service: Service) -> None:
    one, _ = homes
    one.write("ann", "of one")
    one.share()
    service.drop()
    with pytest.raises(NoSharedLedger):
        one.unshare()
    assert read_sharing(one.paths) is not None
    left = one.unshare(anyway=True)
    assert isinstance(left.without, NoSharedLedger) and read_sharing(one.paths) is None
    assert one.write("ann", "alone") and one.tasks() == {"of one", "alone"}


def test_nothing_is_left_while_the_service_is_silent(homes: tuple[Home, Home]) -> None:
    one, _ = homes
    one.share()

    def silent(address: Address) -> FakeFar:
        far = one.far(address)
        far.link.silent = True
        return far

    with pytest.raises(Unreachable):
        one.unshare(open_far=silent)
    assert read_sharing(one.paths) is not None


# --- parting -------------------------------------------------------------------------------------------------------


def test_a_history_that_went_another_way_is_taken_when_somebody_says_so(
    homes: tuple[Home, Home], service: Service
) -> None:
    one, two = homes
    one.share()
    two.share()
    one.write("ann", "of both")
    two.merge()
    assert two.look().how == ONE
    two.write("bob", "lost on the server")
    service.lose_tail(1)
    one.write("ann", "in its place")
    way = two.look()
    assert (way.how, way.verdicts, way.changes) == (PARTED, 1, 1)
    assert two.tasks() == {"of both", "lost on the server"}, "a look changes nothing"
    done = two.again()
    assert done.way == way and len(done.set_aside) == 2
    assert two.tasks() == {"of both", "in its place", "lost on the server"}, "it was decided anew"
    one.merge()
    assert board_tables(one.paths) == board_tables(two.paths)
    assert two.again().way.how == ONE


def test_a_host_that_was_compacted_takes_it_from_the_beginning(
    homes: tuple[Home, Home], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its snapshot is of the way that was left, and its copy does not go back to where they parted."""
    one, two = homes
    one.share()
    two.share()
    for number in range(3):
        two.write("bob", f"lost on the server {number}")
    monkeypatch.setattr(
        "kanban_shards.coordinator.merge.other_hosts.open_far",
        lambda sharing, version: service.far(sharing.host, sharing.ledger_id, rules=version),
    )
    with two.lock() as lock:
        compact(two.paths, lock, 1_900_000_000_000)
    two.write("bob", "after the compaction")
    service.lose_tail(4)
    for number in range(5):
        one.write("ann", f"in its place {number}")
    done = two.again()
    assert done.way.how == PARTED
    assert {path.name.partition(".")[0] for path in done.set_aside} == {"kanban", "kanban-ledger", "kanban-snapshot"}
    assert two.tasks() == {f"in its place {number}" for number in range(5)}
    one.merge()
    assert board_tables(one.paths) == board_tables(two.paths)


def test_a_kill_between_ledger_and_board_is_continued(
    homes: tuple[Home, Home], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = homes
    one.share()
    two.share()
    two.write("bob", "lost on the server")
    service.lose_tail(1)
    one.write("ann", "in its place")
    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setattr("kanban_shards.coordinator.hosts.parting.Coordinator", raise_killed)
        two.again()
    two.again()
    one.merge()
    assert two.tasks() == {"in its place", "lost on the server"}
    assert board_tables(one.paths) == board_tables(two.paths)


def raise_killed(*_: object) -> None:
    raise Killed


def test_a_ledger_whose_tables_were_dropped_is_filled_from_a_copy(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    one.share()
    one.write("ann", "of one")
    two.share()
    former = service.drop()
    assert two.look().how == GONE
    assert two.again().way.how == GONE
    assert service.ledgers["default"].ledger_id == former.ledger_id
    assert service.ledgers["default"].entries[: len(former.entries)] == former.entries
    one.write("ann", "goes on")
    two.merge()
    assert board_tables(one.paths) == board_tables(two.paths)


def test_another_ledger_of_that_name_is_not_followed(homes: tuple[Home, Home], service: Service) -> None:
    one, two = homes
    one.share()
    service.drop()
    two.share()
    with pytest.raises(AnotherLedger):
        one.share()
    with pytest.raises(AnotherLedger):
        one.look()


def test_a_copy_that_is_lost_is_fetched_again(homes: tuple[Home, Home]) -> None:
    one, two = homes
    one.write("ann", "of one")
    one.share()
    two.share()
    with two.lock():
        files.discard(two.paths.ledger)
        files.discard(two.paths.board)
    two.merge()
    assert board_tables(one.paths) == board_tables(two.paths)
