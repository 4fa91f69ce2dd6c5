"""Settling: changes that nobody waits for are merged all the same. A daemon is told of them; where none is, they are
merged once a second, in the background, and when the writer is closed.

The thread in the background looks after a daemon that was rung and died, too.
"""

from __future__ import annotations

import contextlib
import threading
import time

from kanban_shards import inline_merge
from kanban_shards.background import BackgroundRetry
from kanban_shards.errors import KanbanError
from kanban_shards.looks import Looks
from kanban_shards.passing import Passing
from kanban_shards.paths import BoardPaths
from kanban_shards.waiting import FIRST_LOOK_S, LONGEST_LOOK_S, Waiting

# Without a daemon: how often changes that nobody waits for are merged.
SWEEP_EVERY_S = 1.0
# On a shared board without a daemon: how often a worker that gives nothing but signs of life has the other hosts told.
HEARD_EVERY_S = 20.0
# While the other hosts of a shared board cannot be reached, what nobody waits for is left alone for so long.
CUT_OFF_AGAIN_S = 10.0
# How long closing waits for somebody else's pass, which may have begun before the last change was written.
CLOSING_S = 2.0


class Settling:
    """Sees to what one writer wrote to the board at ``paths``. Safe to use from several threads; not across a fork.

    ``looks``, ``waiting``: what the writer saw of the board, and of its verdicts; ``passing``: has passes made.
    """

    def __init__(self, paths: BoardPaths, looks: Looks, passing: Passing, waiting: Waiting) -> None:
        self._paths = paths
        self._looks = looks
        self._passing = passing
        self._waiting = waiting
        self._guard = threading.Lock()
        self._written_to = 0
        self._settled_to = 0
        self._is_unheard = False
        self._background = BackgroundRetry(self._merge_what_is_left)

    @property
    def unsettled(self) -> int:
        """The newest change, by its seq, if something was written since the last ``settle``; else 0."""
        return self._written_to if self._settled_to < self._written_to else 0

    @property
    def is_decided(self) -> bool:
        """Whether the verdict on the newest change was seen, and so on each before it."""
        return self._written_to <= self._waiting.merged_to

    def wrote(self, seq: int) -> None:
        """The change ``seq`` was appended."""
        with self._guard:
            self._written_to = max(self._written_to, seq)

    def soon(self) -> None:
        """Have what is left merged in the background, from a second on."""
        self._background.soon()

    def sweep(self) -> None:
        """Where no daemon is: have merged what there is, if that was not done lately. Raises nothing."""
        # On a shared board no write waits for what a network takes.
        if self._passing.silent_s > SWEEP_EVERY_S and not self._paths.is_shared:
            with contextlib.suppress(KanbanError):  # the change is durable; whoever needs a verdict is told
                self._passing.make_or_ring()

    def have_heard(self) -> None:
        """A sign of life was given, which the other hosts of a shared board are to hear of."""
        if self._passing.silent_s > HEARD_EVERY_S and self._paths.is_shared and not self._passing.ring():
            self._is_unheard = True
            self.soon()

    def settle(self) -> None:
        """Have merged what was written, unless a coordinator that stays does it. Raises the StorageErrors of a ledger
        or a board that cannot be used."""
        self._settled_to = self._written_to
        if not self._passing.is_interrupted:
            self._passing.end_row()
        if self._is_merged() or self._passing.ring():
            return
        if self._paths.is_shared:  # a network is not waited for twice
            self._merge_what_is_left()
            return
        import tenacity  # seldom needed, and not to be loaded by each command

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda done: not done),
            wait=tenacity.wait_exponential(multiplier=FIRST_LOOK_S, max=LONGEST_LOOK_S),
            stop=tenacity.stop_after_delay(CLOSING_S),
            retry_error_callback=lambda state: False,
        )
        attempts(lambda: self._passing.make_or_ring() or self._is_merged())

    def close(self) -> None:
        """Do nothing in the background any more; returns when what is being done there is over."""
        self._background.close()

    def _is_merged(self) -> bool:
        """Whether the board shows everything that this process wrote."""
        return self.is_decided or self._looks.look().merged_seq >= self._written_to

    def _merge_what_is_left(self) -> bool:
        with contextlib.suppress(KanbanError):  # it is written; whoever needs a verdict is told what is the matter
            if inline_merge.why_cut_off(self._paths, time.time_ns() // 1_000_000 - int(1000 * CUT_OFF_AGAIN_S)):
                return False
            if self._is_unheard and self._passing.make_or_ring():
                self._is_unheard = False
            return self._is_merged() or (self._passing.make_or_ring() and self._is_merged())
        return False
