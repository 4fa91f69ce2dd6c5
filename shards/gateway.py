"""Gateway: what a profile's process uses. Own shard for writing, the board for reading.

Writing never waits for another profile. ``create`` and what only adds (comment, subscribe, …) return when the change
is durable in the own shard; what needs a decision (claim, complete, link, …) returns with the verdict. No daemon is
needed for that: see shards/writer.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, Unpack

import msgspec

from kanban_shards.attempts import DELIVERY_LEASE_S
from kanban_shards.changes.codec import encode_body
from kanban_shards.changes.fields import BlockKind
from kanban_shards.changes.identities import NewTask, is_drawn_by, new_task
from kanban_shards.changes.kinds import (
    LEASE_S,
    AddComment,
    Archive,
    Assign,
    Attach,
    Block,
    Claim,
    ClaimNext,
    Create,
    Decompose,
    Delete,
    Detach,
    Edit,
    Fail,
    Gc,
    Link,
    Note,
    NotedKind,
    Outcome,
    PlannedChild,
    Progress,
    Promote,
    Reclaim,
    Recover,
    Release,
    Reopen,
    ReopenedStatus,
    Resend,
    Review,
    Schedule,
    Settings,
    Specify,
    Supervise,
    Unblock,
    Unlink,
    Unsubscribe,
)
from kanban_shards.changes.normalize import completion, named
from kanban_shards.errors import BoardMissing, InvalidChange, NoOpenRun, Refused, UnknownRun, WorkerAlive
from kanban_shards.paths import BoardPaths
from kanban_shards.records import DELIVERED_KINDS, DeadLetter, Run, Task, Verdict, Worker
from kanban_shards.shard import OwnChange
from kanban_shards.writer import Writer

if TYPE_CHECKING:
    from kanban_shards.arguments import (
        Chat,
        CompleteFields,
        EditFields,
        Limits,
        Opening,
        PlannedTask,
        SpecifyFields,
        TaskFields,
    )
    from kanban_shards.attachments import Stored
    from kanban_shards.batch import Batch
    from kanban_shards.deliveries import Delivery

# On a full board a worker asks for a task no oftener than this, unless a run began or ended meanwhile.
ASK_AGAIN_S = 20.0
# Heartbeats closer together than this are one (with a short lease: than a third of it).
HEARTBEAT_EVERY_S = 5.0


# How many runs are open, and the limits.
_Room = tuple[int, tuple[tuple[str, int], ...]]


class _AskedInVain(msgspec.Struct, frozen=True):
    """When a ``claim_next`` was refused for want of room, what there was of room then, and what the refusal said."""

    room: _Room | None = None
    at_s: float = float("-inf")
    why: str | None = None

    @property
    def is_recent(self) -> bool:
        """Whether asking again would most likely be refused again, with the same room: each refusal is kept, so an idle
        worker asks rarely, but often enough that its turn is kept."""
        return time.monotonic() - self.at_s < ASK_AGAIN_S


class Made(NamedTuple):
    """What became of a ``make``: the task's id, and whether the task is new, or had the idempotency key already."""

    task_id: str
    is_new: bool


