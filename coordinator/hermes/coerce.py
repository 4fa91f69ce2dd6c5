"""Coercion: an old board's values made into those that this board can hold, each departure noted by id.

Hermes declares its columns and SQLite enforces none of it, so a column of numbers may hold a text, one that must be
there may be missing, and a text may be no text. What has a plain meaning is kept with that meaning; the rest is lost,
and said.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from kanban_shards.changes.imported import Row
from kanban_shards.coordinator.hermes.legacy import Column, Legacy, columns_of
from kanban_shards.coordinator.hermes.moments import moment_s
from kanban_shards.coordinator.state.session import json_text
from kanban_shards.paths import is_task_id

AnyRow = TypeVar("AnyRow", bound=Row)

LARGEST = 2**53
# Where a row of the old board carries its number here; no column is called so.
NUMBER = "@number"
# A larger one leaves no room for those that come after it.
_LARGEST_ID = LARGEST // 2
NO_TITLE = "(no title)"
_OBJECTS = {"payload", "metadata", "delivery_metadata"}
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Note:
    """Something that is not on the new board as it was on the old one. ``id``: of the row, as it was there."""

    table: str
    id: Any
    what: str


@dataclass
class Notes:
    """What was ``changed``, and what is ``lost``."""

    changed: list[Note] = field(default_factory=list)
    lost: list[Note] = field(default_factory=list)

    def change(self, table: str, row_id: Any, what: str) -> None:
        """Note a value that is another one now."""
        self.changed.append(Note(table, _printable(row_id), what))

    def lose(self, table: str, row_id: Any, what: str) -> None:
        """Note a row, or a part of one, that is not brought."""
        self.lost.append(Note(table, _printable(row_id), what))


def coerce_task_id(raw: Any) -> str:
    """The task id ``raw``, or one that is made of it if it does not have the shape of one."""
    if isinstance(raw, str) and is_task_id(raw):
        return raw
    return "t_" + hashlib.blake2b(repr(raw).encode(), digest_size=8).hexdigest()


def number(legacy: Legacy, table: str) -> None:
    """Note in each row of the table the number that it has; one above all others where its id is none."""
    rows = legacy.tables[table]
    numbers = [raw.setdefault("id") for raw in rows]
    kept = {each for each in numbers if isinstance(each, int) and 1 <= each <= _LARGEST_ID}
    last = max([*kept, last_given(legacy, table)], default=0)
    for raw in rows:
        if raw["id"] in kept:
            kept.discard(raw["id"])
            raw[NUMBER] = raw["id"]
        else:
            last += 1
            raw[NUMBER] = last


def last_given(legacy: Legacy, table: str) -> int:
    """The largest id that the old board gave."""
    given = legacy.sequence.get(table, 0)
    return given if 0 <= given <= _LARGEST_ID else 0


def coerce(table: str, row_id: Any, raw: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The values of a row, each of the type that its column must have, without ``id`` and ``task_id``. Columns that
    the old board lacked are left out where they have a default."""
    fitted = {}
    for column in columns_of(table):
        if column.name in ("id", "task_id"):
            continue
        if column.name in raw or (column.required and column.default is None):
            value = raw.get(column.name)
            fitted[column.name] = _fit_value(column, value)
            if fitted[column.name] != value or type(fitted[column.name]) is not type(value):
                notes.change(table, row_id, f"{column.name} was {_shown(value)}, now {_shown(fitted[column.name])}")
    return fitted


def truncate(row: AnyRow, limit_bytes: int, table: str, row_id: Any, notes: Notes) -> AnyRow:
    """``row``, with its longest texts cut until it takes at most ``limit_bytes`` in a change."""
    while (excess := len(msgspec.json.encode(row)) - limit_bytes) > 0:
        texts = {name: value for name, value in msgspec.structs.asdict(row).items() if isinstance(value, str)}
        name = max(texts, key=lambda each: len(msgspec.json.encode(texts[each])))
        text = texts[name]
        if name in _OBJECTS or name == "skills":
            row = msgspec.structs.replace(row, **{name: None})
            notes.lose(table, row_id, f"{name}, {len(text)} characters, is larger than a change can be")
        else:
            kept = text[: len(text) - max(excess // 4, len(text) // 50, 1)]
            row = msgspec.structs.replace(row, **{name: kept})
            notes.lose(table, row_id, f"{len(text) - len(kept)} of {len(text)} characters of {name}")
    return row


def _fit_value(column: Column, value: Any) -> Any:
    if column.is_integer:
        number = moment_s(value) if column.is_moment else _integer(value)
        if number is not None and abs(number) > LARGEST:
            number = None
        return (column.default or 0) if number is None and column.required else number
    text = _text(value)
    if text is not None and column.name in _OBJECTS:
        return text if isinstance(_parsed(text), dict) else json_text({"text": text})
    if text is not None and column.name == "skills":
        return text if _is_list_of_texts(_parsed(text)) else json_text([text])
    if column.required and (text is None or (column.name == "title" and not text.strip())):
        return NO_TITLE if column.name == "title" else column.default or ""
    return text


def _integer(value: Any) -> int | None:
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= LARGEST else None
    if isinstance(value, str) and len(value) < 20:
        try:
            return int(value)
        except ValueError:
            return None
    return None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else str(value)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _shown(value: Any) -> str:
    """A value in a note, at most so many characters of it."""
    text = repr(_printable(value))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _printable(value: Any) -> Any:
    return _text(value) if isinstance(value, bytes | str) else value
