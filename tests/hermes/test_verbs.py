"""Each verb and each flag of ``hermes kanban``, on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hermes.side_by_side import side
from tests.hermes.side_by_side.side import Side
from tests.hermes.side_by_side.stories import STORIES, Story
from tests.hermes.side_by_side.tell import PAUSES, parsed, tell

pytestmark = pytest.mark.hermes


@pytest.fixture(scope="module")
def plain(hermes_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Side]:
    """The released Hermes."""
    with side.opened(hermes_environment, tmp_path_factory.mktemp("plain")) as opened:
        yield opened


@pytest.mark.parametrize("story", STORIES[:3], ids=lambda story: story.name)
def test_a_story_told_twice_is_the_same(plain: Side, story: Story) -> None:
    """What two homes of one program say differs in nothing that is compared."""
    assert tell(plain, story) == tell(plain, story)


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
