"""The daemon as systemd, a second daemon, a gateway and a stranger meet it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from datetime import datetime

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.coordinator.merge import once
from kanban_shards.coordinator.merge.coordinator_lock import DAEMON, holder
from kanban_shards.storage.locks import FileLock
from tests.processes.conftest import merging

INSERT_PLAINLY = (
    "import sqlite3, sys; board = sqlite3.connect(sys.argv[1]); "
    "board.execute(\"INSERT INTO tasks (id, title, status, created_at) VALUES ('t_00000000', 'x', 'ready', 0)\")"
)
INSERT_AROUND = (
    "import sqlite3, sys; board = sqlite3.connect(sys.argv[1]); board.execute('UPDATE merge_state SET writing = 1'); "
    "board.execute(\"INSERT INTO task_links VALUES ('t_00000000', 't_11111111')\"); board.commit()"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_at_once(paths, work, number: signal.Signals) -> None:
    """It wakes from its sleep, however long that is, and leaves neither lock nor bell behind."""
    daemon = merging(work("patient_daemon", "-"))
    assert holder(paths).role == DAEMON
    assert holder(paths).pid == daemon.pid
    daemon.send_signal(number)
    _, errors = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, errors
    assert "Traceback" not in errors
    assert holder(paths) is None
    assert not paths.coordinator_bell.exists()


def test_a_second_daemon_says_who_is_there(home, paths, start, daemon) -> None:
    """One coordinator is enough: the second one names the first, and since when."""
    second = start("-m", "kanban_shards.coordinator", "--home", home, "daemon")
    _, errors = second.communicate()
    assert second.returncode == 5
    since = datetime.fromtimestamp(holder(paths).since_ms / 1000).isoformat(sep=" ", timespec="seconds")
    assert f"daemon process {daemon.pid} on " in errors
    assert f"since {since}" in errors
    assert len(errors.strip().splitlines()) == 1
    assert daemon.poll() is None
    assert paths.coordinator_bell.exists()


def test_a_killed_daemon_is_followed_by_the_next(home, paths, start_daemon) -> None:
    """What a killed daemon leaves, its note in the lock file and its socket, hinders nobody."""
    first = start_daemon()
    first.kill()
    first.wait()
    assert paths.coordinator_bell.exists()
    second = start_daemon()
    assert holder(paths).pid == second.pid
    with Gateway("amy", home=home) as gateway:
        gateway.claim(gateway.create("after the kill"))


def test_once_asks_the_daemon(home, start, daemon) -> None:
    """``kanban-merge --once`` beside a daemon returns when the daemon has merged every shard's present head."""
    with Gateway("amy", home=home) as gateway:
        seqs = [gateway.comment(gateway.create(f"task {number}"), "x") for number in range(5)]
        asked = start("-m", "kanban_shards.coordinator", "--home", home, "--json", "--once")
        output, errors = asked.communicate()
        assert asked.returncode == 0, errors
        assert json.loads(output)["daemon"].startswith(f"daemon process {daemon.pid} ")
        assert gateway.board.watermarks()["amy"][0] == seqs[-1]


def test_once_asks_a_daemon_that_begins_just_then(home, paths, start_daemon, monkeypatch) -> None:
    """When it looked there was none, and when it took the lock there was."""
    begun: list[int] = []
    holding = once.locks.holding

    def too_late(*arguments):
        begun.append(start_daemon().pid)
        return holding(*arguments)

    monkeypatch.setattr(once.locks, "holding", too_late)
    with Gateway("amy", home=home) as gateway:
        gateway.create("a task")
        assert once.merge_once(paths).daemon.startswith(f"daemon process {begun[0]} ")
        assert len(gateway.board.tasks()) == 1


def test_a_lost_bell_costs_latency_alone(home, paths, daemon) -> None:
    """Nobody can ring a daemon whose socket is gone; it looks by itself, and the verdict comes."""
    paths.coordinator_bell.unlink()
    with Gateway("amy", home=home) as gateway:
        run = gateway.claim(gateway.create("nobody rang"))
        assert gateway.complete(run).verdict == "applied"
    assert holder(paths).pid == daemon.pid


