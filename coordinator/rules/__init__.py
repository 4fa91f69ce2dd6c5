"""The rules: one function for each kind of change, in one module for each noun.

A rule gets the board as it stands (coordinator.state), the entry, its body and, except for those that make or choose
one, the task. It writes its effects, returns what the author is told, or raises Refusal. It imports no clock and
opens no file.
"""

from __future__ import annotations

from collections.abc import Callable

from coordinator.rules import comments, links, runs, subscriptions, tasks

# These get no task: one makes it, the other chooses it. They return ``(task, answer)``.
NO_TASK_YET = frozenset({"create", "claim_next"})

RULES: dict[str, Callable] = {
    "create": tasks.create,
    "assign": tasks.assign,
    "edit": tasks.edit,
    "claim": runs.claim,
    "claim_next": runs.claim_next,
    "complete": runs.complete,
    "block": runs.block,
    "unblock": runs.unblock,
    "progress": runs.progress,
    "release": runs.release,
    "expire": runs.expire,
    "link": links.link,
    "unlink": links.unlink,
    "comment": comments.comment,
    "subscribe": subscriptions.subscribe,
    "unsubscribe": subscriptions.unsubscribe,
}
