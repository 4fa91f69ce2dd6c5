"""What a stamp of the board is held against: the clock that stamped it, and not whichever is at hand."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from kanban_shards import Board, Gateway, clocks, heard, hermes
from kanban_shards.clocks import FORGET_MS, age_s, latest_s
from kanban_shards.heard import ledger_now_s, note_heard, read_heard
from kanban_shards.hermes.supervising import _is_to_be_looked_after, age_of
from kanban_shards.paths import BoardPaths
from kanban_shards.records import Run, Worker
from kanban_shards.sharing import Sharing, write_sharing

NOW_S = 1_700_000_000
HOUR_S = 3_600


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The steady clock, and this host's."""
    told = SimpleNamespace(passed_s=50_000, now_s=NOW_S)
    told.monotonic_ns = lambda: told.passed_s * 10**9
    told.time_ns = lambda: told.now_s * 10**9
    told.time = lambda: float(told.now_s)
    monkeypatch.setattr(clocks, "_seen", {})
    for module in (clocks, heard):
        monkeypatch.setattr(module, "time", told)
    return told


@pytest.fixture
def shared(paths: BoardPaths) -> BoardPaths:
    """A board that several hosts share."""
    paths.folder.mkdir(exist_ok=True)
    write_sharing(paths, Sharing(service="fake", board="default", ledger_id="0" * 32, host="here"))
    return paths


def test_the_age_of_a_stamp(steady: SimpleNamespace) -> None:
    assert age_s(NOW_S, "run 1", NOW_S - 90) == 90
    assert age_s(NOW_S, "run 1", NOW_S + 2) == 0


@pytest.mark.parametrize("now_s", [NOW_S, None])
def test_a_time_that_has_not_come_counts_from_when_it_was_seen(steady: SimpleNamespace, now_s: float | None) -> None:
    """Each stamp by itself: the next sign begins anew; and what is not asked about for a day is forgotten."""
    ahead_s = NOW_S + HOUR_S
    assert age_s(now_s, "run 1", ahead_s) == 0
    steady.passed_s += 70
    assert age_s(now_s, "run 1", ahead_s) == 70
    assert age_s(now_s, "run 2", ahead_s) == 0
    assert age_s(now_s, "run 1", ahead_s + 1) == 0
    steady.passed_s += FORGET_MS // 1_000 + 1
    assert age_s(now_s, "run 3", ahead_s) == 0
    assert set(clocks._seen) == {("run 3", ahead_s)}


def test_what_is_thrown_away_is_not_dated_by_a_clock_that_is_ahead(steady: SimpleNamespace) -> None:
    assert latest_s(None) == NOW_S
    assert latest_s(NOW_S - HOUR_S) == NOW_S - HOUR_S + 1
    assert latest_s(NOW_S + HOUR_S) == NOW_S


def test_the_time_of_a_board_of_one_host_is_the_hosts(paths: BoardPaths, steady: SimpleNamespace) -> None:
    assert ledger_now_s(paths) == NOW_S


@pytest.mark.parametrize("off_s", [-2 * HOUR_S, 0, 2 * HOUR_S])
def test_that_of_a_shared_one_is_the_services(shared: BoardPaths, steady: SimpleNamespace, off_s: int) -> None:
    """However wrong this host's clock is, and when it is set; until the machine begins anew."""
    assert ledger_now_s(shared) is None
    note_heard(shared, 7, [], (NOW_S + off_s) * 1_000)
    steady.passed_s += 100
    steady.now_s += 7_000
    assert ledger_now_s(shared) == NOW_S + off_s + 100
    steady.passed_s = 10
    assert ledger_now_s(shared) is None


