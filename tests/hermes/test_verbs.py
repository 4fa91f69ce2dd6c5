"""Each verb and each flag of ``hermes kanban``, on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hermes.side_by_side import differences, model, side
from tests.hermes.side_by_side.side import Said, Side
from tests.hermes.side_by_side.stories import STORIES, Story
from tests.hermes.side_by_side.tell import PAUSES, parsed, tell

pytestmark = pytest.mark.hermes


@pytest.fixture(scope="module")
def plain(hermes_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """The released Hermes."""
    with side.opened(hermes_environment, tmp_path_factory.mktemp("plain")) as opened:
        yield opened


@pytest.fixture(scope="module")
def bridged(bridged_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """The same on a board of ours."""
    with side.opened(bridged_environment, tmp_path_factory.mktemp("bridged")) as opened:
        yield opened


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    """Whom Hermes asks its small questions."""
    with model.serving() as url:
        yield url


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_story_is_the_same_on_both_sides(plain: Side, bridged: Side, model_url: str, story: Story) -> None:
    """The same exit codes and the same text, but for ids, times, and what docs/hermes.md says."""
    config = "" if story.name == "no model" else model.config(model_url)
    with ThreadPoolExecutor(2) as both:
        theirs, ours = both.map(lambda one: tell(one, story, config), (plain, bridged))
    different = [
        f"{one.line}\n{differences.between(_compared(one.said), _compared(other.said))}"
        for one, other in zip(theirs, ours, strict=True)
        if _compared(one.said) != _compared(other.said) and (story.name, one.line) not in differences.CALLS
    ]
    if different:
        pytest.fail("\n\n".join(different), pytrace=False)


def _compared(said: Said) -> str:
    return f"{differences.comparable(said.out)}\n{differences.comparable(said.err)}\nexit code {said.code}"


def test_a_difference_is_seen() -> None:
    """Of a value, of an exit code, and of an event that is not there; but not of what the page says."""
    event = '{"kind": "claimed", "payload": {"run_id": 1}}'
    assert differences.comparable(f"[{event}]") != differences.comparable("[]")
    assert differences.comparable(event) != differences.comparable(event.replace("1", "2"))
    assert differences.comparable(event) == differences.comparable(event.replace("1", '1, "by": "mafei"'))
    assert _compared(Said(0, "", "")) != _compared(Said(1, "", ""))
    line = "  [<date>] [run 1] claimed {'lock': '<host:pid>', 'expires': <time>}"
    assert differences.comparable(line) != differences.comparable(line.replace("claimed", "spawned"))
    assert differences.comparable(line) == differences.comparable(line.replace("}", ", 'by': 'mafei'}"))


def test_each_difference_stands_in_the_page() -> None:
    """As a line of its table, which begins with those words."""
    page = (Path(__file__).parents[2] / "docs" / "hermes.md").read_text(encoding="utf-8")
    for words in {*differences.WIDELY, *differences.CALLS.values(), *differences.ROUTES.values()}:
        assert f"\n| {words}" in page
    told = {(story.name, call) for story in STORIES for call in story.calls}
    assert set(differences.CALLS) <= told


def test_no_verb_and_no_flag_is_forgotten(plain: Side) -> None:
    """What the argument parser of Hermes has is said in some story: each spelling of a verb, and each flag of it."""
    verbs = plain.verbs()
    assert sum(len(verb["flags"]) for verb in verbs) > 100
    words = [parsed(call)[3] for story in STORIES for call in story.calls if call not in PAUSES]
    forgotten = []
    for verb in verbs:
        said = {
            tuple(spelling): [line for line in words if line[: len(spelling)] == spelling]
            for spelling in verb["spellings"]
        }
        forgotten += [spelling for spelling, lines in said.items() if not lines]
        used = {word for lines in said.values() for line in lines for word in line}
        forgotten += [(*verb["spellings"][0], *flag) for flag in verb["flags"] if used.isdisjoint(flag)]
    assert forgotten == []
