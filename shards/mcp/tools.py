"""The tools: what an agent does with the board, each as one function over a gateway.

A worker's run is its own: what is said of a task that somebody works on goes to the run that was claimed over this
connection, or to the one that is named, and never to somebody else's by chance.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any, Generic, TypeVar

from kanban_shards import context
from kanban_shards.errors import Refused, RunNotClaimedHere, StorageError, UnknownRun, WrongArguments
from kanban_shards.gateway import Gateway
from kanban_shards.mcp import inputs, outputs
from kanban_shards.mcp.held_runs import HeldRuns
from kanban_shards.paths import profile_meant
from kanban_shards.queries import TaskQuery
from kanban_shards.records import Run, Task, Verdict
from kanban_shards.workspaces import make_workspace

# Of parents, children, runs and comments, the newest so many are shown.
SHOWN = 30

_Given = TypeVar("_Given", bound=inputs.Input)
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Desk:
    """What a tool works with: the gateway of the profile that is served, and the runs that are kept alive for it, each
    claimed for ``lease_s`` seconds."""

    gateway: Gateway
    held: HeldRuns
    lease_s: int


@dataclass(frozen=True)
class Tool(Generic[_Given]):
    """One tool: ``does`` it with what ``takes`` describes, and ``gives`` an answer.

    ``description``: for the model, and no docstring, which ``python -OO`` would take away. ``only_reads``: nothing is
    written. ``may_repeat``: a second call with the same arguments changes nothing more.
    """

    name: str
    description: str
    takes: type[_Given]
    gives: type[outputs.Output]
    does: Callable[[Desk, _Given], outputs.Output]
    only_reads: bool = False
    may_repeat: bool = False

    def call(self, desk: Desk, arguments: dict[str, Any]) -> outputs.Output:
        """Do it. Raises pydantic's ValidationError for other arguments than it takes, and KanbanError."""
        return self.does(desk, self.takes.model_validate(arguments))


# --- reading -------------------------------------------------------------------------------------------------------


def list_tasks(desk: Desk, given: inputs.ListTasks) -> outputs.TaskList:
    """The best tasks first."""
    query = TaskQuery(
        statuses=tuple(given.status),
        assignee=desk.gateway.profile if given.mine else given.assignee,
        unassigned=given.unassigned,
        tenant=given.tenant,
    )
    return _page(desk, "list", query, given.limit, given.after)


def search(desk: Desk, given: inputs.Search) -> outputs.TaskList:
    """The best tasks first, of those with a text."""
    query = TaskQuery(statuses=tuple(given.status), text=given.text)
    return _page(desk, "search", query, given.limit, given.after)


def show(desk: Desk, given: inputs.Show) -> outputs.TaskShown:
    """A task, with the newest of what belongs to it."""
    board, length = desk.gateway.board, given.text_bytes
    task = _task(desk, given.task_id)
    parents, children = board.parents(task.id), board.children(task.id)
    lists: dict[str, Sequence[Any]] = {
        "parents": parents,
        "children": children,
        "runs": (runs := board.runs(task.id)),
        "comments": (comments := board.comments(task.id)),
        "events": (events := list(desk.gateway.board.events_of(task.id))),
        "files": (files := board.attachments(task.id)),
    }
    return outputs.TaskShown(
        **outputs.TaskLine.of(task).model_dump(),
        body=context.fit(task.body, length),
        result=context.fit(task.result, length),
        owner=task.owner,
        block_kind=task.block_kind,
        parents=_lines(desk, parents),
        children=_lines(desk, children),
        runs=[outputs.Attempt.of(run, length) for run in runs[-SHOWN:]],
        comments=[outputs.Said.of(comment, length) for comment in comments[-SHOWN:]],
        events=[outputs.Happened.of(event) for event in events[-SHOWN:]],
        files=[outputs.AttachedFile.of(file) for file in files[-SHOWN:]],
        left_out={name: len(every) - SHOWN for name, every in lists.items() if len(every) > SHOWN},
    )


# --- working -------------------------------------------------------------------------------------------------------


def create(desk: Desk, given: inputs.Create) -> outputs.Created:
    """A new task."""
    made = desk.gateway.make(
        given.title,
        body=given.body,
        assignee=given.assignee and profile_meant(given.assignee),
        priority=given.priority,
        parents=given.parents,
        tenant=given.tenant,
        starts=given.starts,
        idempotency_key=given.idempotency_key,
    )
    task = desk.gateway.board.task(made.task_id)
    return outputs.Created(task_id=made.task_id, status=None if task is None else task.status, is_new=made.is_new)


