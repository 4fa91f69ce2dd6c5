"""Plans: a task in triage becomes a graph of tasks, as a whole or not at all."""

from __future__ import annotations

import pytest

from kanban_shards.changes.kinds import Claim, Complete, Decompose, Delete, PlannedChild, Promote
from tests.rules.game import Game


def plan(game: Game, *parents: tuple[int, ...], **fields) -> tuple[PlannedChild, ...]:
    """A child for each of ``parents``, which name the siblings that it waits for."""
    return tuple(PlannedChild(id=game.id(), title="a part", parents=given, **fields) for given in parents)


def test_decompose(game: Game) -> None:
    """The root waits for its children, they wait for each other, and those that wait for nobody are ready."""
    root = game.make(starts="triage", tenant="acme", workspace_kind="dir", workspace_path="/w", project_id="p_1")
    children = plan(game, (), (0,), (0, 1, 1), skills=("s",), priority=2)
    ids = [child.id for child in children]
    body = Decompose(children=children, root_assignee="mafei", author="planner")
    assert game.apply("bingge", root, body) == {"child_ids": ids}
    assert [game.status(child) for child in ids] == ["ready", "todo", "todo"]
    task, child = game.task(root), game.task(ids[1])
    assert (task["status"], task["assignee"], task["owner"], task["epoch"]) == ("todo", "mafei", "mafei", 2)
    inherited = ("tenant", "workspace_kind", "workspace_path", "project_id")
    assert [child[name] for name in inherited] == ["acme", "dir", "/w", "p_1"]
    assert (child["skills"], child["priority"], child["creator"], child["owner"]) == ('["s"]', 2, "bingge", "bingge")
    assert game.events(ids[1]) == [
        ("created", {"by": "bingge", "from_decompose_of": root}),
        ("linked", {"parent": ids[0], "child": ids[1]}),
    ]
    assert game.events(root)[-1] == ("decomposed", {"child_ids": ids, "root_assignee": "mafei", "by": "bingge"})
    assert [row["author"] for row in game.rows("SELECT author FROM task_comments WHERE task_id = ?", root)] == [
        "planner"
    ]
    for done in ids:
        assert game.status(root) == "todo"
        game.apply("bingge", done, Complete())
    assert game.status(root) == "ready"


def test_children_have_owners(game: Game) -> None:
    root = game.make(starts="triage")
    (child,) = plan(game, (), assignee="pixiel")
    game.apply("bingge", root, Decompose(children=(child,)))
    assert (game.task(child.id)["owner"], game.task(child.id)["epoch"]) == ("pixiel", 1)
    game.apply("pixiel", child.id, Claim(), seen={})


def test_decompose_without_promotion(game: Game) -> None:
    """The children wait for somebody to promote them."""
    root = game.make(starts="triage")
    (child,) = plan(game, ())
    game.apply("bingge", root, Decompose(children=(child,), auto_promote=False))
    assert game.status(child.id) == "todo"
    game.apply("bingge", child.id, Promote())
    game.apply("bingge", child.id, Claim())


@pytest.mark.parametrize("parents", [((0,),), ((1,), (0,)), ((), (3,), (1,), (2,))])
def test_a_plan_that_waits_for_itself(game: Game, parents: tuple) -> None:
    root = game.make(starts="triage")
    game.refuse("bingge", root, Decompose(children=plan(game, *parents)), "cycle")
    game.apply("bingge", root, Decompose(children=plan(game, (), (0,))))


def test_a_plan_with_a_number_beyond(game: Game) -> None:
    root = game.make(starts="triage")
    game.refuse("bingge", root, Decompose(children=plan(game, (), (2,))), "unknown_parent")


def test_a_plan_with_an_id_twice(game: Game) -> None:
    """Among its own, the root's, another task's, a deleted one's."""
    root, gone = game.make(starts="triage"), game.make()
    game.apply("bingge", gone, Delete())
    (new,) = plan(game, ())
    for taken in (root, gone, game.make(), new.id):
        children = (new, PlannedChild(id=taken, title="x"))
        game.refuse("bingge", root, Decompose(children=children), "taken_id")


def test_a_plan_as_large_as_a_change_holds(game: Game) -> None:
    """A thousand children in a chain, and a root that waits for all of them."""
    root = game.make(starts="triage")
    children = plan(game, (), *((number,) for number in range(999)))
    game.apply("bingge", root, Decompose(children=children))
    assert game.rows("SELECT status, count(*) AS n FROM tasks GROUP BY status ORDER BY status") == [
        {"status": "ready", "n": 1},
        {"status": "todo", "n": 1_000},
    ]
    game.apply("bingge", children[0].id, Complete())
    assert game.status(children[1].id) == "ready"
