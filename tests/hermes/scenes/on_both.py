"""What holds of Hermes's functions wherever they write: on its own board, and on one of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

CHAT = {"platform": "telegram", "chat_id": "42"}


class CannotBePlayed(Exception):
    """This machine lacks what the scene takes."""


def raises(error_kind, words, function, *given, **more):
    """Call and return what it raised, which says ``words``."""
    try:
        function(*given, **more)
    except error_kind as error:
        assert words in str(error), error
        return error
    raise AssertionError(f"{function.__name__} raised nothing")


@contextmanager
def board(kb, **which):
    """The board of this home."""
    with kb.connect_closing(**which) as conn:
        yield conn


def kinds(kb, conn, task_id):
    return [event.kind for event in kb.list_events(conn, task_id)]


# --- tasks -------------------------------------------------------------------------------------------------------


def a_plugin_hears_of_what_it_asked_for(kb, home):
    """And of the rest nobody does."""
    from hermes_cli import plugins

    heard = []
    events = ("kanban_task_claimed", "kanban_task_completed")
    hooks = plugins.get_plugin_manager()._hooks
    for event in events:
        hooks[event] = [lambda event=event, **said: heard.append((event, said))]
    try:
        with board(kb) as conn:
            done, blocked = (kb.create_task(conn, title="x", assignee="mafei") for _ in range(2))
            run_id = kb.claim_task(conn, done).current_run_id
            assert kb.complete_task(conn, done, summary="well done")
            assert kb.block_task(conn, blocked, reason="why")
    finally:
        for event in events:
            del hooks[event]
    names = ("task_id", "profile_name", "board", "assignee", "run_id")
    said = {"task_id": done, "profile_name": "default", "board": "default", "assignee": "mafei", "run_id": run_id}
    assert [(event, {name: fields[name] for name in names}) for event, fields in heard] == [
        (event, said) for event in events
    ]
    assert heard[1][1]["summary"] == "well done"


def a_task_is_read_at_once(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(
            conn, title=" Title ", body="b", assignee="MaFei", created_by="me", priority=3, tenant="acme",
            skills=["review", "review", ""], max_retries=4, max_runtime_seconds=60, goal_mode=True, goal_max_turns=5,
            session_id="s1",
        )  # fmt: skip
        task = kb.get_task(conn, task_id)
        assert (task.title, task.body, task.assignee, task.created_by, task.priority) == (
            "Title",
            "b",
            "mafei",
            "me",
            3,
        )
        assert (task.priority, task.tenant, task.skills, task.max_retries, task.max_runtime_seconds) == (
            3,
            "acme",
            ["review"],
            4,
            60,
        )
        assert (task.goal_mode, task.goal_max_turns, task.session_id, task.status) == (True, 5, "s1", "ready")
        assert kinds(kb, conn, task_id) == ["created"]
        assert [each.id for each in kb.list_tasks(conn, assignee="mafei")] == [task_id]


def what_is_no_task(kb, home):
    with board(kb) as conn:
        raises(ValueError, "title is required", kb.create_task, conn, title="  ")
        raises(ValueError, "unknown parent", kb.create_task, conn, title="t", parents=["t_0123456789"])
        raises(ValueError, "initial_status", kb.create_task, conn, title="t", initial_status="done")
        raises(ValueError, "toolset", kb.create_task, conn, title="t", skills=["web"])
        assert kb.list_tasks(conn) == []


def where_a_task_starts(kb, home):
    with board(kb) as conn:
        parent = kb.create_task(conn, title="p")
        child = kb.create_task(conn, title="c", parents=[parent])
        triage = kb.create_task(conn, title="t", triage=True)
        blocked = kb.create_task(conn, title="b", initial_status="blocked")
        statuses = [kb.get_task(conn, each).status for each in (parent, child, triage, blocked)]
        assert statuses == ["ready", "todo", "triage", "blocked"]
        assert (kb.parent_ids(conn, child), kb.child_ids(conn, parent)) == ([parent], [child])
        assert kb.complete_task(conn, parent, summary="done")
        assert kb.get_task(conn, child).status == "ready"


def one_task_for_one_key(kb, home):
    with board(kb) as conn:
        first = kb.create_task(conn, title="a", idempotency_key="k")
        assert kb.create_task(conn, title="b", idempotency_key="k") == first
        assert kb.archive_task(conn, first)
        assert kb.create_task(conn, title="c", idempotency_key="k") != first


def a_worktree_and_a_default_folder(kb, home):
    kb.create_board("two", default_workdir=str(home))
    with board(kb, board="two") as conn:
        task_id = kb.create_task(conn, title="a", workspace_kind="dir", board="two")
        assert kb.get_task(conn, task_id).workspace_path == str(home)
        scratch = kb.create_task(conn, title="a", board="two")
        assert kb.get_task(conn, scratch).workspace_path is None
        raises(ValueError, "worktree", kb.create_task, conn, title="a", branch_name="x")


def assigning(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        assert kb.assign_task(conn, task_id, "Bingge")
        assert kb.get_task(conn, task_id).assignee == "bingge"
        assert not kb.assign_task(conn, "t_0123456789", "x")
        assert not kb.assign_task(conn, "nonsense", "x")
        assert kb.claim_task(conn, task_id)
        raises(RuntimeError, "currently running", kb.assign_task, conn, task_id, "mafei")
        assert not kb.reassign_task(conn, task_id, "mafei")
        assert kb.reassign_task(conn, task_id, "mafei", reclaim_first=True)
        task = kb.get_task(conn, task_id)
        assert (task.assignee, task.status, task.current_run_id) == ("mafei", "ready", None)
        assert kb.assign_task(conn, task_id, None)
        assert kb.get_task(conn, task_id).assignee is None


def a_lane_that_is_no_profile(kb, home):
    """A terminal that takes its tasks by itself may be called as it likes."""
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="Orion CC")
        assert [each.id for each in kb.list_tasks(conn, assignee="orion cc")] == [task_id]
        assert kb.claim_task(conn, task_id, claimer="orion")
        assert kb.complete_task(conn, task_id)


def linking(kb, home):
    with board(kb) as conn:
        a, b, c = (kb.create_task(conn, title=each) for each in "abc")
        kb.link_tasks(conn, a, b)
        kb.link_tasks(conn, b, c)
        assert kb.get_task(conn, b).status == "todo"
        raises(ValueError, "cycle", kb.link_tasks, conn, c, a)
        raises(ValueError, "itself", kb.link_tasks, conn, a, a)
        raises(ValueError, "unknown task", kb.link_tasks, conn, a, "t_0123456789")
        raises(ValueError, "unknown task", kb.link_tasks, conn, "nonsense", a)
        assert kb.unlink_tasks(conn, a, b)
        assert not kb.unlink_tasks(conn, a, b)
        assert not kb.unlink_tasks(conn, "nonsense", b)
        assert kb.get_task(conn, b).status == "ready"


def promoting(kb, home):
    with board(kb) as conn:
        parent = kb.create_task(conn, title="p")
        child = kb.create_task(conn, title="c", parents=[parent])
        able, why = kb.promote_task(conn, child, actor="me")
        assert (able, "unsatisfied parent" in why) == (False, True)
        assert kb.promote_task(conn, child, actor="me", force=True, dry_run=True) == (True, None)
        assert kb.get_task(conn, child).status == "todo"
        assert kb.promote_task(conn, child, actor="me", force=True, reason="now") == (True, None)
        assert kb.get_task(conn, child).status == "ready"
        assert "promoted_manual" in kinds(kb, conn, child)
        assert kb.promote_task(conn, "t_0123456789", actor="me")[0] is False


def triage(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="idea", triage=True)
        raises(ValueError, "blank", kb.specify_triage_task, conn, task_id, title=" ")
        assert kb.specify_triage_task(conn, task_id, title="plan", body="b", assignee="mafei", author="me")
        task = kb.get_task(conn, task_id)
        assert (task.title, task.body, task.assignee, task.status) == ("plan", "b", "mafei", "ready")
        assert not kb.specify_triage_task(conn, task_id, title="again")
        assert len(kb.list_comments(conn, task_id)) == 1


def a_plan(kb, home):
    with board(kb) as conn:
        root = kb.create_task(conn, title="site", triage=True, tenant="acme")
        plan = [{"title": "write", "assignee": "mafei"}, {"title": "draw", "parents": [0]}]
        raises(ValueError, "cyclic", kb.decompose_triage_task, conn, root, root_assignee=None,
               children=[{"title": "a", "parents": [1]}, {"title": "b", "parents": [0]}])  # fmt: skip
        raises(ValueError, "title is required", kb.decompose_triage_task, conn, root, root_assignee=None,
               children=[{"title": " "}])  # fmt: skip
        write, draw = kb.decompose_triage_task(conn, root, root_assignee="Bingge", children=plan, author="planner")
        assert [kb.get_task(conn, each).status for each in (write, draw, root)] == ["ready", "todo", "todo"]
        assert kb.get_task(conn, root).assignee == "bingge"
        assert kb.get_task(conn, write).tenant == "acme"
        assert kb.parent_ids(conn, root) == sorted([write, draw])
        assert kb.decompose_triage_task(conn, root, root_assignee=None, children=plan) is None
        assert kb.decompose_triage_task(conn, root, root_assignee=None, children=[]) is None


def archiving_and_deleting(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        assert not kb.delete_archived_task(conn, task_id)
        assert kb.archive_task(conn, task_id)
        assert not kb.archive_task(conn, task_id)
        assert kb.delete_archived_task(conn, task_id)
        assert kb.get_task(conn, task_id) is None
        assert not kb.delete_task(conn, task_id)
        other = kb.create_task(conn, title="b")
        assert kb.delete_task(conn, other)
        assert kb.list_tasks(conn, include_archived=True) == []


# --- runs --------------------------------------------------------------------------------------------------------


def one_claim_wins(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        task = kb.claim_task(conn, task_id, ttl_seconds=60, claimer="host:1")
        assert (task.status, task.claim_lock) == ("running", "host:1")
        assert 55 <= task.claim_expires - time.time() <= 65
        assert kb.claim_task(conn, task_id) is None
        assert kb.claim_review_task(conn, task_id) is None
        assert kb.get_run(conn, task.current_run_id).profile == "mafei"
        assert kb.claim_task(conn, "t_0123456789") is None
        assert kb.claim_task(conn, "nonsense") is None


def nobody_claims_what_waits(kb, home):
    with board(kb) as conn:
        parent = kb.create_task(conn, title="p")
        child = kb.create_task(conn, title="c", parents=[parent])
        assert kb.claim_task(conn, child) is None


def heartbeats(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        assert not kb.heartbeat_worker(conn, task_id)
        task = kb.claim_task(conn, task_id, claimer="host:1")
        assert kb.heartbeat_claim(conn, task_id, claimer="host:1")
        assert not kb.heartbeat_claim(conn, task_id, claimer="host:2")
        assert kb.heartbeat_worker(conn, task_id, note="half", expected_run_id=task.current_run_id)
        assert not kb.heartbeat_worker(conn, task_id, expected_run_id=task.current_run_id + 1)
        assert kb.get_task(conn, task_id).last_heartbeat_at >= time.time() - 5
        notes = [event.payload for event in kb.list_events(conn, task_id) if event.kind == "heartbeat"]
        assert [note["note"] for note in notes if note] == ["half"]
        kb.complete_task(conn, task_id)
        assert not kb.heartbeat_claim(conn, task_id, claimer="host:1")


def completing(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        run_id = kb.claim_task(conn, task_id).current_run_id
        assert not kb.complete_task(conn, task_id, expected_run_id=run_id + 1)
        assert kb.complete_task(
            conn, task_id, result="r", summary="s\nmore", metadata={"n": [1]}, expected_run_id=run_id
        )
        assert not kb.complete_task(conn, task_id)
        task, run = kb.get_task(conn, task_id), kb.get_run(conn, run_id)
        assert (task.status, task.result, task.current_run_id) == ("done", "r", None)
        assert (run.outcome, run.summary, run.metadata) == ("completed", "s\nmore", {"n": [1]})
        assert kb.list_events(conn, task_id)[-1].payload["summary"] == "s"
        assert kb.latest_summary(conn, task_id) == "s\nmore"
        assert kb.edit_completed_task_result(conn, task_id, result="r2", summary="s2", metadata={"m": 2})
        assert (kb.get_task(conn, task_id).result, kb.get_run(conn, run_id).summary) == ("r2", "s2")
        assert not kb.complete_task(conn, "t_0123456789")


def completing_without_a_claim(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        assert not kb.edit_completed_task_result(conn, task_id, result="r")
        assert kb.complete_task(conn, task_id, summary="s")
        (run,) = kb.list_runs(conn, task_id)
        assert (run.outcome, run.summary) == ("completed", "s")


def cards_that_nobody_made(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        own = kb.create_task(conn, title="b", created_by="mafei")
        kb.claim_task(conn, task_id)
        error = raises(kb.HallucinatedCardsError, "t_0123456789", kb.complete_task, conn, task_id,
                       created_cards=[own, "t_0123456789"])  # fmt: skip
        assert error.phantom == ["t_0123456789"]
        assert kb.get_task(conn, task_id).status == "running"
        assert kb.complete_task(conn, task_id, created_cards=[own])
        assert kb.list_events(conn, task_id)[-1].payload["verified_cards"] == [own]


def files_of_a_scratch_workspace_are_kept(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        task = kb.claim_task(conn, task_id)
        workspace = kb.resolve_workspace(task)
        kb.set_workspace_path(conn, task_id, str(workspace))
        (workspace / "report.md").write_text("words")
        raises(kb.ArtifactPreservationError, "unavailable", kb.complete_task, conn, task_id,
               metadata={"artifacts": [str(workspace / "nothing.md")]})  # fmt: skip
        assert kb.get_task(conn, task_id).status == "running"
        assert kb.complete_task(conn, task_id, metadata={"artifacts": [str(workspace / "report.md")]})
        assert not workspace.exists()
        (kept,) = kb.list_attachments(conn, task_id)
        assert (kept.filename, Path(kept.stored_path).read_text(), kept.size) == ("report.md", "words", 5)
        (run,) = kb.list_runs(conn, task_id)
        assert run.metadata["artifacts"] == [kept.stored_path]


def a_file_that_is_named_in_prose(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        workspace = kb.resolve_workspace(kb.claim_task(conn, task_id))
        kb.set_workspace_path(conn, task_id, str(workspace))
        (workspace / "report.md").write_text("words")
        assert kb.complete_task(conn, task_id, summary=f"see {workspace}/report.md.")
        assert [each.filename for each in kb.list_attachments(conn, task_id)] == ["report.md"]


def blocking(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        raises(ValueError, "block kind", kb.block_task, conn, task_id, kind="whim")
        run_id = kb.claim_task(conn, task_id).current_run_id
        assert not kb.block_task(conn, task_id, reason="r", expected_run_id=run_id + 1)
        assert kb.block_task(conn, task_id, reason="r", kind="needs_input", expected_run_id=run_id)
        assert not kb.block_task(conn, task_id, reason="r")
        assert kb.get_task(conn, task_id).status == "blocked"
        assert kb.recompute_ready(conn) == 0
        assert kb.get_task(conn, task_id).status == "blocked"
        assert kb.unblock_task(conn, task_id)
        assert not kb.unblock_task(conn, task_id)
        assert kb.block_task(conn, task_id, reason="again", kind="needs_input")
        assert kb.get_task(conn, task_id).status == "triage"


def a_dependency_that_is_not_linked_yet(kb, home):
    """Waits for the dispatcher's next tick, in which time it may be linked."""
    a_profile(home, "mafei")
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        kb.claim_task(conn, task_id)
        assert kb.block_task(conn, task_id, reason="the other one", kind="dependency")
        assert kb.get_task(conn, task_id).status == "todo"
        found = kb.dispatch_once(conn, spawn_fn=lambda *_: os.getpid())
        assert (found.promoted, [each[0] for each in found.spawned]) == (1, [task_id])


