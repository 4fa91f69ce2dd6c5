"""What is typed is read as it is meant, and written as it is read."""

from __future__ import annotations

import pytest

from kanban_shards.filters import Filters
from kanban_shards.terminal import typed


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", Filters()),
        ("  login   page ", Filters(text="login page")),
        ("assignee:amy", Filters(assignee="amy")),
        ("tenant:acme login", Filters(text="login", tenant="acme")),
        ("status:ready status:done", Filters(statuses=("ready", "done"))),
        ("needs:person assignee:-", Filters(needs=True, assignee="-")),
        ("10:30 http://x", Filters(text="10:30 http://x")),
    ],
)
def test_words_and_filters(words: str, meant: Filters) -> None:
    assert typed.read(words) == meant
    assert typed.read(typed.written(meant)) == meant


@pytest.mark.parametrize(("words", "why"), [("status:open", "there is no status 'open'"), ("needs:me", "needs:person")])
def test_nonsense_says_why(words: str, why: str) -> None:
    with pytest.raises(typed.Nonsense, match=why):
        typed.read(words)
