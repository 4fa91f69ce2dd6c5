"""The reader's side of the page, without a second process and without HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kanban_shards.web.pages import answer
from kanban_shards.web.site import Site
from kanban_shards.web.wire import Answer, Ask, Setup

KEY = "the key of the forms"


@pytest.fixture
def site(home: str) -> Iterator[Site]:
    """The boards of ``home``, for reading."""
    with Site(Setup(home, "default", home, None, KEY)) as opened:
        yield opened


@pytest.fixture
def get(site: Site) -> Callable[..., Answer]:
    """``get(page, name, *query)``: a page of the default board, or of ``board``."""

    def asked(page: str, name: str = "", *query: tuple[str, str], board: str = "") -> Answer:
        return answer(site, Ask(1, page, board, name, list(query)))

    return asked


@pytest.fixture
def writing(home: str) -> Iterator[Site]:
    """The boards of ``home``, to be changed as ``cleo``."""
    with Site(Setup(home, "default", home, "cleo", KEY)) as opened:
        yield opened


@pytest.fixture
def post(writing: Site) -> Callable[..., Answer]:
    """``post(page, name, **form)``: what comes of a form that has the key of this server, unless it names another."""

    def sent(page: str, name: str = "", **form: str) -> Answer:
        return answer(writing, Ask(1, page, "", name, [], [*{"key": KEY, **form}.items()]))

    return sent
