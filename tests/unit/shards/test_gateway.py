"""The gateway: what a call returns, what it raises, and what is durable when it does."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway, Refused, Undecided, passing, settling, shard_file
from kanban_shards.changes.fields import TEXT_LIMIT
from kanban_shards.coordinator.merge import collector
from kanban_shards.errors import (
    GatewayClosed,
    InvalidChange,
    InvalidName,
    InvalidTaskId,
    NoOpenRun,
    Quarantined,
    StorageError,
    TooLarge,
    UnknownBoard,
    UnknownRun,
    UnknownTask,
)
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock
from tests.ids import new_task_id
from tests.unit.verbs import Shell


@pytest.mark.parametrize("name", ["", "Amy", "a/b", "@coordinator"])
def test_a_bad_profile(home: str, name: str) -> None:
    with pytest.raises(InvalidName, match="cannot name a profile"):
        Gateway(name, home=home)


def test_a_bad_board(home: str) -> None:
    with pytest.raises(InvalidName, match="cannot name a board"):
        Gateway("amy", home=home, board="../x")
    with pytest.raises(UnknownBoard, match="no board named typo"):
        Gateway("amy", home=home, board="typo")


def test_what_was_made_can_be_worked_on_at_once(gateway: Gateway) -> None:
    """A call on a task that this gateway made needs no merge in between."""
    task_id = gateway.create("a task")
    gateway.comment(task_id, "x")
    gateway.subscribe(task_id, platform="telegram", chat_id="1")
    gateway.sync()
    assert [comment.body for comment in gateway.board.comments(task_id)] == ["x"]
    assert gateway.board.subscriptions(task_id)[0].notifier_profile == "amy"


def test_unknown_tasks(gateway: Gateway) -> None:
    missing = new_task_id()
    gateway.create("another")
    for call in (
        lambda: gateway.claim(missing),
        lambda: gateway.comment(missing, "x"),
        lambda: gateway.create("child", parents=[missing]),
        lambda: gateway.open_run(missing),
    ):
        with pytest.raises(UnknownTask, match=missing):
            call()
    with pytest.raises(InvalidTaskId):
        gateway.claim("t_")


def test_what_cannot_be_written(gateway: Gateway) -> None:
    task_id = gateway.create("a task")
    with pytest.raises(TooLarge, match="put large content into a file"):
        gateway.edit(task_id, body="\x01" * TEXT_LIMIT, title="\x01" * 10_000, result="\x01" * TEXT_LIMIT)
    with pytest.raises(InvalidChange, match="metadata is larger than"):
        gateway.complete(task_id, metadata={"a": "x" * TEXT_LIMIT})
    with pytest.raises(InvalidChange):
        gateway.create("")
    with pytest.raises(InvalidChange):
        gateway.complete(task_id, metadata=["not an object"])
    with pytest.raises(InvalidChange):
        gateway.complete(task_id, metadata={"no": object()})
    with pytest.raises(TypeError):
        gateway.edit(task_id, status="done")
    gateway.sync()
    assert gateway.board.watermarks()["amy"][0] == 1


@pytest.mark.parametrize("letter", ["x", '"', "\x01", "é", "😀"])
def test_a_text_of_the_full_length(gateway: Gateway, letter: str) -> None:
    """However its letters have to be escaped, and beside a title of ten thousand."""
    task_id = gateway.make(letter * 10_000, body=letter * TEXT_LIMIT).task_id
    gateway.complete(task_id, result=letter * TEXT_LIMIT)
    task = gateway.board.task(task_id)
    assert (task.title, task.body, task.result) == (letter * 10_000, letter * TEXT_LIMIT, letter * TEXT_LIMIT)


def test_a_cycle_is_refused(gateway: Gateway) -> None:
    first = gateway.create("first")
    second = gateway.create("second", parents=[first])
    third = gateway.create("third", parents=[second])
    with pytest.raises(Refused, match="wait for each other") as refused:
        gateway.link(third, first)
    assert refused.value.reason == "cycle"
    with pytest.raises(Refused):
        gateway.link(first, first)


def test_an_idempotency_key_makes_one_task(home: str, gateway: Gateway) -> None:
    task_id = gateway.create("once", idempotency_key="k")
    assert gateway.create("once", idempotency_key="k") == task_id
    with Gateway("bob", home=home) as other:
        assert other.create("once", idempotency_key="k") == task_id
    assert len(gateway.board.tasks()) == 1


def test_claim_next(gateway: Gateway) -> None:
    """The best ready task; None if there is none, and then nothing is written."""
    assert gateway.claim_next() is None
    gateway.create("another's", assignee="bob", priority=9)
    low = gateway.create("low", priority=1)
    high = gateway.create("high", assignee="amy", priority=2)
    assert [gateway.claim_next().task_id, gateway.claim_next().task_id] == [high, low]
    written = gateway.board.watermarks()["amy"][0]
    assert gateway.claim_next() is None
    gateway.sync()
    assert gateway.board.watermarks()["amy"][0] == written


def test_a_run_that_is_over(gateway: Gateway) -> None:
    """Its worker is told at the next heartbeat; what it brings late is refused, and kept on the task."""
    task_id = gateway.create("a task")
    run = gateway.claim(task_id)
    assert gateway.open_run(task_id) == run
    gateway.release(run, "no time")
    with pytest.raises(Refused, match="is over") as refused:
        gateway.heartbeat(run)
    assert refused.value.reason == "late"
    with pytest.raises(Refused):
        gateway.complete(run, result="the work")
    (event,) = gateway.board.events(task_id=task_id, kinds=["late_refused"])
    assert event.payload["result"] == "the work"
    with pytest.raises(NoOpenRun, match="claim it first"):
        gateway.open_run(task_id)


def test_a_written_change_is_undecided_not_lost(home: str, paths: BoardPaths) -> None:
    """While nobody makes a pass, a call says that its change is written; nothing has to be repeated."""
    with closing(FileLock(paths.coordinator_lock)) as held, Gateway("amy", home=home, patience_s=0.05) as gateway:
        held.acquire(0)
        task_id = gateway.create("a task")
        with pytest.raises(Undecided, match="Change 1 of amy is safely written") as undecided:
            gateway.sync()
        assert undecided.value.exit_code == 4
        held.release()
        gateway.sync()
        assert gateway.board.task(task_id).status == "ready"


def test_trouble_with_the_ledger_is_not_trouble_with_the_change(home: str, paths: BoardPaths) -> None:
    """A pass that fails takes nothing back: what only has to be durable returns, and the rest says it is written."""
    paths.ledger.mkdir()
    gateway = Gateway("amy", home=home)
    task_id = gateway.create("a task")
    assert gateway.comment(task_id, "x") == 2
    with pytest.raises(Undecided, match=r"Change 3 of amy \(t_\w+\) is safely written.*kanban-ledger\.db is a folder"):
        gateway.claim(task_id)
    paths.ledger.rmdir()
    gateway.sync()
    assert gateway.board.task(task_id).status == "running"
    assert gateway.board.verdict("amy", 3).verdict == "applied"
    gateway.close()


def test_closing_hides_nothing(home: str, paths: BoardPaths, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    """What was written is durable, so closing raises nothing; the log and the command say why it is not merged."""
    paths.ledger.mkdir()
    with pytest.raises(KeyError), Gateway("amy", home=home) as gateway:
        task_id = gateway.create("a task")
        raise KeyError
    (said,) = caplog.messages
    assert "What amy wrote is durable" in said
    assert "kanban-ledger.db is a folder" in said
    with Gateway("amy", home=home) as gateway:
        gateway.comment(task_id, "one")
    paths.ledger.rmdir()
    shell.says("claim", task_id)
    paths.ledger.rename(paths.folder / "away.db")
    said = shell.refuses(4, "heartbeat", task_id, "--note", "two")
    assert "kanban-ledger.db ends at entry 0, but the board stands at" in said
    assert "Do not repeat it" in said
    (paths.folder / "away.db").rename(paths.ledger)
    with Gateway("amy", home=home) as gateway:
        gateway.sync()
        assert "two" in gateway.board.events(task_id=task_id)[-1].payload.values()
    assert shell.said_of(task_id) == ["one"]


def test_a_quarantined_shard_is_why_nothing_is_decided(home: str, paths: BoardPaths) -> None:
    with Gateway("amy", home=home, patience_s=0.05) as gateway:
        task_id = gateway.create("a task")
        gateway.sync()
        with closing(FileLock(paths.coordinator_lock)) as held:
            held.acquire(0)
            gateway.comment(task_id, "one")
            with closing(sqlite3.connect(paths.shard("amy"))) as shard, shard:
                shard.execute("UPDATE changes SET digest = 'another' WHERE seq = 2")
        with pytest.raises(Quarantined, match=r"Change 3 of amy.*change 2 was rewritten.*kanban-merge repair amy"):
            gateway.claim(task_id)


def test_closing_leaves_nothing(home: str, paths: BoardPaths) -> None:
    """What was written is merged, bells are down, and a close that fails closes all the same."""
    with Gateway("amy", home=home) as gateway:
        gateway.claim(gateway.create("a task"))
        last = gateway.create("the last word")
    with Board.open(home=home) as board:
        assert board.task(last).status == "ready"
    assert [file.name for file in paths.folder.glob("kanban-waiting.*")] == []
    gateway.close()
    with Gateway("amy", home=home) as gateway:
        gateway.create("x")
        gateway.sync()
        assert list(paths.folder.glob("kanban-waiting.*"))
        gateway._writer._settling._written_to = 1_000
        gateway._writer._passing.make_or_ring = lambda waiting=None: 1 / 0
        with pytest.raises(ZeroDivisionError):
            gateway.close()
        gateway._writer._settling._written_to = 0
    assert list(paths.folder.glob("kanban-waiting.*")) == []


def test_a_closed_gateway(home: str) -> None:
    """It says so, in place of opening its files again behind everybody's back."""
    gateway = Gateway("amy", home=home)
    task_id = gateway.create("a task")
    gateway.close()
    for call in (lambda: gateway.create("x"), lambda: gateway.comment(task_id, "y"), lambda: gateway.claim(task_id)):
        with pytest.raises(GatewayClosed, match="This gateway of amy is closed"):
            call()
    gateway.close()
    with Gateway("amy", home=home) as again:
        assert len(again.board.tasks()) == 1


