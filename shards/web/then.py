"""The past on a page: which board an address means, and the bar that leads through time. Runs in the reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

from kanban_shards.board import Board
from kanban_shards.moments import Past, past_of
from kanban_shards.past import PastBoard, Span
from kanban_shards.sentences import sentence
from kanban_shards.web.site import Site

# How an address spells "as it is now, with the bar".
NOW = "now"
# What is told of an entry is told of so many events of it at most.
EVENTS_TOLD = 5


@dataclass(frozen=True)
class News:
    """An event of the entry at which a board stands, in words, and the task that it is about."""

    task_id: str
    title: str
    sentence: str


@dataclass(frozen=True)
class Then:
    """Where in time a page stands. ``at``: as the address says it. ``position``: of the ledger; ``at_s``: when that
    entry was decided, seconds since 1970. ``span``: how far one can go. ``news``: what the entry brought."""

    at: str
    position: int
    at_s: int | None
    span: Span
    news: tuple[News, ...]

    @property
    def words(self) -> str:
        """The words of an address that stay with this place in time, with their question mark."""
        return f"?{urlencode({'at': self.at})}"

    @property
    def is_now(self) -> bool:
        """Whether nothing came after."""
        return self.position == self.span.last


@contextmanager
def shown(site: Site, slug: str, query: Sequence[tuple[str, str]]) -> Iterator[tuple[Board, Then | None]]:
    """The board that the address means, for use inside the block: as it is, or where it says ``at``, as it stood then.

    Raises InvalidMoment, what ``History.board_at`` raises, and as every read of a board does.
    """
    at = dict(query).get("at", "").strip()
    if not at:
        yield site.board(slug), None
        return
    history, live = site.history(slug), site.board(slug)
    span = history.span()
    place: Past = {"position": span.last} if at == NOW else past_of(at)
    position = place.get("position")
    if position is None:
        position = history.position_at(place.get("at_ms", 0))
    if position == span.last == live.position():  # what is shown already need not be replayed
        at_s = None if span.last_ms is None else span.last_ms // 1_000
        yield live, Then(at, position, at_s, span, _news(live))
        return
    with history.board_at(position=position) as past:
        at_s = None if past.at_ms is None else past.at_ms // 1_000
        yield past, Then(at, position, at_s, span, _news(past))


def now_s(board: Board) -> int | None:
    """From when ages on the board count, seconds since 1970; None for the clock."""
    return (board.at_ms or 0) // 1_000 if isinstance(board, PastBoard) else None


def _news(board: Board) -> tuple[News, ...]:
    """The newest events, as far as one moment brought them."""
    last = board.last_event_id()
    events = board.events(after=max(0, last - EVENTS_TOLD))
    told = [event for event in events if event.created_at == events[-1].created_at]
    titles = {event.task_id: task.title for event in told if (task := board.task(event.task_id))}
    return tuple(News(each.task_id, titles.get(each.task_id, ""), sentence(each)) for each in told[::-1])
