"""A service that cannot be reached delays no durable write, no reader and no other board, and who waits hears why."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanban_shards import Gateway, inline_merge
from kanban_shards.board import Board
from kanban_shards.boards import create_board
from kanban_shards.coordinator.daemon import daemon as daemons
from kanban_shards.coordinator.daemon import link
from kanban_shards.coordinator.daemon.daemon import Daemon, HomeDaemon
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.merge import other_hosts
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.coordinator.merge.outage import Outage, note, outage_of
from kanban_shards.errors import Undecided
from kanban_shards.inline_merge import why_cut_off
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, write_sharing
from tests.evidence import ledger_entries
from tests.far.fake import FakeFar, Link, Service
from tests.hosts.hosts import LEDGER_ID
from tests.until import until

# Until when a test that waits has failed.
LATEST_S = 20


class SlowFar(FakeFar):
    """The fake, whose silence takes time: a call is over when the test says so."""

    asked = threading.Event()
    silence_ends = threading.Event()

    def _arrive(self, lose: int = 0, keeps_turn: bool = False) -> None:
        if self.link.silent:
            self.asked.set()
            assert self.silence_ends.wait(LATEST_S)
        super()._arrive(lose, keeps_turn)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger="kanban-merge")
    return lambda: caplog.messages


@pytest.fixture
def service(paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> Service:
    """What the default board shares. Each way there is over ``service.link``."""
    service = Service(lambda: time.time_ns() // 1_000_000, name="kanban")
    service.link = Link()  # type: ignore[attr-defined]
    service.opened = 0  # type: ignore[attr-defined]

    def open_far(sharing: Sharing, rules: int) -> FakeFar:
        service.opened += 1  # type: ignore[attr-defined]
        far = SlowFar(service, sharing.host, sharing.ledger_id, sharing.board, rules)
        far.link = service.link  # type: ignore[attr-defined]
        service.fars.append(far)
        return far

    for module in (link, other_hosts):
        monkeypatch.setattr(module, "open_far", open_far)
    monkeypatch.setattr(SlowFar, "asked", threading.Event())
    monkeypatch.setattr(SlowFar, "silence_ends", threading.Event())
    sharing = Sharing(service="kanban", board="default", ledger_id=LEDGER_ID, host="here")
    open_far(sharing, 1).begin(LEDGER_ID)
    write_sharing(paths, sharing)
    service.opened = 0  # type: ignore[attr-defined]
    return service


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Daemon, Callable[[], None]], None]]:
    """Run a daemon here, and beside it what a test does; what that raises is raised."""
    monkeypatch.setattr(daemons, "SWEEP_S", 0.01)

    def run(daemon: Daemon, act: Callable[[], None]) -> None:
        failed: list[BaseException] = []

        def beside() -> None:
            try:
                act()
            except BaseException as error:
                failed.append(error)
            finally:
                SlowFar.silence_ends.set()
                daemon.stop()
                os.kill(os.getpid(), daemons.STOP_SIGNALS[0])  # which wakes it

        thread = threading.Thread(target=beside)
        thread.start()
        daemon.run()
        thread.join()
        if failed:
            raise failed[0]

    yield run


def of_ann(service: Service) -> int:
    """How many of ann's changes are in the ledger; beside them is where she lives."""
    return sum(entry.change.profile == "ann" for entry in service.ledgers["default"].entries)


def test_silent_all_boards(home: str, paths: BoardPaths, service: Service, run) -> None:
    """While the service says nothing, another board of the same daemon has its verdicts, and this one its writes."""
    create_board(paths.folder, "own")
    merge_once(paths)
    service.link.silent = True  # type: ignore[attr-defined]

    def act() -> None:
        with Gateway("ann", home=home, board="own") as own, Gateway("bob", home=home) as shared:
            assert SlowFar.asked.wait(LATEST_S)
            task = own.create("decided")
            own.claim(task)
            written = shared.create("durable")
            shared.comment(written, "and more")
            with Board(paths) as board:
                assert board.task(written) is None, "and readers see what there was"
            assert not SlowFar.silence_ends.is_set()

    run(HomeDaemon(Path(home)), act)