def test_a_claim_that_ends_a_lapsed_lease(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that decides a claim ends the run that is over; that is nothing its author should have seen."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("a task")
        amy.claim(task_id, lease_s=1)
        shown = bob.board.task(task_id)
        amy.settle()  # a coordinator that goes on sees the clock jump, and believes no time before that
        true_ns = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: true_ns() + 60 * 10**9)
        with pytest.raises(Refused, match="@coordinator"):
            bob.claim(shown)
        amy.claim(task_id, lease_s=1)
        amy.settle()
        bob.settle()
        monkeypatch.setattr(time, "time_ns", lambda: true_ns() + 120 * 10**9)
        assert bob.claim(task_id).profile == "bob"


def test_two_profiles_that_claim_one_task(home: str, gateway: Gateway) -> None:
    """The second one is told who has it, with one change written."""
    task_id = gateway.create("a task")
    run = gateway.claim(task_id)
    with Gateway("bob", home=home) as other:
        with pytest.raises(Refused, match=f"run {run.id} by amy") as refused:
            other.claim(task_id)
        assert refused.value.answer["owner"] == "amy"
        assert other.board.watermarks()["bob"][0] == 1


def test_a_dispatcher_claims_for_anothers_worker(home: str, gateway: Gateway) -> None:
    run = gateway.claim(gateway.create("a task"), runs_as="pixiel", claimer="host:1")
    assert (run.profile, run.claim_lock) == ("pixiel", "host:1")
    with Gateway("pixiel", home=home) as worker:
        assert worker.complete(run, result="r").verdict == "applied"


