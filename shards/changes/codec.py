"""Changes: the immutable rows of a shard, and how they are written, read and chained."""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from kanban_shards.changes.fields import INTEGER_LIMIT, LIMIT_BYTES, NESTING_LIMIT, TEXT_LIMIT, Body, Metadata
from kanban_shards.changes.kinds import KINDS
from kanban_shards.errors import InvalidChange, TooLarge

KIND_OF = {body: kind for kind, body in KINDS.items()}

# Beyond these a number is none that a change may hold.
LATEST_SEQ = 2**53
LATEST_MS = 2**53
# The fields that hold whatever an object of JSON may hold.
_OPEN_OBJECTS = ("metadata", "facts")

_encode = msgspec.json.Encoder().encode
# Which of _OPEN_OBJECTS a kind has; most have none.
_open_objects_of = {kind: tuple(name for name in _OPEN_OBJECTS if hasattr(body, name)) for kind, body in KINDS.items()}


class Change(NamedTuple):
    """One row of a shard. ``profile`` and ``seq`` name it. ``body``, ``seen``: JSON text. ``written_ms``: by its
    author's clock, milliseconds since 1970. ``digest``: of the row before and this row, so that a rewritten or missing
    one shows.
    """

    profile: str
    seq: int
    task_id: str
    kind: str
    body: str
    seen: str
    written_ms: int
    digest: str

    def row(self) -> tuple[int, str, str, str, str, int, str]:
        """The columns of ``changes`` in a shard, which does not repeat its profile."""
        return self.seq, self.task_id, self.kind, self.body, self.seen, self.written_ms, self.digest

    def continues(self, digest: str) -> bool:
        """Whether this change, as it is, was written after the one that has ``digest``."""
        return self.digest == chain(
            digest, self.profile, self.seq, self.task_id, self.kind, self.body, self.seen, self.written_ms
        )


def encode_body(body: Body) -> str:
    """The text of ``body``, checked as the coordinator will check it. Raises InvalidChange, TooLarge."""
    kind = KIND_OF[type(body)]
    try:
        text = _encode(body).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidChange(kind=kind, problem=in_words(str(error))) from error
    if len(text.encode()) > LIMIT_BYTES:
        raise TooLarge(kind=kind, size_bytes=len(text.encode()), limit_bytes=LIMIT_BYTES)
    _check_metadata(kind, body, len(text))  # JSON has no NaN, and the encoder would write null in its place
    decode_body(kind, text)
    return text


def decode_body(kind: str, text: str) -> Body:
    """The body that ``text`` holds. Raises InvalidChange if there is no such kind, or it has no such body."""
    type_of_body = KINDS.get(kind)
    if type_of_body is None:
        raise InvalidChange(kind=kind, problem="no such kind of change is known")
    try:
        body = _decoder(type_of_body).decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidChange(kind=kind, problem=in_words(str(error))) from error
    _check_metadata(kind, body, len(text))
    return body


@functools.cache
def _decoder(body: type[Body]) -> msgspec.json.Decoder[Body]:
    """Made when it is first used: those of all kinds would be a tenth of what a command costs."""
    return msgspec.json.Decoder(body)


def genesis(profile: str, shard_id: str) -> str:
    """The digest before a shard's first change."""
    return _digest([profile, shard_id])


def chain(previous: str, profile: str, seq: int, task_id: str, kind: str, body: str, seen: str, at_ms: int) -> str:
    """The digest of a row, given the digest of the row before."""
    return _digest([previous, profile, seq, task_id, kind, body, seen, at_ms])


def is_beginning(seq: object, digest: object) -> bool:
    """Whether this can be where a shard begins: the seq and digest up to which its changes were dropped."""
    return type(seq) is int and 0 <= seq <= LATEST_SEQ and type(digest) is str  # a STRICT table is no promise


def _check_metadata(kind: str, body: Body, letters: int) -> None:
    """Raise InvalidChange unless metadata is what every process reads alike, whatever its stack and environment, and no
    larger than a text may be. ``letters``: how many the whole body has."""
    for name in _open_objects_of[kind]:
        value = getattr(body, name)
        if value is None or value is msgspec.UNSET:
            continue
        if letters > TEXT_LIMIT and len(_encode(value)) > TEXT_LIMIT:
            raise InvalidChange(kind=kind, problem=f"{name} is larger than {TEXT_LIMIT} bytes")
        _check_object(kind, name, value)


def _check_object(kind: str, name: str, value: Metadata) -> None:
    level: list[Any] = [value]
    for _ in range(NESTING_LIMIT + 1):
        if not all(map(_is_plain, level)):
            problem = f"{name} holds an integer of more than 64 bits or an infinite number; write that as a text"
            raise InvalidChange(kind=kind, problem=problem)
        level = [inner for each in level for inner in _contained(each)]
        if not level:
            return
    raise InvalidChange(kind=kind, problem=f"{name} is nested more than {NESTING_LIMIT} levels deep")


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return -INTEGER_LIMIT <= value < INTEGER_LIMIT
    return not isinstance(value, float) or math.isfinite(value)


def _contained(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()


def _digest(parts: list[str | int]) -> str:
    return hashlib.blake2b(_encode(parts), digest_size=16).hexdigest()


_PLACE = re.compile(r" - at `\$\.?(?P<field>.*)`$")
_KINDS = {"str": "a text", "int": "a whole number", "bool": "true or false", "object": "an object", "array": "a list",
          "float": "a number", "null": "nothing"}  # fmt: skip
# What a field is called by whoever gives it, where that is another name.
_SAID_AS = {"block": "kind"}
_WORDS = (
    (r"Expected `(?:str|array)` of length >= 1", "{field} is empty"),
    (r"Expected `str` of length <= (\d+)", "{field} is longer than {0} characters"),
    (r"Expected `array` of length <= (\d+)", "{field} has more than {0} entries"),
    (r"Expected `int` >= (-?\d+)", "{field} is less than {0}"),
    (r"Expected `int` <= (-?\d+)", "{field} is more than {0}"),
    (r"Expected `str` matching regex '\^t_.*", "{field} is not a task id"),
    (r"Expected `str` matching regex .*", "{field} cannot name a profile"),
    (r"Invalid enum value (.*)", "{field} cannot be {0}"),
    (r"Object contains unknown field `(.*)`", "{field} has no field {0}"),
    (r"Object missing required field `(.*)`", "{field} lacks {0}"),
    (r"Number out of range", "{field} is out of range"),
    (r"JSON is malformed.*|Input data was truncated", "its body is no JSON"),
    (r"Encoding objects of type (.*) is unsupported", "a value of type {0} cannot be written"),
    (r"(?s)'utf-8' codec can't encode.*|Invalid UTF-8.*", "a text of it is not UTF-8"),
    (r".*recursion.*", "it is nested too deeply"),
)


def in_words(problem: str) -> str:
    """``problem``, as msgspec says it, as a part of a sentence."""
    place = _PLACE.search(problem)
    field = (place["field"] if place else "") or "it"
    field = _SAID_AS.get(field, field)
    said = problem[: place.start()] if place else problem
    for pattern, words in _WORDS:
        if found := re.fullmatch(pattern, said):
            return words.format(*found.groups(), field=field)
    if found := re.fullmatch(r"Expected `(.*)`, got `(.*)`", said):
        wanted, got = (" or ".join(_KINDS.get(kind, kind) for kind in each.split(" | ")) for each in found.groups())
        return f"{field} is {got}, and not {wanted}"
    return problem
