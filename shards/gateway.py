"""Gateway: what a profile's process uses. Own shard for writing, the board for reading.

Writing never waits for another profile. ``create`` and what only adds (comment, subscribe, …) return when the change
is durable in the own shard; what needs a decision (claim, complete, link, …) returns with the verdict. No daemon is
needed for that: see shards/writer.py.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from kanban_shards import attachments
from kanban_shards.changes.codec import encode_body
from kanban_shards.changes.identities import new_task
from kanban_shards.changes.kinds import (
    LEASE_S,
    Archive,
    Assign,
    Attach,
    Block,
    Claim,
    ClaimNext,
    Comment,
    Complete,
    Create,
    Decompose,
    Delete,
    Detach,
    Edit,
    Fail,
    Gc,
    Link,
    PlannedChild,
    Progress,
    Promote,
    Reclaim,
    Release,
    Reopen,
    Resend,
    Review,
    Schedule,
    Settings,
    Spawned,
    Specify,
    Subscribe,
    Unblock,
    Unlink,
    Unsubscribe,
)
from kanban_shards.deliveries import DELIVERED_KINDS, DELIVERY_LEASE_S, Delivery, pending_deliveries
from kanban_shards.errors import BoardMissing, NoOpenRun, Refused
from kanban_shards.records import DeadLetter, Run, Task, Verdict
from kanban_shards.writer import Writer

# On a full board a worker asks for a task no oftener than this, unless a run began or ended meanwhile.
ASK_AGAIN_S = 20.0
# Signs of life closer together than this are one (with a short lease: than a third of it).
HEARTBEAT_EVERY_S = 5.0


@dataclass(frozen=True)
class _AskedInVain:
    """When a ``claim_next`` was refused for want of room, what there was of room then, and what the refusal said.
    ``room``: how many runs were open, and the limits."""

    room: tuple = ()
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


class Gateway(Writer):
    """The board as ``profile`` writes it; see Writer for what it is opened with.

    A verb takes a task's id and looks at the task itself. One that decides may be given a Task, as ``board.task`` gave
    it: then the change says that its author had seen exactly that, and is refused as ``stale`` if somebody changed the
    task since, unless this profile owns it.
    """

    _asked_in_vain = _AskedInVain()

    @cached_property
    def _heartbeats(self) -> dict[int, float]:
        """When the last sign of life of each run was written, as ``time.monotonic`` has it."""
        return {}

    # --- tasks -------------------------------------------------------------------------------------------------

    def create(
        self,
        title: str,
        *,
        body: str | None = None,
        assignee: str | None = None,
        parents: Sequence[str] = (),
        priority: int = 0,
        idempotency_key: str | None = None,
        starts: str | None = None,
        **fields: Any,
    ) -> str:
        """A new task; returns its id. Durable on return.

        ``starts``: ``blocked`` or ``triage``; None lets it be ready, or wait for its ``parents``. ``fields``: any
        other of shards/changes/kinds.py, ``Create``. With an ``idempotency_key`` the call waits for the verdict, and
        returns the id of the live task that has the key already, if there is one. Raises UnknownTask for a parent,
        InvalidChange.
        """
        task_id, change = self._drawn(
            title=title,
            body=body,
            assignee=assignee,
            parents=parents,
            priority=priority,
            idempotency_key=idempotency_key,
            starts=starts,
            **fields,
        )
        if idempotency_key is not None:
            return self._made(task_id, change).task_id
        self._add(task_id, change, self._view())
        return task_id

    def make(self, title: str, **fields: Any) -> Made:
        """The same with the verdict in any case; says whether the task is new, too. ``fields``: as in ``create``.

        Raises Refused, UnknownTask for a parent, InvalidChange, and Undecided, whose ``task_id`` is the new task's.
        """
        return self._made(*self._drawn(title=title, **fields))

    def assign(self, task: str | Task, assignee: str | None) -> Verdict:
        """Hand the task over; None leaves it to its creator. Raises Refused, UnknownTask."""
        return self.ask(task, Assign(assignee=assignee))

    def edit(self, task: str | Task, **fields: Any) -> Verdict:
        """New values for ``fields`` (shards/changes/kinds.py, ``Edit``). Raises Refused, UnknownTask, InvalidChange."""
        return self.ask(task, Edit(**fields))

    def specify(self, task: str | Task, **fields: Any) -> Verdict:
        """Say what a task in triage is about: ``title``, ``body``, ``assignee``. Raises Refused, UnknownTask.

        With an ``author``, a comment by that name says that it was done."""
        return self.ask(task, Specify(**fields))

    def decompose(self, task: str | Task, children: Sequence[dict[str, Any]], **how: Any) -> list[str]:
        """Turn a task in triage into a graph of tasks that it waits for; returns their ids, in the given order.

        ``children``: fields of shards/changes/kinds.py, ``PlannedChild`` without the id; ``parents`` are numbers of
        siblings, from 0. ``how``: root_assignee, author, auto_promote. Applied whole or refused whole. Raises Refused,
        UnknownTask.
        """
        drawn = [(new_task(self.profile), child) for child in children]
        planned = tuple(PlannedChild(id=new.id, salt=new.salt, **child) for new, child in drawn)
        return self.ask(task, Decompose(children=planned, **how)).answer["child_ids"]

    def promote(self, task: str | Task, reason: str | None = None, *, force: bool = False) -> Verdict:
        """A waiting or blocked task is ready now; with ``force``, even if its parents are not done. Raises Refused."""
        return self.ask(task, Promote(reason=reason, force=force))

    def reopen(self, task: str | Task, to: str = "ready", reason: str | None = None) -> Verdict:
        """Back to ``to`` (triage, todo or ready), whatever became of the task. Raises Refused, UnknownTask."""
        return self.ask(task, Reopen(to=to, reason=reason))

    def archive(self, task: str | Task) -> Verdict:
        """Out of sight. Raises Refused, UnknownTask."""
        return self.ask(task, Archive())

    def delete(self, task: str | Task, *, archived_only: bool = False) -> None:
        """The task and everything of it is gone, its attachments too. Raises Refused, UnknownTask."""
        self.ask(task, Delete(archived_only=archived_only))
        attachments.remove_all(self.paths, task if isinstance(task, str) else task.id)

    def set_limits(self, **limits: int | None) -> dict[str, int]:
        """Set limits of the board (shards/changes/kinds.py, ``Settings``); None lifts one. Returns all that are set."""
        return self._decided("", Settings(**limits), self._view()).answer

    def forget_events(self, before_s: int) -> int:
        """Remove the events before ``before_s`` (seconds since 1970) of finished tasks; returns how many. Those that
        a chat is still to be told of stay."""
        return self._decided("", Gc(events_before_s=before_s), self._view()).answer["events"]

    # --- runs --------------------------------------------------------------------------------------------------

    def claim(
        self, task: str | Task, *, runs_as: str | None = None, lease_s: int = LEASE_S, claimer: str | None = None
    ) -> Run:
        """Open a run on a ready task. Raises Refused (a lost race included, saying who won), UnknownTask.

        ``runs_as``: the profile whose worker does it; None means this one. ``lease_s``: seconds that the run is
        believed alive without a sign of life. ``claimer``: shown as Hermes's ``claim_lock``.
        """
        change = Claim(runs_as=runs_as, lease_s=lease_s, claimer=claimer)
        return self._run_of(self.ask(task, change))

    def claim_next(
        self, *, runs_as: str | None = None, lease_s: int = LEASE_S, claimer: str | None = None
    ) -> Run | None:
        """Open a run on the best ready task that is assigned to ``runs_as`` or to nobody; None if there is none."""
        if not self._has_ready(runs_as or self.profile):
            self._asked_in_vain = _AskedInVain()
            return None
        if self._asked_in_vain.is_recent and self._asked_in_vain.room == self._room():
            return None
        change = ClaimNext(runs_as=runs_as, lease_s=lease_s, claimer=claimer)
        try:
            return self._run_of(self._decided("", change, self._view()))
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

    def heartbeat(self, run: Run, note: str | None = None) -> None:
        """The worker of ``run`` is alive; with a ``note``, it also says where it is. Call it as often as you like.

        Raises Refused (``late``) once the run is over, so that the worker stops.
        """
        found = self.board.run(run.id)
        if found is None or found.ended_at is not None:
            outcome = found.outcome if found else "not there"
            raise Refused(reason="late", sentence=f"run {run.id} of {run.task_id} is over ({outcome})", answer={})
        if note is not None:
            self.write(run.task_id, Progress(run_id=run.id, note=note))
        now = time.monotonic()
        lease_s = found.claim_expires - (found.last_heartbeat_at or found.started_at)
        if now - self._heartbeats.get(run.id, float("-inf")) >= min(HEARTBEAT_EVERY_S, lease_s / 3):
            self._shard.heartbeat(run.id, self._view())
            self._heartbeats[run.id] = now

    def spawned(self, run: Run, pid: int) -> Verdict:
        """The worker of ``run`` is started, as process ``pid``. Raises Refused."""
        return self.ask(run.task_id, Spawned(run_id=run.id, pid=pid))

    def complete(
        self,
        work: Run | Task | str,
        *,
        result: str | None = None,
        summary: str | None = None,
        metadata: dict[str, Any] | None = None,
        created_cards: Sequence[str] = (),
    ) -> Verdict:
        """The task is done. ``work``: the run that did it, or a task's id. Raises Refused, UnknownTask.

        With a run, it is applied only while that run is open; what comes later is refused, and kept on the task.
        ``created_cards``: tasks that the worker made; the completion is refused if one of them is not its own.
        """
        task, run_id = _named(work)
        cards = tuple(created_cards)
        change = Complete(run_id=run_id, result=result, summary=summary, metadata=metadata, created_cards=cards)
        return self._ended(self.ask(task, change), run_id)

    def block(self, work: Run | Task | str, reason: str | None = None, *, kind: str | None = None) -> Verdict:
        """The task cannot go on. ``work`` as in ``complete``; ``kind``: needs_input, capability, transient,
        dependency. Raises Refused, UnknownTask."""
        task, run_id = _named(work)
        change = Block(run_id=run_id, reason=reason, block=kind)
        return self._ended(self.ask(task, change), run_id)

    def review(
        self, work: Run | Task | str, *, summary: str | None = None, metadata: dict[str, Any] | None = None
    ) -> Verdict:
        """The work is finished, and somebody should look at it. ``work`` as in ``complete``. Raises Refused."""
        task, run_id = _named(work)
        change = Review(run_id=run_id, summary=summary, metadata=metadata)
        return self._ended(self.ask(task, change), run_id)

    def schedule(self, work: Run | Task | str, reason: str | None = None, *, due_s: int | None = None) -> Verdict:
        """The task waits: until ``due_s`` (seconds since 1970), or until it is unblocked. Raises Refused."""
        task, run_id = _named(work)
        change = Schedule(run_id=run_id, reason=reason, due_s=due_s)
        return self._ended(self.ask(task, change), run_id)

    def fail(self, run: Run, outcome: str, error: str | None = None, **facts: Any) -> Verdict:
        """The run ended without a result; said by whoever claimed it. Raises Refused.

        ``outcome``: crashed, timed_out, stale, spawn_failed, rate_limited, protocol_violation. ``facts``: exit_code,
        cooldown_s. The answer says whether the task is ready again or the breaker blocked it.
        """
        change = Fail(run_id=run.id, outcome=outcome, error=error, **facts)
        return self._ended(self.ask(run.task_id, change), run.id)

    def reclaim(self, task: str | Task, reason: str | None = None) -> Verdict:
        """Take the task away from its open run. Raises Refused, UnknownTask."""
        return self.ask(task, Reclaim(reason=reason))

    def release(self, run: Run, reason: str | None = None) -> Verdict:
        """Give the task back without a result: it is ready again. Raises Refused."""
        return self._ended(self.ask(run.task_id, Release(run_id=run.id, reason=reason)), run.id)

    def unblock(self, task: str | Task, reason: str | None = None) -> Verdict:
        """A blocked or scheduled task may go on. Raises Refused, UnknownTask."""
        return self.ask(task, Unblock(reason=reason))

    def open_run(self, task_id: str) -> Run:
        """The task's open run, whoever has it. Raises UnknownTask, NoOpenRun."""
        self._view_of(task_id)
        task = self.board.task(task_id)
        if task is None or task.current_run_id is None:
            raise NoOpenRun(task_id=task_id, status=task.status if task else "not merged yet")
        return self.board.run(task.current_run_id)

    # --- what only adds ----------------------------------------------------------------------------------------

    def comment(self, task_id: str, text: str, *, author: str | None = None) -> int:
        """Say something about the task; returns the change's seq. Durable on return. Raises UnknownTask."""
        return self.write(task_id, Comment(text=text, author=author))

    def subscribe(self, task_id: str, *, platform: str, chat_id: str, **fields: Any) -> int:
        """Tell a chat what becomes of the task from now on; returns the change's seq. Durable on return.

        ``fields``: thread_id, user_id, notifier_profile, from_start, chat_type, kinds. Raises UnknownTask.
        """
        return self.write(task_id, Subscribe(platform=platform, chat_id=chat_id, **fields))

    def unsubscribe(self, task_id: str, *, platform: str, chat_id: str, thread_id: str = "") -> int:
        """No longer tell that chat; returns the change's seq. Durable on return. Raises UnknownTask."""
        return self.write(task_id, Unsubscribe(platform=platform, chat_id=chat_id, thread_id=thread_id))

    def attach(self, task_id: str, file: str | os.PathLike, *, name: str | None = None, **fields: Any) -> int:
        """Keep a copy of ``file`` with the task; returns the attachment's id.

        ``name``: what it is called there; None takes the file's own. ``fields``: content_type, uploaded_by. Raises
        UnknownTask, AttachmentTooLarge, StorageError.
        """
        self._view_of(task_id)
        encode_body(Attach(filename="-", stored_path="-", size=0, **fields))  # before a copy is made for nothing
        stored = attachments.store(self.paths, task_id, file, name)
        change = Attach(filename=stored.filename, stored_path=str(stored.path), size=stored.size, **fields)
        return self.ask(task_id, change).answer["attachment_id"]

    def detach(self, task_id: str, attachment_id: int) -> bool:
        """Remove an attachment, and its file unless another attachment of the task names the same one; returns whether
        there was one. Raises UnknownTask."""
        answer = self.ask(task_id, Detach(attachment_id=attachment_id)).answer
        if answer["detached"] and not attachments.is_named(self.board, task_id, answer["stored_path"]):
            attachments.remove(self.paths, task_id, answer["stored_path"])
        return answer["detached"]

    def deliveries(
        self, *, kinds: Sequence[str] = DELIVERED_KINDS, lease_s: int = DELIVERY_LEASE_S
    ) -> Iterator[Delivery]:
        """What the chats of this profile are to be told now, in order, until nothing is left; see shards/deliveries.py.

        ``kinds``: of which events, where a subscription does not say. ``lease_s``: seconds, at most an hour, that no
        other process of this profile sends the same; a delivery that is neither acknowledged nor failed is due again
        after that.
        """
        return pending_deliveries(self, kinds, lease_s)

    def resend(self, letter: DeadLetter) -> Verdict:
        """Deliver a dead letter after all. Raises Refused."""
        return self.ask(letter.task_id, Resend(letter_id=letter.id))

    def link(self, parent_id: str, child_id: str) -> Verdict:
        """``child_id`` waits for ``parent_id``. Raises Refused (a cycle), UnknownTask."""
        self._view_of(parent_id)
        return self.ask(child_id, Link(parent=parent_id))

    def unlink(self, parent_id: str, child_id: str) -> Verdict:
        """``child_id`` no longer waits for ``parent_id``. Raises Refused, UnknownTask."""
        return self.ask(child_id, Unlink(parent=parent_id))

    # --- how ---------------------------------------------------------------------------------------------------

    def _drawn(self, parents: Sequence[str] = (), **fields: Any) -> tuple[str, Create]:
        """The id of a new task, and the change that makes it. Raises UnknownTask for a parent."""
        for parent in parents:
            self._view_of(parent)
        new = new_task(self.profile)
        return new.id, Create(parents=tuple(parents), salt=new.salt, **fields)

    def _made(self, task_id: str, change: Create) -> Made:
        try:
            self._decided(task_id, change, self._view())
        except Refused as refused:
            if refused.reason != "duplicate":
                raise
            return Made(refused.answer["task_id"], is_new=False)
        return Made(task_id, is_new=True)

    def _run_of(self, verdict: Verdict) -> Run:
        return self.board.run(verdict.answer["run_id"])

    def _ended(self, verdict: Verdict, run_id: int | None) -> Verdict:
        self._heartbeats.pop(run_id, None)
        return verdict

    def _room(self) -> tuple:
        return self.board.open_runs(), tuple(self.board.settings().items())

    def _has_ready(self, profile: str) -> bool:
        """Whether it is worth asking for a task. An idle worker that asks again and again writes nothing."""
        self._sync_first()
        try:
            return self.board.has_ready(profile) or (self._pass_or_ring() and self.board.has_ready(profile))
        except BoardMissing:
            return False


def _named(work: Run | Task | str) -> tuple[str | Task, int | None]:
    return (work.task_id, work.id) if isinstance(work, Run) else (work, None)