def test_a_task_is_what_its_reader_had_seen(home: str) -> None:
    """A change to a Task that somebody changed since it was read is refused; by its id, the newest state is read."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.create("shared", assignee="carol")
        amy.sync()
        read = bob.board.task(task_id)
        amy.edit(task_id, title="changed")
        with pytest.raises(Refused) as refused:
            bob.edit(read, title="overwritten")
        assert refused.value.reason == "stale"
        assert refused.value.answer["missed"] == {"amy": 2}
        bob.edit(task_id, title="changed again")
        assert bob.board.task(task_id).title == "changed again"


def test_an_idle_worker_on_a_full_board_asks_rarely(home: str) -> None:
    """Each refusal is kept for ever, so asking again and again writes one; room is asked for when there is some."""
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        amy.set_limits(max_in_progress=1)
        run = amy.claim(amy.create("first"))
        amy.create("second")
        amy.settle()
        assert [bob.claim_next() for _ in range(5)] == [None] * 5
        assert [refusal.reason for refusal in bob.board.refusals()] == ["at_capacity"]
        amy.complete(run)
        assert bob.claim_next() is not None


def test_a_signal_that_closes_the_gateway(home: str) -> None:
    """As a SIGTERM does at whichever line: it ends the process, and waits for nothing that it interrupts."""
    script = """if True:
        import signal, sys
        from kanban_shards import Gateway, settling
        settling.CLOSING_S = 0.1
        gateway = Gateway("amy", home=sys.argv[1])
        task_id = gateway.create("a task")
        def end(*_):
            gateway.close()
            sys.exit(3)
        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
        while True:
            gateway.edit(task_id, priority=1)
            gateway.edit(task_id, priority=2)
    """
    started = [
        subprocess.Popen([sys.executable, "-c", script, home, str(after_s)]) for after_s in (0.03, 0.037, 0.05, 0.061)
    ]
    assert [process.wait(25) for process in started] == [3] * 4


def test_a_signal_that_closes_the_gateway_in_the_middle_of_its_own_pass(home, monkeypatch, caplog) -> None:
    """The pass has the shard's lock then; the handler does not wait for it."""
    gateway, taken = Gateway("amy", home=home), collector.read_new

    def interrupted(*how: object) -> object:
        gateway.close()
        return taken(*how)

    monkeypatch.setattr(passing, "IN_A_ROW_S", 0.0)  # a handler is called in the main thread alone
    monkeypatch.setattr(settling, "CLOSING_S", 0.1)
    monkeypatch.setattr(shard_file, "LOCK_WAIT_S", 0.1)
    task_id = gateway.create("a task")
    monkeypatch.setattr(collector, "read_new", interrupted)
    with pytest.raises(GatewayClosed):
        gateway.edit(task_id, priority=1)
        gateway.edit(task_id, priority=2)
    assert [line for line in caplog.messages if "was not closed" in line] == []
    with Board.open(home=home) as board:
        assert board.task(task_id).priority == 1


