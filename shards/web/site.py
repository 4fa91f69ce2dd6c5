"""What every page is made of: the boards that are open, who writes, and the templates. Runs in the reader."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined

from kanban_shards import inline_merge
from kanban_shards.board import Board
from kanban_shards.boards import boards, find_board, read_metadata
from kanban_shards.cards import Picture, look, look_now, names
from kanban_shards.errors import BoardMissing, LawBroken, UnknownBoard
from kanban_shards.filters import Filters
from kanban_shards.gateway import Gateway
from kanban_shards.past import History, PastBoard
from kanban_shards.paths import BoardPaths
from kanban_shards.web import looks
from kanban_shards.web.wire import Setup

# For how long a form waits for its verdict; what takes longer is decided later, and the page says so.
PATIENCE_S = 10.0
# So long a look at a board serves whoever looks at the same, unless something was merged since. Heartbeats are not.
REUSED_S = 2.0
LONGEST_NAME = 60


@dataclass(frozen=True)
class BoardLink:
    """A board of the home, as the list of boards shows it."""

    slug: str
    name: str
    is_here: bool


class Site:
    """The boards of a home, open for reading, and for ``writer`` to write. Use it as a context manager. Its methods may
    be called from several threads."""

    def __init__(self, setup: Setup) -> None:
        self.first = BoardPaths(Path(setup.folder), setup.slug)
        self.writer = setup.profile
        self.forms_key = setup.forms_key
        self._root = None if setup.root is None else Path(setup.root)
        self._exits = ExitStack()
        self._opening = threading.Lock()
        self._boards: dict[str, Board] = {}
        self._gateways: dict[str, Gateway] = {}
        self._histories: dict[str, History] = {}
        self._looking = threading.Lock()
        self._pictures: dict[tuple[str, str], tuple[float, Picture]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exits.close()

    def paths(self, slug: str) -> BoardPaths:
        """The files of the board ``slug``; "" for the first one. Raises InvalidName, UnknownBoard."""
        if slug in ("", self.first.slug):
            return self.first
        if self._root is None:
            raise UnknownBoard(slug=slug, path=self.first.folder)
        return find_board(self._root, slug)

    def board(self, slug: str) -> Board:
        """The board ``slug``, which is opened by its first read. Raises InvalidName, UnknownBoard."""
        paths = self.paths(slug)
        with self._opening:
            if paths.slug not in self._boards:
                self._boards[paths.slug] = self._exits.enter_context(Board(paths))
            return self._boards[paths.slug]

    def let_go(self, slug: str) -> None:
        """Open the board ``slug`` anew at the next read: it may be mended by then, in the very file that is open."""
        with self._opening:
            for board in [self._boards[each] for each in (slug or self.first.slug,) if each in self._boards]:
                board.close()

    def gateway(self, slug: str) -> Gateway:
        """The board ``slug`` for writing, as ``writer``. Raises LawBroken if nobody may write, InvalidName,
        UnknownBoard, and the StorageErrors of a shard that cannot be used."""
        paths, profile = self.paths(slug), self.writer
        if profile is None:
            raise LawBroken("a page that only shows the board was about to write")
        with self._opening:
            if paths.slug not in self._gateways:
                gateway = Gateway(profile, paths=paths, patience_s=PATIENCE_S)
                self._gateways[paths.slug] = self._exits.enter_context(gateway)
            return self._gateways[paths.slug]

    def picture(self, slug: str, board: Board, filters: Filters) -> Picture:
        """``board``, which is ``slug`` now or in the past, through ``filters``. Several browsers that look at the same
        are shown the same look, which is REUSED_S old at most. Raises as every read of a board does."""
        if isinstance(board, PastBoard):
            return look(board, filters)
        key = slug, filters.words()
        with self._looking:
            position, now = board.position(), time.monotonic()
            known = self._pictures.get(key)
            if known is None or known[0] + REUSED_S < now or known[1].position != position:
                known = self._pictures[key] = (now, look_now(board, filters))
                for old in [each for each, (made, _) in self._pictures.items() if made + REUSED_S < now]:
                    del self._pictures[old]
            return known[1]

    def people(self, slug: str) -> tuple[str, ...]:
        """Who is assigned to anything on the board ``slug``, which may have no task yet."""
        with suppress(BoardMissing):
            return names(self.board(slug), "assignee")
        return ()

    def history(self, slug: str) -> History:
        """The past of the board ``slug``. Raises InvalidName, UnknownBoard."""
        paths = self.paths(slug)
        with self._opening:
            if paths.slug not in self._histories:
                self._histories[paths.slug] = self._exits.enter_context(inline_merge.open_history(paths))
            return self._histories[paths.slug]

    def links(self, here: str) -> list[BoardLink]:
        """The boards of the home, for the list of boards on the page of the board ``here``."""
        found = {self.first.slug: self.first}
        if self._root is not None:
            found.update({paths.slug: paths for paths in boards(self._root)})
        return [BoardLink(slug, shown_name(paths), slug == here) for slug, paths in found.items()]

    def page(self, template: str, now_s: float | None, **facts: Any) -> str:
        """The page that ``template`` makes of ``facts``; every text in them is escaped. ``now_s``: from when ages
        count, seconds since 1970; None for the clock, which goes on."""
        still = now_s is not None
        return self._templates.get_template(template).render(
            site=self, now_s=now_s if still else time.time(), is_still=still, **facts
        )

    @cached_property
    def _templates(self) -> Environment:
        made = Environment(
            loader=PackageLoader("kanban_shards.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        made.filters.update(looks.FILTERS)
        return made


def shown_name(paths: BoardPaths) -> str:
    """What the board is called on a page; a ``board.json`` may say anything, and may be of anybody."""
    name = read_metadata(paths)["name"]
    return looks.short(name, LONGEST_NAME) if isinstance(name, str) and name.strip() else paths.slug
