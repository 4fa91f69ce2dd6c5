"""Refusals: why a change does not apply. A rule raises one; nothing that it wrote before stays."""

from __future__ import annotations

from kanban_shards.errors import LawBroken

# The closed set of reasons. docs/design/rule.md, "Verdicts", explains each; a test holds the two against each other.
REASONS = frozenset(
    {
        "stale",  # rule 2: not the owner, and had not seen everything
        "unknown_task",
        "unknown_parent",
        "wrong_status",  # rule 6: not legal where the task stands
        "late",  # rule 3: that run is over
        "not_your_run",  # rule 3: the run belongs to other profiles
        "gone",  # the task was deleted
        "parents_open",
        "at_capacity",
        "cooling_down",
        "phantom_cards",
        "not_your_chat",
        "no_subscription",
        "nothing_ready",
        "duplicate",  # a live task has this idempotency key
        "taken_id",  # a task with this id exists
        "cycle",
        "second_home",  # the profile lives on another host
        "unreadable",  # no kind that this program knows, or no such body
    }
)


class Refusal(Exception):
    """The rule says no. ``facts`` are for programs, ``sentence`` for people."""

    def __init__(self, reason: str, sentence: str, **facts: object) -> None:
        if reason not in REASONS:
            raise LawBroken(f'{reason!r} is no reason of docs/design/rule.md, "Verdicts"')
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.facts = facts
