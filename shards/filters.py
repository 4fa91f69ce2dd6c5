"""Filters: which tasks of a board are shown, and how; and how an address of the page says that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from kanban_shards.paths import spellings
from kanban_shards.records import STATUSES, Status

Lanes = Literal["", "assignee", "tenant"]
LANES: tuple[Lanes, ...] = get_args(Lanes)
SHOWN = 25
SHOWN_IN_LANES = 8
MORE = 100
# Of one column; more are found by filters.
MOST = 2_000
# How the address spells a task that is nobody's, or has no tenant.
NOBODY = "-"
# What a person has to do something about: blocked for a reason that does not pass by itself, or a chat was not told.
NEEDS_A_PERSON = (
    "((t.status = 'blocked' AND coalesce(t.block_kind, '') NOT IN ('transient', 'dependency')) OR EXISTS "
    "(SELECT 1 FROM merge_dead_letters d WHERE d.task_id = t.id AND d.resend = 0))"
)
_LANES_NAMED: dict[str, Lanes] = {lanes: lanes for lanes in LANES}
_Query = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Filters:
    """Which tasks are shown, and how.

    ``text``: in the title, the text or the beginning of the id. ``assignee``, ``tenant``: NOBODY for none. ``needs``:
    only those that need a person. ``lanes``: rows by this. ``more``: how many cards of a status are shown, where that
    is not the usual number. ``at``: as it stood then (shards/web/then.py); "" for now.
    """

    text: str = ""
    assignee: str = ""
    tenant: str = ""
    statuses: tuple[Status, ...] = ()
    needs: bool = False
    lanes: Lanes = ""
    more: dict[str, int] = field(default_factory=dict)
    at: str = ""

    @classmethod
    def read(cls, query: _Query) -> Filters:
        """Those of an address. What means nothing there is left out."""
        last = dict(query)
        return cls(
            text=last.get("q", "").strip()[:200],
            assignee=last.get("assignee", "").strip()[:100],
            tenant=last.get("tenant", "").strip()[:200],
            statuses=tuple(status for status in STATUSES if ("status", status) in query),
            needs=last.get("needs") == "person",
            at=last.get("at", "").strip()[:100],
            lanes=_LANES_NAMED.get(last.get("lanes", ""), ""),
            more={
                status: min(MOST, int(count))
                for status in STATUSES
                if (count := last.get(f"n-{status}", "")).isascii() and count.isdigit()
            },
        )

    def words(self, **other: Any) -> str:
        """The words of the address, with ``other`` in the place of its own; begins with ``?`` if there are any."""
        meant = replace(self, **other)
        given = [
            ("q", meant.text),
            ("assignee", meant.assignee),
            ("tenant", meant.tenant),
            ("lanes", meant.lanes),
            ("at", meant.at),
        ]
        given += [("status", status) for status in meant.statuses] + [("needs", "person")] * meant.needs
        given += [(f"n-{status}", str(count)) for status, count in meant.more.items()]
        told = urlencode([(name, value) for name, value in given if value])
        return f"?{told}" if told else ""

    def words_for_more(self, status: Status, shown: int) -> str:
        """The words of the address that shows more of a column that shows so many."""
        return self.words(more={**self.more, status: min(MOST, shown + MORE)})

    @property
    def narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.text or self.assignee or self.tenant or self.statuses or self.needs)

    def limit(self, status: Status) -> int:
        """How many cards of ``status`` are shown, in each lane."""
        return self.more.get(status, SHOWN_IN_LANES if self.lanes else SHOWN)

    def conditions(self) -> tuple[list[str], dict[str, str]]:
        """What a task has to be, without its status, in SQL, and what is put in its places."""
        wanted: list[str] = []
        given: dict[str, str] = {}
        if self.text:
            wanted.append(
                "(t.title LIKE :text ESCAPE '!' OR t.body LIKE :text ESCAPE '!' OR t.id LIKE :start ESCAPE '!')"
            )
            literal = self.text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
            given |= {"text": f"%{literal}%", "start": f"{literal}%"}
        for column, value in (("assignee", self.assignee), ("tenant", self.tenant)):
            if value == NOBODY:
                wanted.append(f"t.{column} IS NULL")
            elif value and column == "assignee":
                wanted.append("t.assignee IN (:assignee, :spelled)")
                given["assignee"], given["spelled"] = spellings(value)
            elif value:
                wanted.append(f"t.{column} = :{column}")
                given[column] = value
        if self.needs:
            wanted.append(NEEDS_A_PERSON)
        return wanted, given
