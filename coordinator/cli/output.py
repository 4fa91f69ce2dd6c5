"""Output: prints what a command found: for one board or all of them, as JSON or for people, with progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kanban_shards.boards import boards
from kanban_shards.cli import text
from kanban_shards.errors import NEEDS_ATTENTION, BoardLost, BoardMissing, HistoryLost, KanbanError
from kanban_shards.paths import BoardPaths, root_folder

if TYPE_CHECKING:
    from kanban_shards.coordinator.merge.replay import ProgressCallback

all_boards_option = click.option("--all-boards", is_flag=True, help="Every board of the home, not one.")


@dataclass
class Result:
    """A command's result for one board: its JSON value, how to print it, whether it needs attention (exit code 6)."""

    value: dict[str, Any]
    show: Callable[[], None]
    needs_attention: bool


def report(ctx: click.Context, ask: Callable[[BoardPaths], Result], all_boards: bool, as_json: bool) -> None:
    """What ``ask`` finds out about the board, or about every board of the home; the trouble of one hides no other."""
    if all_boards:
        tell_each(ctx, {paths.slug: partial(ask, paths) for paths in boards_meant(ctx, all_boards)}, as_json)
    else:
        (paths,) = boards_meant(ctx, all_boards)
        tell_one(ctx, ask(paths), as_json)


def tell_one(ctx: click.Context, told: Result, as_json: bool) -> None:
    """What was found out about the one board that is meant."""
    text.print_json(told.value) if as_json else told.show()
    if told.needs_attention:
        ctx.exit(NEEDS_ATTENTION)


def tell_each(ctx: click.Context, asks: Mapping[str, Callable[[], Result]], as_json: bool) -> None:
    """What each of ``asks`` finds out about the board with that slug; the trouble of one hides no other."""
    answers = {slug: _told_or_trouble(ask) for slug, ask in asks.items()}
    if as_json:
        text.print_json([{"slug": slug, **told.value} for slug, told in answers.items()])
    for slug, told in {} if as_json else answers.items():
        text.say(f"== {slug}", bold=True)
        told.show()
    if any(told.needs_attention for told in answers.values()):
        ctx.exit(NEEDS_ATTENTION)


def _told_or_trouble(ask: Callable[[], Result]) -> Result:
    try:
        return ask()
    except KanbanError as error:
        value = {"error": type(error).__name__, "message": str(error)}
        sentence = str(error)
        # The default board of a home may have no task yet.
        unused = isinstance(error, BoardMissing) and not isinstance(error, (BoardLost, HistoryLost))
        return Result(value, lambda: text.say(sentence, fg=None if unused else "red"), not unused)


def boards_meant(ctx: click.Context, all_boards: bool) -> list[BoardPaths]:
    """The board that the call names, or every board of the home. Raises UnknownBoard."""
    if all_boards:
        return boards(home_of(ctx))
    ctx.obj.require_board()
    return [ctx.obj]


def home_of(ctx: click.Context) -> Path:
    """The home whose boards are meant. Raises UsageError if one board was named."""
    given = ctx.find_root().params
    if given["board"] is not None:
        raise click.UsageError("--board names one board, and --all-boards means all of them.")
    return root_folder(given["home"])


class ProgressBar:
    """A progress bar on standard error for replays that take a while; nothing for programs."""

    def __init__(self, label: str, hidden: bool) -> None:
        self._label, self._done = label, 0
        self._update: Callable[[int], None] | None = None
        self._finish: Callable[[], None] = lambda: None
        self._hidden = hidden or not sys.stderr.isatty()
        self._started = time.monotonic()

    def __enter__(self) -> ProgressCallback:
        return self._tell

    def __exit__(self, *exc_info: object) -> None:
        self._finish()

    def _tell(self, done: int, total: int) -> None:
        if self._hidden or time.monotonic() - self._started < 0.5:
            return
        if self._update is None:
            bar = click.progressbar(length=total, label=self._label, file=sys.stderr)
            self._update, self._finish = bar.update, bar.render_finish
        self._update(done - self._done)
        self._done = done