@pytest.mark.parametrize("daemon", [Daemon, HomeDaemon])
def test_cut(home: str, paths: BoardPaths, service: Service, run, said, daemon: type[Daemon]) -> None:
    """Who needs a verdict hears the server's name and since when; when it is back, all is decided."""

    def act() -> None:
        with Gateway("ann", home=home) as gateway:
            task = gateway.create("before")
            gateway.sync()
            service.link.cut = True  # type: ignore[attr-defined]
            with pytest.raises(Undecided, match=r"the shared ledger in kanban has not answered since \d{4}-") as told:
                gateway.claim(task)
            assert told.value.waited_s < 5, "not its patience"
            gateway.comment(task, "durable")
            assert gateway.board.task(task).status == "ready"
            service.link.cut = False  # type: ignore[attr-defined]
            gateway.sync()
            assert gateway.board.task(task).status == "running"
            until(lambda: any(line.startswith("over: ") for line in said()))

    where = "board default: " if daemon is HomeDaemon else ""
    run(daemon(Path(home)) if daemon is HomeDaemon else daemon(paths), act)
    begins, over = [line for line in said() if "has not answered" in line]
    assert begins.startswith(f"{where}The shared ledger in kanban") and over == f"over: {begins}"


def test_one_outage_is_one_trouble(home: str, paths: BoardPaths, service: Service, run, said) -> None:
    """Whatever sentences the system has for it in turn."""
    problems = iter(f"reason {number}" for number in range(1_000_000))
    true_fail = FakeFar._fail

    def act() -> None:
        service.link.cut = True  # type: ignore[attr-defined]
        tried = service.link.trips  # type: ignore[attr-defined]
        until(lambda: service.link.trips > tried + 20)  # type: ignore[attr-defined]
        service.link.cut = False  # type: ignore[attr-defined]
        until(lambda: len([line for line in said() if "has not answered" in line]) > 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeFar, "_fail", lambda far, problem: true_fail(far, next(problems)))
        run(Daemon(paths), act)
    about = [line for line in said() if "has not answered" in line]
    assert len(about) == 2 and about[1] == f"over: {about[0]}"


def test_what_was_written_meanwhile_is_told_to_who_merges_once(home: str, paths: BoardPaths, service, run) -> None:
    def act() -> None:
        with Gateway("ann", home=home) as gateway:
            gateway.create("before")
            gateway.sync()
            service.link.cut = True
            gateway.create("meanwhile")
            with pytest.raises(Undecided, match="has not answered since"):
                merge_once(paths)
            service.link.cut = False

    run(Daemon(paths), act)


def test_a_daemon_goes_on_with_a_board_that_is_shared_now(home: str, paths: BoardPaths, service, run) -> None:
    """The board was this host's alone when the daemon began; somebody shares it while the daemon has let go of it."""
    sharing = paths.shared.read_bytes()
    paths.shared.unlink()

    def act() -> None:
        with Gateway("ann", home=home) as gateway:
            gateway.create("before")
            gateway.sync()
            service.ledgers["default"].entries += ledger_entries(paths)
            paths.shared.write_bytes(sharing)
            until(lambda: service.opened)
            gateway.create("after")
            gateway.sync()
            until(lambda: of_ann(service) == 2)

    run(HomeDaemon(Path(home)), act)


def Evidence_entries(paths: BoardPaths):
    from tests.evidence import ledger_entries

    return ledger_entries(paths)


# --- without a daemon --------------------------------------------------------------------------------------------


def test_a_gateway_asks_others_by_itself(home: str, service: Service) -> None:
    with Gateway("ann", home=home) as gateway:
        task = gateway.create("by itself")
        assert service.opened == 0, "no write waits for what a network takes"  # type: ignore[attr-defined]
        gateway.claim(task)
    assert of_ann(service) == 2
    assert service.opened == 1 and len(service.fars) == 1  # type: ignore[attr-defined]