def test_an_error_goes_to_another_process() -> None:
    refused = Refused(reason="stale", sentence="it was changed", answer={"owner": "bob"})
    there = pickle.loads(pickle.dumps(refused))
    assert (str(there), there.reason, there.answer) == ("it was changed", "stale", {"owner": "bob"})
    assert str(pickle.loads(pickle.dumps(GatewayClosed(profile="amy")))) == str(GatewayClosed(profile="amy"))


def test_a_higher_limit_is_noticed_at_once(gateway: Gateway) -> None:
    for _ in range(2):
        gateway.create("a task")
    gateway.set_limits(max_in_progress=1)
    assert gateway.claim_next() is not None
    assert gateway.claim_next() is None
    gateway.set_limits(max_in_progress=2)
    assert gateway.claim_next() is not None


def test_what_is_no_task(gateway: Gateway, tmp_path: Path) -> None:
    """One sentence, before anything is written or copied."""
    task_id = gateway.create("a task")
    for nothing in (None, 7, b"t_0123456789abcdef", ""):
        with pytest.raises(InvalidTaskId):
            gateway.archive(nothing)
    with pytest.raises(TypeError, match="the board cannot be asked for that"):
        gateway.board.tasks(assignee=gateway)
    with pytest.raises(ValueError, match="'nope' is no order of tasks; there are priority-desc"):
        gateway.board.tasks(sort="nope")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidChange):
        gateway.attach(task_id, tmp_path / "file", content_type=5)
    assert not list(gateway.paths.attachments.rglob("*"))
    with pytest.raises(StorageError, match="its name is empty"):
        Gateway("amy", home="")
    with pytest.raises(TypeError):
        Gateway("amy", home=gateway.paths.folder, patience_s=None)


