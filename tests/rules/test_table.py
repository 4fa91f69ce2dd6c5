"""What each kind of change does to a task of each status: the status it has then, or why the change is refused.

The table is written to be checked by a reader against Hermes's transitions. In all of it, whoever decides has seen
everything, tasks have no parents except those that are ``todo`` (they wait for one), and a run-bound change names the
task's open run if there is one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kanban_shards.changes import kinds
from kanban_shards.changes.codec import KIND_OF
from kanban_shards.changes.fields import Body
from kanban_shards.changes.homes import Alive, Home
from kanban_shards.changes.imported import SubscriptionRow, TaskRow
from kanban_shards.coordinator.rules import RULES, TASKLESS_RULES
from kanban_shards.coordinator.rules.refusal import REASONS
from kanban_shards.paths import COORDINATOR
from kanban_shards.records import STATUSES
from tests.rules.game import Game

ALL_RULES = {**RULES, **TASKLESS_RULES}
DUE_S = 2_000_000
NO_RUN = 99

# "." leaves the status as it is; "-" is "wrong_status"; "deleted" is no status: the task is gone.
TABLE = """
                 triage    todo          scheduled ready     running   blocked   review    done      archived
create           taken_id  taken_id      taken_id  taken_id  taken_id  taken_id  taken_id  taken_id  taken_id
assign           .         .             .         .         -         .         .         .         .
edit             .         .             .         .         .         .         .         .         .
edit_result      -         -             -         -         -         -         -         .         -
specify          ready     -             -         -         -         -         -         -         -
decompose        todo      -             -         -         -         -         -         -         -
claim            -         -             -         running   -         -         running   -         -
claim_next       no_task   no_task       no_task   running   no_task   no_task   no_task   no_task   no_task
spawned          late      late          late      late      .         late      late      late      late
progress         late      late          late      late      .         late      late      late      late
supervise        late      late          late      late      .         late      late      late      late
release          late      late          late      late      ready     late      late      late      late
reclaim          -         -             -         -         ready     -         -         -         -
fail             late      late          late      late      ready     late      late      late      late
complete         -         -             -         done      done      done      done      -         -
complete_run     late      late          late      late      done      late      late      late      late
review           -         -             -         review    review    -         -         -         -
review_run       late      late          late      late      review    late      late      late      late
block            -         -             -         blocked   blocked   -         -         -         -
block_run        late      late          late      late      blocked   late      late      late      late
block_dependency -         -             -         ready     ready     -         -         -         -
block_held       -         -             -         todo      todo      -         -         -         -
schedule         -         scheduled     -         scheduled scheduled scheduled -         -         -
schedule_run     late      late          late      late      scheduled late      late      late      late
unblock          -         -             ready     -         -         ready     -         -         -
promote          -         parents_open  -         -         -         ready     -         -         -
promote_force    -         ready         -         -         -         ready     -         -         -
recover          -         -             -         -         -         -         -         -         -
reopen_ready     ready     parents_open  ready     -         ready     ready     ready     ready     ready
reopen_todo      ready     -             ready     ready     ready     ready     ready     ready     ready
reopen_held      todo      -             todo      todo      todo      todo      todo      todo      todo
reopen_scheduled scheduled scheduled     -         scheduled scheduled scheduled scheduled scheduled scheduled
reopen_triage    -         triage        triage    triage    triage    triage    triage    triage    triage
archive          archived  archived      archived  archived  archived  archived  archived  archived  -
delete           deleted   deleted       deleted   deleted   deleted   deleted   deleted   deleted   deleted
delete_archived  -         -             -         -         -         -         -         -         deleted
comment          .         .             .         .         .         .         .         .         .
note             .         .             .         .         .         .         .         .         .
link             .         .             .         todo      .         .         .         .         .
unlink           .         ready         .         .         .         .         .         .         .
attach           .         .             .         .         .         .         .         .         .
detach           .         .             .         .         .         .         .         .         .
subscribe        .         .             .         .         .         .         .         .         .
unsubscribe      .         .             .         .         .         .         .         .         .
adopt            no_chat   no_chat       no_chat   no_chat   no_chat   no_chat   no_chat   no_chat   no_chat
delivered        .         .             .         .         .         .         .         .         .
resend           no_chat   no_chat       no_chat   no_chat   no_chat   no_chat   no_chat   no_chat   no_chat
settings         .         .             .         .         .         .         .         .         .
gc               .         .             .         .         .         .         .         .         .
expire           late      late          late      late      ready     late      late      late      late
due              -         -             ready     -         -         -         -         -         -
import           .         .             .         .         .         .         .         .         .
import_task      taken_id  taken_id      taken_id  taken_id  taken_id  taken_id  taken_id  taken_id  taken_id
import_rows      .         .             .         .         .         .         .         .         .
home             .         .             .         .         .         .         .         .         .
alive            late      late          late      late      .         late      late      late      late
"""
SHORT = {"-": "wrong_status", "no_task": "nothing_ready", "no_chat": "no_subscription"}

HEADER, *LINES = [line.split() for line in TABLE.strip().splitlines()]
CHANGES: dict[str, Callable[[Game, str, int], Body]] = {
    "create": lambda game, parent, run: kinds.Create(title="again"),
    "assign": lambda game, parent, run: kinds.Assign(assignee="pixiel"),
    "edit": lambda game, parent, run: kinds.Edit(title="new words", priority=3),
    "edit_result": lambda game, parent, run: kinds.Edit(result="better"),
    "specify": lambda game, parent, run: kinds.Specify(title="clear now"),
    "decompose": lambda game, parent, run: kinds.Decompose(
        children=(kinds.PlannedChild(id=game.id(), title="a part"),)
    ),
    "claim": lambda game, parent, run: kinds.Claim(),
    "claim_next": lambda game, parent, run: kinds.ClaimNext(),
    "spawned": lambda game, parent, run: kinds.Spawned(run_id=run, pid=4_242),
    "progress": lambda game, parent, run: kinds.Progress(run_id=run, note="halfway"),
    "supervise": lambda game, parent, run: kinds.Supervise(run_id=run),
    "release": lambda game, parent, run: kinds.Release(run_id=run),
    "reclaim": lambda game, parent, run: kinds.Reclaim(),
    "fail": lambda game, parent, run: kinds.Fail(run_id=run, outcome="crashed"),
    "complete": lambda game, parent, run: kinds.Complete(),
    "complete_run": lambda game, parent, run: kinds.Complete(run_id=run),
    "review": lambda game, parent, run: kinds.Review(),
    "review_run": lambda game, parent, run: kinds.Review(run_id=run),
    "block": lambda game, parent, run: kinds.Block(block="capability"),
    "block_run": lambda game, parent, run: kinds.Block(run_id=run, block="capability"),
    "block_dependency": lambda game, parent, run: kinds.Block(block="dependency"),
    "block_held": lambda game, parent, run: kinds.Block(block="dependency", hold_s=60),
    "schedule": lambda game, parent, run: kinds.Schedule(due_s=DUE_S),
    "schedule_run": lambda game, parent, run: kinds.Schedule(run_id=run),
    "unblock": lambda game, parent, run: kinds.Unblock(),
    "promote": lambda game, parent, run: kinds.Promote(),
    "promote_force": lambda game, parent, run: kinds.Promote(force=True),
    "recover": lambda game, parent, run: kinds.Recover(),
    "reopen_ready": lambda game, parent, run: kinds.Reopen(to="ready"),
    "reopen_todo": lambda game, parent, run: kinds.Reopen(to="todo"),
    "reopen_held": lambda game, parent, run: kinds.Reopen(to="todo", hold_s=60),
    "reopen_scheduled": lambda game, parent, run: kinds.Reopen(to="scheduled"),
    "reopen_triage": lambda game, parent, run: kinds.Reopen(to="triage"),
    "archive": lambda game, parent, run: kinds.Archive(),
    "delete": lambda game, parent, run: kinds.Delete(),
    "delete_archived": lambda game, parent, run: kinds.Delete(archived_only=True),
    "comment": lambda game, parent, run: kinds.AddComment(text="well"),
    "note": lambda game, parent, run: kinds.Note(event="respawn_guarded", facts={"reason": "quota"}),
    "link": lambda game, parent, run: kinds.Link(parent=game.make("mafei", assignee="mafei")),
    "unlink": lambda game, parent, run: kinds.Unlink(parent=parent),
    "attach": lambda game, parent, run: kinds.Attach(filename="a.txt", stored_path="/kept/a.txt", size=1),
    "detach": lambda game, parent, run: kinds.Detach(attachment_id=1),
    "subscribe": lambda game, parent, run: kinds.Subscribe(platform="telegram", chat_id="42"),
    "unsubscribe": lambda game, parent, run: kinds.Unsubscribe(platform="telegram", chat_id="42"),
    "adopt": lambda game, parent, run: kinds.Adopt(platform="telegram", chat_id="42"),
    "delivered": lambda game, parent, run: kinds.Delivered(platform="telegram", chat_id="42", upto=1),
    "resend": lambda game, parent, run: kinds.Resend(letter_id=1),
    "settings": lambda game, parent, run: kinds.Settings(max_in_progress=9),
    "gc": lambda game, parent, run: kinds.Gc(events_before_s=DUE_S),
    "expire": lambda game, parent, run: kinds.Expire(run_id=run, last_sign_ms=0),
    "due": lambda game, parent, run: kinds.Due(due_s=DUE_S),
    "import": lambda game, parent, run: kinds.Import(digest="d", source="/kept/kanban.db", ids={"task_runs": 9}),
    "import_task": lambda game, parent, run: kinds.ImportTask(
        task=TaskRow(title="brought", status="ready", created_at=1), creator="bingge"
    ),
    "import_rows": lambda game, parent, run: kinds.ImportRows(
        kanban_notify_subs=(SubscriptionRow(platform="telegram", chat_id="43", created_at=1),)
    ),
    "home": lambda game, parent, run: Home(profile=f"p{game.id()}", shard="0" * 32, host="laptop"),
    "alive": lambda game, parent, run: Alive(run_id=run, age_ms=1_000),
}


def standing(game: Game, status: str, worker: str, parent: str) -> tuple[str, int]:
    """A task of ``status``, assigned to ``worker``; returns its id and the id of its open run, which is supervised, or
    one of no run."""
    if status in ("triage", "blocked"):
        return game.make(assignee=worker, starts=status), NO_RUN
    if status == "todo":
        return game.make(assignee=worker, parents=(parent,)), NO_RUN
    task_id = game.make(assignee=worker)
    if status == "running":
        return task_id, game.apply(worker, task_id, kinds.Claim(grace_s=3_600))["run_id"]
    ways = {
        "scheduled": kinds.Schedule(due_s=DUE_S),
        "review": kinds.Review(),
        "done": kinds.Complete(),
        "archived": kinds.Archive(),
    }
    if status in ways:
        game.apply(worker, task_id, ways[status])
    return task_id, NO_RUN


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_each_kind_on_each_status(game: Game, line: list[str]) -> None:
    name, *cells = line
    parent = game.make("mafei", assignee="mafei")
    for status, cell in zip(HEADER, cells, strict=True):
        worker = f"worker-of-{status}"
        task_id, run_id = standing(game, status, worker, parent)
        assert game.status(task_id) == status
        body = CHANGES[name](game, parent, run_id)
        kind = KIND_OF[type(body)]
        author = COORDINATOR if kind in kinds.COORDINATOR_KINDS else worker
        where = "" if kind in kinds.TASKLESS_KINDS else task_id
        expected = SHORT.get(cell, cell)
        if expected in REASONS:
            leaves = "late_refused" if (kind, expected) == ("progress", "late") else None
            game.refuse(author, where, body, expected, leaves=leaves)
            expected = status
        else:
            game.apply(author, where, body)
        found = game.rows("SELECT status FROM tasks WHERE id = ?", task_id)
        shown = found[0]["status"] if found else "deleted"
        assert shown == (status if expected == "." else expected), f"{name} on {status}"


def test_the_table_is_whole() -> None:
    """Every status is a column, every kind has a row."""
    assert tuple(HEADER) == STATUSES
    assert [line[0] for line in LINES] == list(CHANGES)
    assert {name.split("_")[0] if name not in ALL_RULES else name for name, *_ in LINES} == set(ALL_RULES)


def test_no_task_and_gone(game: Game) -> None:
    """On a task that never was, and on one that was deleted, every kind that needs one says so."""
    never, gone = game.id(), game.make()
    game.apply("bingge", gone, kinds.Delete())
    for change in CHANGES.values():
        body = change(game, never, NO_RUN)
        kind = KIND_OF[type(body)]
        if kind in TASKLESS_RULES:
            continue
        author = COORDINATOR if kind in kinds.COORDINATOR_KINDS else "bingge"
        game.refuse(author, never, body, "unknown_task")
        game.refuse(author, gone, body, "gone")
