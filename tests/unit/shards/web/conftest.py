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
