"""Troubles: what is wrong with a board, said in the log when it begins and when it is over."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("kanban-merge")

# How soon a trouble that was over is said again: what comes and goes with each pass would fill the log.
AGAIN_S = 60.0


class Troubles:
    """What is wrong with a board now, said when it begins and when it is over, but of one that comes and goes not more
    than once in AGAIN_S. ``where`` begins each sentence."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._known: set[str] = set()
        self._said: set[str] = set()  # and not yet that it is over
        self._said_at_s: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def are(self, now: set[str], fault: BaseException | None = None) -> None:
        """These are all there are now. ``fault``: an error that nobody foresaw, to be shown whole."""
        at_s = time.monotonic()
        self._said_at_s = {each: said_s for each, said_s in self._said_at_s.items() if at_s - said_s < AGAIN_S}
        for trouble in sorted(now - self._said - self._said_at_s.keys()):
            log.warning("%s%s", self._where, trouble, exc_info=fault)
            self._said.add(trouble)
            self._said_at_s[trouble] = at_s
        for trouble in sorted(self._said - now):
            log.info("over: %s%s", self._where, trouble)
            self._said.remove(trouble)
        self._known = now
