"""What an agent does about a refusal: the coordinator's sentence says what happened, and this what to do."""

from __future__ import annotations

from types import MappingProxyType

from kanban_shards.errors import KanbanError, Refused

# For every reason that a call of a tool can be refused with.
WHAT_TO_DO = MappingProxyType(
    {
        "stale": "Look at it with `show`, and call again if that is still what you want.",
        "unknown_task": "`list` shows the tasks there are.",
        "unknown_parent": "Check its id with `list`, and call again.",
        "wrong_status": "`show` says how it stands and who works on it; take another one with `claim_next`.",
        "late": "Stop working on it, for it is not yours any more. What you said was kept with the task; `show` says "
        "what became of it.",
        "not_your_run": "Leave it to the profile that works on it; `comment` tells that one something.",
        "gone": "There is nothing left to do about it.",
        "parents_open": "`show` names the tasks that have to be done first; take one of those, or `claim_next`.",
        "at_capacity": "Complete what you have, or ask again later with `claim_next`.",
        "cooling_down": "Take another task with `claim_next`, or claim this one later.",
        "nothing_ready": "Ask again later.",
        "phantom_cards": "Call again with the tasks that your run made, or without `created_cards`.",
        "duplicate": "Go on with that task.",
        "taken_id": "Call again; another id is drawn.",
        "unreadable": "Tell a person that the program which merges has to be updated, and go on with something else.",
        "second_home": "Tell a person, and go on with something else: this profile lives on another host.",
        "cycle": "`show` names what waits for what; link the other way round, or not at all.",
    }
)


def told(error: KanbanError) -> str:
    """What happened, and what to do next, for an agent."""
    if not isinstance(error, Refused):
        return str(error)
    sentence = str(error).rstrip(".")
    return f"Refused ({error.reason}): {sentence}. {WHAT_TO_DO[error.reason]}"
