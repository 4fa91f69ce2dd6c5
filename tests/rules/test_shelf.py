"""The shelf: put away, taken out again, thrown away."""

from __future__ import annotations

import pytest

from kanban_shards.changes.kinds import (
    AddComment,
    Archive,
    Attach,
    Claim,
    Complete,
    Create,
    Delete,
    Delivered,
    Due,
    Edit,
    Gc,
    Link,
    Promote,
    Reopen,
    Schedule,
    Subscribe,
)
from kanban_shards.paths import COORDINATOR
from tests.rules.game import START_S, Game

OF_A_TASK = (
    "task_events", "task_comments", "task_runs", "task_attachments", "kanban_notify_subs", "merge_dead_letters",
    "merge_tasks",
)  # fmt: skip


def test_archive_ends_the_run_and_lets_children_go_on(game: Game) -> None:
    task_id = game.make()
    child = game.make(parents=(task_id,))
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    game.apply("bingge", task_id, Archive())
    task, (run,) = game.task(task_id), game.runs(task_id)
    assert (task["status"], task["current_run_id"], task["claim_lock"]) == ("archived", None, None)
    assert (run["id"], run["status"], run["outcome"]) == (run_id, "reclaimed", "reclaimed")
    assert game.events(task_id)[-1] == ("archived", None)
    assert game.status(child) == "ready"
    game.refuse("bingge", task_id, Archive(), "wrong_status")


@pytest.mark.parametrize("end", [Archive(), Delete(), Reopen(), Reopen(to="triage")])
def test_nothing_falls_due_afterwards(game: Game, end) -> None:
    """Whoever takes a scheduled task away takes its time away too."""
    task_id = game.make()
    game.apply("bingge", task_id, Schedule(due_s=START_S + 1))
    game.apply("bingge", task_id, end)
    assert game.rows("SELECT 1 FROM merge_tasks WHERE due_s IS NOT NULL") == []
    reason = "gone" if isinstance(end, Delete) else "wrong_status"
    game.refuse(COORDINATOR, task_id, Due(due_s=START_S + 1), reason)


@pytest.mark.parametrize("end", [Complete(result="r"), Archive()])
@pytest.mark.parametrize(("to", "then"), [("ready", "ready"), ("todo", "ready"), ("triage", "triage")])
def test_reopen(game: Game, end, to: str, then: str) -> None:
    """Back to where work can begin; a todo that waits for nobody is ready in the same entry."""
    task_id = game.make()
    game.apply("bingge", task_id, end)
    assert game.apply("pixiel", task_id, Reopen(to=to, reason="not yet")) == {"status": then}
    assert (game.status(task_id), game.task(task_id)["completed_at"]) == (then, None)
    said = ("status", {"status": to, "reason": "not yet", "by": "pixiel"})
    assert game.events(task_id)[2:] == [said, *([("promoted", None)] if to == "todo" else [])]


def test_reopen_with_open_parents(game: Game) -> None:
    parent = game.make()
    child = game.make(parents=(parent,))
    game.apply("bingge", child, Promote(force=True))
    game.apply("bingge", child, Complete())
    game.refuse("bingge", child, Reopen(), "parents_open")
    game.apply("bingge", child, Reopen(to="todo"))
    assert game.status(child) == "todo"


def test_reopen_ends_a_run(game: Game) -> None:
    task_id = game.make()
    game.apply("bingge", task_id, Claim())
    game.apply("bingge", task_id, Reopen(to="triage"))
    (run,) = game.runs(task_id)
    assert (run["outcome"], run["ended_at"], game.task(task_id)["owner"]) == ("reclaimed", START_S, "bingge")


def test_delete_deletes_everything(game: Game) -> None:
    """Every row of the task, links on both sides; the answer names the files to remove."""
    parent, task_id = game.finished(), game.make()
    child = game.make(parents=(task_id,))
    chat = {"platform": "telegram", "chat_id": "42"}
    game.apply("bingge", task_id, Link(parent=parent))
    game.apply("bingge", task_id, AddComment(text="x"))
    game.apply("bingge", task_id, Attach(filename="a", stored_path="/kept/a", size=1))
    game.apply("bingge", task_id, Subscribe(**chat, from_start=True))
    game.apply("bingge", task_id, Delivered(**chat, upto=1, error="no", attempts=6))
    game.apply("bingge", task_id, Complete(summary="s"))
    others = {table: len(game.rows(f"SELECT 1 FROM {table} WHERE task_id != ?", task_id)) for table in OF_A_TASK}
    for table in OF_A_TASK:
        assert game.rows(f"SELECT 1 FROM {table} WHERE task_id = ?", task_id), table
    assert game.apply("bingge", task_id, Delete()) == {"attachments": 1}
    for table in OF_A_TASK:
        assert game.rows(f"SELECT 1 FROM {table} WHERE task_id = ?", task_id) == [], table
        assert len(game.rows(f"SELECT 1 FROM {table}")) == others[table], table
    assert game.rows("SELECT 1 FROM task_links") == []
    assert game.status(child) == "ready"
    assert len(game.rows("SELECT 1 FROM merge_tombstones WHERE task_id = ?", task_id)) == 1


def test_ids_of_a_deleted_task_are_not_given_again(game: Game) -> None:
    """Events and runs go on counting, so that no cursor points at something else."""
    task_id = game.make()
    run_id = game.apply("bingge", task_id, Claim())["run_id"]
    (last,) = game.rows("SELECT max(id) AS id FROM task_events")
    game.apply("bingge", task_id, Delete())
    other = game.make()
    assert game.rows("SELECT min(id) AS id FROM task_events") == [{"id": last["id"] + 1}]
    assert game.apply("bingge", other, Claim())["run_id"] == run_id + 1


def test_delete_of_the_archived_only(game: Game) -> None:
    task_id = game.make()
    game.refuse("bingge", task_id, Delete(archived_only=True), "wrong_status")
    game.apply("bingge", task_id, Archive())
    game.apply("bingge", task_id, Delete(archived_only=True))


def test_late_changes_do_not_bring_it_back(game: Game) -> None:
    """Neither deciding nor adding ones, nor its own creation again."""
    task_id = game.make()
    game.apply("bingge", task_id, Delete())
    for body in (Edit(title="x"), AddComment(text="x"), Link(parent=game.make()), Claim()):
        game.refuse("pixiel", task_id, body, "gone")
    game.refuse("pixiel", task_id, Create(title="x"), "taken_id")


def test_gc_takes_old_events_of_finished_tasks(game: Game) -> None:
    """What a chat is still to be told of stays, and so does everything of a task that goes on."""
    open_task, done, told = game.make(), game.make(), game.make()
    game.apply("bingge", told, Subscribe(platform="telegram", chat_id="42"))
    for task_id in (done, told):
        game.apply("bingge", task_id, Complete())
    game.later(100)
    game.apply("bingge", "", Gc(events_before_s=START_S + 1))
    kept = {task_id: game.kinds(task_id) for task_id in (open_task, done, told)}
    assert kept == {open_task: ["created"], done: [], told: ["completed"]}
