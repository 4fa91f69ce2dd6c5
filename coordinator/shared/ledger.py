"""The ledger of a board that several hosts share: the order is agreed in a service, and this host keeps a copy.

The copy is ``kanban-ledger.db``, as on a board of one host, so whatever reads a ledger reads it as ever. An append goes
to the service first, which takes it only behind the entry that it names, and then into the copy. Whatever the service
holds and the copy lacks is fetched, checked and stored before this host says anything itself.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from kanban_shards import wording
from kanban_shards.changes.codec import Change
from kanban_shards.clocks import steady_ms
from kanban_shards.coordinator.errors import Overtaken
from kanban_shards.coordinator.ledger import Entry, FileLedger, Point, continued
from kanban_shards.coordinator.shared.clock import FarClock, stamp_ms
from kanban_shards.coordinator.shared.errors import (
    AnotherLedger,
    ClockStrange,
    FarBroken,
    OtherRules,
    Parted,
    TailGone,
)
from kanban_shards.coordinator.shared.far import PAGE_ENTRIES, Far, Page
from kanban_shards.sharing import Sharing

log = logging.getLogger("kanban-merge")

# A bell that was lost costs at most this.
PULL_EVERY_MS = 1_000
# What is sent at once, in bytes of bodies: over a slow link, others shall get between.
SENT_BYTES = 256 << 10

Progress = Callable[[int, int], object]
T = TypeVar("T")


class SharedLedger:
    """The copy and the service as one ledger. What is read is read of the copy; what is appended, or may be missing,
    goes through here.

    ``copy``: open for writing. ``far``: where the order is agreed; the caller closes it. ``sharing``: which ledger that
    is. ``rules``: the version of the rules that this host decides by. ``is_own``: whether a profile writes on this
    host. Whatever asks the service raises FarError, and nothing was lost then.
    """

    def __init__(
        self, copy: FileLedger, far: Far, sharing: Sharing, rules: int, is_own: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._copy = copy
        self._far = far
        self._sharing = sharing
        self._rules = rules
        self._is_own = is_own
        self._clock = FarClock()
        self._strange_ms = 0
        self._in_doubt = True
        self.has_turn = False
        self._parted: tuple[Point, Parted] | None = None

    def now_ms(self) -> int:
        """The time, milliseconds since 1970: the service's, which is no host's own. What is over or due is so by this
        time, and not by that of the newest entry, which a wrong answer may have stamped."""
        now_ms = self._clock.now_ms()
        return (self._copy.newest_ms() or 0) if now_ms is None else now_ms

    def is_time_to_pull(self) -> bool:
        """Whether the service may hold more than was read: its bell rings, a second went by, or what became of the last
        append is not known."""
        heard_ms = self._clock.heard_ms
        return (
            self._in_doubt
            or heard_ms is None
            or steady_ms() - heard_ms >= PULL_EVERY_MS
            or _is_readable(self._far.bell())
        )

    def append(self, changes: Sequence[Change], at_ms: int, behind: Point) -> list[Entry]:
        """As of FileLedger, with the service first: what this host has, the service has. ``at_ms``: what ``now_ms``
        said. Raises Overtaken if somebody else appended meanwhile."""
        entries = continued(changes, stamp_ms(at_ms, self._copy.newest_ms()), behind)
        self._in_doubt, self.has_turn = True, False
        self._far.append(entries, behind)
        self._copy.store(entries, behind)
        self._in_doubt = False
        return entries

    def pull(self, progress: Progress = lambda done, total: None) -> set[str]:
        """Fetch, check and store what the copy lacks; returns whose changes came. What the service lost and the copy
        has is put back. ``progress`` is told after each page, and may raise to stop.

        Raises FarError: Parted if the two hold different histories, AnotherLedger, OtherRules, FarBroken, TailGone; and
        ClockStrange when all is fetched.
        """
        self.has_turn = False
        return self._follow(self._far.read, progress)

    def take_turn(self) -> set[str]:
        """As ``pull``, for whoever was overtaken: nobody else appends before this host's next append, or ``pull``."""
        self.has_turn = True
        return self._follow(self._far.turn, lambda done, total: None)

    def _follow(self, ask: Callable[[int], Page], progress: Progress) -> set[str]:
        came: set[str] = set()
        while True:
            start = end = self._copy.head()
            page = self._asked(ask, end.position)
            if page.here == end.digest:
                for entry in page.entries:
                    if not entry.continues(end):
                        raise FarBroken(path=self._far.server, position=end.position + 1)
                    end = entry.point
                if page.entries:
                    self._copy.store(page.entries, start)
                    came |= {entry.change.profile for entry in page.entries}
                    progress(end.position, page.end.position)
                if end == page.end:
                    self._in_doubt = False
                    if self._strange_ms:
                        raise ClockStrange(path=self._far.server, off_ms=self._strange_ms)
                    return came
                if not page.entries:
                    raise FarBroken(path=self._far.server, position=end.position + 1)
            elif page.here is None and self._holds(page.end):
                self._put_back(page.end, end)
            else:
                raise self._how_they_parted(end)

    def _asked(self, ask: Callable[[int], Page], position: int) -> Page:
        asked_ms = steady_ms()
        page = ask(position)
        if page.ledger_id != self._sharing.ledger_id:
            raise AnotherLedger(
                path=self._far.server,
                board=self._sharing.board,
                found=page.ledger_id,
                expected=self._sharing.ledger_id,
            )
        if page.rules > self._rules:  # what older rules decided, newer ones decide alike; not the other way round
            raise OtherRules(path=self._far.server, theirs=page.rules, mine=self._rules)
        newest_ms = page.entries[-1].at_ms if page.entries else self._copy.newest_ms()
        self._strange_ms = self._clock.heard(page.clock_ms, asked_ms, newest_ms)
        return page

    def _holds(self, point: Point) -> bool:
        """Whether ``point`` is in the copy, or may be in what the copy dropped."""
        base = self._copy.base()
        return point.position < base.position or (
            point.position <= self._copy.head().position and self._copy.digest_at(point.position) == point.digest
        )

    def _put_back(self, end: Point, whole: Point) -> None:
        """The service lost what it had behind ``end``, in a failover or by an old dump, and this host has it up to
        ``whole``. Several hosts may notice that at once: the first one puts a portion back, the others read it."""
        base = self._copy.base().position
        if end.position < base:
            raise TailGone(path=self._far.server, held=end.position, base=base)
        lost = whole.position - end.position
        for portion in portions(self._copy.after(end.position), lambda entry: entry.change.body):
            try:
                self._far.append(portion, end)
            except Overtaken:
                return
            end = portion[-1].point
        log.warning(
            "the shared ledger in %s had lost its last %s; this host put them back",
            self._far.server,
            wording.many(lost, "entry"),
        )

    def _how_they_parted(self, end: Point) -> Parted:
        """What to raise because the service went another way than this host; looked for once for each ``end``."""
        if self._parted is None or self._parted[0] != end:
            position = self._first_other()
            lost = list(self._copy.after(max(position - 1, self._copy.base().position)))
            own = sum(self._is_own(entry.change.profile) for entry in lost)
            error = Parted(path=self._far.server, position=position, verdicts=len(lost), changes=own)
            self._parted = end, error
        return self._parted[1]

    def _first_other(self) -> int:
        """The first position at which the service holds another entry than this host, as far as the copy goes back."""
        base, head = self._copy.base().position, self._copy.head().position
        start, step = head, PAGE_ENTRIES // 2
        while True:
            start = max(base, start - step)
            page = self._asked(self._far.read, start)
            if start == base or page.here == self._copy.digest_at(start):
                break
            step *= 2
        if page.here != self._copy.digest_at(start):
            return start
        while page.entries:
            for entry in page.entries:
                if entry.position > head or entry.digest != self._copy.digest_at(entry.position):
                    return entry.position
            start = page.entries[-1].position
            page = self._asked(self._far.read, start)
        return start + 1


def portions(items: Iterable[T], body_of: Callable[[T], str]) -> Iterator[list[T]]:
    """``items`` as they are sent: PAGE_ENTRIES and SENT_BYTES of bodies at once, and one item at least."""
    portion: list[T] = []
    size_bytes = 0
    for item in items:
        size_bytes += len(body_of(item))
        if portion and (len(portion) == PAGE_ENTRIES or size_bytes > SENT_BYTES):
            yield portion
            portion, size_bytes = [], len(body_of(item))
        portion.append(item)
    if portion:
        yield portion


def _is_readable(descriptor: int) -> bool:
    if descriptor < 0:
        return False
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    return bool(waiting.poll(0))
