"""Links: which task waits for which."""

from __future__ import annotations

from kanban_shards.changes.kinds import Claim, Complete, Delete, Link, Promote, Reopen, Unlink
from tests.rules.game import Game


def test_link_demotes_what_is_ready(game: Game) -> None:
    """Linking is an event, and linking twice is linking once."""
    parent, child = game.make(), game.make()
    assert game.apply("pixiel", child, Link(parent=parent)) == {"linked": True}
    assert game.status(child) == "todo"
    assert game.events(child)[-1] == ("linked", {"parent": parent, "child": child})
    assert game.apply("pixiel", child, Link(parent=parent)) == {"linked": False}
    assert game.kinds(child) == ["created", "linked"]
    game.apply("bingge", parent, Complete())
    assert game.status(child) == "ready"


def test_a_terminal_parent_holds_nobody_up(game: Game) -> None:
    done, child = game.make(), game.make()
    game.apply("bingge", done, Complete())
    for parent in (done, game.finished()):
        game.apply("bingge", child, Link(parent=parent))
        assert game.status(child) == "ready"


def test_cycles(game: Game) -> None:
    """No task waits for itself, over any number of links."""
    first = game.make()
    chain = [first]
    for _ in range(5):
        chain.append(game.make(parents=(chain[-1],)))
    game.refuse("bingge", first, Link(parent=first), "cycle")
    game.refuse("bingge", first, Link(parent=chain[1]), "cycle")
    game.refuse("bingge", first, Link(parent=chain[-1]), "cycle")
    game.apply("bingge", chain[-1], Link(parent=first))


def test_unknown_and_deleted_parents(game: Game) -> None:
    child, gone, never = game.make(), game.make(), game.id()
    game.apply("bingge", gone, Delete())
    for parent in (gone, never):
        assert game.refuse("bingge", child, Link(parent=parent), "unknown_parent") == {"missing": [parent]}
        assert game.apply("bingge", child, Unlink(parent=parent)) == {"unlinked": False}


def test_unlink_lets_go_on(game: Game) -> None:
    """The last open parent that is unlinked opens the gate."""
    parents = [game.make(), game.make()]
    child = game.make(parents=tuple(parents))
    assert game.apply("pixiel", child, Unlink(parent=parents[0])) == {"unlinked": True}
    assert (game.status(child), game.kinds(child)) == ("todo", ["created", "unlinked"])
    game.apply("pixiel", child, Unlink(parent=parents[1]))
    assert (game.status(child), game.kinds(child)[-2:]) == ("ready", ["unlinked", "promoted"])


def test_deleting_a_parent_lets_go_on(game: Game) -> None:
    parent = game.make()
    child = game.make(parents=(parent,))
    game.apply("bingge", parent, Delete())
    assert (game.status(child), game.kinds(child)) == ("ready", ["created", "promoted"])
    assert game.rows("SELECT 1 FROM task_links") == []


def test_reopening_a_parent_demotes(game: Game) -> None:
    """Those that were ready because it was done wait again; those that run, or were forced, do not."""
    parent = game.make()
    ready, running, forced = (game.make(parents=(parent,)) for _ in range(3))
    game.apply("bingge", forced, Promote(force=True))
    game.apply("bingge", parent, Complete())
    game.apply("bingge", running, Claim())
    game.apply("bingge", parent, Reopen())
    assert [game.status(task_id) for task_id in (ready, running, forced)] == ["todo", "running", "ready"]
    assert game.events(ready)[-1] == (
        "status", {"status": "todo", "reason": "parent_reopened", "parent": parent}
    )  # fmt: skip
    game.apply("bingge", parent, Complete())
    assert game.status(ready) == "ready"
