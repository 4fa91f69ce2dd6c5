"""Changes drawn at random: any kind in shards/changes/codec.py, ``KINDS``, of any sense or none."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec

from kanban_shards.changes.fields import Body
from kanban_shards.changes.identities import OLD_LENGTH
from kanban_shards.changes.kinds import COORDINATOR_KINDS, KINDS, TASKLESS_KINDS, NotedKind, PlannedChild
from tests.evidence import Evidence

WRITABLE = tuple(sorted(KINDS.keys() - COORDINATOR_KINDS))
# What gives a history its turns comes more often than what only adds to it; what takes much away, seldom.
WEIGHTS = {
    "create": 9, "claim": 8, "claim_next": 6, "complete": 6, "subscribe": 3, "delivered": 5, "link": 4, "release": 3,
    "assign": 3, "block": 2, "review": 2, "promote": 2, "schedule": 2, "decompose": 2, "fail": 3, "gc": 0.5,
    "settings": 0.5, "archive": 0.5, "delete": 0.5, "unsubscribe": 0.5, "adopt": 0.3,
}  # fmt: skip


@dataclass
class Pool:
    """What a change may name: what was heard of on the board, and the profiles there are. Of what belongs to a task,
    the task is its last part."""

    profiles: tuple[str, ...]
    tasks: list[str] = field(default_factory=list)
    runs: list[tuple[int, str]] = field(default_factory=list)
    attachments: list[tuple[int, str]] = field(default_factory=list)
    letters: list[tuple[int, str]] = field(default_factory=list)
    by_status: dict[str, list[str]] = field(default_factory=dict)
    # Each subscription with the ids of the events ahead of its cursor.
    chats: list[tuple[dict[str, Any], list[int]]] = field(default_factory=list)
    # Who owns each task, and so may most of what can be done to it.
    owners: dict[str, str] = field(default_factory=dict)
    now_s: int = 1_000
    focus: str | None = None

    def learn(self, evidence: Evidence) -> None:
        """What a look at the board shows."""
        self.runs, self.attachments, self.letters = (
            sorted((row["id"], row["task_id"]) for row in evidence.rows(table))
            for table in ("task_runs", "task_attachments", "merge_dead_letters")
        )
        # Open ones at the end, where they are drawn.
        open_runs = {row["id"] for row in evidence.rows("task_runs") if row["ended_at"] is None}
        self.runs.sort(key=lambda run: (run[0] in open_runs, run))
        self.owners = {row["task_id"]: row["owner"] for row in evidence.rows("merge_tasks")}
        self.by_status = {}
        for row in sorted(evidence.rows("tasks"), key=lambda row: row["id"]):
            self.by_status.setdefault(row["status"], []).append(row["id"])
            if row["id"] not in self.tasks:
                self.tasks.append(row["id"])
        self.chats = [
            (row, sorted(event["id"] for event in evidence.rows("task_events")
                         if event["task_id"] == row["task_id"] and event["id"] > row["last_event_id"]))
            for row in evidence.rows("kanban_notify_subs")
        ]  # fmt: skip
        if evidence.entries:
            self.now_s = evidence.entries[-1].at_ms // 1000

    def task(self, chance: random.Random) -> str:
        """A task, most often the one in focus, else one that was named before, the newer the likelier."""
        if self.focus and chance.random() < 0.8:
            return self.focus
        shown = [task_id for task_ids in self.by_status.values() for task_id in task_ids]
        if shown and chance.random() < 0.5:
            return chance.choice(shown)
        if not self.tasks or chance.random() < 0.02:
            return _new_id(chance)
        return self.tasks[-1 - int(min(chance.expovariate(0.4), len(self.tasks) - 1))]

    def id_to_make(self, chance: random.Random) -> str:
        """An id that may be taken, but none that an import alone may bring, which would be a forgery."""
        found = self.task(chance)
        return found if len(found) == OLD_LENGTH else _new_id(chance)


def drawn(kind: str, pool: Pool, chance: random.Random) -> tuple[str, Body]:
    """A change of ``kind`` and the task that it is on. A kind with a required field that no hint names is an error,
    so that a new kind of change is never left out of the simulation."""
    if kind in TASKLESS_KINDS:
        task_id = ""
    elif kind == "create" and chance.random() < 0.95:
        task_id = _new_id(chance)
        pool.tasks.append(task_id)
    elif (suited := _suited(kind, pool)) and pool.focus is None and chance.random() < 0.6:
        task_id = chance.choice(suited)
    else:
        task_id = pool.id_to_make(chance) if kind == "create" else pool.task(chance)
    fields = {}
    for each in _FIELDS[kind]:
        if each.name in _HINTS and (each.required or chance.random() < _OFTEN.get(each.name, 0.5)):
            fields[each.name] = _HINTS[each.name](pool, chance)
    for name, heard_of in _belongings(pool):
        if name in fields and heard_of and chance.random() < 0.9:
            fields[name], task_id = chance.choice(heard_of[-2:])
    if kind == "delivered" and pool.chats and chance.random() < 0.9:
        task_id = _tell(fields, pool, chance)
    return task_id, KINDS[kind](**fields)


def any_kind(chance: random.Random) -> str:
    """A kind that a profile may write."""
    return chance.choices(WRITABLE, [WEIGHTS.get(kind, 1) for kind in WRITABLE])[0]


_FIELDS = {kind: msgspec.structs.fields(body) for kind, body in KINDS.items()}
# Where a task stands when a change of the kind makes sense.
_SUITS = {
    "specify": ("triage",),
    "decompose": ("triage",),
    "claim": ("ready", "review"),
    "complete": ("ready", "running", "review"),
    "block": ("ready", "running"),
    "review": ("running",),
    "schedule": ("todo", "ready", "blocked"),
    "unblock": ("blocked", "scheduled"),
    "promote": ("todo", "blocked"),
    "recover": ("blocked",),
    "reclaim": ("running",),
    "reopen": ("done", "archived", "running"),
    "archive": ("done", "running"),
    "delete": ("archived", "running"),
    "supervise": ("running",),
}


def _suited(kind: str, pool: Pool) -> list[str]:
    return [task_id for status in _SUITS.get(kind, ()) for task_id in pool.by_status.get(status, ())]


def _belongings(pool: Pool) -> list[tuple[str, list[tuple[int, str]]]]:
    return [
        ("run_id", pool.runs),
        ("about_run", pool.runs),
        ("attachment_id", pool.attachments),
        ("letter_id", pool.letters),
    ]


def _tell(fields: dict[str, Any], pool: Pool, chance: random.Random) -> str:
    """Make the change one that a gateway writes about a chat: of all events up to one; returns the chat's task."""
    row, ahead = chance.choice(pool.chats)
    fields.update({name: row[name] for name in ("platform", "chat_id", "thread_id")})
    if fields.get("letter_id") is None and ahead:
        fields["upto"] = chance.choice(ahead)
        if "error" in fields:
            fields["events"] = tuple(event for event in ahead if event <= fields["upto"])
    return row["task_id"]


