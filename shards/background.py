"""Background retry: something that is tried again, in growing pauses, until it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class BackgroundRetry:
    """Calls ``act`` in a thread of its own, a second after ``soon`` and then less and less often, until it returns
    True. There is no thread while there is nothing to do."""

    def __init__(self, act: Callable[[], bool]) -> None:
        self._act = act
        self._guard = threading.Lock()
        self._timer: threading.Timer | None = None
        self._asked = False
        self._closed = False

    def soon(self) -> None:
        """There is something to do."""
        with self._guard:
            self._asked = True
            if self._timer is None:
                self._start(FIRST_PAUSE_S)

    def close(self) -> None:
        """Try no more; returns when an attempt that is being made is over."""
        with self._guard:
            self._closed = True
            timer = self._timer
        if timer is not None:
            timer.cancel()
            timer.join()

    def _start(self, pause_s: float) -> None:
        if self._closed:
            return
        self._timer = threading.Timer(pause_s, self._try, (pause_s,))
        self._timer.daemon = True  # a process that ends without closing is not held up
        self._timer.start()

    def _try(self, pause_s: float) -> None:
        with self._guard:
            self._asked = False
        done = False
        try:
            done = self._act()
        finally:  # also after a bug, which the thread shows
            with self._guard:
                self._timer = None
                if self._asked:
                    self._start(FIRST_PAUSE_S)
                elif not done:
                    self._start(min(2 * pause_s, LONGEST_PAUSE_S))
