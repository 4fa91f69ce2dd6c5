"""Hermes's dashboard on both sides: each call that its page makes, and the page itself in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import browser
from tests.hermes.side_by_side import dashboard, differences, model, side
from tests.hermes.side_by_side.calls import CALLS
from tests.hermes.side_by_side.side import Side

pytestmark = [pytest.mark.hermes, pytest.mark.timeout(600)]
LOOK_MS = 120_000


@pytest.fixture(scope="module")
def sides(hermes_environment: Path, bridged_environment: Path, tmp_path_factory) -> Iterator[list[Side]]:
    """The released Hermes, and the one on a board of ours."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(side.opened(environment, tmp_path_factory.mktemp("side")))
            for environment in (hermes_environment, bridged_environment)
        ]


def test_no_route_is_forgotten(sides: list[Side]) -> None:
    """What the plugin answers is called."""
    called = {(call.method, call.path.partition("?")[0]) for call in CALLS}
    routes = [route.split() for route in sides[0].routes()]
    assert len(routes) > 30
    forgotten = []
    for method, path in routes:
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", path))
        if not any(method == by and pattern.fullmatch(where) for by, where in called):
            forgotten.append(f"{method} {path}")
    assert forgotten == []


def test_each_call_is_answered_as_by_hermes_alone(sides: list[Side]) -> None:
    """The same codes, the same answers, and the same board afterwards, but for what docs/hermes.md says."""
    with model.serving() as url, ThreadPoolExecutor(2) as both:
        theirs, ours = both.map(lambda one: dashboard.tell(one, model.config(url)), sides)
    different = []
    for (call, answer), (_, other) in zip(theirs, ours, strict=True):
        said, mine = (f"{one.status}\n{differences.comparable(one.body)}" for one in (answer, other))
        if said != mine and str(call) not in differences.ROUTES:
            different.append(f"{call}\n{differences.between(said, mine)}")
    if different:
        pytest.fail("\n\n".join(different), pytrace=False)


def test_the_page_shows_a_board_of_ours(sides: list[Side], tmp_path: Path) -> None:
    """In a browser: the cards that the command line made, in their columns; and what is done meanwhile, without asking
    for the page again."""
    ours = sides[1]
    home = ours.new_home("page")
    ours.call(home, ["create", "Write the PRD", "--assignee", "mafei"])
    ours.call(home, ["create", "Think of it", "--triage"])
    with dashboard.running(ours, home) as served, browser.opened(tmp_path / "browser") as page:
        page.set_default_timeout(LOOK_MS)
        page.goto(f"{served.url}/kanban")
        page.get_by_text("Write the PRD").first.wait_for()
        page.get_by_text("Think of it").first.wait_for()
        ours.call(home, ["create", "Made meanwhile"])
        page.get_by_text("Made meanwhile").first.wait_for()
