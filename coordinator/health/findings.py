"""Findings: what a look at a board or at this machine says, each in one sentence that also says what to do."""

from __future__ import annotations

from dataclasses import dataclass

OK = "ok"
# Worth knowing; nothing has to be done.
NOTE = "note"
# It works now, and somebody should see to it before it does not.
WARNING = "warning"
# It does not work, or something may be lost.
FAULT = "fault"
# From the least to the worst.
LEVELS = (OK, NOTE, WARNING, FAULT)


@dataclass(frozen=True)
class Finding:
    """What the check ``check`` found. ``level`` is one of LEVELS."""

    check: str
    level: str
    sentence: str

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody has to do something."""
        return self.level in (WARNING, FAULT)
