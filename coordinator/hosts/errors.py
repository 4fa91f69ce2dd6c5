"""What can go wrong for a host that joins others, or leaves them; see shards/errors.py."""

from __future__ import annotations

from kanban_shards.coordinator.shared.errors import FarError
from kanban_shards.errors import KanbanError

# --- 1: refused, or not possible as things stand ---------------------------------------------------------------


class SharedElsewhere(KanbanError):
    template = (
        "{board} is shared already, over the service {service} and as the host {host}; `kanban-merge unshare` ends "
        "that first. Nothing was changed."
    )
    board: object
    service: str
    host: str


class NotShared(KanbanError):
    template = "{board} is not shared with other hosts; `kanban-merge share SERVICE` begins that."
    board: object


class HostTaken(KanbanError):
    template = (
        "Another host shares this board as {host}, and said so {ago}; give this one another name with --host. Nothing "
        "was changed. (If it is this very host that was set up anew, repeat this in a minute.)"
    )
    host: str
    ago: str


class HomeIsACopy(KanbanError):
    template = (
        "Another home shares this board as {host}, and said so {ago}, later than this one did: one of them is a copy "
        "of the other. Stop that one and repeat this in a minute; or move the files of the board here away and join "
        "with an empty one, under another name (--host). Nothing was changed. (If no other home does: in a minute.)"
    )
    host: str
    ago: str


class LivesNowhere(KanbanError):
    template = "No profile {profile} wrote anything on {board} yet; it lives on the host on which it does so first."
    profile: str
    board: object


# --- 3: a ledger -------------------------------------------------------------------------------------------------


class HistoryOfItsOwn(FarError):
    template = (
        "The shared ledger in {path} has {held} entries already, and this board has a history of its own of {mine}; "
        "two histories cannot become one. Share it as another board (--board), or move the files of this one away and "
        "join with an empty one. Nothing was changed."
    )
    held: int
    mine: int


class NotFilledYet(FarError):
    template = (
        "The shared ledger in {path} ends at entry {held}, and the host {host} has {position}: it is being filled, or "
        "lost its tail. Repeat this when that host has put its entries there (its daemon does, or `kanban-merge share` "
        "repeated there). Nothing was changed."
    )
    held: int
    host: str
    position: int


class BeginsLate(FarError):
    template = (
        "This board's ledger begins after entry {base}, since a compaction dropped what came before, so it cannot fill "
        "the shared ledger in {path}. Restore a backup from before that compaction into a home of its own, and share "
        "that; or join with an empty board. Nothing was changed."
    )
    base: int
