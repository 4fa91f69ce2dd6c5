"""What may be said on a command line: whole numbers, spans and moments of time, folders, JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from kanban_shards.errors import InvalidChange, InvalidMoment
from kanban_shards.moments import LARGEST, Past, moment_of, past_of, seconds_of

# In characters: of a file that is read whole. A device may have no end.
LONGEST_TEXT = 64 * 1024 * 1024
# How a call says that a task is nobody's.
NOBODY = ("none", "-", "null")

if TYPE_CHECKING:
    ParamType = click.ParamType[Any, Any]
else:
    ParamType = click.ParamType  # which older releases of click do not let subscribe


class _Whole(ParamType):
    """A whole number from ``least`` on, to ``most``."""

    name = "integer"

    def __init__(self, least: int, most: int = LARGEST) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number that ``value`` spells."""
        try:
            found = int(value)
        except ValueError:
            found = self._least - 1
        if not self._least <= found <= self._most:
            upto = "on" if self._most == LARGEST else f"to {self._most}"
            self.fail(f"{value!r} is not a whole number from {self._least} {upto}.", param, ctx)
        return found


class _WholeOrNone(ParamType):
    """The same, or ``none``, which lifts a limit."""

    name = "N|none"

    def __init__(self, least: int) -> None:
        self._whole = _Whole(least)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number that ``value`` spells, or ``none``."""
        return "none" if str(value).lower() in NOBODY else self._whole.convert(value, param, ctx)


class _PastPlace(ParamType):
    """A position of the ledger, or a moment: a time, or a span followed by ``ago``."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Past:
        """The place in the past that ``value`` names."""
        if not isinstance(value, str):
            found: Past = value
            return found
        try:
            return past_of(value)
        except InvalidMoment as error:
            self.fail(str(error), param, ctx)


class HomeFolder(click.Path):
    """A folder, and not the empty text of a variable that is not set, which would be the present one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder that ``value`` names."""
        if not value:
            self.fail("it is empty; name the folder, or leave the option out.", param, ctx)
        return super().convert(value, param, ctx)


class _Span(ParamType):
    """A span of time such as 30s, 5m, 1.5h, 1d or 300, as whole seconds; where it may be lifted, ``none`` is 0."""

    name = "span"

    def __init__(self, may_be_none: bool = False) -> None:
        self._may_be_none = may_be_none

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds that ``value`` spells."""
        if isinstance(value, int):
            return value
        lower = str(value).strip().lower()
        if self._may_be_none and lower in NOBODY:
            return 0
        try:
            return seconds_of(lower)
        except ValueError:
            self.fail(f"{value!r} is not a span of time; write 30s, 5m, 2h, 1d, or seconds.", param, ctx)


class _Moment(ParamType):
    """A time such as 2026-12-24T18:00 (of this machine, unless it names a zone), as seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds that ``value`` spells."""
        told = str(value)
        try:
            return moment_of(told)
        except ValueError:
            sentence = f"{told!r} is not a time; write 2026-12-24T18:00, 2026-12-24, or seconds since 1970."
            self.fail(sentence, param, ctx)


POSITIVE = _Whole(1)
COUNT = _Whole(0)
POSITIVE_OR_NONE = _WholeOrNone(1)
COUNT_OR_NONE = _WholeOrNone(0)
PAST = _PastPlace()
DAYS = _Whole(0, 36_500)
SPAN = _Span()
SPAN_OR_NONE = _Span(may_be_none=True)
MOMENT = _Moment()


def whom(name: str | None) -> str | None:
    """The profile that ``name`` means; ``none``, ``-`` and ``null`` mean nobody."""
    return None if name is None or name.strip().lower() in NOBODY else name


def joined(words: Sequence[str]) -> str | None:
    """The words of a reason as one text; None if there are none."""
    return " ".join(words).strip() or None


def listed(words: str | None) -> tuple[str, ...]:
    """The words of ``A,B,…``."""
    return tuple(word.strip() for word in (words or "").split(",") if word.strip())


def whole_text(file: TextIO) -> str:
    """All of a file that an option names, which is text, and has an end. Raises UsageError."""
    try:
        said = file.read(LONGEST_TEXT + 1)
        if len(said) > LONGEST_TEXT:
            raise click.UsageError(f"{file.name} is longer than {LONGEST_TEXT} characters.")
        return said
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file.name} is not text: its bytes are not UTF-8.") from error


def body_told(body: str | None, file: TextIO | None) -> str | None:
    """What --body says, or --body-file; ``-`` is standard input. None if neither was said. Raises UsageError."""
    if body is not None and file is not None:
        raise click.UsageError("Say --body or --body-file, not both.")
    source: Any = file
    if body == "-":
        source = click.File(encoding="utf-8").convert("-", None, None)
    return body if source is None else whole_text(source)


def json_object(given: str) -> dict[str, Any]:
    """The object of ``--metadata``. Raises InvalidChange if ``given`` is no JSON object."""
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise InvalidChange(kind="metadata", problem=f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidChange(kind="metadata", problem="a JSON object is needed")
    return value
