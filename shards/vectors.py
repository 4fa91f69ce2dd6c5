"""Version vectors: ``{profile: seq}``, the same map for what a task went through and for what a writer had seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

Vector = Mapping[str, int]

# So many profiles can have decided on one task; each name has 64 characters at most.
COMPONENTS_LIMIT = 10_000

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Eyes:
    """What a process knows from one read of the board: whether the task is there, the task's vector, and how far the
    process's own shard was merged then. ``exactly``: it decides by that vector, and by nothing that it wrote since."""

    has_task: bool = False
    vector: Vector = field(default_factory=dict)
    merged_seq: int = 0
    merged_digest: str = ""
    exactly: bool = False


def covers(seen: Vector, vector: Vector) -> bool:
    """Whether whoever had ``seen`` knew everything in ``vector`` (``seen >= vector``, component by component)."""
    return all(seen.get(profile, 0) >= seq for profile, seq in vector.items())


def unseen(seen: Vector, vector: Vector) -> dict[str, int]:
    """The components of ``vector`` that ``seen`` had not reached: whose changes, up to which seq, were missed."""
    return {profile: seq for profile, seq in vector.items() if seen.get(profile, 0) < seq}


def encode(vector: Vector) -> str:
    """The one text of a vector: JSON, profiles in order, no blanks."""
    return _encode(vector)


def decode(text: str) -> dict[str, int]:
    """The vector of ``text``. Raises ValueError unless it is ``{profile: seq}``, every seq at least 1, and spelled as
    ``encode`` spells it: one vector has one text."""
    try:
        vector = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(vector, dict) or not all(type(seq) is int and seq >= 1 for seq in vector.values()):
        raise ValueError("not a map of profiles to seqs")
    if not all(map(str.isascii, vector)):  # JSON can spell a lone surrogate, which nothing can look up
        raise ValueError("not names of profiles")
    if len(vector) > COMPONENTS_LIMIT:
        raise ValueError(f"more than {COMPONENTS_LIMIT} profiles")
    if text != encode(vector):  # blanks, another order, a name twice, a number spelled otherwise
        raise ValueError("not spelled as a vector is")
    return vector