def _new_id(chance: random.Random) -> str:
    return f"t_{chance.getrandbits(64):016x}"


def _line(pool: Pool, chance: random.Random) -> str:
    return chance.choice(("one", "two", "zwei ☕", "t'wo\"", "line\nbreak"))


def _parents(pool: Pool, chance: random.Random) -> tuple[str, ...]:
    return tuple(pool.task(chance) for _ in range(chance.choice((0, 1, 1, 2))))


def _children(pool: Pool, chance: random.Random) -> tuple[PlannedChild, ...]:
    """A plan, now and then one with a circle, a number beyond it, or an id that there is."""
    count = chance.choice((1, 2, 3))
    ids = [_new_id(chance) if chance.random() < 0.97 else pool.id_to_make(chance) for _ in range(count)]
    beyond = count + (chance.random() < 0.03)
    return tuple(
        PlannedChild(
            id=each,
            title=_line(pool, chance),
            assignee=chance.choice((*pool.profiles, None)),
            parents=tuple(chance.sample(range(beyond if chance.random() < 0.1 else number), chance.randrange(2)))
            if number
            else (),
        )
        for number, each in enumerate(ids)
    )


_OFTEN = {
    "run_id": 0.7, "parents": 0.4, "idempotency_key": 0.2, "starts": 0.3, "runs_as": 0.3, "lease_s": 0.9,
    "grace_s": 0.3, "letter_id": 0.2, "error": 0.3, "unadopted": 0.2, "created_cards": 0.1, "auto_promote": 0.3,
}  # fmt: skip
_OUTCOMES = ("crashed", "timed_out", "stale", "spawn_failed", "rate_limited", "protocol_violation")
_HINTS: dict[str, Callable[[Pool, random.Random], Any]] = {
    **dict.fromkeys(("title", "text", "note", "reason", "result", "summary", "error", "author", "body"), _line),
    "metadata": lambda pool, chance: {"n": chance.randrange(9), "list": [1, None, {"deep": True}]},
    "priority": lambda pool, chance: chance.randrange(-2, 3),
    "assignee": lambda pool, chance: chance.choice((*pool.profiles, None, "Somebody Else")),
    "root_assignee": lambda pool, chance: chance.choice(pool.profiles),
    "parents": _parents,
    "parent": lambda pool, chance: pool.task(chance),
    "children": _children,
    "auto_promote": lambda pool, chance: False,
    "created_cards": _parents,
    "card_check": lambda pool, chance: chance.choice(("made", "shown")),
    "artifacts": lambda pool, chance: ("/a.pdf",),
    "starts": lambda pool, chance: chance.choice(("blocked", "triage", "triage")),
    "to": lambda pool, chance: chance.choice(("triage", "todo", "scheduled", "ready")),
    "hold_s": lambda pool, chance: chance.choice((1, 60)),
    "actor": _line,
    "event": lambda pool, chance: chance.choice(get_args(NotedKind)),
    "facts": lambda pool, chance: {"reason": "quota", "by": "somebody"},
    "about_run": lambda pool, chance: chance.randrange(1, 30),
    "force": lambda pool, chance: True,
    "archived_only": lambda pool, chance: True,
    "idempotency_key": lambda pool, chance: chance.choice(("key 1", "key 2")),
    "lease_s": lambda pool, chance: chance.choice((1, 60, 900)),
    "grace_s": lambda pool, chance: chance.choice((30, 3_600)),
    "host": lambda pool, chance: "here",
    "began": lambda pool, chance: chance.choice(("1", "2")),
    "runs_as": lambda pool, chance: chance.choice(pool.profiles),
    "run_id": lambda pool, chance: chance.randrange(1, 30),
    "pid": lambda pool, chance: chance.randrange(1, 9),
    "outcome": lambda pool, chance: chance.choice(_OUTCOMES),
    "exit_code": lambda pool, chance: chance.randrange(-9, 3),
    "cooldown_s": lambda pool, chance: chance.choice((1, 100)),
    "limit": lambda pool, chance: chance.choice((1, 2, 4)),
    "counts": lambda pool, chance: chance.random() < 0.5,
    "trips": lambda pool, chance: chance.random() < 0.2,
    "max_retries": lambda pool, chance: chance.randrange(3),
    "block": lambda pool, chance: chance.choice(("needs_input", "capability", "transient", "dependency")),
    "due_s": lambda pool, chance: pool.now_s + chance.choice((0, 1, 60, 1_000)),
    "platform": lambda pool, chance: "telegram",
    "chat_id": lambda pool, chance: chance.choice(("1", "2")),
    "notifier_profile": lambda pool, chance: chance.choice(pool.profiles),
    "unadopted": lambda pool, chance: True,
    "from_start": lambda pool, chance: chance.random() < 0.5,
    "kinds": lambda pool, chance: ("completed", "blocked"),
    "upto": lambda pool, chance: chance.randrange(1, 60),
    "attempts": lambda pool, chance: chance.randrange(1, 6),
    "letter_id": lambda pool, chance: chance.randrange(1, 5),
    "filename": _line,
    "stored_path": _line,
    "size": lambda pool, chance: chance.randrange(9),
    "attachment_id": lambda pool, chance: chance.randrange(1, 9),
    "max_in_progress": lambda pool, chance: chance.choice((None, None, 0, 1, 2, 4)),
    "max_in_progress_per_profile": lambda pool, chance: chance.choice((None, None, 1, 2)),
    "failure_limit": lambda pool, chance: chance.choice((None, 1, 3)),
    "events_before_s": lambda pool, chance: pool.now_s + chance.choice((-100, 0, 1_000)),
}
