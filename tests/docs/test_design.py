"""docs/design.md is true where a program can tell, and has every section that the code refers to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coordinator.refusal import REASONS
from shards.changes import ADDING, KINDS

ROOT = Path(__file__).parents[2]
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
SOURCES = [
    path
    for folder in ("shards", "coordinator", "migrations", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.parent != Path(__file__).parent
]
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DESIGN, re.M | re.S))
INVARIANTS = re.findall(r"^\| `(\w+)` \|.*\| (?:`(\S+)`|planned) \|$", SECTIONS["Invariants"], re.M)


def test_every_reason_is_explained_and_nothing_else() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", SECTIONS["Verdicts"], re.M)) == sorted(REASONS)


def test_every_section_that_the_code_refers_to_exists() -> None:
    referred = [
        (path.relative_to(ROOT), name)
        for path in SOURCES
        for name in re.findall(r'docs/design\.md[^"]{0,3}\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert len(referred) > 5
    assert [(path, name) for path, name in referred if name not in SECTIONS] == []


def test_every_law_that_the_code_refers_to_exists() -> None:
    laws = re.findall(r"^(\d)\. \*\*", SECTIONS["SQLite laws"], re.M)
    assert laws == list("1234567")
    referred = {
        number for path in SOURCES for number in re.findall(r"\b[Ll]aw (\d+)", path.read_text(encoding="utf-8"))
    }
    assert referred and referred <= set(laws)


def test_the_adding_changes_are_those_of_the_rule() -> None:
    (listed,) = re.findall(r"\*\*Adding\*\* changes \(([^)]+)\)", SECTIONS["The rule"])
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(kind for kind, body in KINDS.items() if body.law == ADDING)


def test_the_run_bound_changes_are_those_of_the_rule() -> None:
    (listed,) = re.findall(r"\*\*Run-bound\*\* changes \(([^)]+)\)", SECTIONS["The rule"])
    bound = [kind for kind, body in KINDS.items() if "run_id" in body.__struct_fields__]
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(bound)


@pytest.mark.parametrize(("name", "place"), INVARIANTS)
def test_every_invariant_is_checked_where_the_table_says(name: str, place: str) -> None:
    found = {
        path for path in SOURCES if re.search(rf"^\s*def (test_)?{name}\(", path.read_text(encoding="utf-8"), re.M)
    }
    if not place:
        assert found == set(), f"{name} is planned no longer"
        return
    assert any(path.is_relative_to(ROOT / place) for path in found), f"{name} is not in {place}"
