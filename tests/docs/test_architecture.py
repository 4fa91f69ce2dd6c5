"""docs/architecture.md has every room and module of the tree, and nothing else. Its links: test_readme.py."""

from __future__ import annotations

import re
from collections import defaultdict

from tests.tree import MODULES, ROOT, name_of
from tests.unit.test_floors import FLOOR_OF, FLOORS, imported, room_of

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
PATHS = {path.relative_to(ROOT).as_posix() for path in MODULES}
FILE = re.compile(r"\b(?:shards|coordinator|migrations|tests|benchmarks)/[\w/]+\.py\b")
NO_IDEA_OF_ITS_OWN = ("__init__.py", "__main__.py")
LONGEST_PAGE = 256


def test_every_module_is_on_the_page_and_nothing_else() -> None:
    room, listed = "", []
    for said, modules, idea in rows("Modules"):
        room = said.strip("`") or room
        listed += [room + module for module in quoted(modules)]
        assert idea
    assert sorted(listed) == sorted(path for path in PATHS if not path.endswith(NO_IDEA_OF_ITS_OWN))


def test_the_floors_are_those_that_are_held() -> None:
    listed = [(int(floor), *quoted(room)) for floor, room, *_ in rows("Rooms")]
    assert listed == [(floor, room) for floor, rooms in enumerate(FLOORS, 1) for room in rooms]
    assert all(duty for *_, duty, _ in rows("Rooms"))


def test_each_room_uses_what_its_line_says() -> None:
    used = defaultdict(set)
    for path in MODULES:
        used[room_of(name_of(path))] |= {room_of(name) for name in imported(path)}
    for _, room, _, uses in rows("Rooms"):
        (here,) = quoted(room)
        assert quoted(uses) == sorted(used[here] - {here, ""}, key=lambda each: (FLOOR_OF[each], each)), here


def test_each_step_names_modules_that_exist() -> None:
    steps = rows("One change's way")
    assert [what.partition(".")[0] for what, _ in steps] == [str(number) for number in range(1, len(steps) + 1)]
    for what, where in steps:
        assert quoted(where) and set(quoted(where)) <= PATHS, what


def test_every_file_that_a_page_or_a_comment_names_exists() -> None:
    texts = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    for folder in ("shards", "coordinator", "migrations", "tests", "benchmarks"):
        texts += (ROOT / folder).rglob("*.py")
    for path in texts:
        for named in FILE.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / named).is_file(), f"{path.relative_to(ROOT)} names {named}"


def test_a_word_is_explained_once() -> None:
    words = [word for said, _ in rows("Words") for word in said.split(", ")]
    assert len(words) == len(set(words)) > 30


def test_it_is_one_page() -> None:
    assert PAGE.count("\n") <= LONGEST_PAGE


# --- how ---------------------------------------------------------------------------------------------------------


def rows(section: str) -> list[list[str]]:
    """The cells of each row of the section's table, without its head."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in lines[2:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
