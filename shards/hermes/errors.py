"""Errors at the edge: what goes wrong on our side arrives as an exception that Hermes catches where it calls.

Hermes prints a ``ValueError`` or a ``RuntimeError`` as one sentence (its command, its tools, its REST calls), and its
watchers tell a board that is damaged from one that is busy by the classes of ``sqlite3``. So a trouble of the board is
one of those classes, and a ``RuntimeError`` too.
"""

from __future__ import annotations

import sqlite3

from kanban_shards.errors import (
    Damaged,
    FileHollow,
    ForeignFile,
    HistoryLost,
    KanbanError,
    LegacyBoard,
    NewerSchema,
    Refused,
    StrangeJournal,
    StrangeSchema,
    UnknownTask,
    UsageError,
)

# What waiting does not mend: the file is not what it should be.
_NOT_A_BOARD = (Damaged, FileHollow, ForeignFile, HistoryLost, LegacyBoard, NewerSchema, StrangeJournal, StrangeSchema)


class BoardDamaged(sqlite3.DatabaseError, RuntimeError):
    """The board, or what it is made of, cannot be used as it is. Its sentence says what to do."""


class BoardUnavailable(sqlite3.OperationalError, RuntimeError):
    """Nothing could be read, written or decided now: a file is busy or not writable, or a verdict is late."""


class WriteRefused(sqlite3.OperationalError, RuntimeError):
    """A statement that would write to the board, and is none of those that have a verb."""


def as_hermes_knows(error: KanbanError) -> Exception:
    """What Hermes catches, with the error's sentence."""
    if isinstance(error, (Refused, UnknownTask, UsageError)):
        return ValueError(str(error))
    if isinstance(error, _NOT_A_BOARD):
        return BoardDamaged(str(error))
    return BoardUnavailable(str(error))
