"""Undoing the last change of one's own, where another change takes it back whole.

A ledger forgets nothing, so an undo is a change like any other: the one that puts the task to where the board, replayed
to the position before, shows it. It is made only if nobody has changed the task since. What ended a run, told a chat,
or was said, is not taken back by anything, and the sentence says what helps instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kanban_shards.errors import NothingToUndo, NotUndone
from kanban_shards.gateway import Gateway
from kanban_shards.past import History, PastBoard
from kanban_shards.records import Task, Verdict
from kanban_shards.shard import OwnChange

# What a gateway or a worker notes by itself: no person means these by "the last change".
_BESIDES = ("delivered", "adopt", "progress", "spawned", "gc")
# How the comment begins that is left beside a block, by the commands and by Hermes.
REMARKS = ("BLOCKED: ", "SCHEDULED: ", "UNBLOCK: ")
# So many of the newest changes are looked through for one that was applied.
LOOKED_AT = 200
_EDITED = ("title", "body", "priority", "tenant", "workspace_path", "branch_name", "max_runtime_seconds", "max_retries",
           "result")  # fmt: skip
_BEFORE_WORK = ("triage", "todo", "ready")


@dataclass(frozen=True)
class Undone:
    """What was taken back: the change ``kind`` of the task (``""``: of the board), and how that is ``said``."""

    seq: int
    kind: str
    task_id: str
    said: str


@dataclass(frozen=True)
class _Case:
    """A change of one's own that was applied, and the task before it and now. Neither is there for the board's."""

    gateway: Gateway
    change: OwnChange
    verdict: Verdict
    before: Task | None
    now: Task | None
    past: PastBoard

    def refuse(self, why: str) -> NotUndone:
        """What to raise, because ``why``."""
        return NotUndone(kind=self.change.kind.replace("_", " "), on_task=_on(self.change.task_id), why=why)

    def task(self) -> Task:
        """The task as it is now."""
        if self.now is None:
            raise self.refuse("the task was deleted")
        return self.now


def undo(gateway: Gateway, history: History, task_id: str | None = None) -> Undone:
    """Take back the newest applied change of this profile, of ``task_id`` if one is named. ``history``: of the same
    board. Raises NothingToUndo, NotUndone, and what the change that takes it back raises."""
    change, verdict = _newest(gateway, task_id)
    task = verdict.answer.get("task_id") or change.task_id
    with history.board_at(position=verdict.position - 1) as past:
        before = past.task(task) if task else None
        now = gateway.board.task(task) if task else None
        case = _Case(gateway, change, verdict, before, now, past)
        undoing = _UNDOING.get(change.kind)
        if undoing is None:
            raise case.refuse(_WHY_NOT.get(change.kind, "no change takes that back"))
        if change.is_deciding and now is not None:
            _check_untouched(case, history)
        said = undoing(case)
    return Undone(change.seq, change.kind, task, said)


def _newest(gateway: Gateway, task_id: str | None) -> tuple[OwnChange, Verdict]:
    gateway.sync()
    for change in gateway.own_changes(LOOKED_AT):
        if change.kind in _BESIDES or _is_remark(change):
            continue
        verdict = gateway.board.verdict(gateway.profile, change.seq)
        if verdict is None or verdict.verdict != "applied":
            continue
        if task_id in (None, change.task_id, verdict.answer.get("task_id")):
            return change, verdict
    raise NothingToUndo(profile=gateway.profile, on_task=_on(task_id or ""))


def _is_remark(change: OwnChange) -> bool:
    """Whether it is the comment that `kanban block` and its like leave beside what they do."""
    return change.kind == "comment" and str(change.body.get("text", "")).startswith(REMARKS)


def _on(task_id: str) -> str:
    return f" of {task_id}" if task_id else ""


def _check_untouched(case: _Case, history: History) -> None:
    """Raise NotUndone if somebody changed the task after the change."""
    with history.board_at(position=case.verdict.position) as after:
        then = after.task(case.task().id)
    known = {} if then is None else then.vector
    others = sorted(name for name, seq in case.task().vector.items() if seq > known.get(name, 0))
    if others:
        who = ", ".join("the coordinator" if name.startswith("@") else name for name in others)
        raise case.refuse(f"{who} changed the task since; `kanban show {case.task().id}` shows how it stands")


def _create(case: _Case) -> str:
    case.gateway.archive(case.task())
    return "archived what was created"


def _assign(case: _Case) -> str:
    assignee = case.before.assignee if case.before else None
    case.gateway.assign(case.task(), assignee)
    return f"assigned to {assignee or 'nobody'} again"


def _edit(case: _Case) -> str:
    names = [name for name in case.change.body if name in _EDITED]
    if len(names) < len(case.change.body) or case.before is None:
        raise case.refuse("the summary and metadata of a run have no former values; `kanban edit` gives new ones")
    fields: Any = {name: getattr(case.before, name) for name in names}
    case.gateway.edit(case.task(), **fields)
    return f"{', '.join(names)} as before"


def _link(case: _Case) -> str:
    if not case.verdict.answer.get("linked"):
        raise case.refuse("it changed nothing")
    case.gateway.unlink(case.change.body["parent"], case.task().id)
    return f"no longer waits for {case.change.body['parent']}"


def _unlink(case: _Case) -> str:
    if not case.verdict.answer.get("unlinked"):
        raise case.refuse("it changed nothing")
    case.gateway.link(case.change.body["parent"], case.task().id)
    return f"waits for {case.change.body['parent']} again"


def _wait(case: _Case) -> str:
    """Of ``block`` and ``schedule``."""
    _require_before(
        case, ("todo", "ready"), "ended with it, and a run does not go on; `kanban unblock` lets the task go on"
    )
    case.gateway.unblock(case.task())
    return "goes on"


def _promote(case: _Case) -> str:
    _require_before(case, ("todo",), "ended with it")
    case.gateway.reopen(case.task(), "todo")
    return "todo again, until what it waits for is done"


def _archive(case: _Case) -> str:
    _require_before(case, _BEFORE_WORK, "ended with it; `kanban reopen` takes the task up again")
    case.gateway.reopen(case.task(), "triage" if case.before and case.before.status == "triage" else "todo")
    return "out of the archive"


def _reopen(case: _Case) -> str:
    if case.before is None or case.before.status != "archived":
        raise case.refuse("how it had ended is not taken up again; end it anew")
    case.gateway.archive(case.task())
    return "archived again"


def _finish(case: _Case) -> str:
    """Of ``complete`` and ``review``."""
    _require_before(
        case, ("ready",), "ended with it, and a run does not go on; `kanban reopen` takes the task up again"
    )
    case.gateway.reopen(case.task(), "ready")
    return "ready again"


def _claim(case: _Case) -> str:
    run = case.gateway.board.run(case.verdict.answer["run_id"])
    if run is None or run.ended_at is not None:
        raise case.refuse("the run is over")
    case.gateway.release(run, "undone")
    return f"released, and run {run.id} ended"


def _subscribe(case: _Case) -> str:
    if not case.verdict.answer.get("subscribed"):
        raise case.refuse("it changed nothing")
    chat = {name: case.change.body[name] for name in ("platform", "chat_id", "thread_id") if name in case.change.body}
    case.gateway.wait_for_verdict(case.gateway.unsubscribe(case.task().id, **chat))
    return "unsubscribed"


def _attach(case: _Case) -> str:
    if not case.gateway.detach(case.task().id, case.verdict.answer["attachment_id"]):
        raise case.refuse("the file was removed already")
    return f"removed {case.change.body['filename']}"


def _limits(case: _Case) -> str:
    now = case.gateway.board.settings()
    if again := [name.replace("_", "-") for name, value in case.change.body.items() if now.get(name) != value]:
        raise case.refuse(f"{', '.join(again)} was set again since; `kanban limits` shows and sets them")
    was: Any = {name: case.past.settings().get(name) for name in case.change.body}
    case.gateway.set_limits(**was)
    return ", ".join(f"{name.replace('_', '-')} {value or 'none'}" for name, value in was.items()) + " again"


def _require_before(case: _Case, statuses: tuple[str, ...], otherwise: str) -> None:
    """Raise NotUndone unless the task had one of ``statuses`` before."""
    before = case.before
    if before is not None and before.current_run_id is not None:
        raise case.refuse(f"run {before.current_run_id} {otherwise}")
    if before is None or before.status not in statuses:
        was = "gone" if before is None else before.status
        raise case.refuse(
            f"the task was {was} before, and no change makes it that; `kanban reopen` or `block` may help"
        )


_UNDOING: dict[str, Callable[[_Case], str]] = {
    "archive": _archive,
    "assign": _assign,
    "attach": _attach,
    "block": _wait,
    "claim": _claim,
    "claim_next": _claim,
    "complete": _finish,
    "create": _create,
    "edit": _edit,
    "link": _link,
    "promote": _promote,
    "reopen": _reopen,
    "review": _finish,
    "schedule": _wait,
    "settings": _limits,
    "subscribe": _subscribe,
    "unlink": _unlink,
}
_WHY_NOT = {
    "comment": "what was said stays; another comment may correct it",
    "delete": "a deleted task does not come back; a backup has it",
    "decompose": "the tasks of the plan are there; archive those that are not wanted",
    "specify": "`kanban edit` gives it other words, and `kanban reopen --to triage` puts it back",
    "unblock": "a block has its reason; `kanban block` says it again",
    "unsubscribe": "how far the chat was told is forgotten; `kanban notify-subscribe` tells it from now on",
    "release": "its run is over; `kanban claim` opens another one",
    "reclaim": "its run is over; `kanban claim` opens another one",
    "fail": "its run is over; `kanban claim` opens another one",
    "detach": "the file is removed; `kanban attach` brings it again",
}
