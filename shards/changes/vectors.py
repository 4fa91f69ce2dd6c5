"""Version vectors: ``{profile: seq}``, the same map for what a task went through and for what a writer had seen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import msgspec

Vector = Mapping[str, int]

# So many profiles can have decided on one task; each name has 64 characters at most.
COMPONENTS_LIMIT = 10_000


class View(msgspec.Struct, frozen=True):
    """What a process knows from one read of the board: whether the task is there, the task's vector, and how far the
    process's own shard was merged then. ``exactly``: it decides by that vector, and by nothing that it wrote since."""

    has_task: bool = False
    vector: Vector = msgspec.field(default_factory=dict)
    merged_seq: int = 0
    merged_digest: str = ""
    exactly: bool = False


def unseen(seen: Vector, vector: Vector) -> dict[str, int]:
    """The components of ``vector`` that ``seen`` had not reached: whose changes, up to which seq, were missed."""
    return {profile: seq for profile, seq in vector.items() if seen.get(profile, 0) < seq}


def encode(vector: Vector) -> str:
    """The one text of a vector: JSON, profiles in order, no blanks."""
    _, spell = _codec()
    return spell(vector).decode()


def decode(text: str) -> dict[str, int]:
    """The vector of ``text``. Raises ValueError unless it is ``{profile: seq}``, every seq at least 1, and spelled as
    ``encode`` spells it: one vector has one text."""
    parse, spell = _codec()
    try:
        vector = parse(text)
        is_canonical = text.isascii() and text.encode() == spell(vector)
    except (RecursionError, OverflowError) as error:
        raise ValueError("not a map of profiles to seqs") from error
    if vector and min(vector.values()) < 1:
        raise ValueError("not a map of profiles to seqs")
    if len(vector) > COMPONENTS_LIMIT:
        raise ValueError(f"more than {COMPONENTS_LIMIT} profiles")
    if not is_canonical:  # blanks, another order, a name twice, a name that nothing can look up
        raise ValueError("not spelled as a vector is")
    return vector


@functools.cache
def _codec() -> tuple[Callable[[str], dict[str, int]], Callable[[Vector], bytes]]:
    return msgspec.json.Decoder(dict[str, int]).decode, msgspec.json.Encoder(order="sorted").encode
