"""The pages of docs/design are true where a program can tell, and have every section that the code refers to."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from kanban_shards import Gateway, attachments, attempts, gateway
from kanban_shards.changes.fields import ADDING, NESTING_LIMIT
from kanban_shards.changes.kinds import COORDINATOR_KINDS, KINDS, Outcome
from kanban_shards.coordinator.merge import collector, shard_reader
from kanban_shards.coordinator.rules import RULES, TASKLESS_RULES, capacity, failures
from kanban_shards.coordinator.rules.refusal import REASONS
from kanban_shards.records import STATUSES
from kanban_shards.storage import files, filesystems
from tests import invariants
from tests.rules.test_table import HEADER, LINES, SHORT

ROOT = Path(__file__).parents[2]
DESIGN = ROOT / "docs" / "design.md"
PAGES = sorted((ROOT / "docs" / "design").glob("*.md"))
SOURCES = [
    path
    for folder in ("shards", "coordinator", "migrations", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.parent != Path(__file__).parent
]
# Each heading of each page, once in all of them: where it is, and what stands below it.
PAGE_OF, SECTIONS = {}, {}
for _page in PAGES:
    for _heading, _text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", _page.read_text(encoding="utf-8"), re.M | re.S):
        assert _heading not in SECTIONS, f"{_heading} is in {PAGE_OF[_heading]}, too"
        PAGE_OF[_heading], SECTIONS[_heading] = _page.stem, _text
INVARIANTS = re.findall(r"^\| `(\w+)` \|.*\| `(\S+)` \|$", SECTIONS["Invariants"], re.M)


def test_every_reason_is_explained_and_nothing_else() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", SECTIONS["Verdicts"], re.M)) == sorted(REASONS)


def test_every_section_that_the_code_refers_to_exists() -> None:
    referred = [
        (path.relative_to(ROOT), page, name)
        for path in SOURCES
        for page, name in re.findall(r'docs/design/(\w+)\.md[^"]{0,3}\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert len(referred) > 15
    assert [each for each in referred if PAGE_OF.get(each[2]) != each[1]] == []
    named = [re.findall(r"docs/design/(\w+)\.md", path.read_text(encoding="utf-8")) for path in SOURCES]
    assert {page for pages in named for page in pages} <= set(PAGE_OF.values())
    of_the_index = [path.name for path in SOURCES if "docs/design.md" in path.read_text(encoding="utf-8")]
    assert of_the_index == [], "name the page of docs/design that has the heading"


def test_the_index_has_each_page_with_its_headings_in_their_order() -> None:
    rows = re.findall(r"^\| \[.+?\]\(design/(\w+)\.md\) \| .+ \| (.+) \|$", DESIGN.read_text(encoding="utf-8"), re.M)
    listed = {page: re.findall(r"\[(.+?)\]\(", headings) for page, headings in rows}
    pages = {page.stem: [name for name, where in PAGE_OF.items() if where == page.stem] for page in PAGES}
    assert listed == pages


def test_every_law_that_the_code_refers_to_exists() -> None:
    laws = re.findall(r"^(\d)\. \*\*", SECTIONS["SQLite laws"], re.M)
    assert laws == list("12345678")
    referred = {
        number for path in SOURCES for number in re.findall(r"\b[Ll]aw (\d+)", path.read_text(encoding="utf-8"))
    }
    assert referred and referred <= set(laws)


def test_the_kinds_of_changes_are_those_of_the_rule() -> None:
    bound = {kind for kind, body in KINDS.items() if "run_id" in body.__struct_fields__}
    for words, kinds in {
        r"\*\*Adding\*\* changes": {kind for kind, body in KINDS.items() if body.rule == ADDING},
        r"\*\*Run-bound\*\* changes": bound,
        r"Changes \*\*without a task\*\*": set(TASKLESS_RULES),
        r"\*\*coordinator's\s+own\*\* changes": COORDINATOR_KINDS,
    }.items():
        (listed,) = re.findall(rf"{words} \(([^)]+)\)", SECTIONS["The rule"])
        assert sorted(quoted(listed)) == sorted(kinds), words


def test_the_statuses_are_those_of_the_tested_table() -> None:
    """Each row of tests/rules/test_table.py is in one of the two tables, unless it says the same of every status."""
    head, *rows = [cells for cells in table("Statuses") if len(cells) == len(STATUSES) + 1]
    assert tuple(head[1:]) == STATUSES
    shown = {change: cells for change, *cells in rows}
    running = dict(cells for cells in table("Statuses") if len(cells) == 2 and cells[0])
    tested = {named(name): [shown_as(cell) for cell in cells] for name, *cells in LINES if len(set(cells)) > 1}
    there = HEADER.index("running")
    bound = {name: cells for name, cells in tested.items() if {*cells[:there], *cells[there + 1 :]} == {"`late`"}}
    assert running == {name: cells[there] for name, cells in bound.items()}
    assert shown == {name: cells for name, cells in tested.items() if name not in {*bound, "`claim_next`"}}


def test_every_way_to_fail_is_listed() -> None:
    listed = [name for cells in table("Attempts") for name in quoted(cells[0])]
    assert sorted(listed) == sorted(get_args(Outcome))


@pytest.mark.parametrize(
    ("section", "figure"),
    [
        ("A pass", f"{shard_reader.CHANGES_PER_PASS:,} changes"),
        ("A pass", f"at least {shard_reader.LEAST_SHARE} of each"),
        ("A pass", f"{shard_reader.BYTES_PER_PASS // 2**20} MiB"),
        ("A pass", f"for {collector.PATIENCE_MS} ms"),
        ("Attempts", f"for {failures.RATE_LIMIT_COOLDOWN_S} s"),
        ("Capacity", f"for {capacity.TURN_KEPT_S} s,"),
        ("Capacity", f"for {gateway.ASK_AGAIN_S:g} s unless"),
        ("Notifications", f"({attempts.DELIVERY_LEASE_S} s)"),
        ("Attachments", f"{attachments.LIMIT_BYTES // 2**20} MiB"),
        ("Losing a file", f"the newest {files.ASIDE_KEPT} of each"),
        ("SQLite laws", f"metadata {NESTING_LIMIT} levels"),
    ],
)
def test_the_figures_are_those_of_the_code(section: str, figure: str) -> None:
    assert figure in " ".join(SECTIONS[section].split())


def test_every_call_of_a_gateway_is_said_to_wait_or_not() -> None:
    said = quoted(SECTIONS["What waits for a verdict and what does not"])
    reads = {"deliveries", "delivery_to", "draw", "living_workers", "open_run", "own_changes"}
    reads |= {"held_up_by", "patience_s"}
    assert {name for name in vars(Gateway) if not name.startswith("_")} - reads <= set(said)


def test_the_filesystems_that_are_refused() -> None:
    (listed,) = re.findall(r"`shards/storage/filesystems\.py`: ([^)]+) and others", SECTIONS["SQLite laws"])
    names = {"NFS": "nfs4", "SMB": "smb3", "9p": "9p", "virtiofs": "virtiofs"}
    assert set(listed.split(", ")) == set(names)
    assert all(filesystems.NOT_SHARED.fullmatch(kind) for kind in names.values())


@pytest.mark.parametrize(("name", "place"), INVARIANTS)
def test_every_invariant_is_checked_where_the_table_says(name: str, place: str) -> None:
    found = {
        path for path in SOURCES if re.search(rf"^\s*def (test_)?{name}\(", path.read_text(encoding="utf-8"), re.M)
    }
    assert any(path.is_relative_to(ROOT / place) for path in found), f"{name} is not in {place}"


def test_every_invariant_that_is_checked_is_in_the_table() -> None:
    assert len(INVARIANTS) == len(table("Invariants")) - 1
    called = re.findall(r"^    (\w+)\(", inspect.getsource(invariants.check), re.M)
    assert called
    assert set(called) <= {name for name, _ in INVARIANTS}


# --- how ---------------------------------------------------------------------------------------------------------


def table(section: str) -> list[list[str]]:
    """The cells of each line of a section's tables."""
    rows = [line for line in SECTIONS[section].splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")] for row in rows]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def named(row: str) -> str:
    """How the page names a row of the tested table: the kind, and which of its forms."""
    kind = row if row in {**RULES, **TASKLESS_RULES} else row.split("_")[0]
    form = row.removeprefix(kind).removeprefix("_")
    return f"`{kind}`, {form}" if form else f"`{kind}`"


def shown_as(cell: str) -> str:
    """How the page shows a cell of the tested table."""
    word = SHORT.get(cell, cell)
    if word in REASONS:
        return "-" if word == "wrong_status" else f"`{word}`"
    return "·" if word == "." else word
