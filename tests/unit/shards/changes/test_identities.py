"""An id belongs to whoever drew it: no other profile's create takes it, however it comes about."""

from __future__ import annotations

from contextlib import closing

import pytest

from kanban_shards import Board, Gateway
from kanban_shards.changes.codec import decode_body
from kanban_shards.changes.fields import Body
from kanban_shards.changes.identities import NewTask, makes_only_its_own, new_task
from kanban_shards.changes.kinds import Create, Decompose, PlannedChild
from kanban_shards.changes.vectors import View
from kanban_shards.coordinator.merge.collector import Skipped, look
from kanban_shards.coordinator.merge.coordinator import Coordinator
from kanban_shards.paths import BoardPaths, is_task_id
from kanban_shards.shard import Shard
from kanban_shards.storage.locks import FileLock
from tests.ids import new_task_id

STRANGE = "makes a task whose id mallory did not draw"
HERMES_ID = "t_0123abcd"


def create(new: NewTask, title: str = "mine now") -> Create:
    """The create that ``new`` was drawn for."""
    return Create(title=title, salt=new.salt)


def test_ids_are_task_ids_and_differ() -> None:
    drawn = {new_task("amy").id for _ in range(1_000)}
    assert len(drawn) == 1_000
    assert all(map(is_task_id, drawn))


def test_an_id_is_its_profiles_alone() -> None:
    new = new_task("amy")
    assert makes_only_its_own("amy", new.id, create(new))
    assert not makes_only_its_own("bob", new.id, create(new))
    assert not makes_only_its_own("amy", new_task("amy").id, create(new))


def _the_same_create(victim: NewTask) -> Body:
    return create(victim)


def _without_its_salt(victim: NewTask) -> Body:
    return Create(title="mine now")


def _with_another_salt(victim: NewTask) -> Body:
    return create(new_task("mallory"))


@pytest.mark.parametrize("theft", [_the_same_create, _without_its_salt, _with_another_salt])
def test_nobody_takes_the_id_of_a_create_that_waits(paths: BoardPaths, theft) -> None:
    """Amy's create lies in her shard; mallory writes one with its id, and is merged first, before amy."""
    victim = new_task("amy")
    mallory, amy = _shards(paths, "mallory", "amy")
    mallory.append(victim.id, theft(victim), View())
    (left,) = _pass(paths)  # amy's shard is not there yet
    assert (left.profile, left.seq) == ("mallory", 1)
    assert STRANGE in left.why
    amy.append(victim.id, create(victim, "amy's"), View())
    _pass(paths)
    assert _tasks(paths) == {victim.id: ("amy's", "amy")}


def test_nobody_takes_an_id_by_a_plan(paths: BoardPaths) -> None:
    """Nor is the id of a plan's task taken: by a create, or by another plan."""
    root, victim = new_task("mallory"), new_task("amy")
    (mallory,) = _shards(paths, "mallory")
    mallory.append(root.id, Create(title="root", starts="triage", salt=root.salt), View())
    child = PlannedChild(id=victim.id, title="mine now", salt=victim.salt)
    mallory.append(root.id, Decompose(children=(child,)), View())
    (left,) = _pass(paths)
    assert (left.seq, STRANGE in left.why) == (2, True)
    assert set(_tasks(paths)) == {root.id}


def test_nobody_takes_the_id_of_a_task_that_is_still_on_hermess_board(paths: BoardPaths) -> None:
    """An import leaves out what is there already; so a create with such an id would have the task left out."""
    (mallory,) = _shards(paths, "mallory")
    mallory.append(HERMES_ID, Create(title="mine now"), View())
    (left,) = _pass(paths)
    assert STRANGE in left.why


def test_what_a_thief_says_in_passing_is_only_his_own_trouble(home: str, paths: BoardPaths) -> None:
    """While his shard stands still, amy's create, comment and run go on."""
    victim = new_task("amy")
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("amy's")
        (mallory,) = _shards(paths, "mallory")
        mallory.append(victim.id, create(victim), View())
        amy.comment(task_id, "to be found on amy's task")
        amy.complete(amy.claim(task_id))
        assert [(each.author, each.body) for each in amy.board.comments(task_id)] == [
            ("amy", "to be found on amy's task")
        ]
        assert amy.board.task(task_id).status == "done"


def test_creates_from_before_are_still_merged(paths: BoardPaths) -> None:
    """They carry no salt, and wait in a shard that an older version of this program wrote."""
    old_id, child_id = new_task_id(), new_task_id()
    (amy,) = _shards(paths, "amy")
    amy.append(old_id, decode_body("create", '{"title":"from before","starts":"triage"}'), View())
    amy.append(old_id, Decompose(children=(PlannedChild(id=child_id, title="too"),)), View())
    assert _pass(paths) == []
    assert set(_tasks(paths)) == {old_id, child_id}


def test_a_gateways_own_tasks_are_its_own(home: str, paths: BoardPaths) -> None:
    with Gateway("amy", home=home) as amy:
        root = amy.create("root", starts="triage")
        children = amy.decompose(root, [{"title": "a"}, {"title": "b", "parents": [0]}])
        once = amy.create("once", idempotency_key="k")
        assert {root, once, *children} == {task.id for task in amy.board.tasks()}
    assert look(paths, lambda: {}).skipped == []


def _shards(paths: BoardPaths, *profiles: str) -> list[Shard]:
    paths.make_folder()
    return [Shard(paths, profile) for profile in profiles]


def _pass(paths: BoardPaths) -> list[Skipped]:
    with closing(FileLock(paths.coordinator_lock)) as lock:
        lock.acquire(5)
        with Coordinator(paths, lock) as coordinator:
            return coordinator.make_passes().skipped


def _tasks(paths: BoardPaths) -> dict[str, tuple[str, str]]:
    with Board(paths) as board:
        return {task.id: (task.title, task.owner) for task in board.tasks()}