def a_limit_that_was_raised(kb, home):
    """A task that its failures had blocked goes on, and keeps its count."""
    with board(kb) as conn:
        task_id = running(kb, conn, dead_pid())
        kb.detect_crashed_workers(conn)
        kb.claim_task(conn, task_id)
        kb._set_worker_pid(conn, task_id, dead_pid())
        kb.detect_crashed_workers(conn)
        assert kb.get_task(conn, task_id).status == "blocked"
        assert kb.recompute_ready(conn) == 0
        assert kb.recompute_ready(conn, failure_limit=5) == 1
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 2)


def scheduling(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        assert kb.schedule_task(conn, task_id, reason="monday")
        assert kb.get_task(conn, task_id).status == "scheduled"
        assert not kb.schedule_task(conn, task_id)
        assert kb.unblock_task(conn, task_id)
        assert kb.get_task(conn, task_id).status == "ready"


def worker_of(task_id):
    """A process as Hermes starts it for a task."""
    return subprocess.Popen(["sleep", "60"], env={**os.environ, "HERMES_KANBAN_TASK": task_id})


def reclaiming_ends_the_worker(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        assert not kb.reclaim_task(conn, task_id)
        kb.claim_task(conn, task_id)
        worker = worker_of(task_id)
        kb._set_worker_pid(conn, task_id, worker.pid)
        assert kb.get_task(conn, task_id).worker_pid == worker.pid
        assert kb.reclaim_task(conn, task_id, reason="wrong")
        assert worker.wait(timeout=10) == -signal.SIGTERM
        task = kb.get_task(conn, task_id)
        assert (task.status, task.claim_lock, task.worker_pid) == ("ready", None, None)
        assert kb.list_runs(conn, task_id)[0].outcome == "reclaimed"


# --- dispatching -------------------------------------------------------------------------------------------------


def dead_pid():
    """Of a process that has just ended, which nobody has reaped the word of."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def exited(code):
    """The pid of a child that ended with ``code`` and is reaped by Hermes."""
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def a_profile(home, name):
    (home / ".hermes/profiles" / name).mkdir(parents=True)


def a_tick_starts_workers(kb, home):
    a_profile(home, "mafei")
    started = []
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        nobodys = kb.create_task(conn, title="b")
        terminal = kb.create_task(conn, title="c", assignee="orion-cc")

        def spawn(task, workspace, board=None):
            started.append((task.id, task.current_run_id, workspace))
            return os.getpid()

        found = kb.dispatch_once(conn, spawn_fn=spawn)
        task = kb.get_task(conn, task_id)
        assert started == [(task_id, task.current_run_id, task.workspace_path)]
        assert [each[0] for each in found.spawned] == [task_id]
        assert (found.skipped_unassigned, found.skipped_nonspawnable) == ([nobodys], [terminal])
        assert (task.status, task.worker_pid) == ("running", os.getpid())
        assert Path(task.workspace_path).is_dir()
        assert kb.dispatch_once(conn, spawn_fn=spawn).spawned == []
        assert "spawned" in kinds(kb, conn, task_id)


def a_dry_tick_starts_nothing(kb, home):
    a_profile(home, "mafei")
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        assert [each[0] for each in kb.dispatch_once(conn, dry_run=True).spawned] == [task_id]
        assert kb.get_task(conn, task_id).status == "ready"


def caps_are_hermes_own(kb, home):
    a_profile(home, "mafei")
    with board(kb) as conn:
        for number in range(4):
            kb.create_task(conn, title=str(number), assignee="mafei")
        assert len(kb.dispatch_once(conn, spawn_fn=lambda *_: os.getpid(), max_spawn=3).spawned) == 3
        assert kb.dispatch_once(conn, spawn_fn=lambda *_: os.getpid(), max_in_progress=3).spawned == []
        found = kb.dispatch_once(conn, spawn_fn=lambda *_: os.getpid(), max_in_progress_per_profile=3)
        assert [each[1:] for each in found.skipped_per_profile_capped] == [("mafei", 3)]


def nobodys_tasks_have_a_default(kb, home):
    a_profile(home, "mafei")
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        found = kb.dispatch_once(conn, spawn_fn=lambda *_: os.getpid(), default_assignee="mafei")
        assert found.auto_assigned_default == [task_id]
        assert kb.get_task(conn, task_id).assignee == "mafei"
        assert "assigned" in kinds(kb, conn, task_id)


def a_worker_that_cannot_start(kb, home):
    a_profile(home, "mafei")

    def spawn(task, workspace):
        raise OSError("no such program")

    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        assert kb.dispatch_once(conn, spawn_fn=spawn).auto_blocked == []
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 1)
        assert kb.dispatch_once(conn, spawn_fn=spawn).auto_blocked == [task_id]
        task = kb.get_task(conn, task_id)
        assert (task.status, task.last_failure_error) == ("blocked", "no such program")
        assert "gave_up" in kinds(kb, conn, task_id)


def a_limit_of_the_callers(kb, home):
    a_profile(home, "mafei")

    def spawn(task, workspace):
        raise OSError("no such program")

    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="mafei")
        for number in range(1, 5):
            found = kb.dispatch_once(conn, spawn_fn=spawn, failure_limit=4)
            assert found.auto_blocked == ([task_id] if number == 4 else [])


def running(kb, conn, pid, **fields):
    """A task that this host runs as ``pid``, long enough ago for it to be looked at."""
    os.environ["HERMES_KANBAN_CRASH_GRACE_SECONDS"] = "0"
    task_id = kb.create_task(conn, title="a", assignee="mafei", **fields)
    assert kb.claim_task(conn, task_id)
    if pid is not None:
        kb._set_worker_pid(conn, task_id, pid)
    return task_id


def a_worker_that_is_gone(kb, home):
    with board(kb) as conn:
        task_id = running(kb, conn, dead_pid())
        alive = running(kb, conn, os.getpid())
        assert kb.detect_crashed_workers(conn) == [task_id]
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures, task.current_run_id) == ("ready", 1, None)
        assert kb.list_runs(conn, task_id)[0].outcome == "crashed"
        assert kb.get_task(conn, alive).status == "running"
        assert kb.detect_crashed_workers(conn) == []


def a_worker_that_said_nothing(kb, home):
    """Ended well without a word: tried again twice, then blocked; other failures are not counted by it."""
    with board(kb) as conn:
        task_id = running(kb, conn, exited(0))
        for number in range(1, 4):
            kb.reap_worker_zombies()
            assert kb.detect_crashed_workers(conn) == [task_id]
            task = kb.get_task(conn, task_id)
            assert "protocol violation" in task.last_failure_error
            assert kb.detect_crashed_workers._last_auto_blocked == ([task_id] if number == 3 else [])
            assert task.status == ("blocked" if number == 3 else "ready")
            if number < 3:
                assert task.consecutive_failures == 0
                assert kb.claim_task(conn, task_id)
                kb._set_worker_pid(conn, task_id, exited(0))


def the_same_error_three_times_in_one_tick(kb, home):
    """Something is wrong with the machine: each of them is blocked at once."""
    with board(kb) as conn:
        tasks = [running(kb, conn, exited(3)) for _ in range(3)]
        kb.reap_worker_zombies()
        assert sorted(kb.detect_crashed_workers(conn)) == sorted(tasks)
        assert sorted(kb.detect_crashed_workers._last_auto_blocked) == sorted(tasks)


def a_rate_limit_counts_as_no_failure(kb, home):
    with board(kb) as conn:
        task_id = running(kb, conn, exited(kb.KANBAN_RATE_LIMIT_EXIT_CODE))
        kb.reap_worker_zombies()
        assert kb.detect_crashed_workers(conn) == []
        assert kb.detect_crashed_workers._last_rate_limited == [task_id]
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 0)
        assert kb.list_runs(conn, task_id)[0].outcome == "rate_limited"
        assert kb.check_respawn_guard(conn, task_id) == "rate_limit_cooldown"


def a_run_that_takes_too_long(kb, home):
    with board(kb) as conn:
        task_id = running(kb, conn, None, max_runtime_seconds=1)
        worker = worker_of(task_id)
        kb._set_worker_pid(conn, task_id, worker.pid)
        running(kb, conn, os.getpid(), max_runtime_seconds=3600)
        time.sleep(2.1)
        assert kb.enforce_max_runtime(conn) == [task_id]
        assert worker.wait(timeout=10) == -signal.SIGTERM
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 1)
        assert kb.list_runs(conn, task_id)[0].outcome == "timed_out"
        (told,) = [event.payload for event in kb.list_events(conn, task_id) if event.kind == "timed_out"]
        assert told["limit_seconds"] == 1


def a_run_that_is_silent(kb, home):
    with board(kb) as conn:
        task_id = running(kb, conn, dead_pid())
        assert kb.detect_stale_running(conn, stale_timeout_seconds=0) == []
        assert kb.detect_stale_running(conn, stale_timeout_seconds=3600) == []
        time.sleep(1.1)
        assert kb.detect_stale_running(conn, stale_timeout_seconds=1) == [task_id]
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 0)
        assert kb.list_runs(conn, task_id)[0].outcome == "stale"


def a_worker_out_of_turns(kb, home):
    """What an agent says of itself at its end."""
    with board(kb) as conn:
        task_id = running(kb, conn, os.getpid())
        assert not kb._record_task_failure(
            conn, task_id, error="Iteration budget exhausted", outcome="timed_out", release_claim=True, end_run=True,
            event_payload_extra={"budget_used": 9},
        )  # fmt: skip
        task = kb.get_task(conn, task_id)
        assert (task.status, task.consecutive_failures) == ("ready", 1)


def a_claim_that_ran_out(kb, home):
    """Whose worker is gone is ready again; whose worker lives is left to it."""
    with board(kb) as conn:
        gone = kb.create_task(conn, title="a")
        kb.claim_task(conn, gone, ttl_seconds=1, claimer="elsewhere:1")
        alive = kb.create_task(conn, title="b")
        kb.claim_task(conn, alive, ttl_seconds=1)
        kb._set_worker_pid(conn, alive, os.getpid())
        time.sleep(2.1)
        assert kb.release_stale_claims(conn) == 1
        assert [kb.get_task(conn, each).status for each in (gone, alive)] == ["ready", "running"]


# --- chats, files, boards ----------------------------------------------------------------------------------------


def comments(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        first, second = (kb.add_comment(conn, task_id, "me", words) for words in (" one ", "two"))
        assert first < second
        assert [(each.id, each.author, each.body) for each in kb.list_comments(conn, task_id)] == [
            (first, "me", "one"),
            (second, "me", "two"),
        ]
        raises(ValueError, "unknown task", kb.add_comment, conn, "t_0123456789", "me", "x")
        raises(ValueError, "body is required", kb.add_comment, conn, task_id, "me", " ")
        raises(ValueError, "author is required", kb.add_comment, conn, task_id, " ", "x")


def attachments(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        number = kb.store_attachment_bytes(conn, task_id, "../a.txt", b"words", uploaded_by="me")
        found = kb.get_attachment(conn, number)
        assert (found.filename, found.size, Path(found.stored_path).read_bytes()) == ("a.txt", 5, b"words")
        raises(kb.AttachmentTooLarge, "limit", kb.store_attachment_bytes, conn, task_id, "b", b"12345", max_bytes=4)
        raises(ValueError, "unknown task", kb.store_attachment_bytes, conn, "t_0123456789", "b", b"1")
        assert not list(kb.task_attachments_dir("t_0123456789").iterdir())
        assert kb.delete_attachment(conn, number).id == number
        assert not Path(found.stored_path).exists()
        assert kb.delete_attachment(conn, number) is None


def subscriptions(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        kb.add_notify_sub(conn, task_id=task_id, **CHAT, user_id="7", notifier_profile="default")
        kb.add_notify_sub(conn, task_id=task_id, **CHAT)
        (sub,) = kb.list_notify_subs(conn, task_id)
        assert (sub["chat_id"], sub["thread_id"], sub["user_id"], sub["notifier_profile"]) == ("42", "", "7", "default")
        assert kb.list_notify_subs(conn) == [sub]
        assert kb.remove_notify_sub(conn, task_id=task_id, **CHAT)
        assert not kb.remove_notify_sub(conn, task_id=task_id, **CHAT)
        assert kb.list_notify_subs(conn) == []


def a_chat_is_told_once(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        kb.add_notify_sub(conn, task_id=task_id, **CHAT, notifier_profile="default")
        assert kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=("completed",))[2] == []
        kb.complete_task(conn, task_id, summary="s")
        old, new, events = kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=("completed",))
        assert [event.kind for event in events] == ["completed"]
        assert old < new == events[-1].id
        assert kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=("completed",))[2] == []
        assert kb.rewind_notify_cursor(conn, task_id=task_id, **CHAT, claimed_cursor=new, old_cursor=old)
        again = kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=("completed",))
        assert [event.id for event in again[2]] == [new]
        kb.advance_notify_cursor(conn, task_id=task_id, **CHAT, new_cursor=new)
        assert kb.claim_unseen_events_for_sub(conn, task_id=task_id, **CHAT, kinds=("completed",))[2] == []
        assert kb.list_notify_subs(conn)[0]["last_event_id"] == new
        unknown = {"platform": "telegram", "chat_id": "nobody"}
        assert kb.claim_unseen_events_for_sub(conn, task_id=task_id, **unknown, kinds=None) == (0, 0, [])


def events_are_swept(kb, home):
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
        kb.complete_task(conn, task_id)
        assert kb.gc_events(conn, older_than_seconds=3600) == 0
        time.sleep(1.1)
        assert kb.gc_events(conn, older_than_seconds=0) == 2


def boards(kb, home):
    kb.create_board("two", name="Second")
    with board(kb, board="two") as conn:
        task_id = kb.create_task(conn, title="on two")
    with board(kb) as conn:
        assert kb.get_task(conn, task_id) is None
    assert [each["slug"] for each in kb.list_boards()] == ["default", "two"]
    kb.set_current_board("two")
    with board(kb) as conn:
        assert kb.get_task(conn, task_id).title == "on two"
    with kb.scoped_current_board("default"), board(kb) as conn:
        assert kb.get_task(conn, task_id) is None
    moved = kb.remove_board("two")
    assert (moved["action"], kb.get_current_board()) == ("archived", "default")
    assert Path(moved["new_path"], "kanban.db").exists()
    raises(ValueError, "does not exist", kb.remove_board, "two")
    raises(ValueError, "cannot be removed", kb.remove_board, "default")
    kb.create_board("two")
    with board(kb, board="two") as conn:
        assert kb.list_tasks(conn) == []
        assert kb.create_task(conn, title="anew")
    assert kb.remove_board("two", archive=False)["action"] == "deleted"
    assert not kb.board_exists("two")


def a_board_that_is_pinned(kb, home):
    os.environ["HERMES_KANBAN_DB"] = str(home / "other/kanban.db")
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a")
    assert (home / "other/kanban.db").exists()
    assert not (home / ".hermes/kanban.db").exists()
    with board(kb, db_path=home / "other/kanban.db") as conn:
        assert kb.get_task(conn, task_id).title == "a"


def a_chat_command(kb, home):
    """``/kanban`` in a chat."""
    from hermes_cli.kanban import run_slash

    said = run_slash("create 'from a chat' --assignee mafei")
    assert said.startswith("Created t_")
    assert "from a chat" in run_slash("list")
    assert "usage error" in run_slash("nonsense")
    assert "no such task" in run_slash("show t_0123456789").lower()


def an_agents_tools(kb, home):
    """What an agent of a worker calls."""
    import json

    from tools import kanban_tools

    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="default")
        task = kb.claim_task(conn, task_id)
    os.environ["HERMES_KANBAN_TASK"] = task_id
    os.environ["HERMES_KANBAN_RUN_ID"] = str(task.current_run_id)
    os.environ["HERMES_KANBAN_CLAIM_LOCK"] = task.claim_lock
    assert json.loads(kanban_tools._handle_heartbeat({"note": "half"}))["ok"]
    assert json.loads(kanban_tools._handle_comment({"task_id": task_id, "body": "hello"}))["ok"]
    made = json.loads(kanban_tools._handle_create({"title": "more", "assignee": "default", "parents": [task_id]}))
    shown = json.loads(kanban_tools._handle_show({"task_id": task_id}))
    assert shown["task"]["status"] == "running"
    assert shown["children"] == [made["task_id"]]
    ended = json.loads(kanban_tools._handle_complete({"summary": "done", "created_cards": [made["task_id"]]}))
    assert ended["ok"], ended
    with board(kb) as conn:
        assert kb.get_task(conn, task_id).status == "done"
        assert kb.get_task(conn, made["task_id"]).status == "ready"


def an_agents_tools_by_mcp(kb, home):
    """The server through which an agent that runs in another program calls them. The protocol's own library is not a
    part of Hermes, so what it would be is a list of tools here."""
    import json
    from types import ModuleType

    tools = {}

    class FastMCP:
        def __init__(self, name, instructions):
            """A server that nobody connects to."""

        def add_tool(self, function, name, description):
            tools[name] = function

    library = ModuleType("mcp.server.fastmcp")
    library.FastMCP = FastMCP
    for name in ("mcp", "mcp.server", "mcp.server.fastmcp"):
        sys.modules[name] = library
    with board(kb) as conn:
        task_id = kb.create_task(conn, title="a", assignee="default")
        task = kb.claim_task(conn, task_id)
    os.environ["HERMES_KANBAN_TASK"] = task_id
    os.environ["HERMES_KANBAN_RUN_ID"] = str(task.current_run_id)
    from agent.transports import hermes_tools_mcp_server

    hermes_tools_mcp_server._build_server()
    assert json.loads(tools["kanban_comment"](task_id=task_id, body="by mcp"))["ok"]
    assert json.loads(tools["kanban_show"](task_id=task_id))["comments"][0]["body"] == "by mcp"
    assert json.loads(tools["kanban_complete"](summary="done"))["ok"]
    with board(kb) as conn:
        assert kb.get_task(conn, task_id).status == "done"


def a_worker_reads_its_context(kb, home):
    with board(kb) as conn:
        parent = kb.create_task(conn, title="first", assignee="mafei")
        child = kb.create_task(conn, title="then", parents=[parent], body="the body")
        kb.complete_task(conn, parent, summary="what came of it", metadata={"pages": 3})
        kb.add_comment(conn, child, "me", "mind the gap")
        context = kb.build_worker_context(conn, child)
        for words in ("the body", "what came of it", "mind the gap"):
            assert words in context
        assert kb.board_stats(conn)["by_status"]["done"] == 1
        assert {each["name"] for each in kb.known_assignees(conn)} >= {"mafei"}
