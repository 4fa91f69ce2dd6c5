"""Writing as a profile: append to the own shard, ring, and wait for the verdict where one is needed.

Where no daemon runs, whoever waits makes the pass itself; changes that nobody waits for are then merged once a second
and when the writer is closed. The same thread that sees to this looks after a daemon that was rung and died.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from kanban_shards.attempts import Attempt, DeliveryKey
from kanban_shards.bell import Ringer
from kanban_shards.board import Board
from kanban_shards.changes import normalize
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import Create, Delete
from kanban_shards.changes.vectors import View
from kanban_shards.errors import (
    EarlierUndecided,
    GatewayClosed,
    GivenUp,
    KanbanError,
    Quarantined,
    Refused,
    Undecided,
    UnknownTask,
)
from kanban_shards.looks import Looks, asks_what_was_seen
from kanban_shards.passing import Passing
from kanban_shards.paths import COORDINATOR, BoardPaths, check_profile, check_task_id
from kanban_shards.records import Task, Verdict
from kanban_shards.settling import Settling
from kanban_shards.shard import OwnChange, Shard, Written
from kanban_shards.waiting import Wait, Waiting

# Why a change was refused whose task is none, or no longer one.
_NO_TASK = ("gone", "unknown_task")


class Writer:
    """One process writing as ``profile``. Safe to use from several threads; not across a fork.

    ``board``, ``home``: which board of which Hermes home, as in ``BoardPaths.find``; ``paths``: that board itself, in
    place of both. ``patience_s``: for how many seconds a call waits for a verdict before it raises Undecided; the
    change is written all the same. ``looks``: how often ``ask`` looks at a task that it was given by its id, and asks,
    before it takes ``stale`` for an answer. ``lanes``: whether an assignee need be no profile, but may be a lane
    (``lane_meant`` in shards/paths.py). Raises InvalidName, UnknownBoard, StorageError, and TypeError for two ways
    of saying which board.

    A ``task`` is given as its id, or as the Task that this process read; the change then says that its author had seen
    just that. A ``change`` is one of shards/changes/kinds.py. Every call raises GatewayClosed after ``close``.
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
        self.profile = check_profile(profile)
        if paths is not None and (board is not None or home is not None):
            raise TypeError("which board is meant is said by paths=, or by board= and home=, and not by both")
        self.paths = paths or BoardPaths.find(board, home)
        self.paths.require_folder()
        self.board = Board(self.paths)
        self.patience_s = float(patience_s)  # what is no number fails here, and not after a write
        self.looks = max(1, int(looks))
        self._has_lanes = lanes
        self._shard = Shard(self.paths, profile)
        self._looks = Looks(self.board, profile)
        self._ringer = Ringer()
        self._passing = Passing(self.paths, self._ringer)
        self._waiting = self._made_waiting()
        self._is_closed = False
        self._settling = Settling(self.paths, self._looks, self._passing, self._waiting)
        self._pid = os.getpid()

    def _made_waiting(self) -> Waiting:
        """For who watches what is told."""
        return Waiting(self.board, self._shard, self._passing, self._check_open)

    def write(self, task: str | Task, change: Body) -> int:
        """Append ``change`` and return its seq, without waiting for the verdict. Durable on return; on an ephemeral
        host of a shared board that takes the server, and is waited for.

        Raises InvalidTaskId, UnknownTask, InvalidChange, TooLarge, StorageError, and Undecided on an ephemeral host.
        """
        return self._add(_id_of(task), change, self._view_for(task, change))

    def write_unseen(self, task_id: str, change: Body) -> int:
        """As ``write``, of a task that is not on the board: the one that ``change`` makes."""
        return self._add(task_id, change, None)

    def ask(self, task: str | Task, change: Body) -> Verdict:
        """Append ``change`` and return the verdict that it was applied. Given an id, this looks again and asks once
        more if all that it had not seen was the coordinator's own, and up to ``looks`` times whoever changed the task.

        Raises Refused, Undecided, GivenUp, and what ``write`` raises.
        """
        # How often to look again: after a change by somebody, and after one by the coordinator, which ended a run or
        # saw that a time had come in the very pass that decided this.
        others, own = self.looks - 1, 1
        while True:
            try:
                return self._decided(_id_of(task), change, self._view_for(task, change))
            except Refused as refused:
                if not isinstance(task, str) or refused.reason != "stale":
                    raise
                if set(refused.answer.get("missed", ())) == {COORDINATOR} and own:
                    own -= 1
                elif others:
                    others -= 1
                else:
                    raise

    def ask_unseen(self, task_id: str, change: Body) -> Verdict:
        """As ``ask``, of a task that ``change`` makes, or, with ``""``, of none: then the board as a whole is meant, or
        the coordinator chooses the task."""
        return self._decided(task_id, change, None)

    def write_together(self, changes: Sequence[tuple[str, Body, View]]) -> list[int]:
        """Append ``changes`` (task id, change, what was seen) in one commit, all or none, without waiting for the
        verdicts; returns their seqs. Durable on return, as in ``write``. Raises what ``write`` raises."""
        written = self._append_together(changes)
        self._leave(written[-1].seq)
        return [each.seq for each in written]

    def ask_together(self, changes: Sequence[tuple[str, Body, View]]) -> list[Verdict]:
        """As ``write_together``, with the verdict on each, in order; a refusal is one, too. Raises Undecided, GivenUp,
        and what ``write`` raises."""
        if not changes:
            return []
        with self._waiting.bell() as bell:
            bell.hush()
            written = self._append_together(changes)
            last = written[-1]
            with self._written(last.seq):
                self._waiting.answer(Wait.of(last.seq, bell, self.patience_s))
                is_kept = self._shard.still_holds(last)
        if not is_kept:
            raise GivenUp(seq=last.seq, profile=self.profile)
        return self.board.verdicts(self.profile, written[0].seq, last.seq)

    def unseen(self) -> View:
        """What is seen of a task that is yet to be made."""
        return self._view()

    def heartbeat(self, run_id: int) -> None:
        """Note in the shard that the worker of the run is alive now. Durable on return; no change, and no verdict.
        Raises StorageError."""
        far = self._shard.heartbeat(run_id, self._view())
        if over := [each for each in far if not self._is_open(each)]:
            self._shard.forget_heartbeats(over, self._view())
        self._settling.have_heard()

    def view_of(self, task: str | Task) -> View:
        """What this process sees of the task. Raises InvalidTaskId, and UnknownTask unless the board has it, or will
        have it when what is written now is merged."""
        task_id = check_task_id(_id_of(task))
        view = self._view(task_id)
        if not view.has_task and not self._shard.has_unmerged_create(task_id, view):
            self._passing.make_or_ring()
            self.sync_first()
            view = self._view(task_id)
            if not view.has_task:
                raise UnknownTask(task_id=task_id, board=self.paths)
        return view if isinstance(task, str) else replace(view, vector=task.vector, exactly=True)

    def spelled(self, change: Body) -> Body:
        """``change`` as this writer writes it. Raises InvalidName, InvalidChange."""
        return normalize.spelled(change, lanes=self._has_lanes)

    def sync(self) -> None:
        """Return when everything that this profile wrote so far has its verdict. Raises Undecided."""
        head = self._shard.head(self._view())
        if head:
            self.wait_for_verdict(head)

    def sync_own(self) -> None:
        """As ``sync``, for what was written by this writer; where its verdicts were seen already, nothing is asked.
        Raises Undecided."""
        if not self.is_decided:
            self.sync()

    @property
    def is_decided(self) -> bool:
        """Whether this writer saw a verdict on everything that it wrote."""
        return self._settling.is_decided

    def sync_first(self) -> None:
        """``sync`` before anything is written. Raises EarlierUndecided: what has no verdict then is nothing of now."""
        try:
            self.sync()
        except Undecided as error:
            why = "the shard is quarantined" if isinstance(error, Quarantined) else error.why
            raise EarlierUndecided(seq=error.seq, profile=self.profile, why=why) from error

    def merge_now(self) -> bool:
        """Have everything that is there merged: by a pass made here, or, where a coordinator runs, by ringing it.

        Returns whether a pass was made here. Raises the StorageErrors of a ledger or a board that cannot be used.
        """
        self._check_open()
        return self._passing.make_or_ring()

    def wait_for_verdict(self, seq: int) -> Verdict:
        """The verdict on this profile's change ``seq``, a refusal too, as soon as there is one. Raises Undecided after
        ``patience_s``."""
        self._check_open()
        return self._wait_for(seq)

    def own_changes(self, count: int) -> list[OwnChange]:
        """The newest changes of this profile, ``count`` at most, the newest first. Raises StorageError."""
        self._check_open()
        return self._shard.newest(count)

    def attempt(self, key: DeliveryKey) -> Attempt:
        """Where the delivery ``key`` stands, as this profile's processes know. Raises StorageError."""
        return self._shard.attempt(key, self._view())

    def save_attempt(self, key: DeliveryKey, attempt: Attempt) -> None:
        """Remember how the delivery ``key`` ended. Raises StorageError."""
        self._shard.save_attempt(key, attempt, self._view())

    def lease_attempt(self, key: DeliveryKey, acknowledged: int, upto: int, now_ms: int, until_ms: int) -> int:
        """Take the delivery ``key`` of the events up to ``upto`` until ``until_ms``; ``acknowledged``: the newest that
        the chat was told, as far as the caller knows. Times are milliseconds since 1970. Returns the number of the
        attempt, counted from 1; 0 if it is not this process's turn (Shard.lease_attempt). Raises StorageError."""
        return self._shard.lease_attempt(key, acknowledged, upto, now_ms, until_ms, self._view())

    def settle(self) -> None:
        """Have merged what was written, unless a coordinator that stays does it: the last step before ``close``, for
        those who want to know whether it went well. Raises Undecided if no pass can be made."""
        if upto := self._settling.unsettled:
            with self._written(upto):
                self._settling.settle()

    def close(self) -> None:
        """Settle what is not settled yet, and close the files; a call after that raises GatewayClosed. Raises nothing:
        what was written is durable, and whatever keeps it from being merged now is said to whoever makes the next pass,
        and in the log."""
        if self._pid != os.getpid():
            return  # a fork's copy: the files and bells are the other process's
        self._is_closed = True
        self._settling.close()
        try:
            with self._logged(f"What {self.profile} wrote is durable, and was not merged at closing"):
                self.settle()
        finally:
            if not self._passing.is_interrupted:  # else a signal's handler closes what it interrupts, locks and all
                with self._logged(f"The shard of {self.profile} was not closed"):
                    self._shard.close()
                self._passing.close()
            self.board.close()
            self._ringer.close()
            self._waiting.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, task_id: str, change: Body, view: View | None) -> Written:
        """``view``: None where the rule asks for nothing that was seen; the board is read then only if the shard is not
        as this process left it."""
        self._check_open()
        change, written = self.spelled(change), None
        if view is None:
            written = self._shard.append_behind_known(task_id, change, self._looks.newest())
        if written is None:
            written = self._shard.append(task_id, change, self._look_anew(task_id) if view is None else view)
        self._note_made(task_id, change)
        self._settling.wrote(written.seq)
        return written

    def _append_together(self, changes: Sequence[tuple[str, Body, View]]) -> list[Written]:
        written = self._shard.append_together(
            [(task_id, self.spelled(change), view) for task_id, change, view in changes]
        )
        for task_id, change, _ in changes:
            self._note_made(task_id, change)
        self._settling.wrote(written[-1].seq)
        return written

    def _note_made(self, task_id: str, change: Body) -> None:
        if isinstance(change, Create) and change.idempotency_key is None:  # another task may have the key
            self._looks.know(task_id)

    def _add(self, task_id: str, change: Body, view: View | None) -> int:
        """Append a change that nobody waits for, and see to it that it is merged; returns its seq."""
        written = self._append(task_id, change, view)
        self._leave(written.seq, task_id)
        return written.seq

    def _leave(self, seq: int, task_id: str = "") -> None:
        """See to it that what was appended up to ``seq`` is merged; without waiting for that, where it is safe."""
        if not self._passing.ring():
            self._settling.sweep()
        self._settling.soon()
        if self._shard.is_ephemeral:
            self._wait_for(seq, task_id)

    def _decided(self, task_id: str, change: Body, view: View | None) -> Verdict:
        with self._waiting.bell() as bell:
            bell.hush()
            written = self._append(task_id, change, view)
            with self._written(written.seq, task_id):
                verdict = self._waiting.answer(Wait.of(written.seq, bell, self.patience_s, task_id))
                is_kept = self._shard.still_holds(written)
        if not is_kept:
            raise GivenUp(seq=written.seq, profile=self.profile)
        if verdict.reason in _NO_TASK or isinstance(change, Delete):
            self._looks.forget(task_id)
        if verdict.verdict == "refused":
            raise Refused(reason=verdict.reason, sentence=verdict.sentence, answer=verdict.answer or {})
        return verdict

    def _wait_for(self, seq: int, task_id: str = "") -> Verdict:
        with self._waiting.bell() as bell, self._written(seq, task_id):
            return self._waiting.verdict(Wait.of(seq, bell, self.patience_s, task_id))

    @contextlib.contextmanager
    def _written(self, seq: int, task_id: str = "") -> Iterator[None]:
        """While change ``seq`` is written and waits: whatever is the matter with ledger or board then, it is Undecided,
        and no trouble's own advice to repeat what failed is right."""
        try:
            yield
        except GatewayClosed:
            raise
        except Undecided:
            self._settling.soon()
            raise
        except KanbanError as error:
            self._settling.soon()
            raise Undecided(seq=seq, profile=self.profile, waited_s=0, why=error.happened, task_id=task_id) from error

    def _view(self, task_id: str = "") -> View:
        self._check_open()
        return self._looks.look(task_id)

    def _view_for(self, task: str | Task, change: Body) -> View | None:
        """What this process sees of the task, for a change that decides by it; None where nothing need be seen. Raises
        as ``view_of`` does."""
        if asks_what_was_seen(change) or not self._looks.knows(_id_of(task)):
            return self.view_of(task)
        self._check_open()
        return None

    def _look_anew(self, task_id: str) -> View:
        return self.view_of(task_id) if self._looks.knows(task_id) else self._view()

    def _check_open(self) -> None:
        if self._is_closed:
            raise GatewayClosed(profile=self.profile)

    def _is_open(self, run_id: int) -> bool:
        run = self.board.run(run_id)
        return run is not None and run.ended_at is None

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        try:
            yield
        except KanbanError as error:
            import logging  # seldom needed, too

            why = error if isinstance(error, Undecided) else error.happened
            logging.getLogger(__name__).warning("%s: %s", what, why)


def _id_of(task: str | Task) -> str:
    return task.id if isinstance(task, Task) else task
