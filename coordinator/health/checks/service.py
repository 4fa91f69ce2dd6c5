"""The service in which hosts that share a board agree: asked by the doctor alone, and for nothing but an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from kanban_shards import wording
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.shared.clock import STRANGE_MS
from kanban_shards.coordinator.shared.errors import AnotherLedger, OtherRules, Unreachable
from kanban_shards.coordinator.shared.far import Page
from kanban_shards.coordinator.shared.opening import open_far
from kanban_shards.errors import SharingStrange
from kanban_shards.health import NOTE, OK, WARNING, Finding
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, read_sharing
from kanban_shards.storage import files

# A clock that is further from the server's is wrong, or the server's is.
CLOCK_S = 60.0


def service(paths: BoardPaths) -> Iterator[Finding]:
    """Whether the service of a shared board answers, how soon, and with this board's ledger; nothing of another board.
    Raises FarError, which says what to do."""
    try:
        sharing = read_sharing(paths)
    except SharingStrange:  # said where the hosts are judged
        return
    if sharing is None:
        return
    with closing(open_far(sharing, rules.VERSION)) as far:
        try:
            held = _held(paths)
            far.read(held)  # makes the connection
            began_s = time.monotonic()
            page = far.read(held)
            took_ms = (time.monotonic() - began_s) * 1_000
        except Unreachable as error:
            yield Finding("service", WARNING, str(error))
            return
        _check(page, sharing, far.server)
        entries = wording.many(page.end.position, "entry")
        yield Finding("service", OK, f"{far.server} answers within {took_ms:.0f} ms; its ledger has {entries}.")
        yield from (Finding("service", NOTE, remark) for remark in far.remarks())
    ahead_s = time.time() - page.clock_ms / 1_000
    if abs(ahead_s) > CLOCK_S:
        side = "ahead of" if ahead_s > 0 else "behind"
        yield Finding(
            "service",
            NOTE if abs(ahead_s) * 1_000 <= STRANGE_MS else WARNING,
            f"The clock of this machine is {wording.age(abs(ahead_s))} {side} the server's, by which entries are "
            "stamped; `timedatectl` shows whether it is this one that is wrong.",
        )


def _check(page: Page, sharing: Sharing, server: str) -> None:
    """Raise AnotherLedger, OtherRules if this host would not append to what the service has."""
    if page.ledger_id != sharing.ledger_id:
        raise AnotherLedger(path=server, board=sharing.board, found=page.ledger_id, expected=sharing.ledger_id)
    if page.rules != rules.VERSION:
        raise OtherRules(path=server, theirs=page.rules, mine=rules.VERSION)


def _held(paths: BoardPaths) -> int:
    """How many entries this host has, so that few are fetched."""
    if files.is_empty(paths.ledger):
        return 0
    with closing(FileLedger(paths.ledger)) as ledger:
        return ledger.head().position
