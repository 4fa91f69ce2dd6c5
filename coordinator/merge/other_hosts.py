"""The other hosts of a shared board, as a coordinator deals with them: what they appended is fetched before a pass says
anything, and what keeps this host from them is noted for those who wait.

Nothing here is loaded for a board that is not shared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Self

from kanban_shards.changes.codec import Change
from kanban_shards.coordinator import rules
from kanban_shards.coordinator.ledger import Entry, FileLedger, Point
from kanban_shards.coordinator.merge import outage, sharing_mark
from kanban_shards.coordinator.merge.outage import Outage
from kanban_shards.coordinator.merge.replay import ProgressCallback
from kanban_shards.coordinator.merge.residents import Residents
from kanban_shards.coordinator.merge.verdict_digest import VerdictDigest
from kanban_shards.coordinator.shared.copies import fetch_copy
from kanban_shards.coordinator.shared.errors import FarError
from kanban_shards.coordinator.shared.far import Far, Standing
from kanban_shards.coordinator.shared.ledger import SharedLedger, portions
from kanban_shards.coordinator.shared.opening import open_far
from kanban_shards.coordinator.shared.standings import as_heard, decided_otherwise
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.errors import InvalidName, LawBroken
from kanban_shards.heard import NOTED_EVERY_S, HostHeard, note_heard
from kanban_shards.paths import BoardPaths
from kanban_shards.sharing import Sharing, read_sharing
from kanban_shards.storage import files
from kanban_shards.storage.locks import FileLock


class OtherHosts:
    """What a coordinator has of them. ``lock``: the coordinator's, held. ``sharing``: which ledger it is. ``far``: the
    way to the service, of a coordinator that stays; without one, a way of its own is opened."""

    def __init__(self, paths: BoardPaths, lock: FileLock, sharing: Sharing, far: Far | None) -> None:
        self._paths = paths
        self._lock = lock
        self._sharing = sharing
        self._stays = far is not None
        self._far = far or open_far(sharing, rules.VERSION)
        self._outage = Outage.read(lock)
        self._digest: VerdictDigest | None = None
        self._meet_at_s = 0.0
        self._note_at_s = 0.0
        self._residents: Residents | None = None
        self._is_marked = False
        self.troubles: set[str] = set()

    @property
    def residents(self) -> Residents:
        """Which profiles live on this host. Raises LawBroken before ``open``."""
        if self._residents is None:
            raise LawBroken("it was asked who lives on this host before its board was open")
        return self._residents

    @classmethod
    def of(cls, paths: BoardPaths, lock: FileLock, far: Far | None) -> Self | None:
        """None for a board that is not shared. Raises SharingStrange."""
        sharing = read_sharing(paths)
        return None if sharing is None else cls(paths, lock, sharing, far)

    def fetch_if_lost(self, progress: ProgressCallback) -> None:
        """Make this host's copy of the ledger again if it is gone. Raises FarError, Stopped by way of ``progress``."""
        if files.is_empty(self._paths.ledger):
            with self._noting():
                fetch_copy(self._paths, self._lock, self._far, self._sharing, rules.VERSION, progress)

    def open(self, copy: FileLedger, board: BoardState) -> None:
        """From here, ``copy`` and ``board`` are this host's, open for writing."""
        self._copy = copy
        self._residents = Residents(self._sharing.host, board.home_of)
        self._ledger = SharedLedger(copy, self._far, self._sharing, rules.VERSION, self._is_own)

    def now_ms(self) -> int:
        """As of SharedLedger."""
        return self._ledger.now_ms()

    def pull(self, progress: ProgressCallback = lambda done, total: None) -> set[str]:
        """Fetch what others appended; returns whose changes those are. Raises FarError."""
        with self._noting():
            came = self._ledger.pull(progress)
        if not self._is_marked:
            sharing_mark.note(self._copy, self._sharing)
            self._is_marked = True
        return came

    def is_time_to_pull(self) -> bool:
        """As of SharedLedger."""
        return self._ledger.is_time_to_pull()

    def append(self, changes: Sequence[Change], at_ms: int, behind: Point) -> list[Entry]:
        """As of SharedLedger."""
        with self._noting():
            return self._ledger.append(changes, at_ms, behind)

    def take_turn(self) -> set[str]:
        """As of SharedLedger."""
        with self._noting():
            return self._ledger.take_turn()

    def give_up_turn(self) -> set[str]:
        """For who took it and has nothing to append any more; a ``pull``."""
        return self.pull() if self._ledger.has_turn else set()

    def portions(self, board: BoardState, changes: Sequence[Change]) -> Iterator[list[Change]]:
        """``changes`` as they are sent, one portion at least, which may be empty; without those that came to the ledger
        by another way meanwhile."""
        left = self.still_next(board, changes)
        yield from portions(left, lambda change: change.body) if left else [[]]

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """While the service is asked: what keeps this host from it is noted beside the lock, and that it is over."""
        try:
            yield
        except FarError as error:
            self._outage = Outage.of(error, self._outage)
            outage.note(self._lock, self._outage)
            raise
        if self._residents is not None:
            self._residents.heard()
        if self._outage is not None:
            self._outage = None
            outage.note(self._lock, None)

    def meet(self, board: BoardState) -> None:
        """Say how far this host is, if it is time, and note how far all are, and who decided otherwise. For who just
        pulled: that the service answered is noted in any case. Raises FarError."""
        end, now_s = self._copy.head().position, time.monotonic()
        if self._stays and now_s >= self._meet_at_s and (hosts := self._met(board)) is not None:
            self._note_at_s = now_s + note_heard(self._paths, end, hosts, self.now_ms())
        elif now_s >= self._note_at_s:
            self._note_at_s = now_s + note_heard(self._paths, end, clock_ms=self.now_ms())

    def _met(self, board: BoardState) -> list[HostHeard] | None:
        """How far all hosts are, who were told how far this one is; None as long as it does not know that itself: most
        of a large board is to be read first."""
        self._digest = self._digest or VerdictDigest(board, self._copy)
        position = self._digest.read_on()
        if position is None:
            return None
        self._meet_at_s = time.monotonic() + NOTED_EVERY_S
        mine = Standing(
            self._sharing.host, version("kanban-shards"), rules.VERSION, position, self._digest.at(position) or ""
        )
        with self._noting():
            standings = self._far.meet(mine)
        differing = self._digest.differing(standings)
        self.troubles = {decided_otherwise(*each) for each in differing.items()}
        return as_heard(standings, self._sharing.host, differing)

    def close(self) -> None:
        """Let go of the service, if this coordinator alone asked it."""
        if not self._stays:
            self._far.close()

    def _is_own(self, profile: str) -> bool:
        try:
            return self._paths.shard(profile).exists()
        except InvalidName:
            return False

    def still_next(self, board: BoardState, changes: Sequence[Change]) -> list[Change]:
        """Those of ``changes``, of any profiles, that continue what the board shows of their profiles. The others are
        in the ledger: an append that was taken for failed had been made after all; or their profile moved to another
        host."""
        reached: dict[str, tuple[int, str]] = {}
        left = []
        for change in changes:
            seq, digest = reached.get(change.profile) or board.watermark(change.profile)
            continues = change.seq == seq + 1 and (not seq or change.continues(digest))
            if continues and self.residents.lives_here(change.profile):
                reached[change.profile] = change.seq, change.digest
                left.append(change)
        return left
