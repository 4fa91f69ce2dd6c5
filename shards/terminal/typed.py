"""What is typed after ``/``, read as filters: words to look for, with ``assignee:amy tenant:x status:ready
needs:person`` among them."""

from __future__ import annotations

from kanban_shards.filters import Filters
from kanban_shards.records import STATUSES, Status

HELP = "words, assignee:NAME, tenant:NAME, status:NAME, needs:person"


class Nonsense(ValueError):
    """A filter that cannot be meant; its text says why."""


def read(words: str) -> Filters:
    """The filters that ``words`` say. A word with a colon that is none of ours is looked for. Raises Nonsense."""
    text: list[str] = []
    named = {"assignee": "", "tenant": ""}
    statuses: list[Status] = []
    needs = False
    for word in words.split():
        name, colon, value = word.partition(":")
        if colon and name in named:
            named[name] = value
        elif colon and name == "status":
            statuses.append(_status(value))
        elif colon and name == "needs":
            if value != "person":
                raise Nonsense("needs:person is what there is")
            needs = True
        else:
            text.append(word)
    return Filters(" ".join(text), named["assignee"], named["tenant"], tuple(statuses), needs)


def written(filters: Filters) -> str:
    """The words that ``read`` reads as ``filters``."""
    named = [("assignee", filters.assignee), ("tenant", filters.tenant), ("needs", "person" if filters.needs else "")]
    named += [("status", status) for status in filters.statuses]
    return " ".join([*filter(None, [filters.text]), *(f"{name}:{value}" for name, value in named if value)])


def _status(value: str) -> Status:
    for status in STATUSES:
        if status == value:
            return status
    raise Nonsense(f"there is no status {value!r}: {', '.join(STATUSES)}")