def claim(desk: Desk, given: inputs.Claim) -> outputs.Claimed:
    """Open a run on one task."""
    return _claimed(desk, desk.gateway.claim(given.task_id, lease_s=desk.lease_s))


def claim_next(desk: Desk, given: inputs.ClaimNext) -> outputs.NextClaim:
    """Open a run on the best ready task."""
    run = desk.gateway.claim_next(lease_s=desk.lease_s)
    if run is not None:
        return outputs.NextClaim(claimed=_claimed(desk, run))
    full = desk.gateway.held_up_by
    nothing = f"Tasks are ready, but {full}" if full else f"Nothing is ready for {desk.gateway.profile}"
    return outputs.NextClaim(nothing=f"{nothing}; ask again later.")


def heartbeat(desk: Desk, given: inputs.Heartbeat) -> outputs.Alive:
    """Say where the work is, and take over a run that an earlier connection claimed."""
    run = _run(desk, given.task_id, given.run_id) or desk.gateway.open_run(given.task_id)
    claimer = _task(desk, given.task_id).run_claimer
    if desk.gateway.profile not in (run.profile, claimer):
        sentence = f"run {run.id} of {run.task_id} belongs to {run.profile}, claimed by {claimer}"
        raise Refused(reason="not_your_run", sentence=sentence, answer={})
    desk.gateway.heartbeat(run, given.note)
    desk.held.hold(run)
    ends = datetime.fromtimestamp(int(time()) + run.lease_s, UTC)
    return outputs.Alive(task_id=run.task_id, run_id=run.id, lease_ends=ends)


def comment(desk: Desk, given: inputs.Comment) -> outputs.Commented:
    """Say something about a task."""
    number = desk.gateway.make_comment(given.task_id, given.text)
    return outputs.Commented(task_id=given.task_id, comment_id=number)


def complete(desk: Desk, given: inputs.Complete) -> outputs.Changed:
    """The task is done."""
    run = _run(desk, given.task_id, given.run_id)

    def say(work: Run | str) -> Verdict:
        return desk.gateway.complete(
            work,
            result=given.result,
            summary=given.summary,
            metadata=given.metadata,
            created_cards=given.created_cards,
        )

    return _ended(desk, given.task_id, run, say)


def block(desk: Desk, given: inputs.Block) -> outputs.Changed:
    """The task cannot go on."""
    run = _run(desk, given.task_id, given.run_id)
    return _ended(desk, given.task_id, run, lambda work: desk.gateway.block(work, given.reason, kind=given.kind))


def unblock(desk: Desk, given: inputs.Unblock) -> outputs.Changed:
    """A blocked task may go on."""
    return _changed(given.task_id, desk.gateway.unblock(given.task_id, given.reason))


def release(desk: Desk, given: inputs.Release) -> outputs.Changed:
    """Give a task back without a result."""
    run = _run(desk, given.task_id, given.run_id) or desk.gateway.open_run(given.task_id)
    return _ended(desk, given.task_id, run, lambda _: desk.gateway.release(run, given.reason))


def link(desk: Desk, given: inputs.Link) -> outputs.Linked:
    """One task waits for another."""
    desk.gateway.link(given.parent_id, given.child_id)
    child = _task(desk, given.child_id)
    return outputs.Linked(parent_id=given.parent_id, child_id=given.child_id, child_status=child.status)


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "list",
        "List tasks, the highest priority first. Archived ones only if that status is asked for.",
        inputs.ListTasks, outputs.TaskList, list_tasks, only_reads=True, may_repeat=True,
    ),
    Tool(
        "show",
        "Show a task: its text, what it waits for and what waits for it, attempts at it, comments, events and files.",
        inputs.Show, outputs.TaskShown, show, only_reads=True, may_repeat=True,
    ),
    Tool(
        "search",
        "Look for tasks by a text in their id, title or body, the highest priority first.",
        inputs.Search, outputs.TaskList, search, only_reads=True, may_repeat=True,
    ),
    Tool(
        "create",
        "Make a new task, for yourself or for another profile. With parents it waits until those are done.",
        inputs.Create, outputs.Created, create,
    ),
    Tool(
        "claim_next",
        "Begin work on the best ready task that is assigned to you or to nobody. Answers with all that you should "
        "read before you begin; nobody else can claim it meanwhile. End it with complete, block or release.",
        inputs.ClaimNext, outputs.NextClaim, claim_next,
    ),
    Tool(
        "claim",
        "Begin work on one ready task, as claim_next does on the best one. If somebody else was faster, it says who.",
        inputs.Claim, outputs.Claimed, claim,
    ),
    Tool(
        "heartbeat",
        "Say where the work on your task is. The run is kept alive without it, for as long as this server runs; it is "
        "for the people who watch, and after a restart of this server, with run_id, to keep the run. If the run is "
        "over, it says so: then stop working on that task.",
        inputs.Heartbeat, outputs.Alive, heartbeat,
    ),
    Tool(
        "comment",
        "Say something about a task, to people and to other profiles. It changes nothing else.",
        inputs.Comment, outputs.Commented, comment,
    ),
    Tool(
        "complete",
        "Say that your task is done, with a summary for whoever goes on from here. Tasks that waited for it may go on.",
        inputs.Complete, outputs.Changed, complete,
    ),
    Tool(
        "block",
        "Say that your task cannot go on, and what a person has to decide or do. Ends your run.",
        inputs.Block, outputs.Changed, block,
    ),
    Tool("unblock", "A blocked task may go on.", inputs.Unblock, outputs.Changed, unblock),
    Tool(
        "release",
        "Give your task back without a result: it is ready, and somebody else may claim it.",
        inputs.Release, outputs.Changed, release,
    ),
    Tool("link", "Have one task wait for another.", inputs.Link, outputs.Linked, link, may_repeat=True),
)  # fmt: skip


