"""The past, as a reader gets it: the board as it stood, what became of a task, and how far back that goes.

``inline_merge.open_history`` gives these; the coordinator makes them of the ledger (coordinator/history).
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, Literal, Self

import msgspec

from kanban_shards.board import Board
from kanban_shards.paths import BoardPaths


class PastBoard(Board):
    """The board as it stood at a position of the ledger, with every read that ``Board`` has; it never changes.

    ``at_ms``: when the last entry that it shows was decided, milliseconds since 1970, from which ages count; None for
    the empty board at position 0. It is a database of its own, not the file at ``paths``; whoever gave it closes it.
    """

    def __init__(self, paths: BoardPaths, scratch: sqlite3.Connection, at_ms: int | None) -> None:
        super().__init__(paths)
        self.at_ms = at_ms
        scratch.row_factory = sqlite3.Row
        self._scratch = scratch

    def close(self) -> None:
        """Nothing: whoever gave the board closes it."""

    def _open(self) -> sqlite3.Connection:
        return self._scratch

    def _now_s(self) -> int:
        return (self.at_ms or 0) // 1000


class Span(msgspec.Struct, frozen=True):
    """How far back the board can be shown, and what there is up to now: positions of the ledger. ``first_ms``,
    ``last_ms``: when the first and the last entry that are kept were decided, milliseconds since 1970; None if none is.
    """

    first: int
    last: int
    first_ms: int | None
    last_ms: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class TaskChange(msgspec.Struct, frozen=True):
    """A change of a task, with what became of it.

    ``position``: in the ledger. ``at_ms``: when it was decided, by the coordinator's clock; ``written_ms``: when it was
    written, by its author's; both in milliseconds since 1970. ``profile``, ``seq``: its author and its number in that
    shard. ``task_id``: the task that it names; empty where its author left the choice to the coordinator. ``body``:
    what was asked for; of a change that cannot be read whatever it was. ``reason``, ``why``: of a refusal, in a word
    and as a sentence. ``answer``: what its author was told. ``missed``: what its author had not seen of the task then,
    ``{profile: seq}``. ``sentence``: all this for people, without the time.
    """

    position: int
    at_ms: int
    written_ms: int
    profile: str
    seq: int
    task_id: str
    kind: str
    body: Any
    verdict: Literal["applied", "refused"]
    reason: str | None
    why: str | None
    answer: dict[str, Any]
    missed: dict[str, int]
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class TaskHistory(msgspec.Struct, frozen=True):
    """The changes of a task, oldest first. ``dropped_upto``: a compaction dropped the changes up to this position, of
    which only the refused ones and the coordinator's own were kept; 0 if there was none."""

    task_id: str
    changes: list[TaskChange]
    dropped_upto: int

    def dropped_sentence(self) -> str | None:
        """What is missing, for people; None if nothing is."""
        if not self.dropped_upto:
            return None
        return (
            f"What was applied up to position {self.dropped_upto} was dropped by a compaction; what was refused is "
            "still here."
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class History(ABC):
    """The past of a board. Safe to use from several threads, not across a fork. Use it as a context manager, or
    ``close`` it. What every call may raise: the StorageErrors of a ledger or a snapshot that cannot be read.
    """

    @abstractmethod
    def span(self) -> Span:
        """How far back the board can be shown."""

    @abstractmethod
    def position_at(self, at_ms: int) -> int:
        """The position at the moment ``at_ms``, milliseconds since 1970: of an entry that was decided by then, while
        the next one was not; where the coordinator's clock was set back, there may be several. Raises HistoryGone."""

    @abstractmethod
    def board_at(self, *, position: int | None = None, at_ms: int | None = None) -> AbstractContextManager[PastBoard]:
        """The board as it stood at ``position``, or at the moment ``at_ms`` (milliseconds since 1970), for use inside
        the block; one of the two is given. The first look may take as long as a replay. Raises HistoryGone,
        NoSuchPosition, DiskFull."""

    @abstractmethod
    def of_task(self, task_id: str) -> TaskHistory:
        """What was done to the task, and by whom, as far as it is kept. Raises UnknownTask if nothing is known of it,
        InvalidTaskId, and the StorageErrors of the board."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is kept for the next look."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
