"""What the carrier's two processes say to each other: frames over a socket, each a length and a message in MessagePack.

The parent says first where to go, then asks, one thing at a time; the child answers each. Before the first answer the
child says which server it goes to, and that it is there; or what went wrong, and then it ends.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Any, TypeVar

import msgspec

from kanban_shards.coordinator import errors as coordinator_errors
from kanban_shards.coordinator.ledger import Entry, Point
from kanban_shards.coordinator.shared import errors as shared_errors
from kanban_shards.coordinator.shared.far import Address, Page, Standing
from kanban_shards.errors import ExtraMissing, KanbanError, NoServiceName

# Of a message. An append of a whole pass has less than half.
LONGEST_BYTES = 128 << 20
_LENGTH = struct.Struct(">I")
# The errors that a child may tell.
_TOLD: tuple[type[KanbanError], ...] = (
    shared_errors.ServerUnknown,
    shared_errors.FarError,
    *shared_errors.FarError.__subclasses__(),
    coordinator_errors.Overtaken,
    ExtraMissing,
    NoServiceName,
)
_KINDS = {each.__name__: each for each in _TOLD}


class Message(msgspec.Struct, frozen=True, tag=True):
    """One thing that is said."""


class Go(Message, frozen=True):
    """The first frame: where to."""

    address: Address


class Read(Message, frozen=True):
    """``Far.read``. ``most_bytes``: of bodies in the page, unless one entry has more."""

    position: int
    most_bytes: int


class Turn(Message, frozen=True):
    """``Far.turn``."""

    position: int
    most_bytes: int


class Append(Message, frozen=True):
    """``Far.append``."""

    entries: list[Entry]
    behind: Point


class Meet(Message, frozen=True):
    """``Far.meet``."""

    mine: Standing | None


class Remark(Message, frozen=True):
    """``Far.remarks``."""


class Begin(Message, frozen=True):
    """``Far.begin``."""

    ledger_id: str


class RaiseRules(Message, frozen=True):
    """``Far.raise_rules``."""


class Leave(Message, frozen=True):
    """``Far.leave``."""


class Going(Message, frozen=True):
    """The child goes to ``server``, as sentences name it."""

    server: str


class There(Message, frozen=True):
    """The child is there, and can be asked."""


class Done(Message, frozen=True):
    """An answer that says no more."""


class Paged(Message, frozen=True):
    """The answer to Read and Turn."""

    page: Page


class Met(Message, frozen=True):
    """The answer to Meet."""

    hosts: list[Standing]


class Remarked(Message, frozen=True):
    """The answer to Remark."""

    remarks: list[str]


class Failed(Message, frozen=True):
    """The answer is an error: its ``kind`` and facts. ``ends``: the child ends now, because it has no session."""

    kind: str
    facts: dict[str, str | int]
    ends: bool

    def error(self) -> KanbanError:
        """The error, as it was raised there."""
        return _KINDS[self.kind](**self.facts)


Request = Read | Turn | Append | Meet | Remark | Begin | RaiseRules | Leave
Answer = Done | Paged | Met | Remarked | Failed
FromParent = Go | Request
FromChild = Going | There | Answer

FROM_PARENT: msgspec.msgpack.Decoder[FromParent] = msgspec.msgpack.Decoder(FromParent)
FROM_CHILD: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
_ENCODER = msgspec.msgpack.Encoder()
_Said = TypeVar("_Said")


def failure(error: KanbanError, ends: bool) -> Failed:
    """``error``, to be told; of a kind that is not told, its sentence."""
    facts: dict[str, Any] = error.facts
    if type(error).__name__ not in _KINDS or not all(isinstance(each, str | int) for each in facts.values()):
        return Failed("FarError", {"path": "the server", "problem": str(error)}, ends)
    return Failed(type(error).__name__, facts, ends)


def send(wire: socket.socket, message: Message, until: float | None = None) -> None:
    """Send one. ``until``: how long to try, by the monotonic clock; None tries for ever. Raises OSError, TimeoutError
    among them."""
    content = _ENCODER.encode(message)
    wire.settimeout(_left(until))
    wire.sendall(_LENGTH.pack(len(content)) + content)


def receive(wire: socket.socket, decoder: msgspec.msgpack.Decoder[_Said], until: float | None = None) -> _Said:
    """Wait for the next one. Raises OSError (TimeoutError, too), and EOFError if the other process ended."""
    (length,) = _LENGTH.unpack(_exactly(wire, _LENGTH.size, until))
    if length > LONGEST_BYTES:
        raise EOFError
    return decoder.decode(_exactly(wire, length, until))


def _exactly(wire: socket.socket, size: int, until: float | None) -> bytes:
    content = bytearray()
    while len(content) < size:
        wire.settimeout(_left(until))
        piece = wire.recv(min(size - len(content), 1 << 20))
        if not piece:
            raise EOFError
        content += piece
    return bytes(content)


def _left(until: float | None) -> float | None:
    """Seconds that are left, and never the 0 that would not wait for what is there already."""
    return None if until is None else max(0.001, until - time.monotonic())