def test_another_run_of_the_machine_has_another_steady_clock(
    shared: BoardPaths, steady: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_heard(shared, 7, [], NOW_S * 1_000)
    monkeypatch.setattr(heard, "running_system", lambda: "another")
    assert ledger_now_s(shared) is None


def test_a_note_that_others_may_have_written_tells_no_clock(shared: BoardPaths, steady: SimpleNamespace) -> None:
    """By that clock live workers would be taken for silent ones; how far the hosts are is shown all the same."""
    note_heard(shared, 7, [], (NOW_S + 2 * HOUR_S) * 1_000)
    assert ledger_now_s(shared) == NOW_S + 2 * HOUR_S
    shared.heard.chmod(0o666)
    assert ledger_now_s(shared) is None
    assert read_heard(shared) is not None


def test_a_note_of_an_older_program_tells_no_clock(shared: BoardPaths, steady: SimpleNamespace) -> None:
    shared.heard.write_text(f'{{"at_ms":{NOW_S * 1_000},"end":7,"hosts":[]}}')
    assert ledger_now_s(shared) is None


def test_what_waits_by_the_board_is_ready_by_the_clock_of_the_board(home: str, paths: BoardPaths) -> None:
    """A rate limit is over by the service's clock: a host that is two hours behind takes the task up all the same."""
    with Gateway("amy", home=home) as amy, Board(paths) as board:
        run = amy.claim(amy.create("work", assignee="amy"))
        amy.fail(run, "rate_limited", "try later", cooldown_s=600)
        assert not board.has_ready("amy")
        write_sharing(paths, Sharing(service="fake", board="default", ledger_id="0" * 32, host="here"))
        note_heard(paths, 7, [], time.time_ns() // 1_000_000 + 2 * HOUR_S * 1_000)
        assert board.has_ready("amy")
        paths.shared.unlink()


@pytest.mark.parametrize(("left_s", "is_half_over"), [(-5, True), (29, True), (31, False), (60, False), (9_000, True)])
def test_a_lease_is_begun_anew_that_is_half_over_or_begins_later(left_s: int, is_half_over: bool) -> None:
    worker = Worker("t_1", 1, 7, None, None, None, NOW_S + left_s, 60, 3_600)
    assert worker.is_half_over(NOW_S) is is_half_over


# --- Hermes's dispatcher ---------------------------------------------------------------------------------------------


def run_of(started_s: int, heartbeat_s: int | None, expires_s: int) -> Run:
    values = dict.fromkeys(Run.__struct_fields__)
    said = {"id": 1, "started_at": started_s, "last_heartbeat_at": heartbeat_s, "claim_expires": expires_s}
    return Run(**{**values, **said})


@pytest.mark.parametrize("wrong_s", [-2 * HOUR_S, 2 * HOUR_S])
def test_a_dispatcher_whose_host_has_a_wrong_clock_judges_alike(
    shared: BoardPaths, steady: SimpleNamespace, wrong_s: int
) -> None:
    """A live worker is not silent for two hours, and a dead one is not heard until two hours from now."""
    steady.now_s += wrong_s
    note_heard(shared, 7, [], NOW_S * 1_000)
    conn = SimpleNamespace(paths=shared)
    assert age_of(conn, 1, "heartbeat", NOW_S - 30) == 30
    assert age_of(conn, 1, "heartbeat", NOW_S - 2 * HOUR_S) == 2 * HOUR_S
    assert age_of(conn, 1, "heartbeat", None) == 0
    assert not _is_to_be_looked_after(conn, run_of(NOW_S - 900, NOW_S - 30, NOW_S + 870))
    assert _is_to_be_looked_after(conn, run_of(NOW_S - 1_800, NOW_S - 950, NOW_S - 50))


def test_a_run_that_was_stamped_ahead_is_looked_after_until_its_lease_is_begun_anew(
    paths: BoardPaths, steady: SimpleNamespace
) -> None:
    conn = SimpleNamespace(paths=paths)
    assert _is_to_be_looked_after(conn, run_of(NOW_S + HOUR_S, None, NOW_S + HOUR_S + 900))
    assert not _is_to_be_looked_after(conn, run_of(NOW_S + HOUR_S, None, NOW_S + 900))


def test_no_module_for_hermes_looks_at_a_clock_by_itself() -> None:
    """They hold stamps of the board against it, and the board may be stamped by another one."""
    for path in Path(hermes.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time":
                assert node.attr not in ("time", "time_ns"), f"{path.name}:{node.lineno}"


def test_the_steady_clock_goes_on() -> None:
    before = clocks.steady_ms()
    assert 0 <= clocks.steady_ms() - before < time.monotonic() * 1_000 + 60_000