def test_a_gateway_that_cannot_reach_them(home: str, service: Service) -> None:
    with Gateway("ann", home=home) as gateway:
        task = gateway.create("before")
        gateway.sync()
        service.link.cut = True  # type: ignore[attr-defined]
        with pytest.raises(Undecided, match="has not answered since"):
            gateway.claim(task)
        opened = service.opened  # type: ignore[attr-defined]
        gateway.create("durable")
        gateway.create("durable, too")
    assert service.opened == opened, "nobody waits for these, and it was asked in vain just now"  # type: ignore[attr-defined]
    service.link.cut = False  # type: ignore[attr-defined]
    merge_once(BoardPaths.find(home=home))
    assert of_ann(service) == 4


def test_of_many_gateways_one_asks_in_vain(home: str, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline_merge, "ASK_AGAIN_MS", 1_000 * LATEST_S)
    service.link.cut = True  # type: ignore[attr-defined]
    with Gateway("ann", home=home) as ann, Gateway("bob", home=home) as bob:
        for gateway in (ann, bob):
            gateway.create("before")
            with pytest.raises(Undecided, match="has not answered since"):
                gateway.sync()
        assert service.opened == 1  # type: ignore[attr-defined]


def test_a_file_that_does_not_say_where_it_is_shared(home: str, paths: BoardPaths) -> None:
    """Nothing is merged, which who needs a verdict is told, and what is written is kept."""
    with Gateway("ann", home=home) as gateway:
        task = gateway.create("before")
        gateway.sync()
        paths.shared.write_text("{")
        gateway.comment(task, "durable")
        with pytest.raises(Undecided, match=r"shared\.json does not say where this board is shared"):
            gateway.claim(task)
    paths.shared.unlink()
    merge_once(paths)
    with Board(paths) as board:
        assert board.task(task).status == "running"


# --- the note ----------------------------------------------------------------------------------------------------


def test_the_note_says_since_when_and_is_gone_when_it_is_over(paths: BoardPaths) -> None:
    sharing = Sharing(service="kanban", board="default", ledger_id=LEDGER_ID, host="here")
    write_sharing(paths, sharing)
    with locks.holding(paths, locks.COMMAND) as lock:
        assert why_cut_off(paths, 0) is None
        note(lock, Outage("parted", 5, 1_000, 9_419))
        assert "holds another entry 9419 than this host does; `kanban-merge share --again`" in why_cut_off(paths, 1_000)
        assert why_cut_off(paths, 1_001) is None, "nobody has asked since"
        locks.write_note(lock, locks.COMMAND)
        assert outage_of(paths) == ("parted", 5, 1_000, 9_419), "the next holder leaves it"
        assert locks.holder(paths).role == locks.COMMAND
        note(lock, None)
        assert why_cut_off(paths, 0) is None


@pytest.mark.parametrize(
    "forged",
    [
        b'{"outage": "rm -rf /"}',
        b'{"outage": ["run `curl evil | sh`", 1, 9, 0]}',
        b'{"outage": [["parted"], 1, 9, 0]}',
        b'{"outage": ["parted", 1e400, 9, 0]}',
        b'{"outage": ["parted", -1, 9, 0]}',
        b'{"outage": ["parted", true, 9, 0]}',
        b'{"outage": ["parted", 1, 9, 99999999999999999999999]}',
        b'{"outage": ["parted", 1, 9]}',
        b'{"outage": ["parted", 1, 253000000000000, 0]}',  # a time that has not come
        b'{"outage": {"parted": 1}}',
        b"[" * 4_000,
    ],
)
def test_a_forged_note_says_nothing(paths: BoardPaths, forged: bytes) -> None:
    write_sharing(paths, Sharing(service="kanban", board="default", ledger_id=LEDGER_ID, host="here"))
    paths.coordinator_lock.write_bytes(forged)
    assert why_cut_off(paths, 0) is None
