"""Trees: the b-trees of tables and indexes, walked page by page past whatever is damaged in them.

What a forward scan, a backward scan and a search around bad pages would find is found in one walk: each child of a
node is read for itself, and the range of rowids of one that cannot be read is a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from kanban_shards.coordinator.hermes.salvage.layouts import Layout
from kanban_shards.coordinator.hermes.salvage.pages import (
    INDEX_LEAF,
    INDEX_NODE,
    TABLE_LEAF,
    TABLE_NODE,
    Page,
    Pages,
    Value,
    record,
)

LEAST, MOST = -(1 << 63) - 1, (1 << 63) - 1
# SQLite's own limit on the depth of a tree.
DEEPEST = 20


class VisitedPages:
    """Which pages some tree was seen to use, one byte each."""

    def __init__(self, pages: Pages) -> None:
        self._reached = bytearray(pages.count + 1)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and bool(self._reached[number])

    def add(self, number: int) -> None:
        """Page ``number`` belongs to a tree."""
        self._reached[number] = 1

    def take(self, page: Page) -> None:
        """``page``, and where its cells go on, belong to a tree."""
        self.add(page.number)
        for cell in page.cells:
            for number in cell.overflow:
                self.add(number)


@dataclass(frozen=True)
class StoredRow:
    """A row's record. ``in_place``: its rowid is where the tree would look for it."""

    key: int
    values: list[Value]
    payload: bytes
    page: int
    in_place: bool


@dataclass
class TableTree:
    """The tree of a table that begins at page ``root``. ``others``: layouts that a foreign page in it may have.

    ``gaps``: after ``rows`` was read, the ranges ``(above, up to)`` of rowids of which pages or cells are lost.
    """

    pages: Pages
    root: int
    layout: Layout
    visited: VisitedPages
    others: Collection[Layout]
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def rows(self) -> Iterator[StoredRow]:
        """Each row that can be read, in the tree's order."""
        nodes: set[int] = set()
        stack = [(self.root, LEAST, MOST, 0)]
        while stack:
            number, above, up_to, depth = stack.pop()
            page = self.pages.page(number)
            if page is not None and page.kind == TABLE_NODE and number not in nodes and depth < DEEPEST:
                nodes.add(number)
                stack += reversed([(*child, depth + 1) for child in self._children(page, above, up_to)])
                self.visited.add(number)
            elif page is not None and page.kind == TABLE_LEAF and number not in self.visited:
                yield from self._leaf(page, above, up_to)
            else:
                self.gaps.append((above, up_to))

    def _children(self, page: Page, above: int, up_to: int) -> Iterator[tuple[int, int, int]]:
        if page.broken:
            self.gaps.append((above, up_to))
        after = above
        for cell in page.cells:
            in_order = after < cell.key <= up_to
            yield (cell.child, after, cell.key) if in_order else (cell.child, above, up_to)
            after = cell.key if in_order else after
        yield page.right, after, up_to

    def _leaf(self, page: Page, above: int, up_to: int) -> Iterator[StoredRow]:
        rows = []
        for cell in page.cells:
            values = record(cell.payload, self.pages.encoding)
            if values is not None and self._is_ours(values):
                rows.append((cell, values))
        if page.cells and not rows:  # another table's page, which that one still wants
            self.gaps.append((above, up_to))
            return
        if page.broken or len(rows) < len(page.cells) or (not rows and page.number != self.root):
            self.gaps.append((above, up_to))
        self.visited.take(page)
        last = above
        for cell, values in rows:
            in_place = last < cell.key <= up_to
            if in_place:
                last = cell.key
            else:
                self.gaps += [(above, up_to), (cell.key - 1, cell.key)]
            yield StoredRow(cell.key, values, cell.payload, page.number, in_place)

    def _is_ours(self, values: list[Value]) -> bool:
        if self.layout.fits(values):
            return True
        # A value of an unforeseen type, in a row that is nobody else's, is kept.
        return self.layout.may_be(values) and not any(each.fits(values) for each in self.others)


@dataclass
class IndexTree:
    """The tree of an index over ``columns`` of a table with ``layout``. ``faulty``: after ``entries``, whether some of
    it could not be read."""

    pages: Pages
    root: int
    columns: tuple[str, ...]
    layout: Layout
    visited: VisitedPages
    faulty: bool = False

    def entries(self) -> Iterator[tuple[int, dict[str, Value]]]:
        """``(rowid, named values)`` of each entry that can be read, in no particular order."""
        seen: set[int] = set()
        stack = [(self.root, 0)]
        while stack:
            number, depth = stack.pop()
            page = self.pages.page(number)
            if page is None or page.kind not in (INDEX_LEAF, INDEX_NODE) or number in seen or depth > DEEPEST:
                self.faulty = True
                continue
            seen.add(number)
            if page.kind == INDEX_NODE:
                stack += [(cell.child, depth + 1) for cell in page.cells] + [(page.right, depth + 1)]
            found = list(entries_of(page, self.pages.encoding, self.columns, self.layout))
            if page.broken or len(found) < len(page.cells):
                self.faulty = True
            if found or not page.cells:  # else another index's page, which that one still wants
                self.visited.take(page)
            yield from found


def entries_of(
    page: Page, encoding: str, columns: tuple[str, ...], layout: Layout
) -> Iterator[tuple[int, dict[str, Value]]]:
    """``(rowid, named values)`` of each cell of ``page`` that can be an entry of an index over ``columns``."""
    known = {column.name: column for column in layout.columns}
    for cell in page.cells:
        values = record(cell.payload, encoding)
        if values is None or len(values) != len(columns) + 1 or not isinstance(values[-1], int):
            continue
        named = dict(zip(columns, values, strict=False))
        if all(known[name].rowid or known[name].accepts(value) for name, value in named.items()):
            yield values[-1], {name: value for name, value in named.items() if not known[name].rowid}


class Gaps:
    """Ranges of rowids, to ask whether one lies in any of them."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        merged: list[tuple[int, int]] = []
        for above, up_to in sorted(ranges):
            if merged and above <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(up_to, merged[-1][1]))
            else:
                merged.append((above, up_to))
        self._above = [above for above, _ in merged]
        self._up_to = [up_to for _, up_to in merged]

    def __bool__(self) -> bool:
        return bool(self._above)

    def within(self, last: int) -> list[tuple[int, int]]:
        """The first and last rowid of each range, of those that can have been given: 1 to ``last``."""
        ranges = [(max(above + 1, 1), min(up_to, last)) for above, up_to in zip(self._above, self._up_to, strict=True)]
        return [(first, end) for first, end in ranges if first <= end]

    def __contains__(self, key: int) -> bool:
        place = bisect_right(self._above, key - 1) - 1
        return place >= 0 and key <= self._up_to[place]