# --- how -----------------------------------------------------------------------------------------------------------


def _page(desk: Desk, tool: str, query: TaskQuery, limit: int, after: str | None) -> outputs.TaskList:
    """The tasks that ``query`` finds, behind the place ``after``, which is spelled as a word and not as the JSON that
    it is: there are clients that read JSON wherever they see it."""
    try:
        place = None if after is None else urlsafe_b64decode(after).decode()
        found = desk.gateway.board.page(query, limit=limit, after=place)
    except ValueError as error:
        problem = "'after' is none that an answer gave, or of other words"
        raise WrongArguments(tool=tool, problems=problem) from error
    further = None if found.after is None else urlsafe_b64encode(found.after.encode()).decode()
    return outputs.TaskList(tasks=[outputs.TaskLine.of(task) for task in found.tasks], after=further)


def _task(desk: Desk, task_id: str) -> Task:
    return desk.gateway.board.known_task(task_id)


def _lines(desk: Desk, task_ids: list[str]) -> list[outputs.TaskLine]:
    found = (desk.gateway.board.task(task_id) for task_id in task_ids[-SHOWN:])
    return [outputs.TaskLine.of(task) for task in found if task is not None]


def _claimed(desk: Desk, run: Run) -> outputs.Claimed:
    desk.held.hold(run)
    task = _task(desk, run.task_id)
    workspace, problem = None, None
    try:
        workspace = make_workspace(desk.gateway.paths, task)
    except StorageError as error:
        problem = str(error)
    return outputs.Claimed(
        run_id=run.id,
        task=outputs.TaskLine.of(task),
        lease_s=run.lease_s,
        workspace=None if workspace is None else str(workspace),
        workspace_problem=problem,
        context=context.render(context.gather(desk.gateway.board, run.task_id), int(time())),
    )


def _run(desk: Desk, task_id: str, run_id: int | None) -> Run | None:
    """The run of the task that is meant: ``run_id``, else the one that is held here; None if nobody works on it.

    Raises UnknownTask, UnknownRun, and RunNotClaimedHere where it could be anybody's.
    """
    held = desk.held.of_task(task_id)
    if held is not None and run_id in (None, held.id):
        return held
    if run_id is None:
        task = _task(desk, task_id)
        if task.current_run_id is not None:
            raise RunNotClaimedHere(run_id=task.current_run_id, task_id=task_id)
        return None
    run = desk.gateway.board.run(run_id)
    if run is None or run.task_id != task_id:
        raise UnknownRun(run_id=run_id, board=desk.gateway.paths)
    return run


def _ended(desk: Desk, task_id: str, run: Run | None, say: Callable[[Run | str], Verdict]) -> outputs.Changed:
    """The outcome of ``run``, or, where nobody works on the task, of the task itself."""
    try:
        verdict = say(run or task_id)
    except Refused as refused:
        if run is not None and refused.reason in ("late", "gone"):
            desk.held.let_go(run.id)
        raise
    if run is not None:
        desk.held.let_go(run.id)
    return _changed(task_id, verdict)


def _changed(task_id: str, verdict: Verdict) -> outputs.Changed:
    return outputs.Changed(task_id=task_id, status=verdict.answer["status"], run_id=verdict.answer.get("run_id"))
