"""What the two processes say to each other: frames over a pipe, each a length and a message in MessagePack.

Both run in this module's words: the HTTP process asks and follows, the reader answers and tells what moved.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import msgspec

# Of a message: a page with a thousand cards has less than a tenth.
LONGEST_BYTES = 64 * 1024 * 1024
# Of a page in one; the rest of its message is short.
BODY_BYTES = LONGEST_BYTES - 64 * 1024
LENGTH = struct.Struct(">I")


class Message(msgspec.Struct, frozen=True, tag=True):
    """One thing that is said."""


class Setup(Message, frozen=True):
    """The first frame: what the reader is for.

    ``folder``, ``slug``: the board that is shown first. ``root``: the home whose other boards are shown, too; None for
    a board that is in no home. ``profile``: who writes; None shows only. ``forms_key``: what each form must bring back.
    """

    folder: str
    slug: str
    root: str | None
    profile: str | None
    forms_key: str


class Ask(Message, frozen=True):
    """Make a page. ``number``: for its answer. ``page``: a name of ``pages.PAGES``. ``board``: a slug; "" for the
    first. ``name``: what of the board is meant, a task's id, say. ``query``: the words of the address. ``form``: what
    was sent; None for a page that is only read."""

    number: int
    page: str
    board: str = ""
    name: str = ""
    query: list[tuple[str, str]] = []
    form: list[tuple[str, str]] | None = None


class Follow(Message, frozen=True):
    """Tell what moves on the board ``board`` from now on."""

    board: str


class Unfollow(Message, frozen=True):
    """Nobody looks at the board ``board`` any more."""

    board: str


class FileAt(msgspec.Struct, frozen=True):
    """An attachment that the HTTP process is to send: the copy ``stored`` in the folder ``folder`` below ``base``."""

    base: str
    folder: str
    stored: str
    filename: str


class Answer(Message, frozen=True):
    """What became of an Ask: a page, another address to go to, or a file."""

    number: int
    status: int = 200
    body: str = ""
    location: str | None = None
    file: FileAt | None = None


class Moved(Message, frozen=True):
    """The board ``board`` shows ``position`` entries of its ledger now. ``tasks``: those of which there is something
    new. ``trouble``: why the board cannot be read; then the position is the last one that was known."""

    board: str
    position: int
    tasks: list[str]
    trouble: str | None = None


Said = Setup | Ask | Follow | Unfollow
Told = Answer | Moved

_SAID: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)
_TOLD: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)
_ENCODER = msgspec.msgpack.Encoder()


def frame(message: Message) -> bytes:
    """``message`` as it is sent."""
    content = _ENCODER.encode(message)
    return LENGTH.pack(len(content)) + content


def read_said(stream: BinaryIO) -> Said | None:
    """The next message of the HTTP process; None when it sends no more."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    content = stream.read(length)
    return None if len(content) < length else _SAID.decode(content)


def told(content: bytes) -> Told:
    """A message of the reader, without its length."""
    message: Told = _TOLD.decode(content)
    return message
