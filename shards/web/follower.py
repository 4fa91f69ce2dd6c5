"""A follower: tells what moves on one board, however many browsers look at it. Runs in the reader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

from kanban_shards.bell import Bell
from kanban_shards.board import LOST_BELL_S, Board
from kanban_shards.errors import KanbanError
from kanban_shards.paths import BoardPaths
from kanban_shards.web.wire import Moved


class Follower:
    """Calls ``tell`` at once, and then whenever the board at ``paths`` shows more of its ledger, or can no longer be
    read, or can be read again. Sleeps in between, until the board's bell rings."""

    def __init__(self, paths: BoardPaths, tell: Callable[[Moved], None]) -> None:
        self._paths = paths
        self._tell = tell
        self._stopped = threading.Event()
        self._known: tuple[int, str | None] | None = None
        self._cursor = 0
        threading.Thread(target=self._run, name=f"follow {paths.slug}", daemon=True).start()

    def stop(self) -> None:
        """Tell nothing more; the thread ends within LOST_BELL_S."""
        self._stopped.set()

    def _run(self) -> None:
        with ExitStack() as held, Board(self._paths) as board:
            bell = Bell.waiting(self._paths.folder)
            held.callback(lambda: bell.close())
            while not self._stopped.is_set():
                self._look(board)
                bell.wait(LOST_BELL_S)
                if not bell.is_there():  # the folder was not there yet, or is another one now
                    bell.close()
                    bell = Bell.waiting(self._paths.folder)

    def _look(self, board: Board) -> None:
        position, is_first = (0, True) if self._known is None else (self._known[0], False)
        try:
            found = board.position()
            if is_first:
                self._cursor = board.last_event_id()
            if (found, None) != self._known:
                self._say(found, [] if is_first else self._news(board))
        except KanbanError as error:
            board.close()  # it may be mended in the very file that is open
            self._say(position, [], str(error))

    def _news(self, board: Board) -> list[str]:
        """The tasks of the events that are new; of very many, the first ones."""
        events = board.events(after=self._cursor)
        self._cursor = events[-1].id if events else min(self._cursor, board.last_event_id())
        return list(dict.fromkeys(event.task_id for event in events))

    def _say(self, position: int, tasks: list[str], trouble: str | None = None) -> None:
        if (position, trouble) != self._known:
            self._known = position, trouble
            self._tell(Moved(self._paths.slug, position, tasks, trouble))
