"""A batch: several changes of a profile that are written in one commit and decided together.

Alone, a change that waits for its verdict costs a commit and a pass; five thousand of them in a batch cost one commit
and a few passes. All are durable or none is, and each has a verdict of its own: that one is refused takes nothing from
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from msgspec import structs

from kanban_shards.changes.codec import encode_body
from kanban_shards.changes.fields import Body
from kanban_shards.changes.identities import new_task
from kanban_shards.changes.kinds import LEASE_S, AddComment, Claim, Create, Link, Subscribe
from kanban_shards.changes.normalize import completion, named
from kanban_shards.changes.vectors import View
from kanban_shards.errors import Refused
from kanban_shards.records import Run, Verdict

if TYPE_CHECKING:
    from kanban_shards.arguments import Chat, CompleteFields, TaskFields
    from kanban_shards.writer import Writer


class Batch:
    """What is said inside of ``with gateway.batch() as batch:``. It is written when the block ends, and not at all if
    that raises; then its verdicts are there.

    A method raises InvalidChange, TooLarge or UnknownTask when it is called. The end of the block raises StorageError
    (nothing was written), Undecided (all is written, and decided later), and Refused for the first change that was
    refused, the others being decided as they are. A task whose idempotency key another one has is no refusal: it is
    that one (``made``), and what names it in the batch is said of that one.

    ``verdicts``: those of all changes, in order; ``made``: by each id that ``create`` gave, the task that there is;
    ``runs``: by task, the runs of the claims that were not refused.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._changes: list[tuple[str, Body, View]] = []
        self._unseen: View | None = None
        self._new: set[str] = set()
        self._known: set[str] = set()
        self.made: dict[str, str] = {}
        self.verdicts: list[Verdict] = []
        self.runs: dict[str, Run] = {}

    def create(self, title: str, *, parents: Sequence[str] = (), **fields: Unpack[TaskFields]) -> str:
        """A new task; returns its id, which the other calls may name at once. ``parents``: tasks that it waits for,
        of this batch too. ``fields``: see TaskFields. After the block ``made[id]`` is the task that there is."""
        for parent in parents:
            self._require(parent)
        new = new_task(self._writer.profile)
        self._add(new.id, Create(title=title, parents=tuple(parents), salt=new.salt, **fields))
        self._new.add(new.id)
        return new.id

    def comment(self, task_id: str, text: str, *, author: str | None = None) -> None:
        """Say something about the task; see ``Gateway.comment``."""
        self._add(task_id, AddComment(text=text, author=author))

    def subscribe(self, task_id: str, **chat: Unpack[Chat]) -> None:
        """Tell a chat what becomes of the task; see ``Gateway.subscribe``."""
        self._add(task_id, subscription(chat))

    def link(self, parent_id: str, child_id: str) -> None:
        """``child_id`` waits for ``parent_id``; see ``Gateway.link``."""
        self._require(parent_id)
        self._add(child_id, Link(parent=parent_id))

    def claim(
        self, task_id: str, *, runs_as: str | None = None, lease_s: int = LEASE_S, claimer: str | None = None
    ) -> None:
        """Open a run on a ready task, of this batch too; it is in ``runs`` after the block. See ``Gateway.claim``; a
        run that is supervised is claimed there, since its workers are looked for first."""
        self._add(task_id, Claim(runs_as=runs_as, lease_s=lease_s, claimer=claimer))

    def complete(self, work: Run | str, **done: Unpack[CompleteFields]) -> None:
        """The task is done; see ``Gateway.complete``."""
        task, run_id = named(work)
        self._add(task if isinstance(task, str) else task.id, completion(run_id, done))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write()

    def _add(self, task_id: str, change: Body) -> None:
        if isinstance(change, Create):
            view = self._unseen_view()
        else:
            view = self._unseen_view() if task_id in self._new else self._writer.view_of(task_id)
        encode_body(self._writer.spelled(change))  # what cannot be written is said where it is said
        self._changes.append((task_id, change, view))

    def _unseen_view(self) -> View:
        if self._unseen is None:
            self._unseen = self._writer.unseen()
        return self._unseen

    def _require(self, task_id: str) -> None:
        """Raise UnknownTask unless the task is on the board, or is made in this batch."""
        if task_id not in self._new and task_id not in self._known:
            self._writer.view_of(task_id)
            self._known.add(task_id)

    def _write(self) -> None:
        self.verdicts = self._writer.ask_together(self._changes)
        self._note_made()
        while again := self._named_in_vain():
            verdicts = self._writer.ask_together([self._changes[number] for number in again])
            for number, verdict in zip(again, verdicts, strict=True):
                self.verdicts[number] = verdict
            self._note_made()
        self._note_runs()
        for (_, change, _), verdict in zip(self._changes, self.verdicts, strict=True):
            if verdict.verdict == "refused" and not _is_held(change, verdict):
                raise Refused(reason=verdict.reason, sentence=verdict.sentence, answer=verdict.answer or {})

    def _note_made(self) -> None:
        for (task_id, change, _), verdict in zip(self._changes, self.verdicts, strict=True):
            if isinstance(change, Create) and (verdict.verdict == "applied" or _is_held(change, verdict)):
                self.made[task_id] = verdict.answer["task_id"]

    def _note_runs(self) -> None:
        for (task_id, change, _), verdict in zip(self._changes, self.verdicts, strict=True):
            if isinstance(change, Claim) and verdict.verdict == "applied":
                run = self._writer.board.run(verdict.answer["run_id"])
                if run is not None:  # else its task was deleted meanwhile
                    self.runs[task_id] = run

    def _named_in_vain(self) -> list[int]:
        """Which changes were refused, and name a task of this batch whose key another one has; they name that one now.
        With them those that name a task which was not made for that reason."""
        instead = {task_id: made for task_id, made in self.made.items() if task_id != made}
        not_there, again = set(instead), []
        for number, ((task_id, change, _), verdict) in enumerate(zip(self._changes, self.verdicts, strict=True)):
            if verdict.verdict == "refused" and not _is_held(change, verdict) and not_there & _named(task_id, change):
                self._changes[number] = self._naming(task_id, change, instead)
                again.append(number)
                if isinstance(change, Create):
                    not_there.add(task_id)
        return again

    def _naming(self, task_id: str, change: Body, instead: dict[str, str]) -> tuple[str, Body, View]:
        """The change, naming what it names by ``instead``."""
        if isinstance(change, Create):
            parents = tuple(instead.get(parent, parent) for parent in change.parents)
            return task_id, structs.replace(change, parents=parents), self._unseen_view()
        if isinstance(change, Link):
            change = structs.replace(change, parent=instead.get(change.parent, change.parent))
        task_id = instead.get(task_id, task_id)
        return task_id, change, self._unseen_view() if task_id in self._new else self._writer.view_of(task_id)


def _is_held(change: Body, verdict: Verdict) -> bool:
    """Whether ``change`` makes a task whose key another one has."""
    return isinstance(change, Create) and verdict.reason == "duplicate"


def _named(task_id: str, change: Body) -> set[str]:
    """The tasks that must be there for ``change`` to apply."""
    if isinstance(change, Create):
        return set(change.parents)
    return {task_id, change.parent} if isinstance(change, Link) else {task_id}


def subscription(chat: Chat) -> Subscribe:
    """The change that subscribes ``chat``."""
    kinds = chat.get("kinds")
    told: Any = {**chat, "kinds": None if kinds is None else tuple(kinds)}
    return Subscribe(**told)
