"""A follower: tells what moves on one board, however many look at it through whoever is told."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kanban_shards.bell import Bell, Ringer
from kanban_shards.board import LOST_BELL_S, Board
from kanban_shards.errors import KanbanError
from kanban_shards.paths import BoardPaths

# Called in the follower's thread with the position of the board, the tasks of new events, and, if the board cannot be
# read, why.
Tell = Callable[[int, list[str], str | None], None]


class Follower:
    """Calls ``tell`` at once, and then whenever the board at ``paths`` shows more of its ledger, or can no longer be
    read, or can be read again. Sleeps in between, until the board's bell rings."""

    def __init__(self, paths: BoardPaths, tell: Tell) -> None:
        self._paths = paths
        self._tell = tell
        self._is_over = threading.Event()
        self._known: tuple[int, str | None] | None = None
        self._cursor = 0
        self._bell = Bell.waiting(paths.folder)
        self._thread = threading.Thread(target=self._run, name=f"follow {paths.slug}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell nothing more, and return when the thread has ended."""
        self._is_over.set()
        ringer = Ringer()
        ringer.ring(self._bell.path)  # else it would sleep on
        ringer.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            with Board(self._paths) as board:
                while not self._is_over.is_set():
                    self._look(board)
                    self._bell.wait(LOST_BELL_S)
                    if not self._bell.is_there():  # the folder was not there yet, or is another one now
                        self._bell.close()
                        self._bell = Bell.waiting(self._paths.folder)
        finally:
            self._bell.close()

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
            self._tell(position, tasks, trouble)
