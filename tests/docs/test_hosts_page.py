"""docs/hosts.md is true: two people who copy its lines share a board, with a real server, and one of them leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards import Board
from kanban_shards.coordinator.health.metrics import FIGURES
from tests.docs.test_readme import COMMANDS, Block, check_words, outside, run_shell  # noqa: F401
from tests.far.server import Server
from tests.hosts.network import Link

PAGE = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")
BLOCKS = [Block(*match) for match in re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)]
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)


@pytest.fixture
def link(postgres: Server) -> Iterator[Link]:
    """A way to the server by an address, as to one of another machine."""
    with closing(Link(f"{postgres.folder}/.s.PGSQL.5432")) as link:
        yield link


def test_two_people_share_a_board_and_one_leaves(
    outside: dict[str, str],  # noqa: F811
    tmp_path: Path,
    postgres: Server,
    link: Link,
) -> None:
    for statement in next(block.text for block in BLOCKS if (block.language, block.note) == ("sql", "")).split(";\n"):
        if statement.strip():
            postgres.sql(statement)
    hosts = {}
    for name in ("laptop", "server"):
        (tmp_path / name).mkdir()
        hosts[name] = {**outside, "HOME": str(tmp_path / name), "PGPORT": str(link.port)}
    said = {name: "" for name in hosts}
    try:
        for block in BLOCKS:
            for name in hosts if block.note == "on=each" else {block.note.removeprefix("on=")} & hosts.keys():
                said[name] += run_shell([_of_here(block)], hosts[name])
        assert "a new shared ledger is begun" in said["laptop"]
        assert "is joined, by this host as server" in " ".join(said["server"].split())
        assert re.search(r"Write the report", said["server"]), "what one host did shows on the other"
        assert re.search(r"^ann .* elsewhere +on laptop", said["server"], re.M)
        with Board.open(home=tmp_path / "server" / ".hermes") as board:
            assert {task.title for task in board.tasks()} == {"Write the report", "Build it"}
    finally:
        for statement in ("DROP DATABASE kanban WITH (FORCE)", "DROP ROLE kanban"):
            postgres.sql(statement)


def _of_here(block: Block) -> Block:
    """With the address of the test's server, which has no certificate and needs none on loopback."""
    text = block.text.replace("db.example.org", "127.0.0.1")
    return block._replace(text=re.sub(r"^ssl.*\n", "", text, flags=re.M))


def test_the_grants_are_enough_for_a_host_and_no_more(postgres: Server) -> None:
    """A role of a host's own may add entries, and neither change nor remove one."""
    from kanban_shards.migrations.far import VERSIONS

    database = postgres.database()
    postgres.sql("CREATE ROLE host_laptop")
    try:
        for statement in VERSIONS[0]:
            postgres.sql(statement, database)
        for statement in next(block.text for block in BLOCKS if block.note == "roles").split(";\n"):
            if statement.strip():
                postgres.sql(statement, database)
        asked = "has_table_privilege('host_laptop', 'kanban_entry', '{}')"
        [may] = postgres.sql(f"SELECT {', '.join(map(asked.format, ('INSERT', 'UPDATE', 'DELETE')))}", database)
        assert may == (True, False, False)
    finally:
        postgres.sql(f"DROP DATABASE {database}")
        postgres.sql("DROP ROLE host_laptop")


def test_every_command_and_figure_that_is_named_exists() -> None:
    named = [words for words in re.findall(r"`([^`\n]+)`", PROSE) if words.split()[0] in COMMANDS]
    named += re.findall(r"^(kanban-merge [^|>#\n]+)", "\n".join(block.text for block in BLOCKS), re.M)
    assert len(named) > 10
    for words in named:
        group, *rest = words.split()
        check_words(COMMANDS[group], rest)
    figures = set(re.findall(r"`kanban_((?:shared|host)_\w+)`", PROSE))
    assert figures and figures <= set(FIGURES)