def test_the_bell_wakes_the_daemon(home, work) -> None:
    """A daemon that sleeps for an hour merges what a gateway writes: the bell alone wakes it."""
    merging(work("patient_daemon", "-"))
    with Gateway("amy", home=home) as gateway:
        for number in range(3):
            gateway.claim(gateway.create(f"task {number}"))


def test_a_stranger_is_refused_with_a_sentence(home, paths, start, daemon, assert_clean) -> None:
    """Whoever writes the board with plain SQLite is told what to use instead, and changes nothing."""
    _one_task(home)
    stranger = start("-c", INSERT_PLAINLY, paths.board)
    _, errors = stranger.communicate()
    assert stranger.returncode != 0
    assert "written by its coordinator alone; use the kanban command or shards.Gateway" in errors
    assert_clean()


def test_a_strangers_commit_is_noticed(home, paths, start, daemon) -> None:
    """A commit that got around the triggers is said in the daemon's log, and found by ``verify``."""
    _one_task(home)
    stranger = start("-c", INSERT_AROUND, paths.board)
    _, errors = stranger.communicate()
    assert stranger.returncode == 0, errors
    assert "another process wrote" in daemon.stderr.readline()
    verified = start("-m", "kanban_shards.coordinator", "--home", home, "verify", "--json")
    output, _ = verified.communicate()
    assert verified.returncode == 6
    assert "task_links" in {finding["where"] for finding in json.loads(output)["findings"]}


def test_watch_shows_what_is_merged_later(home, start, daemon) -> None:
    """``kanban watch`` prints each event when it is merged, and ends at SIGINT without a trace."""
    task_id = _one_task(home)
    watch = start("-m", "kanban_shards", "--home", home, "watch", "--json", "--after", "0")
    assert json.loads(watch.stdout.readline())["kind"] == "created"
    with Gateway("amy", home=home) as gateway:
        gateway.comment(task_id, "later")
        event = json.loads(watch.stdout.readline())
    assert (event["kind"], event["task_id"]) == ("commented", task_id)
    watch.send_signal(signal.SIGINT)
    _, errors = watch.communicate()
    assert (watch.returncode, errors) == (0, "")
    assert [name for name in os.listdir(home) if f".{watch.pid}-" in name] == []


def test_no_connection_crosses_a_fork(home, work, said, assert_clean) -> None:
    """In a fork every use says so; the parent goes on, its bells and locks untouched; the child may open its own."""
    lines = said(work("fork", "amy"))
    errors = {line["use"]: line["error"] for line in lines if "use" in line}
    assert errors.pop("own") is None
    assert set(errors.values()) == {"Forked"}
    assert lines[-2] == {"bells_left": True}
    assert lines[-1] == {"status": "done", "comments": ["by the child's own gateway"]}
    assert_clean()


def test_a_busy_shard_is_not_waited_for(home, paths, daemon) -> None:
    """While one shard's lock is held, the other profiles get their verdicts."""
    with closing(FileLock(paths.shard_lock("bob"))) as held:
        held.acquire(1)
        with Gateway("amy", home=home) as gateway:
            gateway.claim(gateway.create("not held up"))


def _one_task(home: str) -> str:
    with Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task")
        gateway.sync()
    with Board.open(home=home) as board:
        assert board.task(task_id).status == "ready"
    return task_id


def test_once_goes_on_where_a_daemon_ends(home, start, daemon, assert_clean) -> None:
    """``--once`` asks the daemon; if that dies before it merged, the pass is made here."""
    daemon.send_signal(signal.SIGSTOP)
    with Gateway("amy", home=home) as amy:
        amy.create("left behind")
    once = start("-m", "kanban_shards.coordinator", "--home", home, "--once", "--json")
    daemon.kill()
    daemon.wait()
    answer, errors = once.communicate()
    assert once.returncode == 0, errors
    nothing = {"refused": [], "refused_beyond": 0, "left": [], "daemon": None}
    assert json.loads(answer) | {"daemon": None} == {"merged": {"amy": 1}, **nothing}
    assert_clean()
