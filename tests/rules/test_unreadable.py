"""An entry that nobody can read is refused by all alike, and stops nobody (docs/design/rule.md, "Verdicts").

A pass lets none into the ledger; one may stand there all the same, because a newer program wrote it, or another host.
"""

from __future__ import annotations

import pytest

from kanban_shards.changes.kinds import AddComment, Create
from tests.rules.game import Game

TASK = "t_00000000000000000001"


@pytest.mark.parametrize(
    ("kind", "body", "seen"),
    [
        ("telepathy", "{}", "{}"),
        ("comment", "{}", "{}"),
        ("comment", "no JSON", "{}"),
        ("comment", '{"author": 7, "body": []}', "{}"),
        ("complete", "[" * 100_000, "{}"),
        ("complete", '{"metadata": 1e999}', "{}"),
        ("archive", "{}", "no JSON"),
        ("archive", "{}", '{"amy": -1}'),
        ("archive", "{}", '{ "amy": 1 }'),
    ],
)
def test_it_is_refused_and_the_next_one_applies(game: Game, kind: str, body: str, seen: str) -> None:
    game.apply("amy", TASK, Create(title="before"))
    decision = game.do_as_written("bob", TASK, kind, body, seen)
    assert (decision.reason, decision.sentence) == ("unreadable", "change 1 of bob cannot be read")
    game.apply("bob", TASK, AddComment(text="after"))
    game.check()


def test_nothing_of_it_stays_but_its_verdict(game: Game) -> None:
    game.apply("amy", TASK, Create(title="before"))
    before = [game.task(TASK), game.events(TASK), game.vector(TASK)]
    game.do_as_written("bob", TASK, "telepathy", "{}", "{}")
    assert [game.task(TASK), game.events(TASK), game.vector(TASK)] == before
    (kept,) = game.rows("SELECT profile, seq, kind FROM merge_kept")
    assert kept == {"profile": "bob", "seq": 1, "kind": "telepathy"}
