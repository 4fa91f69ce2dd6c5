"""Sentences: a change of a task in words, for people: who did it, what it was, and what its author had not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kanban_shards import wording
from kanban_shards.changes.fields import Body
from kanban_shards.changes.homes import Alive
from kanban_shards.changes.imported import ROWS, ImportRows
from kanban_shards.changes.kinds import (
    AddComment,
    Adopt,
    Assign,
    Attach,
    Block,
    Claim,
    ClaimNext,
    Complete,
    Create,
    Decompose,
    Delivered,
    Detach,
    Edit,
    Expire,
    Fail,
    Link,
    Note,
    Progress,
    Promote,
    Reclaim,
    Release,
    Reopen,
    Resend,
    Review,
    Schedule,
    Spawned,
    Specify,
    Subscribe,
    Unblock,
    Unlink,
    Unsubscribe,
)
from kanban_shards.paths import COORDINATOR

# What each kind does to the task: to say that it was not done, and that it was.
VERBS: dict[str, tuple[str, str]] = {
    "create": ("create it", "created it"),
    "assign": ("give it", "gave it"),
    "edit": ("change", "changed"),
    "specify": ("specify", "specified"),
    "decompose": ("split it", "split it"),
    "claim": ("claim it", "claimed it"),
    "claim_next": ("claim it as the next one", "claimed it as the next one"),
    "spawned": ("note the worker", "noted the worker"),
    "progress": ("report", "reported"),
    "supervise": ("extend its lease", "saw its worker alive, and extended its lease"),
    "release": ("give back", "gave back"),
    "reclaim": ("take it from its run", "took it from its run"),
    "fail": ("report a failure", "reported a failure"),
    "complete": ("complete it", "completed it"),
    "review": ("hand it in for review", "handed it in for review"),
    "block": ("block it", "blocked it"),
    "schedule": ("schedule it", "scheduled it"),
    "unblock": ("unblock it", "unblocked it"),
    "promote": ("promote it", "promoted it"),
    "recover": ("let it go on after failures", "let it go on after failures"),
    "reopen": ("reopen it", "reopened it"),
    "archive": ("archive it", "archived it"),
    "delete": ("delete it", "deleted it"),
    "comment": ("comment", "commented"),
    "note": ("note", "noted"),
    "link": ("let it wait", "let it wait"),
    "unlink": ("end its waiting", "ended its waiting"),
    "attach": ("attach", "attached"),
    "detach": ("remove", "removed"),
    "subscribe": ("subscribe", "subscribed"),
    "unsubscribe": ("unsubscribe", "unsubscribed"),
    "adopt": ("take over the subscription of", "took over the subscription of"),
    "delivered": ("note a delivery", "noted a delivery"),
    "resend": ("ask for", "asked for"),
    "expire": ("end", "ended"),
    "due": ("wake it, whose time had come", "woke it, whose time had come"),
    "import_task": ("import it", "imported it"),
    "import_rows": ("import", "imported"),
    "alive": ("renew", "renewed"),
}
# A text within a sentence.
LONGEST_TEXT = 120


def sentence(
    profile: str,
    kind: str,
    body: Body,
    answer: Mapping[str, Any],
    why: str | None,
    missed: Mapping[str, str],
) -> str:
    """What ``profile`` did, or could not do because of ``why``. ``missed``: what it had not seen then, by author, in
    words; a refusal says so itself."""
    refused, applied = VERBS[kind]
    who = "the coordinator" if profile == COORDINATOR else profile
    details = DETAILS.get(type(body))
    more = details(body, answer) if details else ""
    if why is not None:
        return f"{who} could not {refused}{more}: {why}"
    unseen = ", and ".join(f"{author}'s {what}" for author, what in missed.items())
    return f"{who} {applied}{more}" + (f"; had not seen {unseen}" if unseen else "")


def unreadable(profile: str, why: str) -> str:
    """What is said of a change that nobody can read, and that was refused for that: ``why``."""
    return f"{wording.printable(profile)} wrote something that says nothing: {wording.printable(why)}"


def as_part(profile: str, task_id: str) -> str:
    """What is said of a task that a plan made: ``profile`` split the task ``task_id``."""
    return f"{profile} created it as a part of {task_id}"


Facts = Mapping[str, Any]


def _said(text: str | None, before: str = ": ") -> str:
    return f"{before}{wording.printable(wording.clip(text, LONGEST_TEXT))}" if text else ""


def _create(body: Create, answer: Facts) -> str:
    assignee = f", for {wording.printable(body.assignee)}" if body.assignee else ""
    waits = f", waiting for {', '.join(body.parents)}" if body.parents else ""
    return f"{assignee}{waits}{_said(body.title)}"


def _claim(body: Claim, answer: Facts) -> str:
    run = f", run {answer['run_id']}" if answer.get("run_id") else ""
    worker = f", to be done by {body.runs_as}" if body.runs_as else ""
    return f" for {wording.age(body.lease_s)}{run}{worker}"


def _fields(body: Edit | Specify, answer: Facts) -> str:
    names = [name for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET]
    names = [name for name in names if name != "author"]
    return f" its {' and '.join(name.replace('_', ' ') for name in names)}" if names else " it"


def _decompose(body: Decompose, answer: Facts) -> str:
    return f" into {wording.many(len(body.children), 'task')}"


def _fail(body: Fail, answer: Facts) -> str:
    return f" of run {body.run_id}, {body.outcome.replace('_', ' ')}{_said(body.error)}"


def _block(body: Block, answer: Facts) -> str:
    return (f" ({body.block.replace('_', ' ')})" if body.block else "") + _said(body.reason)


def _chat(body: Any, answer: Facts) -> str:
    return f" {wording.printable(f'{body.platform} chat {body.chat_id}')}"


def _delivered(body: Delivered, answer: Facts) -> str:
    chat = wording.printable(f"{body.platform} chat {body.chat_id}")
    return f" to {chat}, up to event {body.upto}" + _said(body.error, ", given up: ")


def _rows(body: ImportRows, answer: Facts) -> str:
    return f" {wording.many(sum(len(getattr(body, table)) for table in ROWS), 'row')} of it"


def _to_whom(body: Assign, answer: Facts) -> str:
    return f" to {wording.printable(body.assignee) if body.assignee else 'nobody'}"


def _until(body: Schedule, answer: Facts) -> str:
    return (f" for {wording.when(body.due_s)}" if body.due_s else "") + _said(body.reason)


def _reason(body: Reclaim | Release | Unblock | Promote, answer: Facts) -> str:
    run = f" run {body.run_id}" if isinstance(body, Release) else ""
    return run + _said(body.reason)


def _expire(body: Expire, answer: Facts) -> str:
    if body.unheard_s is not None:
        return f" run {body.run_id}, which no host renewed for {wording.age(body.unheard_s)}"
    return f" run {body.run_id}, whose lease ran out"


# What else is said of a change. The functions of one kind have its body as their first parameter.
DETAILS: dict[type[Body], Callable[[Any, Facts], str]] = {
    Create: _create,
    Assign: _to_whom,
    Edit: _fields,
    Specify: _fields,
    Decompose: _decompose,
    Claim: _claim,
    ClaimNext: _claim,
    Spawned: lambda body, answer: f" of run {body.run_id}, process {body.pid}",
    Progress: lambda body, answer: _said(body.note),
    Release: _reason,
    Reclaim: _reason,
    Fail: _fail,
    Complete: lambda body, answer: _said(body.summary or body.result),
    Review: lambda body, answer: _said(body.summary),
    Block: _block,
    Schedule: _until,
    Unblock: _reason,
    Promote: lambda body, answer: (" although a parent is open" if body.force else "") + _said(body.reason),
    Reopen: lambda body, answer: f" as {body.to}{_said(body.reason)}",
    Note: lambda body, answer: f" about it: {body.event.replace('_', ' ')}",
    AddComment: lambda body, answer: _said(body.text),
    Link: lambda body, answer: f" for {body.parent}",
    Unlink: lambda body, answer: f" for {body.parent}",
    Attach: lambda body, answer: f" {wording.printable(body.filename)}",
    Detach: lambda body, answer: f" file {body.attachment_id}",
    Subscribe: _chat,
    Unsubscribe: _chat,
    Adopt: _chat,
    Delivered: _delivered,
    Resend: lambda body, answer: f" dead letter {body.letter_id} to be sent again",
    Expire: _expire,
    Alive: lambda body, answer: f" run {body.run_id}, which gave a sign {wording.age(body.age_ms / 1000)} before",
    ImportRows: _rows,
}
