"""One number that stands for all verdicts up to a position, by which hosts can tell that they decide alike.

It is the sum of the verdicts' digests, so it does not matter in which order they are added, and one can be taken off
again: a host that is further than another knows its own sum at the other one's position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from kanban_shards.coordinator.ledger import FileLedger
from kanban_shards.coordinator.shared.far import Standing
from kanban_shards.coordinator.state.board_state import BoardState

# How many verdicts are read at once: a board with a million is read in many passes.
AT_ONCE = 20_000
_SIZE = 16
_MODULUS = 1 << (8 * _SIZE)


class VerdictDigest:
    """Follows an open board and its ledger: reads what was decided before it began little by little, and what is
    decided since as it comes."""

    def __init__(self, board: BoardState, ledger: FileLedger) -> None:
        self._board = board
        self._ledger = ledger
        self._sum = 0
        self._position = board.position().position
        self._read_to: tuple[str, int] | None = ("", 0)

    def read_on(self) -> int | None:
        """Read AT_ONCE verdicts more, and those of what was decided since the last call; returns up to which position
        the sum goes, or None while earlier verdicts are left to be read."""
        if self._read_to is not None:
            rows = self._board.verdicts_behind(*self._read_to, AT_ONCE)
            self._sum += sum(_number(row) for row in rows if row[2] <= self._position)
            self._read_to = (rows[-1][0], rows[-1][1]) if len(rows) == AT_ONCE else None
        if self._read_to is not None:
            return None
        upto = self._board.position().position
        self._sum += self._of_entries(self._position, upto)
        self._position = upto
        return upto

    def at(self, position: int) -> str | None:
        """The sum up to ``position``, as text; None if this host is not so far, or further by more than AT_ONCE or by
        what its ledger has dropped."""
        if not max(self._position - AT_ONCE, self._ledger.base().position) <= position <= self._position:
            return None
        return f"{(self._sum - self._of_entries(position, self._position)) % _MODULUS:0{2 * _SIZE}x}"

    def differing(self, standings: Iterable[Standing]) -> dict[str, int]:
        """The hosts that decided something otherwise, of what both have decided, and how far each says it is. One that
        says nothing of its verdicts, as one that joins does, decided nothing otherwise."""
        return {
            each.host: each.position
            for each in standings
            if each.decided and self.at(each.position) not in (None, each.decided)
        }

    def _of_entries(self, after: int, upto: int) -> int:
        return sum(_number(self._board.verdict(*dot)) for dot in self._ledger.dots(after, upto))


def _number(row: tuple[Any, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(msgspec.json.encode(row), digest_size=_SIZE).digest())
