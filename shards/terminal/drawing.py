"""How a card, a column and a task look in a terminal, whoever shows them: texts of rich's, made printable.

What others wrote reaches the terminal through ``plain`` alone, which takes the characters out that would draw on it.
"""

from __future__ import annotations

from rich.text import Text

from kanban_shards import wording
from kanban_shards.cards import Card, Column
from kanban_shards.records import Status

COLORS: dict[Status, str] = {
    "triage": "magenta",
    "todo": "blue",
    "scheduled": "blue",
    "ready": "green",
    "running": "cyan",
    "blocked": "red",
    "review": "yellow",
    "done": "bright_black",
    "archived": "bright_black",
}
# What stands before the title of a card.
NEEDS_A_PERSON = "! "
CHANGED = "* "


def plain(said: str, style: str = "") -> Text:
    """One line of what somebody wrote, without a character that draws."""
    return Text(wording.printable(said), style=style)


def heading(column: Column) -> str:
    """What stands above a column: its status, and how many tasks it has."""
    return f"{column.status} {column.count}"


def card(shown: Card, now_s: float, has_changed: bool = False) -> Text:
    """A card in two lines: what it is called, and what one has to know of it where it stands."""
    told = Text()
    if shown.needs_a_person:
        told.append(NEEDS_A_PERSON, style="bold red")
    if has_changed:
        told.append(CHANGED, style="bold yellow")
    told.append_text(plain(wording.clip(shown.title)))
    told.append("\n  ")
    told.append_text(plain(", ".join(filter(None, _facts(shown, now_s))), style="dim"))
    return told


def more(column: Column) -> Text:
    """What stands below a column that has more cards than are shown; empty if it has not."""
    return Text(f"… {column.hidden} more", style="italic") if column.hidden else Text()


def _facts(shown: Card, now_s: float) -> list[str]:
    who = shown.assignee or "nobody"
    priority = f"p{shown.priority}" if shown.priority else ""
    if shown.status == "running":
        return [shown.runner or who, _lease(shown, now_s), priority]
    if shown.status in ("done", "archived"):
        return [who, "" if shown.ended_s is None else wording.ago(shown.ended_s, now_s)]
    waits = f"waits for {shown.waiting}" if shown.waiting else ""
    wakes = wording.ago(shown.wakes_s, now_s) if shown.wakes_s is not None and shown.wakes_s > now_s else ""
    return [who, shown.block_kind or waits or wakes or wording.ago(shown.created_s, now_s), priority]


def _lease(shown: Card, now_s: float) -> str:
    if shown.until_s is None:
        return ""
    left = wording.ago(shown.until_s, now_s).removeprefix("in ")
    return f"{left} left" if shown.until_s > now_s else "lease over"
