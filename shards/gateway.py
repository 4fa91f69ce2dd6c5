"""Gateway: what a profile's process uses. Own shard for writing, the board for reading.

Writing never waits for another profile. ``create`` and what only adds (comment, subscribe, …) return when the change
is durable in the own shard; what needs a decision (claim, complete, link, …) returns with the verdict. Where no daemon
runs, the call makes the pass itself, so nothing else has to be installed or running; changes that need no verdict
are then merged once a second and when the gateway is closed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import tenacity

from shards.bell import Bell, Ringer
from shards.board import Board
from shards.changes import (
    Assign,
    Block,
    Body,
    Claim,
    ClaimNext,
    Comment,
    Complete,
    Create,
    Edit,
    Link,
    Progress,
    Release,
    Subscribe,
    Unblock,
    Unlink,
    Unsubscribe,
)
from shards.errors import BoardMissing, NoOpenRun, Refused, StorageError, Undecided, UnknownTask
from shards.locks import FileLock
from shards.names import BoardPaths, check_profile, check_task_id, new_task_id
from shards.records import Run, Verdict
from shards.shard import Shard
from shards.vectors import Eyes

LEASE_S = 900
# Signs of life closer together than this are one (with a short lease: than a third of it).
SIGN_OF_LIFE_EVERY_S = 5.0
# While waiting for a verdict: how soon to look again although the bell did not ring.
FIRST_LOOK_S = 0.002
LONGEST_LOOK_S = 0.1
# Without a daemon: how often changes that nobody waits for are merged.
SWEEP_EVERY_S = 1.0


class Gateway:
    """The board as ``profile`` writes it. Safe to use from several threads; not across a fork.

    ``board``, ``home``: which board, as in ``BoardPaths.find``. ``patience_s``: how long a call waits for a verdict
    before it raises Undecided; the change is written all the same. Raises InvalidName, UnknownBoard, StorageError.
    """

    def __init__(
        self,
        profile: str,
        *,
        board: str | None = None,
        home: str | os.PathLike | None = None,
        patience_s: float = 30.0,
    ) -> None:
        self.profile = check_profile(profile)
        self.paths = BoardPaths.find(board, home)
        self.paths.require_folder()
        self.board = Board(self.paths)
        self.patience_s = patience_s
        self._shard = Shard(self.paths, profile)
        self._coordinator_lock = FileLock(self.paths.coordinator_lock)
        self._ringer = Ringer()
        self._bells: list[Bell] = []
        self._bells_guard = threading.Lock()
        self._signs: dict[int, float] = {}
        self._last_pass = float("-inf")
        self._wrote_unmerged = False
        self._pid = os.getpid()

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
        other of shards.changes.Create. With an ``idempotency_key`` the call waits for the verdict, and returns the id
        of the live task that has the key already, if there is one. Raises UnknownTask for a parent, InvalidChange.
        """
        for parent in parents:
            self._look_at(parent)
        task_id = new_task_id()
        change = _built(
            Create,
            title=title,
            body=body,
            assignee=assignee,
            parents=tuple(parents),
            priority=priority,
            idempotency_key=idempotency_key,
            starts=starts,
            **fields,
        )
        if idempotency_key is None:
            self._append(task_id, change, self._eyes())
            return task_id
        try:
            self._decided(task_id, change, self._eyes())
        except Refused as refused:
            if refused.reason != "duplicate":
                raise
            return refused.answer["task_id"]
        return task_id

    def assign(self, task_id: str, assignee: str | None) -> Verdict:
        """Hand the task over; None leaves it to its creator. Raises Refused, UnknownTask."""
        return self._decided_on(task_id, _built(Assign, assignee=assignee))

    def edit(self, task_id: str, **fields: Any) -> Verdict:
        """New values for ``fields`` (shards.changes.Edit). Raises Refused, UnknownTask, InvalidChange."""
        return self._decided_on(task_id, _built(Edit, **fields))

    # --- runs --------------------------------------------------------------------------------------------------

    def claim(
        self, task_id: str, *, runs_as: str | None = None, lease_s: int = LEASE_S, claimer: str | None = None
    ) -> Run:
        """Open a run on a ready task. Raises Refused (a lost race included, saying who won), UnknownTask.

        ``runs_as``: the profile whose worker does it; None means this one. ``lease_s``: seconds that the run is
        believed alive without a sign of life. ``claimer``: shown as Hermes's ``claim_lock``.
        """
        change = _built(Claim, runs_as=runs_as, lease_s=lease_s, claimer=claimer)
        return self._run_of(self._decided_on(task_id, change))

    def claim_next(
        self, *, runs_as: str | None = None, lease_s: int = LEASE_S, claimer: str | None = None
    ) -> Run | None:
        """Open a run on the best ready task that is assigned to ``runs_as`` or to nobody; None if there is none."""
        if not self._has_ready(runs_as or self.profile):
            return None
        change = _built(ClaimNext, runs_as=runs_as, lease_s=lease_s, claimer=claimer)
        try:
            return self._run_of(self._decided("", change, self._eyes()))
        except Refused as refused:
            if refused.reason == "nothing_ready":
                return None
            raise

    def heartbeat(self, run: Run, note: str | None = None) -> None:
        """The worker of ``run`` is alive; with a ``note``, it also says where it is. Call it as often as you like.

        Raises Refused (``late``) once the run is over, so that the worker stops.
        """
        found = self.board.run(run.id)
        if found is None or found.ended_at is not None:
            outcome = found.outcome if found else "not there"
            raise Refused(reason="late", sentence=f"run {run.id} of {run.task_id} is over ({outcome})", answer={})
        if note is not None:
            self._add(run.task_id, _built(Progress, run_id=run.id, note=note))
        now = time.monotonic()
        lease_s = found.claim_expires - (found.last_heartbeat_at or found.started_at)
        if now - self._signs.get(run.id, float("-inf")) >= min(SIGN_OF_LIFE_EVERY_S, lease_s / 3):
            self._shard.sign_of_life(run.id, self._eyes())
            self._signs[run.id] = now

    def complete(
        self,
        work: Run | str,
        *,
        result: str | None = None,
        summary: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Verdict:
        """The task is done. ``work``: the run that did it, or a task's id. Raises Refused, UnknownTask.

        With a run, it is applied only while that run is open; what comes later is refused, and kept on the task.
        """
        task_id, run_id = _named(work)
        change = _built(Complete, run_id=run_id, result=result, summary=summary, metadata=metadata)
        return self._ended(self._decided_on(task_id, change), run_id)

    def block(self, work: Run | str, reason: str | None = None, *, kind: str | None = None) -> Verdict:
        """The task cannot go on. ``work`` as in ``complete``; ``kind``: needs_input, capability, transient,
        dependency. Raises Refused, UnknownTask."""
        task_id, run_id = _named(work)
        change = _built(Block, run_id=run_id, reason=reason, block=kind)
        return self._ended(self._decided_on(task_id, change), run_id)

    def release(self, run: Run, reason: str | None = None) -> Verdict:
        """Give the task back without a result: it is ready again. Raises Refused."""
        return self._ended(self._decided_on(run.task_id, _built(Release, run_id=run.id, reason=reason)), run.id)

    def unblock(self, task_id: str, reason: str | None = None) -> Verdict:
        """A blocked or scheduled task may go on. Raises Refused, UnknownTask."""
        return self._decided_on(task_id, _built(Unblock, reason=reason))

    def open_run(self, task_id: str) -> Run:
        """The task's open run, whoever has it. Raises UnknownTask, NoOpenRun."""
        self._look_at(task_id)
        task = self.board.task(task_id)
        if task is None or task.current_run_id is None:
            raise NoOpenRun(task_id=task_id, status=task.status if task else "not merged yet")
        return self.board.run(task.current_run_id)

    # --- what only adds ----------------------------------------------------------------------------------------

    def comment(self, task_id: str, text: str, *, author: str | None = None) -> int:
        """Say something about the task; returns the change's seq. Durable on return. Raises UnknownTask."""
        return self._add(task_id, _built(Comment, text=text, author=author))

    def subscribe(self, task_id: str, *, platform: str, chat_id: str, **fields: Any) -> int:
        """Tell a chat what becomes of the task from now on; returns the change's seq. Durable on return.

        ``fields``: thread_id, user_id, notifier_profile, from_start, chat_type. Raises UnknownTask.
        """
        return self._add(task_id, _built(Subscribe, platform=platform, chat_id=chat_id, **fields))

    def unsubscribe(self, task_id: str, *, platform: str, chat_id: str, thread_id: str = "") -> int:
        """No longer tell that chat; returns the change's seq. Durable on return. Raises UnknownTask."""
        return self._add(task_id, _built(Unsubscribe, platform=platform, chat_id=chat_id, thread_id=thread_id))

    def link(self, parent_id: str, child_id: str) -> Verdict:
        """``child_id`` waits for ``parent_id``. Raises Refused (a cycle), UnknownTask."""
        self._look_at(parent_id)
        return self._decided_on(child_id, _built(Link, parent=parent_id))

    def unlink(self, parent_id: str, child_id: str) -> Verdict:
        """``child_id`` no longer waits for ``parent_id``. Raises Refused, UnknownTask."""
        return self._decided_on(child_id, _built(Unlink, parent=parent_id))

    # --- verdicts ----------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Return when everything that this profile wrote so far has its verdict. Raises Undecided."""
        head = self._shard.head(self._eyes())
        if head:
            self.wait_for_verdict(head)

    def wait_for_verdict(self, seq: int) -> Verdict:
        """The verdict on this profile's change ``seq``, as soon as there is one. Raises Undecided."""
        bell = self._take_bell()
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda verdict: verdict is None),
            wait=tenacity.wait_exponential(multiplier=FIRST_LOOK_S, max=LONGEST_LOOK_S),
            stop=tenacity.stop_after_delay(self.patience_s),
            sleep=bell.wait,
        )
        try:
            return attempts(self._look_for_verdict, seq)
        except tenacity.RetryError as error:
            raise Undecided(
                seq=seq, profile=self.profile, waited_s=self.patience_s, why=self._why_undecided()
            ) from error
        finally:
            self._give_bell_back(bell)

    def close(self) -> None:
        """Close the files. What was written stays written, and is merged now if nobody else does it."""
        if self._pid != os.getpid():
            return  # a fork's copy: the files and bells are the other process's
        try:
            if self._wrote_unmerged and not self._ringer.ring(self.paths.coordinator_bell):
                self._pass_or_ring()
        finally:
            self._shard.close()
            self.board.close()
            self._coordinator_lock.close()
            self._ringer.close()
            while self._bells:
                self._bells.pop().close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- how ---------------------------------------------------------------------------------------------------

    def _append(self, task_id: str, change: Body, eyes: Eyes) -> int:
        seq = self._shard.append(task_id, change, eyes)
        self._wrote_unmerged = True
        if not self._ringer.ring(self.paths.coordinator_bell):
            self._sweep()
        return seq

    def _add(self, task_id: str, change: Body) -> int:
        return self._append(task_id, change, self._look_at(task_id))

    def _decided_on(self, task_id: str, change: Body) -> Verdict:
        return self._decided(task_id, change, self._look_at(task_id))

    def _decided(self, task_id: str, change: Body, eyes: Eyes) -> Verdict:
        verdict = self.wait_for_verdict(self._append(task_id, change, eyes))
        if verdict.verdict == "refused":
            raise Refused(reason=verdict.reason, sentence=verdict.sentence, answer=verdict.answer or {})
        return verdict

    def _run_of(self, verdict: Verdict) -> Run:
        return self.board.run(verdict.answer["run_id"])

    def _ended(self, verdict: Verdict, run_id: int | None) -> Verdict:
        self._signs.pop(run_id, None)
        return verdict

    def _look_at(self, task_id: str) -> Eyes:
        """What this process sees of the task. Raises UnknownTask unless the board has it, or will have it when what
        is written now is merged."""
        check_task_id(task_id)
        eyes = self._eyes(task_id)
        if eyes.has_task or self._shard.has_unmerged_create(task_id, eyes):
            return eyes
        self._pass_or_ring()
        self.sync()
        eyes = self._eyes(task_id)
        if not eyes.has_task:
            raise UnknownTask(task_id=task_id)
        return eyes

    def _eyes(self, task_id: str = "") -> Eyes:
        return self.board.eyes(task_id, self.profile)

    def _sweep(self) -> None:
        if time.monotonic() - self._last_pass > SWEEP_EVERY_S:
            with contextlib.suppress(StorageError):  # the change is durable; whoever needs a verdict is told
                self._pass_or_ring()

    def _has_ready(self, profile: str) -> bool:
        """Whether it is worth asking for a task. An idle worker that asks again and again writes nothing."""
        self.sync()
        try:
            return self.board.has_ready(profile) or (self._pass_or_ring() and self.board.has_ready(profile))
        except BoardMissing:
            return False

    def _look_for_verdict(self, seq: int) -> Verdict | None:
        verdict = self._verdict(seq)
        if verdict is not None:
            return verdict
        try:
            passed = self._pass_or_ring()
        except StorageError as error:  # of ledger or board; "repeat it" would be wrong advice for a written change
            why = str(error).rstrip(".")
            raise Undecided(seq=seq, profile=self.profile, waited_s=0, why=why) from error
        return self._verdict(seq) if passed else None

    def _verdict(self, seq: int) -> Verdict | None:
        try:
            return self.board.verdict(self.profile, seq)
        except BoardMissing:
            return None

    def _pass_or_ring(self) -> bool:
        """Make a pass, or ask the coordinator for one. Returns whether it was made here."""
        from coordinator.passes import pass_if_free  # the one door from shards to coordinator

        if pass_if_free(self.paths, self._coordinator_lock):
            self._last_pass = time.monotonic()
            self._wrote_unmerged = False
            return True
        self._ringer.ring(self.paths.coordinator_bell)
        return False

    def _why_undecided(self) -> str:
        from coordinator.lock import holder

        found = holder(self.paths)
        return f"the coordinator is the {found}" if found else "no coordinator took it"

    def _take_bell(self) -> Bell:
        with self._bells_guard:
            if self._bells:
                return self._bells.pop()
        return self.board.bell()

    def _give_bell_back(self, bell: Bell) -> None:
        with self._bells_guard:
            self._bells.append(bell)


def _named(work: Run | str) -> tuple[str, int | None]:
    return (work, None) if isinstance(work, str) else (work.task_id, work.id)


def _built(kind: type[Body], **fields: Any) -> Body:
    """A body of ``kind``. Raises TypeError for a field it does not have, as any call with a wrong argument does."""
    for name in ("skills",):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    return kind(**fields)
