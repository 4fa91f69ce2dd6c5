"""Joining: a board becomes one that several hosts share. The first host begins the ledger in the service and fills it
with what it has; the others fetch that.

Two histories cannot become one, so a board joins whose ledger is the beginning of the shared one (an empty ledger is
the beginning of each), and one fills whose ledger the shared one is the beginning of. Killed on the way, it is
continued by repeating it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from typing import NamedTuple

from kanban_shards import wording
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.errors import LedgerBehind, Overtaken
from kanban_shards.coordinator.hosts.errors import (
    BeginsLate,
    HistoryOfItsOwn,
    HomeIsACopy,
    HostTaken,
    NotFilledYet,
    SharedElsewhere,
)
from kanban_shards.coordinator.hosts.following import OpenFar, Progress, follow, reached
from kanban_shards.coordinator.ledger import GENESIS, FileLedger, Point
from kanban_shards.coordinator.merge import sharing_mark
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.coordinator.merge.snapshots import read_start
from kanban_shards.coordinator.shared.errors import AnotherLedger, NoSharedLedger
from kanban_shards.coordinator.shared.far import Address, Far, Page, Standing
from kanban_shards.coordinator.shared.ledger import portions
from kanban_shards.coordinator.shared.standings import as_heard
from kanban_shards.errors import Damaged, SharingForgotten
from kanban_shards.heard import note_heard, read_heard
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, believed_in, write_sharing
from kanban_shards.storage import connections, files, sqlite
from kanban_shards.storage.locks import FileLock

# What became of it: the ledger was begun here, or filled further, or joined; or this board shares it already.
BEGUN, FILLED, JOINED, KNOWN = "begun", "filled", "joined", "known"
# A host that said something so short a while ago lives.
LIVES_MS = 60_000


class Plan(NamedTuple):
    """What is to be done. ``did``: BEGUN, FILLED, JOINED or KNOWN. ``send``, ``fetch``: how many entries go up to the
    service, and come from there. ``end``: where the shared ledger ends. ``hosts``: those that share it, without this
    one. ``ledger_id``: "" for one that is not begun. ``server``: the service, in words."""

    did: str
    send: int
    fetch: int
    end: Point
    hosts: list[Standing]
    ledger_id: str
    server: str


def share(
    paths: BoardPaths,
    lock: FileLock,
    address: Address,
    open_far: OpenFar,
    progress: Progress = lambda what, done, total: None,
    ephemeral: bool = False,
) -> Plan:
    """Have the board at ``paths`` share the ledger at ``address``, and merge what there is; returns what was done.

    ``lock``: the coordinator's, held. ``ephemeral``: as in Sharing. Raises what ``plan`` raises, FarError, and the
    StorageErrors of files.
    """
    _set_lost_ledger_aside(paths, lock)
    if sharing_mark.known(paths) is None:
        with suppress(SharingForgotten):  # the ledger is fetched again
            Coordinator(paths, lock).close()  # the files are there and sound, before anybody is told of them
    with closing(open_far(address)) as far:
        what = plan(paths, address, far)
        sharing = Sharing(
            service=address.service,
            board=address.board,
            ledger_id=what.ledger_id or secrets.token_hex(16),
            host=address.host,
            trust_network=address.trusts_network,
            ephemeral=ephemeral,
        )
        if what.did == BEGUN or what.send:
            begin_and_fill(paths, far, sharing, progress)
        write_sharing(paths, sharing)
    with reached(sharing, open_far) as far:  # as a host that knows which ledger it is, and may append
        shown = follow(paths, lock, far, sharing, progress)
        note_heard(paths, shown.position, as_heard(far.meet(_standing(address.host, shown)), address.host))
    return what


def plan(paths: BoardPaths, address: Address, far: Far) -> Plan:
    """What ``share`` would do. Changes nothing, here or there.

    Raises SharedElsewhere, HostTaken, HomeIsACopy, HistoryOfItsOwn, NotFilledYet, BeginsLate, FarError.
    """
    known = sharing_mark.known(paths)
    if known is not None and (known.service, known.host) != (address.service, address.host):
        raise SharedElsewhere(board=paths, service=known.service, host=known.host)
    with _own_ledger(paths) as (ledger, head, base):
        try:
            page = far.read(head.position)
        except NoSharedLedger:
            if known is None and ledger is None and head.position:
                raise sharing_mark.forgotten(paths) or LedgerBehind(
                    path=paths.ledger, shown=head.position, held=0
                ) from None
            if base.position:
                raise BeginsLate(path=far.server, base=base.position) from None
            return Plan(BEGUN, head.position, 0, Point(0, GENESIS), [], known.ledger_id if known else "", far.server)
        if known is not None and known.ledger_id != page.ledger_id:
            raise AnotherLedger(path=far.server, board=address.board, found=page.ledger_id, expected=known.ledger_id)
        hosts = far.meet(None)
        ago = _other_of_that_name(paths, address.host, hosts, page.clock_ms)
        others = [each for each in hosts if each.host != address.host]
        fetch = max(0, page.end.position - (head.position if ledger else 0))
        if known is not None:  # what is missing on either side goes its way with each pass
            if ago is not None:
                raise HomeIsACopy(host=address.host, ago=ago)
            return Plan(KNOWN, 0, fetch, page.end, others, page.ledger_id, far.server)
        how = _compared(ledger, head, base, page)
        if how is None:
            raise HistoryOfItsOwn(path=far.server, held=page.end.position, mine=head.position)
        if how == JOINED and ago is not None:  # who fills it may be the one that has that name, and was killed
            raise HostTaken(host=address.host, ago=ago)
        _check_is_filled(far.server, page.end, others)
        return Plan(
            how,
            head.position - page.end.position if how == FILLED else 0,
            fetch,
            page.end,
            others,
            page.ledger_id,
            far.server,
        )


def _set_lost_ledger_aside(paths: BoardPaths, lock: FileLock) -> None:
    """A damaged ledger that nothing can be made of but another history, so that it can be fetched again."""
    try:
        sharing_mark.known(paths)
    except Damaged as error:
        if error.path != paths.ledger or sharing_mark.forgotten(paths) is None:
            raise
        files.set_aside(paths.ledger, lock)


def _compared(ledger: FileLedger | None, head: Point, base: Point, page: Page) -> str | None:
    """JOINED if this host's ledger is the beginning of the shared one, FILLED if it is the other way round; None if
    each has something of its own."""
    if page.here == head.digest:
        return JOINED
    end = page.end
    if page.here is not None or ledger is None or end.position < base.position:
        return None
    return FILLED if ledger.digest_at(end.position) == end.digest else None


def _other_of_that_name(paths: BoardPaths, host: str, hosts: list[Standing], now_ms: int) -> str | None:
    """How long ago another home said that it is ``host``, if that was a moment ago. Each home notes what the service
    answered when it last said how far it is, so what the service heard later was said by another one."""
    for each in hosts:
        # One that lives says so every few seconds: a time that is long to come was said while the clock was ahead.
        if each.host == host and abs(now_ms - each.seen_ms) < LIVES_MS:
            heard = read_heard(paths, believed_in(paths))
            noted = (mine.seen_ms for mine in heard.hosts if mine.host == host) if heard else ()
            if each.seen_ms > max(noted, default=0):
                return f"{wording.age(max(0, now_ms - each.seen_ms) / 1_000)} ago"
    return None


def _check_is_filled(server: str, end: Point, others: list[Standing]) -> None:
    """Whoever fills a ledger says first how much that will be, and whoever has more than it holds will put that back:
    an entry of anybody else, in between, would keep it out."""
    for each in others:
        if each.position > end.position:
            raise NotFilledYet(path=server, held=end.position, host=each.host, position=each.position)


def begin_and_fill(paths: BoardPaths, far: Far, sharing: Sharing, progress: Progress) -> None:
    """Begin the ledger with the id of ``sharing``, if the service has none, and append what it lacks and this host has.
    Raises BeginsLate, HistoryOfItsOwn if somebody else appends meanwhile, FarError."""
    with _own_ledger(paths) as (ledger, head, base):
        far.begin(sharing.ledger_id)
        end = far.read(0).end
        if end.position < base.position:
            raise BeginsLate(path=far.server, base=base.position)
        met = far.meet(_standing(sharing.host, head))  # from here on, nobody joins a ledger that is not filled
        note_heard(paths, end.position, as_heard(met, sharing.host))
        done, total = 0, head.position - end.position
        left = ledger.after(end.position) if ledger and total > 0 else iter(())
        for portion in portions(left, lambda entry: entry.change.body):
            try:
                far.append(portion, end)
            except Overtaken as error:
                raise HistoryOfItsOwn(path=far.server, held=far.read(0).end.position, mine=head.position) from error
            end = portion[-1].point
            done += len(portion)
            progress("sent", done, total)


@contextmanager
def _own_ledger(paths: BoardPaths) -> Iterator[tuple[FileLedger | None, Point, Point]]:
    """The board's ledger, open for reading, where it ends and where it begins. Of one that is lost None, and where it
    ended, by the board."""
    if not files.is_empty(paths.ledger):
        with closing(FileLedger(paths.ledger)) as ledger:
            if ledger.head().position:
                yield ledger, ledger.head(), ledger.base()
                return
    yield None, _shown(paths), Point(0, GENESIS)


def _shown(paths: BoardPaths) -> Point:
    if files.is_empty(paths.board):
        return Point(0, GENESIS)
    with closing(sqlite.open_reader(paths.board, sqlite.BOARD)) as board, connections.explained(paths.board):
        start = read_start(board)
    return Point(start.position, start.digest)


def _standing(host: str, point: Point) -> Standing:
    return Standing(host, version("kanban-shards"), rules.VERSION, point.position, "")
