"""``assignees``, ``log`` and ``gc``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from kanban_shards import Gateway
from kanban_shards.cli.main import main
from kanban_shards.coordinator.merge import coordinator_lock as locks
from kanban_shards.coordinator.recovery.rebuild import rebuild
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths

LATER_S = 4_000_000_000


def test_assignees(kanban, gateway: Gateway, home: str) -> None:
    """The profiles of this home and those that have tasks, each once."""
    for name in ("amy", "idle"):
        folder = Path(home) / "profiles" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
    (Path(home) / "profiles" / "no-profile").mkdir()
    for assignee in ("amy", "amy", "gone", None):
        gateway.create("a task", assignee=assignee)
    gateway.sync()
    assert json.loads(kanban("assignees", "--json").stdout) == [
        {"name": "amy", "on_disk": True, "counts": {"ready": 2}},
        {"name": "default", "on_disk": True, "counts": {}},
        {"name": "gone", "on_disk": False, "counts": {"ready": 1}},
        {"name": "idle", "on_disk": True, "counts": {}},
    ]
    assert "ready 2" in kanban("assignees").stdout


def test_log(kanban, failed, paths: BoardPaths) -> None:
    """Whole, or its last bytes from the beginning of a line."""
    assert "no log of t_00000000" in failed(kanban("log", "t_00000000"), 1)
    assert not paths.logs.exists()
    paths.logs.mkdir(parents=True)
    (paths.logs / "t_00000000.log").write_bytes(b"first\nsecond\nthird \xff\n")
    assert kanban("log", "t_00000000").stdout == "first\nsecond\nthird �\n"
    assert kanban("log", "t_00000000", "--tail", "12").stdout == "third �\n"
    assert json.loads(kanban("log", "t_00000000", "--tail", "4", "--json").stdout)["log"] == "d �\n"
    assert "is not a task id" in failed(kanban("log", "../../etc"), 2)


def test_gc_of_logs(kanban, gateway: Gateway, paths: BoardPaths) -> None:
    """Old logs go, new ones and other files stay."""
    paths.logs.mkdir(parents=True)
    for name in ("t_00000000.log", "t_00000000.log.1", "t_11111111.log", "notes.txt"):
        (paths.logs / name).touch()
    for name in ("t_00000000.log", "t_00000000.log.1", "notes.txt"):
        os.utime(paths.logs / name, (0, time.time() - 10 * 24 * 3600))
    answer = json.loads(kanban("-p", "amy", "gc", "--log-retention-days", "9", "--json").stdout)
    assert answer["logs"] == 2
    assert sorted(os.listdir(paths.logs)) == ["notes.txt", "t_11111111.log"]


def test_gc_by_a_clock_that_is_years_ahead(
    gateway: Gateway, paths: BoardPaths, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is old because of it."""
    finished = gateway.create("finished")
    gateway.complete(finished)
    paths.logs.mkdir(parents=True)
    (paths.logs / "t_00000000.log").touch()
    real = time.time
    monkeypatch.setattr("kanban_shards.cli.verbs.maintenance.time.time", lambda: real() + 3 * 365 * 86_400)
    done = CliRunner().invoke(main, ["--home", home, "--profile", "amy", "gc", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) | {"ok": True} == {"ok": True, "workspaces": 0, "events": 0, "logs": 0}
    assert len(gateway.board.events(task_id=finished)) == 2


def test_gc_of_workspaces(kanban, gateway: Gateway, paths: BoardPaths, tmp_path) -> None:
    """The scratch folders of archived tasks go; one that a task names itself, and a link, may be anybody's."""
    kept, gone, linked = (gateway.create(name) for name in ("kept", "gone", "linked"))
    named = gateway.create("named", workspace_kind="dir", workspace_path=str(paths.workspaces / "mine"))
    elsewhere = tmp_path / "elsewhere"
    for folder in (paths.workspaces / kept, paths.workspaces / gone, paths.workspaces / "mine", elsewhere):
        folder.mkdir(parents=True)
    (paths.workspaces / linked).symlink_to(elsewhere)
    for task_id in (gone, linked, named):
        gateway.archive(task_id)
    assert json.loads(kanban("-p", "amy", "gc", "--json").stdout)["workspaces"] == 1
    assert set(os.listdir(paths.workspaces)) == {kept, linked, "mine"}
    assert elsewhere.is_dir()


def test_gc_of_events_needs_a_profile(kanban, failed) -> None:
    assert "kanban --profile NAME gc" in failed(kanban("gc"), 2)


@pytest.mark.parametrize("finish", ["complete", "archive"])
def test_gc_forgets_events_of_finished_tasks(gateway: Gateway, finish: str) -> None:
    going_on, finished = gateway.create("goes on"), gateway.create("finished")
    getattr(gateway, finish)(finished)
    before = gateway.board.last_event_id()
    assert gateway.forget_events(0) == 0
    assert gateway.forget_events(LATER_S) == 2
    assert gateway.board.events(task_id=finished) == []
    assert [event.kind for event in gateway.board.events(task_id=going_on)] == ["created"]
    gateway.wait_for_verdict(gateway.comment(going_on, "later"))
    assert gateway.board.last_event_id() == before + 1  # an id is never given twice


def test_gc_keeps_what_a_chat_is_still_to_be_told(gateway: Gateway) -> None:
    """Nothing is dropped silently; once it was told, it may go."""
    task_id = gateway.create("a task")
    gateway.subscribe(task_id, platform="telegram", chat_id="42")
    gateway.complete(task_id)
    assert gateway.forget_events(LATER_S) == 1  # "created" was before the subscription
    (delivery,) = gateway.deliveries()
    assert [event.kind for event in delivery.events] == ["completed"]
    delivery.acknowledge()
    gateway.sync()
    assert gateway.forget_events(LATER_S) == 1
    gateway.reopen(task_id)
    gateway.complete(task_id)
    told = []
    for delivery in gateway.deliveries():
        told += [event.kind for event in delivery.events]
        delivery.acknowledge()
    assert told == ["status", "completed"]


def test_gc_is_replayed(gateway: Gateway, paths: BoardPaths) -> None:
    """The board that is made again from the ledger has forgotten the same events."""
    for _ in range(3):
        gateway.complete(gateway.create("a task"))
    gateway.forget_events(LATER_S)
    gateway.create("a task")
    gateway.sync()
    left = gateway.board.events()
    assert verify(paths).clean
    lock = locks.take(paths, locks.COMMAND, 5)
    rebuild(paths, lock)
    lock.close()
    assert gateway.board.events() == left
    assert verify(paths).clean