def test_opened_by_paths(home: str, paths: BoardPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the paths needs no environment, and no environment leads elsewhere."""
    monkeypatch.setenv("HERMES_KANBAN_HOME", "/nowhere")
    with Gateway("amy", paths=paths) as gateway:
        task_id = gateway.make("a task").task_id
        assert gateway.paths is paths
    with Board(paths) as board:
        assert board.task(task_id)
    for both in ({"home": home}, {"board": "default"}):
        with pytest.raises(TypeError, match="not by both"):
            Gateway("amy", paths=paths, **both)


def test_an_id_that_was_drawn_before(gateway: Gateway) -> None:
    """It may be part of what is written, and it is the id of one task."""
    new = gateway.draw()
    task_id = gateway.create("a task", drawn=new, branch_name=f"kanban/{new.id}")
    assert (task_id, gateway.make("another", drawn=gateway.draw()).is_new) == (new.id, True)
    gateway.sync()
    assert gateway.board.task(new.id).branch_name == f"kanban/{new.id}"
    with pytest.raises(Refused) as refused:
        gateway.make("once more", drawn=new)
    assert refused.value.reason == "taken_id"


def test_an_id_that_somebody_else_drew(home: str, paths: BoardPaths, gateway: Gateway) -> None:
    """It is refused before it is written: a shard that holds such a change is quarantined."""
    with Gateway("ben", home=home) as ben:
        theirs = ben.draw()
        for drawn in (theirs, theirs._replace(id=new_task_id()), gateway.draw()._replace(salt="0" * 32)):
            with pytest.raises(InvalidChange, match="did not draw the id"):
                gateway.create("mine now", drawn=drawn)
        assert not paths.shard("amy").exists()
        assert ben.make("theirs", drawn=theirs).is_new


def test_a_comments_id(gateway: Gateway) -> None:
    task_id = gateway.create("a task")
    ids = [gateway.make_comment(task_id, text) for text in ("one", "two")]
    assert [(each.id, each.body) for each in gateway.board.comments(task_id)] == [(ids[0], "one"), (ids[1], "two")]


def test_looking_again(home: str, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an id, a gateway that looks several times decides on what it then finds; given a Task, never."""
    task_id = gateway.create("a task", assignee="amy")
    gateway.sync()
    with Gateway("ben", home=home, looks=3) as ben:
        view_of = ben._writer.view_of
        edits = 2

        def seen_too_early(task):
            """Somebody changes the task between the look and the change."""
            nonlocal edits
            view = view_of(task)
            if edits:
                edits -= 1
                gateway.edit(task_id, priority=edits)
            return view

        monkeypatch.setattr(ben._writer, "view_of", seen_too_early)
        assert ben.archive(task_id).verdict == "applied"
        edits = 3
        with pytest.raises(Refused) as refused:
            ben.reopen(task_id)
        assert (refused.value.reason, edits) == ("stale", 0)
        edits, read = 1, ben.board.task(task_id)
        with pytest.raises(Refused):
            ben.reopen(read)
        assert gateway.board.task(task_id).status == "archived"


def test_a_heartbeat_that_readers_see(gateway: Gateway) -> None:
    """By the run's id, too; without a note it is an event that says nothing but when."""
    run = gateway.claim(gateway.create("a task"))
    gateway.heartbeat(run.id)
    gateway.sync()
    assert gateway.board.run(run.id).last_heartbeat_at is None
    gateway.heartbeat(run.id, show=True)
    gateway.heartbeat(run.id, "halfway")
    gateway.sync()
    assert gateway.board.run(run.id).last_heartbeat_at >= run.started_at
    told = gateway.board.events(task_id=run.task_id, kinds=("heartbeat",))
    assert [(each.run_id, each.payload) for each in told] == [(run.id, None), (run.id, {"note": "halfway"})]
    gateway.complete(run)
    with pytest.raises(Refused) as refused:
        gateway.heartbeat(run.id, show=True)
    assert refused.value.reason == "late"
    with pytest.raises(UnknownRun):
        gateway.heartbeat(99)


def test_a_worker_that_was_started_somewhere(gateway: Gateway) -> None:
    """The folder and the branch are the task's from then on, without an event of their own."""
    run = gateway.claim(gateway.create("a task"))
    gateway.spawned(run, 4_242, workspace_path="/work/tree", branch_name="kanban/1")
    task = gateway.board.task(run.task_id)
    assert (task.worker_pid, task.workspace_path, task.branch_name) == (4_242, "/work/tree", "kanban/1")
    gateway.spawned(run, 4_243)
    assert gateway.board.task(run.task_id).workspace_path == "/work/tree"
    kinds = [event.kind for event in gateway.board.events(task_id=run.task_id)]
    assert kinds == ["created", "claimed", "spawned", "spawned"]


def test_what_a_program_notes(gateway: Gateway) -> None:
    run = gateway.claim(gateway.create("a task"))
    gateway.note(run.task_id, "respawn_guarded", {"reason": "quota"}, run=run)
    seq = gateway.note(run.task_id, "claim_extended", run=run.id)
    event_id = gateway.wait_for_verdict(seq).answer["event_id"]
    told = gateway.board.events(task_id=run.task_id)[-2:]
    assert (told[0].payload, told[0].run_id, told[1].id) == ({"reason": "quota", "by": "amy"}, run.id, event_id)
    with pytest.raises(InvalidChange):
        gateway.note(run.task_id, "completed")  # what decides is no note


def test_a_limit_that_is_raised(gateway: Gateway) -> None:
    task_id = gateway.create("a task", assignee="amy")
    gateway.fail(gateway.claim(task_id), "crashed", limit=1)
    assert gateway.board.task(task_id).status == "blocked"
    assert gateway.recover(task_id).answer == {"status": "ready"}
    gateway.fail(gateway.claim(task_id), "protocol_violation", counts=False)
    assert gateway.board.task(task_id).consecutive_failures == 1


def test_a_plan_with_places(gateway: Gateway) -> None:
    """What a planned task does not say is the planned one's, but no path of a workspace of another kind."""
    root = gateway.create("all", starts="triage", tenant="acme", workspace_kind="dir", workspace_path="/all")
    plan = [
        {"title": "as it is"},
        {"title": "elsewhere", "workspace_path": "/elsewhere", "tenant": "other", "created_by": "planner"},
        {"title": "scratch", "workspace_kind": "scratch"},
    ]
    found = [gateway.board.task(task_id) for task_id in gateway.decompose(root, plan)]
    assert [(each.workspace_kind, each.workspace_path, each.tenant, each.created_by) for each in found] == [
        ("dir", "/all", "acme", "amy"),
        ("dir", "/elsewhere", "other", "planner"),
        ("scratch", None, "acme", "amy"),
    ]


def test_a_dependency_that_is_named_before_it_is_linked(gateway: Gateway) -> None:
    run = gateway.claim(gateway.create("a task"))
    gateway.block(run, "the mock-ups", kind="dependency", hold_s=60)
    assert gateway.board.task(run.task_id).status == "todo"
    other = gateway.create("another")
    held = gateway.reopen(other, "todo", hold_s=1)
    assert held.answer == {"status": "todo", "due_s": held.at_ms // 1_000 + 1}
    assert gateway.reopen(other, "scheduled").answer == {"status": "scheduled"}
