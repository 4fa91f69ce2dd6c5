"""What a shell completes besides verbs and options: ids of tasks, profiles, boards.

Asked at each press of a key, so it reads little, changes nothing, and knows of no trouble: what cannot be read is not
offered. Titles are shown beside ids, and no character of them draws on the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from kanban_shards import wording
from kanban_shards.board import Board
from kanban_shards.boards import boards
from kanban_shards.errors import InvalidName, KanbanError
from kanban_shards.paths import BoardPaths, check_profile, root_folder
from kanban_shards.queries import TaskQuery

# So many tasks are offered, the first ones of `kanban list`.
OFFERED = 50
TITLE = 60


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The tasks whose id begins so, with their titles."""
    return _offered(_tasks, ctx, incomplete)


def profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The profiles that have a shard here, or a task."""
    return _offered(_profiles, ctx, incomplete)


def slugs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The boards of the home."""
    return _offered(_slugs, ctx, incomplete)


def _offered(
    find: Callable[[click.Context, str], Iterator[CompletionItem]], ctx: click.Context, incomplete: str
) -> list[CompletionItem]:
    found: list[CompletionItem] = []
    with suppress(KanbanError, OSError):
        found.extend(find(ctx, incomplete))
    return found


def _tasks(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    with Board(_paths(ctx)) as board:
        if len(incomplete) <= len("t_"):
            shown = board.page(TaskQuery(), limit=OFFERED).tasks
        else:
            ids = board.ids_beginning_with(incomplete, OFFERED)
            shown = [task for task in map(board.task, ids) if task is not None]
        for task in shown:
            if task.id.startswith(incomplete):
                title = wording.printable(wording.clip(task.title, TITLE))
                yield CompletionItem(task.id, help=f"{task.status}, {title}")


def _profiles(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    paths = _paths(ctx)
    known = {profile for profile, _ in paths.shards()}
    with suppress(KanbanError), Board(paths) as board:
        known |= board.stats()["by_assignee"].keys()
    for name in sorted(known):
        with suppress(InvalidName):
            if check_profile(name).startswith(incomplete):
                yield CompletionItem(name)


def _slugs(ctx: click.Context, incomplete: str) -> Iterator[CompletionItem]:
    for paths in boards(root_folder(ctx.find_root().params.get("home"))):
        if paths.slug.startswith(incomplete):
            yield CompletionItem(paths.slug)


def _paths(ctx: click.Context) -> BoardPaths:
    given = ctx.find_root().params
    return BoardPaths.find(given.get("board"), given.get("home"))
