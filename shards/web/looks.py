"""How a text, a time and a name look on a page: filters of the templates. Runs in the reader.

Templates escape every text. What is left to do here is what escaping does not: characters that a page cannot hold, or
that would turn around the words beside them.
"""

from __future__ import annotations

import json
import re
import time
from hashlib import blake2b

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from kanban_shards import wording

# Controls but for line breaks and tabs, what turns the direction of a text around, and separators of lines.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")
_TASK = re.compile(r"\bt_[0-9a-f]{8,64}\b")
HUES = 12
# Of a title on a card, in characters; its own page has all of it.
CARD_TITLE = 180


def fit(text: str) -> str:
    """``text`` with a mark in the place of each character that no page should hold; markup of ours as it is."""
    return text if isinstance(text, Markup) else _UNFIT.sub("\ufffd", text)


def short(text: str, longest: int = CARD_TITLE) -> str:
    """The first ``longest`` characters on one line, and an ellipsis where something is missing."""
    line = " ".join(fit(text[: 4 * longest]).split())
    return line if len(line) <= longest and len(text) <= 4 * longest else line[:longest].rstrip() + "…"


def prose(text: str, board: str) -> Markup:
    """A longer text, in which the ids of tasks lead to them on the board ``board``."""
    parts, end = [], 0
    shown = fit(text)
    for found in _TASK.finditer(shown):
        link = Markup('<a href="/b/{}/t/{}">{}</a>').format(board, found[0], found[0])
        parts += [escape(shown[end : found.start()]), link]
        end = found.end()
    return Markup("").join([*parts, escape(shown[end:])])


@pass_context
def age(context: Context, at_s: float | None) -> Markup:
    """For how long there has been something that began at a moment (seconds since 1970), by the page's ``now_s``."""
    return Markup("") if at_s is None else _time(int(at_s), wording.span(context["now_s"] - at_s), "age")


@pass_context
def ago(context: Context, at_s: float | None) -> Markup:
    """How long ago a moment was (seconds since 1970), by the page's ``now_s``; the script keeps it up to date."""
    return Markup("") if at_s is None else _time(int(at_s), f"{wording.span(context['now_s'] - at_s)} ago", "ago")


@pass_context
def until(context: Context, at_s: float) -> Markup:
    """How long it is until a moment, or since when it is over, by the page's ``now_s``."""
    left = at_s - context["now_s"]
    said = f"{wording.span(left)} left" if left >= 0 else f"over for {wording.span(-left)}"
    return _time(int(at_s), said, "until")


def at(at_s: float | None) -> Markup:
    """A moment as a date and a time of day of this machine."""
    return Markup("") if at_s is None else _time(int(at_s), wording.when(int(at_s)), "at")


def initials(name: str) -> str:
    """One or two letters that stand for a profile."""
    words = [word for word in re.split(r"[-_\s]+", fit(name)) if word]
    return "".join(word[0] for word in words[:2]).upper() if len(words) > 1 else fit(name)[:2].capitalize()


def hue(name: str) -> int:
    """A number below HUES for the color of a profile, the same on every page."""
    return blake2b(name.encode(), digest_size=1).digest()[0] % HUES


def as_json(value: object) -> str:
    """What a JSON object holds, on one line."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def size(count: int) -> str:
    """A number of bytes, rounded."""
    for unit, bytes_ in (("MiB", 1024**2), ("KiB", 1024)):
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return wording.many(count, "byte")


def _time(at_s: int, said: str, how: str) -> Markup:
    try:
        stamp, full = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)), wording.when(at_s)
    except (ValueError, OverflowError, OSError):  # a year that no calendar has
        return escape(said)
    return Markup('<time datetime="{}" title="{}" data-at="{}" data-how="{}">{}</time>').format(
        stamp, full, at_s, how, said
    )


FILTERS = {
    "fit": fit, "age": age, "short": short, "prose": prose, "ago": ago, "until": until, "at": at, "initials": initials,
    "hue": hue, "as_json": as_json, "size": size, "span": wording.span, "many": wording.many,
}  # fmt: skip
