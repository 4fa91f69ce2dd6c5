"""Pages: from an address to what is shown, or to a sentence that says why not. Runs in the reader."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from kanban_shards.boards import read_metadata
from kanban_shards.errors import (
    BoardMissing,
    InvalidName,
    InvalidTaskId,
    KanbanError,
    StorageError,
    UnknownAttachment,
    UnknownBoard,
    UnknownTask,
)
from kanban_shards.paths import check_task_id
from kanban_shards.records import STATUSES
from kanban_shards.web import health_page, task_page
from kanban_shards.web.filters import Filters
from kanban_shards.web.site import Site
from kanban_shards.web.wire import Answer, Ask, FileAt

Page = Callable[[Site, Ask], Answer]

_NOT_FOUND = (UnknownTask, UnknownBoard, UnknownAttachment, InvalidTaskId, InvalidName)
REPORT = "Please report it, with what the command printed."
log = logging.getLogger("kanban.web")


def answer(site: Site, ask: Ask) -> Answer:
    """The page that is asked for; a page that says what is wrong, where that is how it ends."""
    try:
        return PAGES[ask.page](site, ask)
    except KanbanError as error:
        if isinstance(error, StorageError):
            site.let_go(ask.board)
        return trouble(site, ask, error)
    except Exception as error:  # a bug of this program ends no other page
        log.exception("the page %s is at fault", ask.page)
        said = {
            "title": "This page is at fault",
            "happened": f"It failed with {error!r}",
            "advice": "Please report it.",
        }
        return Answer(ask.number, 500, _page(site, ask, "trouble.html", **said))


def trouble(site: Site, ask: Ask, error: KanbanError) -> Answer:
    """What is wrong, as a page of its own."""
    if isinstance(error, BoardMissing):
        status, title = 200, "Nothing here yet"
    elif isinstance(error, _NOT_FOUND):
        status, title = 404, "There is no such thing here"
    elif isinstance(error, StorageError):
        status, title = 503, "This board cannot be read"
    else:
        status, title = 409, "That was not done"
    said = {
        "title": title,
        "happened": error.happened.rstrip("."),
        "advice": error.advice,
        "passes": status in (200, 503),
    }
    return Answer(ask.number, status, _page(site, ask, "trouble.html", **said))


def first(site: Site, ask: Ask) -> Answer:
    """Where the board is that the command names."""
    return Answer(ask.number, location=f"/b/{site.first.slug}/")


def board(site: Site, ask: Ask) -> Answer:
    """The board, through the filters of the address."""
    filters = Filters.read(ask.query)
    picture = site.picture(ask.board, filters)
    facts = {"picture": picture, "filters": filters, "statuses": STATUSES, "have": ()}
    return Answer(ask.number, body=_page(site, ask, "board.html", **facts))


def columns(site: Site, ask: Ask) -> Answer:
    """What of the board is not shown yet: of a column whose mark is among the words ``have``, the mark alone."""
    filters = Filters.read(ask.query)
    picture = site.picture(ask.board, filters)
    have = frozenset(mark for name, marks in ask.query if name == "have" for mark in marks.split())
    facts = {"picture": picture, "filters": filters, "have": have, "here": site.paths(ask.board).slug}
    return Answer(ask.number, body=site.page("columns.html", **facts))


def task(site: Site, ask: Ask) -> Answer:
    """One task, with all that belongs to it."""
    facts = task_page.gather(site, ask.board, check_task_id(ask.name), ask.query)
    return Answer(ask.number, body=_page(site, ask, "task.html", **facts))


def file(site: Site, ask: Ask) -> Answer:
    """An attachment: where its copy lies in the folder of its task, and nowhere else."""
    number = int(ask.name) if ask.name.isascii() and ask.name.isdigit() and len(ask.name) < 19 else 0
    found = site.board(ask.board).attachment(number)
    if found is None:
        raise UnknownAttachment(attachment_id=number)
    paths = site.paths(ask.board)
    stored = found.stored_path.replace("\\", "/").rpartition("/")[2]
    place = FileAt(str(paths.folder), str(paths.attachments / check_task_id(found.task_id)), stored, found.filename)
    return Answer(ask.number, file=place)


def health(site: Site, ask: Ask) -> Answer:
    """How the board is, and what to type where something is wrong."""
    facts = health_page.gather(site.paths(ask.board), ("examine", "1") in ask.query)
    return Answer(ask.number, body=_page(site, ask, "health.html", **facts))


PAGES: dict[str, Page] = {
    "first": first,
    "board": board,
    "columns": columns,
    "task": task,
    "file": file,
    "health": health,
}


def _page(site: Site, ask: Ask, template: str, **facts: Any) -> str:
    try:
        paths = site.paths(ask.board)
    except KanbanError:
        paths = site.first
    name = read_metadata(paths)["name"] or paths.slug
    shown = {"page": ask.page, "here": paths.slug, "board_name": name, "boards": site.links(paths.slug)}
    return site.page(template, **shown, **facts)
