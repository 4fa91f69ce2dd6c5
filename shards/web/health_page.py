"""The page about the board's health: what ``status`` knows, and on request what ``doctor`` finds. Runs in the
reader."""

from __future__ import annotations

import re
from typing import Any

from kanban_shards import inline_merge
from kanban_shards.health import Finding
from kanban_shards.paths import BoardPaths

# The worst first.
LEVELS = ("fault", "warning", "note", "ok")
_COMMAND = re.compile(r"`([^`]+)`")


def gather(paths: BoardPaths, examined: bool) -> dict[str, Any]:
    """What the page shows; ``examined``: with the findings of the doctor, which tries out this machine. Raises
    BoardMissing and the StorageErrors of a board that cannot be read."""
    standing = inline_merge.standing(paths)
    findings = inline_merge.examine(paths) if examined else standing.findings
    return {
        "standing": standing,
        "findings": sorted(map(split, findings), key=lambda each: LEVELS.index(each["level"])),
        "examined": examined,
    }


def split(finding: Finding) -> dict[str, Any]:
    """A finding as the page shows it: its sentence, in parts that are commands or words."""
    parts = _COMMAND.split(finding.sentence)
    return {
        "check": finding.check.replace("_", " "),
        "level": finding.level,
        "parts": [(part, bool(number % 2)) for number, part in enumerate(parts) if part],
    }
