"""Pages: from an address to what is shown, or to a sentence that says why not. Runs in the reader."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

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
from kanban_shards.filters import Filters
from kanban_shards.paths import check_task_id
from kanban_shards.records import STATUSES
from kanban_shards.web import deeds, health_page, task_page, then
from kanban_shards.web import graph as graph_page
from kanban_shards.web.site import Site, shown_name
from kanban_shards.web.wire import BODY_BYTES, Answer, Ask, FileAt

Page = Callable[[Site, Ask], Answer]

_NOT_FOUND = (UnknownTask, UnknownBoard, UnknownAttachment, InvalidTaskId, InvalidName)
IN_A_TERMINAL = "`kanban show` prints them."
REPORT = "Please report it, with what the command printed."
log = logging.getLogger("kanban.web")


def answer(site: Site, ask: Ask) -> Answer:
    """The page that is asked for; a page that says what is wrong, where that is how it ends."""
    try:
        made = PAGES[ask.page](site, ask)
        if len(made.body.encode()) > BODY_BYTES:
            return _sentence(
                site, ask, 413, "This is too much for a page", "Its texts are too long for it", IN_A_TERMINAL
            )
        return made
    except KanbanError as error:
        if isinstance(error, StorageError):
            site.let_go(ask.board)
        return trouble(site, ask, error)
    except Exception as error:  # a bug of this program ends no other page
        log.exception("the page %s is at fault", ask.page)
        return _sentence(site, ask, 500, "This page is at fault", f"It failed with {error!r}", REPORT)


def trouble(site: Site, ask: Ask, error: KanbanError) -> Answer:
    """What is wrong, as a page of its own."""
    if isinstance(error, BoardMissing):
        status, title = 200, "Nothing here yet"
    elif isinstance(error, _NOT_FOUND):
        status, title = 404, "There is no such thing here"
    elif isinstance(error, StorageError):
        status, title = 503, "This board cannot be read"
    elif ask.form is None:
        status, title = 404, "That cannot be shown"
    else:
        status, title = 409, "That was not done"
    return _sentence(site, ask, status, title, error.happened.rstrip("."), error.advice)


def first(site: Site, ask: Ask) -> Answer:
    """Where the board is that the command names."""
    return Answer(ask.number, location=f"/b/{site.first.slug}/")


def board(site: Site, ask: Ask) -> Answer:
    """The board, through the filters of the address."""
    filters = Filters.read(ask.query)
    with then.shown(site, ask.board, ask.query) as (shown, moment):
        facts = {"picture": site.picture(ask.board, shown, filters), "filters": filters, "then": moment}
        facts |= {"statuses": STATUSES, "have": ()}
        return Answer(ask.number, body=_page(site, ask, "board.html", then.now_s(shown), **facts))


def columns(site: Site, ask: Ask) -> Answer:
    """What of the board is not shown yet: of a column whose mark is among the words ``have``, the mark alone."""
    filters = Filters.read(ask.query)
    have = frozenset(mark for name, marks in ask.query if name == "have" for mark in marks.split())
    with then.shown(site, ask.board, ask.query) as (shown, moment):
        facts = {"picture": site.picture(ask.board, shown, filters), "filters": filters, "then": moment, "have": have}
        page = site.page("columns.html", then.now_s(shown), here=site.paths(ask.board).slug, **facts)
        return Answer(ask.number, body=page)


def task(site: Site, ask: Ask) -> Answer:
    """One task, with all that belongs to it; what a form asks of it is done first."""
    task_id = check_task_id(ask.name)
    if ask.form is None:
        return _task(site, ask, task_id, None)
    form = dict(ask.form)
    refusal = _refusal(site, ask, form)
    if refusal is not None:
        return refusal
    notice = deeds.do(site, ask, task_id, form)
    if notice.kind == "done":
        return Answer(ask.number, location=f"/b/{site.paths(ask.board).slug}/t/{task_id}?did={form['deed']}")
    return _task(site, ask, task_id, notice)


def new(site: Site, ask: Ask) -> Answer:
    """The form for a new task, and what comes of it."""
    form = dict(ask.form or ())
    refusal = _refusal(site, ask, form) if ask.form is not None else _read_only(site, ask)
    if refusal is not None:
        return refusal
    made = deeds.create(site, ask, form) if ask.form is not None else None
    if isinstance(made, str):
        return Answer(ask.number, location=f"/b/{site.paths(ask.board).slug}/t/{made}")
    once, people = form.get("once") or deeds.once(), site.people(ask.board)
    facts: dict[str, Any] = {"form": _Words(form), "notice": made, "once": once, "people": people}
    return Answer(ask.number, 200 if made is None else 409, _page(site, ask, "new.html", None, **facts))


def graph(site: Site, ask: Ask) -> Answer:
    """What waits for what: around the task of the address, or all that is open."""
    named = dict(ask.query).get("task")
    with then.shown(site, ask.board, ask.query) as (shown, moment):
        facts = {**graph_page.gather(shown, None if named is None else check_task_id(named)), "then": moment}
        return Answer(ask.number, body=_page(site, ask, "graph.html", then.now_s(shown), **facts))


def file(site: Site, ask: Ask) -> Answer:
    """An attachment: where its copy lies in the folder of its task, and nowhere else."""
    number = int(ask.name) if ask.name.isascii() and ask.name.isdigit() and len(ask.name) < 19 else 0
    found = site.board(ask.board).attachment(number)
    if found is None:
        raise UnknownAttachment(attachment_id=number, board=site.paths(ask.board))
    paths = site.paths(ask.board)
    stored = found.stored_path.replace("\\", "/").rpartition("/")[2]
    place = FileAt(str(paths.folder), str(paths.attachments / check_task_id(found.task_id)), stored, found.filename)
    return Answer(ask.number, file=place)


def health(site: Site, ask: Ask) -> Answer:
    """How the board is, and what to type where something is wrong."""
    facts = health_page.gather(site.paths(ask.board), ("examine", "1") in ask.query)
    return Answer(ask.number, body=_page(site, ask, "health.html", None, **facts))


class _Words(dict[str, str]):
    """What was written in a form; "" for what was not."""

    def __missing__(self, name: str) -> str:
        return ""


def _task(site: Site, ask: Ask, task_id: str, notice: deeds.Notice | None) -> Answer:
    with then.shown(site, ask.board, ask.query) as (shown, moment):
        facts = {**task_page.gather(shown, task_id, ask.query), "then": moment}
    if notice is None and (did := deeds.DEEDS.get(dict(ask.query).get("did", ""))) and site.writer:
        notice = deeds.Notice("done", did.said)
    if site.writer:
        facts |= {"deeds": deeds.forms_for(facts["task"]), "kinds": deeds.KINDS, "people": site.people(ask.board)}
        facts["seen"] = json.dumps(facts["task"].vector, sort_keys=True)
    status = 200 if notice is None or notice.kind == "done" else 202 if notice.kind == "late" else 409
    return Answer(ask.number, status, _page(site, ask, "task.html", then.now_s(shown), notice=notice, **facts))


def _read_only(site: Site, ask: Ask) -> Answer | None:
    """Why nothing can be written here, if that is so."""
    if site.writer is not None:
        return None
    happened = "The server was started to show the board, not to change it"
    advice = "`kanban --profile NAME web --write` serves one that lets you change it, as NAME."
    return _sentence(site, ask, 403, "This page only shows", happened, advice)


def _refusal(site: Site, ask: Ask, form: dict[str, str]) -> Answer | None:
    """Why a form is not taken, if that is so."""
    if site.writer is None:
        return _read_only(site, ask)
    if deeds.is_of_this_server(site, form):
        return None
    happened = "It was made before the server was started, or elsewhere"
    return _sentence(site, ask, 403, "That form is old", happened, "Load the page again, and write it once more.")


def _sentence(site: Site, ask: Ask, status: int, title: str, happened: str, advice: str) -> Answer:
    """A page that says what happened. What is missing or damaged now may be there at the next merge."""
    said = {"title": title, "happened": happened, "advice": advice, "status": status, "passes": status in (200, 503)}
    return Answer(ask.number, status, _page(site, ask, "trouble.html", None, **said))


PAGES: dict[str, Page] = {
    "first": first,
    "board": board,
    "columns": columns,
    "task": task,
    "new": new,
    "graph": graph,
    "file": file,
    "health": health,
}


def _page(site: Site, ask: Ask, template: str, now_s: float | None, **facts: Any) -> str:
    try:
        paths = site.paths(ask.board)
    except KanbanError:
        paths = site.first
    shown = {"page": ask.page, "here": paths.slug, "board_name": shown_name(paths), "boards": site.links(paths.slug)}
    return site.page(template, now_s, **shown, **facts)
