"""Complaints: what the checks of a body say, in the words of whoever wrote it."""

from __future__ import annotations

import re

_PLACE = re.compile(r" - at `\$\.?(?P<field>.*)`$")
_KINDS = {"str": "a text", "int": "a whole number", "bool": "true or false", "object": "an object", "array": "a list",
          "float": "a number", "null": "nothing"}  # fmt: skip
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
)


def in_words(problem: str) -> str:
    """``problem``, as msgspec says it, as a part of a sentence."""
    place = _PLACE.search(problem)
    field = (place["field"] if place else "") or "it"
    said = problem[: place.start()] if place else problem
    for pattern, words in _WORDS:
        if found := re.fullmatch(pattern, said):
            return words.format(*found.groups(), field=field)
    if found := re.fullmatch(r"Expected `(.*)`, got `(.*)`", said):
        wanted, got = (" or ".join(_KINDS.get(kind, kind) for kind in each.split(" | ")) for each in found.groups())
        return f"{field} is {got}, and not {wanted}"
    return problem