class Gateway:
    """The board as ``profile`` writes and reads it, in one process. Safe to use from several threads; not across a
    fork. Use it as a context manager, or ``close`` it.

    ``profile``: who writes. ``board``, ``home``: which board of which Hermes home; None finds it as Hermes does
    (shards/paths.py). ``paths``: the board itself, as BoardPaths, in place of both. ``patience_s``: for how many
    seconds a call waits for its verdict. ``looks``: how often a verb that was given an id looks at the task, and asks,
    before it is refused as ``stale``; more than 1 is for a program that means "if its status still allows it", whoever
    changed the task meanwhile. ``lanes``: an assignee may also be a lane, whose tasks no profile claims, and somebody
    outside does; without it, what can name no profile is taken for a typing error. Raises InvalidName, UnknownBoard,
    StorageError.

    A verb takes a task's id and looks at the task itself. One that decides may be given a Task, as ``board.task`` gave
    it: then the change says that its author had seen exactly that, and is refused as ``stale`` if somebody changed the
    task since, unless this profile owns it.

    What every verb may raise: InvalidChange and TooLarge for a field that no change may have, and StorageError for a
    shard that cannot be used: nothing was written then. A verb that returns a Verdict, or another answer of the
    coordinator's, raises Refused if it was decided against, and Undecided if there was no verdict in time: the change
    is written, and is decided later. A task that the board does not have is UnknownTask, what can be no id
    InvalidTaskId. After ``close`` each raises GatewayClosed.
    """

    def __init__(
        self,
        profile: str,
        *,
        board: str | None = None,
        home: str | os.PathLike[str] | None = None,
        paths: BoardPaths | None = None,
        patience_s: float = 30.0,
        looks: int = 1,
        lanes: bool = False,
    ) -> None:
        self._writer = self._open_writer(
            profile, board=board, home=home, paths=paths, patience_s=patience_s, looks=looks, lanes=lanes
        )
        self.profile = self._writer.profile
        self.paths = self._writer.paths
        self.board = self._writer.board
        self._asked_in_vain = _AskedInVain()
        # When the last heartbeat of each run was written, as ``time.monotonic`` has it.
        self._heartbeats: dict[int, float] = {}

    def _open_writer(self, profile: str, **opening: Unpack[Opening]) -> Writer:
        """For who watches what is written."""
        return Writer(profile, **opening)

    @property
    def patience_s(self) -> float:
        """For how many seconds a call waits for its verdict before it raises Undecided. It may be set."""
        return self._writer.patience_s

    @patience_s.setter
    def patience_s(self, seconds: float) -> None:
        self._writer.patience_s = float(seconds)

    # --- tasks -------------------------------------------------------------------------------------------------

    def draw(self) -> NewTask:
        """An id for a task that is made later, by ``create`` or ``make`` with ``drawn``: for what must have it before,
        such as a folder or a branch. Nothing is written, and nobody else can make a task with this id."""
        return new_task(self.profile)

    def create(
        self,
        title: str,
        *,
        parents: Sequence[str] = (),
        drawn: NewTask | None = None,
        subscribe: Chat | None = None,
        **fields: Unpack[TaskFields],
    ) -> str:
        """A new task; returns its id. Durable on return.

        ``title``: what it is called. ``parents``: ids of tasks that it waits for. ``drawn``: the id that it gets, as
        ``draw`` gave it to a process of this profile; None draws one. ``subscribe``: a chat that is told what becomes
        of it, in the same commit; see Chat. ``fields``: see TaskFields. With an
        ``idempotency_key`` the call waits for the verdict, and returns the id of the live task that has the key
        already, if there is one. Raises UnknownTask for a parent, and InvalidChange for an id that this profile did
        not draw.
        """
        task_id, change = self._new(title, parents, drawn, fields)
        if change.idempotency_key is not None:
            made = self._made(task_id, change).task_id
            if subscribe is not None:
                self.subscribe(made, **subscribe)
            return made
        if subscribe is None:
            self._writer.write_unseen(task_id, change)
        else:
            from kanban_shards.batch import subscription

            unseen = self._writer.unseen()
            self._writer.write_together([(task_id, change, unseen), (task_id, subscription(subscribe), unseen)])
        return task_id

    def make(
        self, title: str, *, parents: Sequence[str] = (), drawn: NewTask | None = None, **fields: Unpack[TaskFields]
    ) -> Made:
        """As ``create``, with the verdict in any case; says whether the task is new, too.

        Raises as ``create`` does, Refused, and Undecided, whose ``task_id`` is the new task's.
        """
        return self._made(*self._new(title, parents, drawn, fields))

    def batch(self) -> Batch:
        """Several changes that are written in one commit and decided together: ``with gateway.batch() as batch:``. See
        shards/batch.py."""
        from kanban_shards.batch import Batch  # which a command does without

        return Batch(self._writer)

    def assign(self, task: str | Task, assignee: str | None) -> Verdict:
        """Hand the task over; None leaves it to its creator. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Assign(assignee=assignee))

    def edit(self, task: str | Task, **fields: Unpack[EditFields]) -> Verdict:
        """New values for ``fields``; see EditFields. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Edit(**fields))

    def specify(self, task: str | Task, **fields: Unpack[SpecifyFields]) -> Verdict:
        """Say what a task in triage is about; see SpecifyFields. It leaves triage. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Specify(**fields))

    def decompose(
        self,
        task: str | Task,
        children: Sequence[PlannedTask],
        *,
        root_assignee: str | None = None,
        author: str | None = None,
        auto_promote: bool = True,
    ) -> list[str]:
        """Turn a task in triage into a graph of tasks that it waits for; returns their ids, in the given order.

        ``children``: see PlannedTask. ``root_assignee``: whose turn ``task`` is when all of them are done. ``author``:
        a comment by that name says that it was done. ``auto_promote``: those that wait for no other are ready at once.
        Applied whole or refused whole. Raises Refused, UnknownTask.
        """
        planned = tuple(map(self._planned, children))
        change = Decompose(children=planned, root_assignee=root_assignee, author=author, auto_promote=auto_promote)
        child_ids: list[str] = self._writer.ask(task, change).answer["child_ids"]
        return child_ids

    def promote(
        self, task: str | Task, reason: str | None = None, *, force: bool = False, actor: str | None = None
    ) -> Verdict:
        """A waiting or blocked task is ready now; with ``force``, even if its parents are not done. ``actor``: who is
        shown as having done it; None for the profile. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Promote(reason=reason, force=force, actor=actor))

    def reopen(
        self,
        task: str | Task,
        to: ReopenedStatus = "ready",
        reason: str | None = None,
        *,
        hold_s: int | None = None,
    ) -> Verdict:
        """Back to ``to`` (triage, todo, scheduled until it is unblocked, or ready), whatever became of the task.
        ``hold_s``: in todo, where it waits for no other task, it stays for so many seconds; None makes it ready at
        once. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Reopen(to=to, reason=reason, hold_s=hold_s))

    def recover(self, task: str | Task, *, limit: int | None = None) -> Verdict:
        """A task that the breaker blocked goes on, if by now it takes more failures than it had: as its ``max_retries``
        says, else ``limit``, else the board's limit. What it had stays counted. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Recover(limit=limit))

    def archive(self, task: str | Task) -> Verdict:
        """Out of sight; what waited for it waits no longer. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Archive())

    def delete(self, task: str | Task, *, archived_only: bool = False) -> None:
        """The task and everything of it is gone, its attachments too. ``archived_only``: refused unless it is archived.
        Raises Refused, UnknownTask."""
        from kanban_shards import attachments

        self._writer.ask(task, Delete(archived_only=archived_only))
        attachments.remove_all(self.paths, task if isinstance(task, str) else task.id)

    def set_limits(self, **limits: Unpack[Limits]) -> dict[str, int]:
        """Set limits of the board; see Limits. Returns all that are set. Raises Refused."""
        return self._writer.ask_unseen("", Settings(**limits)).answer

    def forget_events(self, before_s: int) -> int:
        """Remove the events before ``before_s`` (seconds since 1970) of finished tasks; returns how many. Those that
        a chat is still to be told of stay."""
        events: int = self._writer.ask_unseen("", Gc(events_before_s=before_s)).answer["events"]
        return events

    # --- runs --------------------------------------------------------------------------------------------------

    def claim(
        self,
        task: str | Task,
        *,
        runs_as: str | None = None,
        lease_s: int = LEASE_S,
        claimer: str | None = None,
        grace_s: int | None = None,
    ) -> Run:
        """Open a run on a ready task. Raises Refused (a lost race included, saying who won), UnknownTask.

        ``runs_as``: the profile whose worker does it; None means this one. ``lease_s``: seconds that the run is
        believed alive without a heartbeat. ``claimer``: shown as Hermes's ``claim_lock``. ``grace_s``: the run is
        supervised: dispatchers say with ``supervise`` that they see its worker, and without a sign of them or of the
        worker it ends only after so many seconds. Then WorkerAlive is raised while a worker of this task, of whatever
        run, lives on this host.
        """
        if grace_s is not None:
            task_id = task if isinstance(task, str) else task.id
            if found := self.living_workers(task_id):
                raise WorkerAlive(task_id=task_id, run_id=found[0].run_id, pid=found[0].pid)
        change = Claim(runs_as=runs_as, lease_s=lease_s, claimer=claimer, grace_s=grace_s)
        return self._run_of(self._writer.ask(task, change))

    def claim_next(
        self, *, runs_as: str | None = None, lease_s: int = LEASE_S, claimer: str | None = None
    ) -> Run | None:
        """Open a run on the best ready task that is assigned to ``runs_as`` or to nobody; None if there is none, or no
        room for one more (``held_up_by``). Parameters as in ``claim``. Raises Undecided, and EarlierUndecided if what
        this profile wrote before has no verdict yet: then nothing was written."""
        if not self._has_ready(runs_as or self.profile):
            self._asked_in_vain = _AskedInVain()
            return None
        if self._asked_in_vain.is_recent and self._asked_in_vain.room == self._room():
            return None
        change = ClaimNext(runs_as=runs_as, lease_s=lease_s, claimer=claimer)
        try:
            return self._run_of(self._writer.ask_unseen("", change))
        except Refused as refused:
            if refused.reason == "at_capacity":
                self._asked_in_vain = _AskedInVain(self._room(), time.monotonic(), str(refused))
            elif refused.reason != "nothing_ready":
                raise
            return None

    @property
    def held_up_by(self) -> str | None:
        """Why the last ``claim_next`` gave None although tasks are ready: the limit that leaves no room, in words."""
        return self._asked_in_vain.why

    def heartbeat(self, run: Run | int, note: str | None = None, *, show: bool = False) -> None:
        """The worker of ``run``, or of the run with that id, is alive. Call it as often as you like: it is no change,
        and readers do not see it. With a ``note``, which says where the worker is, or with ``show``, it is one, and the
        board shows when it came; durable on return.

        Raises Refused (``late``) once the run is over, so that the worker stops, and UnknownRun.
        """
        run_id = run if isinstance(run, int) else run.id
        found = self.board.run(run_id)
        if found is None and isinstance(run, int):
            raise UnknownRun(run_id=run, board=self.paths)
        if found is None or found.ended_at is not None:
            of_task, outcome = (found.task_id, found.outcome) if found else ("a deleted task", "not there")
            raise Refused(reason="late", sentence=f"run {run_id} of {of_task} is over ({outcome})", answer={})
        if note is not None or show:
            self._writer.write(found.task_id, Progress(run_id=run_id, note=note))
        now = time.monotonic()
        if now - self._heartbeats.get(run_id, float("-inf")) >= min(HEARTBEAT_EVERY_S, found.lease_s / 3):
            self._writer.heartbeat(run_id)
            self._heartbeats[run_id] = now

    def spawned(
        self, run: Run, pid: int, *, workspace_path: str | None = None, branch_name: str | None = None
    ) -> Verdict:
        """The worker of ``run`` is started, as process ``pid`` of this host. ``workspace_path``, ``branch_name``: where
        it works, if that was found out by starting it; None leaves the task's own. Raises Refused."""
        from kanban_shards import supervision  # which a command does without

        change = supervision.spawned(run.id, pid, workspace_path=workspace_path, branch_name=branch_name)
        return self._writer.ask(run.task_id, change)

    def supervise(self, run: Run | Worker) -> Verdict:
        """The worker of ``run``, which is supervised, lives, as this process sees: its lease begins anew, whichever
        profile claimed it. Raises Refused (``late`` once the run is over)."""
        run_id = run.run_id if isinstance(run, Worker) else run.id
        return self._writer.ask(run.task_id, Supervise(run_id=run_id))

    def look_after(self) -> list[Worker]:
        """Supervise what runs on this host: each open run whose worker's process lives, and of whose lease less than
        half is left. Returns the workers of open runs whose process is gone, for the caller to say how they ended. Call
        it several times in a lease. Raises Undecided, StorageError."""
        from kanban_shards import supervision
        from kanban_shards.heard import ledger_now_s

        gone, now_s = [], ledger_now_s(self.paths)
        for worker in self.board.workers():
            is_there = supervision.lives(worker)
            if is_there is False:
                gone.append(worker)
            elif is_there and worker.grace_s is not None and (now_s is None or worker.is_half_over(now_s)):
                with suppress(Refused):  # it ended meanwhile
                    self.supervise(worker)
        return gone

    def living_workers(self, task_id: str) -> list[Worker]:
        """The workers of the task, also of runs that ended, whose processes live on this host, newest first: who takes
        the task over ends them first."""
        from kanban_shards import supervision

        return supervision.living(self.board, task_id)

    def complete(self, work: Run | Task | str, **done: Unpack[CompleteFields]) -> Verdict:
        """The task is done. ``work``: the run that did it, or a task's id. ``done``: see CompleteFields. Raises
        Refused, UnknownTask.

        With a run, it is applied only while that run is open; what comes later is refused, and kept on the task.
        """
        task, run_id = named(work)
        return self._ended(self._writer.ask(task, completion(run_id, done)), run_id)

    def block(
        self,
        work: Run | Task | str,
        reason: str | None = None,
        *,
        kind: BlockKind | None = None,
        hold_s: int | None = None,
    ) -> Verdict:
        """The task cannot go on. ``work`` as in ``complete``. ``reason``: why, for a person; ``kind``: the same in a
        word. ``hold_s``: seconds that a ``dependency`` waits for a link to the task that it depends on; None makes it
        ready at once if none is there. Raises Refused, UnknownTask."""
        task, run_id = named(work)
        change = Block(run_id=run_id, reason=reason, block=kind, hold_s=hold_s)
        return self._ended(self._writer.ask(task, change), run_id)

    def review(
        self, work: Run | Task | str, *, summary: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Verdict:
        """The work is finished, and somebody should look at it; claiming the task then opens the review. ``work``,
        ``summary`` and ``metadata`` as in ``complete``. Raises Refused, UnknownTask."""
        task, run_id = named(work)
        change = Review(run_id=run_id, summary=summary, metadata=metadata)
        return self._ended(self._writer.ask(task, change), run_id)

    def schedule(self, work: Run | Task | str, reason: str | None = None, *, due_s: int | None = None) -> Verdict:
        """The task waits: until ``due_s`` (seconds since 1970), or until it is unblocked. ``work`` as in ``complete``.
        Raises Refused, UnknownTask."""
        task, run_id = named(work)
        change = Schedule(run_id=run_id, reason=reason, due_s=due_s)
        return self._ended(self._writer.ask(task, change), run_id)

    def fail(
        self,
        run: Run,
        outcome: Outcome,
        error: str | None = None,
        *,
        exit_code: int | None = None,
        cooldown_s: int | None = None,
        limit: int | None = None,
        counts: bool = True,
        trips: bool = False,
        facts: dict[str, Any] | None = None,
    ) -> Verdict:
        """The run ended without a result; said by whoever claimed it. Raises Refused.

        ``outcome``: how, in a word; ``error``: the same in more. ``exit_code``: what the worker's process ended with.
        ``cooldown_s``: after ``rate_limited``, seconds until the task is claimed again. ``limit``: the breaker blocks
        the task at so many failures in a row, unless its ``max_retries`` says otherwise; None leaves that to the board.
        ``counts``: False for a failure that the caller counts in its own way. ``trips``: the breaker blocks it in any
        case. ``facts``: what the caller saw (what a JSON object may be), shown with the event and the run. The answer
        says whether it is ready again or blocked.
        """
        change = Fail(
            run_id=run.id,
            outcome=outcome,
            error=error,
            exit_code=exit_code,
            cooldown_s=cooldown_s,
            limit=limit,
            counts=counts,
            trips=trips,
            facts=facts,
        )
        return self._ended(self._writer.ask(run.task_id, change), run.id)

    def reclaim(self, task: str | Task, reason: str | None = None, *, facts: dict[str, Any] | None = None) -> Verdict:
        """Take the task away from its open run. ``facts``: what became of its worker, as in ``fail``. Raises Refused,
        UnknownTask."""
        return self._writer.ask(task, Reclaim(reason=reason, facts=facts))

    def release(self, run: Run, reason: str | None = None) -> Verdict:
        """Give the task back without a result: it is ready again. Raises Refused."""
        return self._ended(self._writer.ask(run.task_id, Release(run_id=run.id, reason=reason)), run.id)

    def unblock(self, task: str | Task, reason: str | None = None) -> Verdict:
        """A blocked or scheduled task may go on. Raises Refused, UnknownTask."""
        return self._writer.ask(task, Unblock(reason=reason))

    def open_run(self, task_id: str) -> Run:
        """The task's open run, whoever has it. Raises UnknownTask, NoOpenRun."""
        self._writer.view_of(task_id)
        task = self.board.task(task_id)
        run = None if task is None or task.current_run_id is None else self.board.run(task.current_run_id)
        if run is None:
            raise NoOpenRun(task_id=task_id, status=task.status if task else "not merged yet")
        return run

    # --- what only adds ----------------------------------------------------------------------------------------

    def comment(self, task_id: str, text: str, *, author: str | None = None) -> int:
        """Say something about the task; returns the change's seq. Durable on return. ``author``: who is shown; None for
        the profile. Raises UnknownTask."""
        return self._writer.write(task_id, AddComment(text=text, author=author))

    def make_comment(self, task_id: str, text: str, *, author: str | None = None) -> int:
        """As ``comment``, with the verdict: returns the comment's id. Raises UnknownTask, Refused."""
        comment_id: int = self._writer.ask(task_id, AddComment(text=text, author=author)).answer["comment_id"]
        return comment_id

    def note(
        self,
        task_id: str,
        event: NotedKind,
        facts: dict[str, Any] | None = None,
        *,
        run: Run | int | None = None,
    ) -> int:
        """Note an ``event`` about the task that decides nothing, for those who read its history; returns the change's
        seq. Durable on return. ``facts``: the event's payload, what a JSON object may be; who wrote it is added as
        ``by``. ``run``: which run it is about, or its id. Raises UnknownTask."""
        run_id = run.id if isinstance(run, Run) else run
        return self._writer.write(task_id, Note(event=event, facts=facts, about_run=run_id))

    def subscribe(
        self,
        task_id: str,
        *,
        platform: str,
        chat_id: str,
        thread_id: str = "",
        user_id: str | None = None,
        notifier_profile: str | None = None,
        from_start: bool = False,
        chat_type: str | None = None,
        kinds: Sequence[str] | None = None,
        unadopted: bool = False,
    ) -> int:
        """Tell a chat what becomes of the task from now on; returns the change's seq. Durable on return.

        ``platform``, ``chat_id``, ``thread_id``: the chat. ``user_id``, ``chat_type``: kept with it for the gateway.
        ``notifier_profile``: whose gateway delivers; None for this profile's. ``unadopted``: nobody's yet, and from
        then on that of the first one that asks for deliveries. ``from_start``: of what was before, too.
        ``kinds``: of which events; None leaves it to the gateway that delivers. Raises UnknownTask.
        """
        from kanban_shards.batch import subscription

        chat: Chat = {
            "platform": platform,
            "chat_id": chat_id,
            "thread_id": thread_id,
            "user_id": user_id,
            "notifier_profile": notifier_profile,
            "from_start": from_start,
            "chat_type": chat_type,
            "kinds": kinds,
            "unadopted": unadopted,
        }
        return self._writer.write(task_id, subscription(chat))

    def unsubscribe(self, task_id: str, *, platform: str, chat_id: str, thread_id: str = "") -> int:
        """No longer tell that chat; returns the change's seq. Durable on return. Raises UnknownTask."""
        return self._writer.write(task_id, Unsubscribe(platform=platform, chat_id=chat_id, thread_id=thread_id))

    def attach(
        self,
        task_id: str,
        file: str | os.PathLike[str],
        *,
        name: str | None = None,
        content_type: str | None = None,
        uploaded_by: str | None = None,
    ) -> int:
        """Keep a copy of ``file``, 25 MiB at most, with the task; returns the attachment's id.

        ``name``: what it is called there; None takes the file's own. ``content_type``: its MIME type. ``uploaded_by``:
        who is shown. Raises UnknownTask, AttachmentTooLarge, StorageError.
        """
        from kanban_shards import attachments

        self._writer.view_of(task_id)
        row = Attach(filename="-", stored_path="-", size=0, content_type=content_type, uploaded_by=uploaded_by)
        encode_body(row)  # before a copy is made for nothing
        return self._attached(task_id, row, attachments.store(self.paths, task_id, file, name))

    def attach_stored(
        self,
        task_id: str,
        file: str | os.PathLike[str],
        *,
        name: str | None = None,
        content_type: str | None = None,
        uploaded_by: str | None = None,
    ) -> int:
        """As ``attach``, of a file that lies among the task's attachments already, in ``paths.attachments / task_id``,
        because whoever received it wrote it there; no copy is made, and the file is made durable. Raises StorageError
        for one that lies elsewhere, or is no regular file."""
        from kanban_shards import attachments

        self._writer.view_of(task_id)
        row = Attach(filename="-", stored_path="-", size=0, content_type=content_type, uploaded_by=uploaded_by)
        return self._attached(task_id, row, attachments.already_stored(self.paths, task_id, file, name))

    def detach(self, task_id: str, attachment_id: int) -> bool:
        """Remove an attachment, and its file unless another attachment of the task names the same one; returns whether
        there was one. Raises UnknownTask."""
        from kanban_shards import attachments

        answer = self._writer.ask(task_id, Detach(attachment_id=attachment_id)).answer
        if not answer["detached"]:
            return False
        if not attachments.is_named(self.board, task_id, answer["stored_path"]):
            attachments.remove(self.paths, task_id, answer["stored_path"])
        return True

    def deliveries(
        self, *, kinds: Sequence[str] = DELIVERED_KINDS, lease_s: int = DELIVERY_LEASE_S
    ) -> Iterator[Delivery]:
        """What the chats of this profile are to be told now, in order, until nothing is left; see shards/deliveries.py.

        ``kinds``: of which events, where a subscription does not say. ``lease_s``: seconds, at most an hour, that no
        other process of this profile sends the same; a delivery that is neither acknowledged nor failed is due again
        after that. Raises ValueError for another lease, Undecided, StorageError.
        """
        from kanban_shards.deliveries import pending_deliveries  # which a command does without

        return pending_deliveries(self._writer, kinds, lease_s)

    def delivery_to(
        self,
        task_id: str,
        *,
        platform: str,
        chat_id: str,
        thread_id: str = "",
        kinds: Sequence[str] = DELIVERED_KINDS,
        lease_s: int = DELIVERY_LEASE_S,
    ) -> Delivery | None:
        """All that one chat was not told of the task yet, as one delivery that is leased to this process, or else a
        dead letter of it that is to be sent once more; None if that is nothing, another profile's to tell, or another
        process's for the moment. A chat that nobody delivers to becomes this profile's. ``kinds``, ``lease_s``: as in
        ``deliveries``. Raises as that does."""
        from kanban_shards.deliveries import delivery_to

        return delivery_to(self._writer, (task_id, platform, chat_id, thread_id), kinds, lease_s)

    def resend(self, letter: DeadLetter) -> Verdict:
        """Deliver a dead letter after all, as ``board.dead_letters`` gave it. Raises Refused."""
        return self._writer.ask(letter.task_id, Resend(letter_id=letter.id))

    def link(self, parent_id: str, child_id: str) -> Verdict:
        """``child_id`` waits for ``parent_id``. Raises Refused (a cycle), UnknownTask."""
        self._writer.view_of(parent_id)
        return self._writer.ask(child_id, Link(parent=parent_id))

    def unlink(self, parent_id: str, child_id: str) -> Verdict:
        """``child_id`` no longer waits for ``parent_id``. Raises Refused, UnknownTask."""
        return self._writer.ask(child_id, Unlink(parent=parent_id))

    # --- verdicts, and the end ---------------------------------------------------------------------------------

    def sync(self) -> None:
        """Return when everything that this profile wrote so far has its verdict, so that what is read next has it.
        Raises Undecided."""
        self._writer.sync()

    def wait_for_verdict(self, seq: int) -> Verdict:
        """The verdict on this profile's change ``seq``, a refusal too, as soon as there is one. Raises Undecided."""
        return self._writer.wait_for_verdict(seq)

    def own_changes(self, count: int) -> list[OwnChange]:
        """The newest changes that this profile wrote, ``count`` at most, the newest first; decided or not."""
        return self._writer.own_changes(count)

    def merge_now(self) -> None:
        """Have everything that is there merged: by a pass made here, or, where a coordinator runs, by ringing it.
        Raises the StorageErrors of a ledger or a board that cannot be used."""
        self._writer.merge_now()

    def settle(self) -> None:
        """Have merged what was written, unless a coordinator that stays does it: the last step before ``close``, for
        those who want to know whether it went well. Raises Undecided if no pass can be made."""
        self._writer.settle()

    def close(self) -> None:
        """Settle what is not settled yet, and close the files. Raises nothing: what was written is durable, and
        whatever keeps it from being merged now is said to whoever makes the next pass, and in the log."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- how ---------------------------------------------------------------------------------------------------

    def _new(self, title: str, parents: Sequence[str], drawn: NewTask | None, fields: TaskFields) -> tuple[str, Create]:
        """The id of a new task, and the change that makes it. Raises as ``create`` does."""
        for parent in parents:
            self._writer.view_of(parent)
        new = drawn or new_task(self.profile)
        if not is_drawn_by(self.profile, new):  # no pass takes a shard from there on in which such a change lies
            raise InvalidChange(kind="create", problem=f"{self.profile} did not draw the id {new.id!r}; use draw()")
        return new.id, Create(title=title, parents=tuple(parents), salt=new.salt, **fields)

    def _attached(self, task_id: str, row: Attach, stored: Stored) -> int:
        change = msgspec.structs.replace(row, filename=stored.filename, stored_path=str(stored.path), size=stored.size)
        attachment_id: int = self._writer.ask(task_id, change).answer["attachment_id"]
        return attachment_id

    def _planned(self, child: PlannedTask) -> PlannedChild:
        new = new_task(self.profile)
        fields: Any = child  # a list where a tuple is kept: both are the same JSON
        return PlannedChild(id=new.id, salt=new.salt, **fields)

    def _made(self, task_id: str, change: Create) -> Made:
        try:
            self._writer.ask_unseen(task_id, change)
        except Refused as refused:
            if refused.reason != "duplicate":
                raise
            return Made(refused.answer["task_id"], is_new=False)
        return Made(task_id, is_new=True)

    def _run_of(self, verdict: Verdict) -> Run:
        run = self.board.run(verdict.answer["run_id"])
        if run is None:  # its task was deleted meanwhile
            raise UnknownRun(run_id=verdict.answer["run_id"], board=self.paths)
        return run

    def _ended(self, verdict: Verdict, run_id: int | None) -> Verdict:
        if run_id is not None:
            self._heartbeats.pop(run_id, None)
        return verdict

    def _room(self) -> _Room:
        return self.board.open_runs(), tuple(self.board.settings().items())

    def _has_ready(self, profile: str) -> bool:
        """Whether it is worth asking for a task. An idle worker that asks again and again writes nothing."""
        self._writer.sync_first()
        try:
            return self.board.has_ready(profile) or (self._writer.merge_now() and self.board.has_ready(profile))
        except BoardMissing:
            return False
