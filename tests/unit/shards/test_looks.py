"""A writer reads the board where the rule asks for what was seen, and where it must know whether a task exists."""

from __future__ import annotations

import shutil
import threading

import pytest

from kanban_shards import Gateway, background, looks, passing
from kanban_shards.board import Board
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.errors import GatewayClosed, Refused, ShardBehind, UnknownTask
from kanban_shards.paths import BoardPaths


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The task of each look at the board that this thread takes; "" for none."""
    looked: list[str] = []
    true_view, thread = Board.view, threading.get_ident()

    def view(board: Board, task_id: str, profile: str):
        if threading.get_ident() == thread:
            looked.append(task_id)
        return true_view(board, task_id, profile)

    monkeypatch.setattr(Board, "view", view)
    return looked


@pytest.fixture
def amy(home: str, monkeypatch: pytest.MonkeyPatch):
    """It has written twice, so that it knows its shard and the journal beside it. No thread of it makes passes, which
    has the shard locked for moments."""
    monkeypatch.setattr(passing, "IN_A_ROW_S", 0)
    monkeypatch.setattr(background, "FIRST_PAUSE_S", 60)
    with Gateway("amy", home=home) as amy:
        amy.comment(amy.create("first"), "there")
        amy.sync()
        yield amy


def test_what_adds_and_what_is_bound_to_a_run_reads_nothing(amy: Gateway, looked: list[str]) -> None:
    del looked[:]
    task_id = amy.create("x")
    amy.comment(task_id, "mine")
    amy.subscribe(task_id, platform="telegram", chat_id="42")
    assert looked == []
    run = amy.claim(task_id)
    assert looked == [task_id]
    amy.complete(run, summary="done")
    amy.make_comment(task_id, "with the verdict")
    assert looked == [task_id]
    amy.edit(task_id, title="y")
    assert looked == [task_id, task_id]
    assert [comment.body for comment in amy.board.comments(task_id)] == ["mine", "with the verdict"]


def test_a_task_that_was_seen_is_known(amy: Gateway, home: str, looked: list[str]) -> None:
    with Gateway("bob", home=home) as bob:
        task_id = bob.create("bob's")
        bob.sync()
        amy.comment(task_id, "one")
        assert task_id in looked
        del looked[:]
        amy.comment(task_id, "two")
        assert looked == []


def test_one_that_somebody_deleted_meanwhile(amy: Gateway, home: str) -> None:
    """What is said of it is refused, and kept; who is told so knows it from then on."""
    task_id = amy.create("x")
    amy.sync()
    with Gateway("bob", home=home) as bob:
        bob.delete(bob.board.known_task(task_id))
    assert amy.wait_for_verdict(amy.comment(task_id, "too late")).reason == "gone"
    with pytest.raises(Refused, match="was deleted"):
        amy.make_comment(task_id, "too late")
    with pytest.raises(UnknownTask):
        amy.comment(task_id, "no")


def test_one_that_this_process_deleted(amy: Gateway) -> None:
    task_id = amy.create("x")
    amy.delete(task_id)
    with pytest.raises(UnknownTask):
        amy.comment(task_id, "no")


def test_one_that_was_not_made_because_another_has_its_key(amy: Gateway) -> None:
    kept = amy.create("x", idempotency_key="k")
    drawn = amy.draw()
    assert amy.create("y", idempotency_key="k", drawn=drawn) == kept
    with pytest.raises(UnknownTask):
        amy.comment(drawn.id, "no")


@pytest.mark.parametrize("in_place", [False, True])
def test_an_older_copy_is_not_continued_by_what_reads_nothing(
    amy: Gateway, paths: BoardPaths, in_place: bool, looked: list[str]
) -> None:
    """The writer last looked before the changes that the copy lacks were merged; so it looks anew."""
    shutil.copyfile(paths.shard("amy"), paths.folder / "older")
    amy.create("two")
    amy.create("three")
    merge_once(paths)  # amy's process does not hear of it
    if in_place:
        paths.shard("amy").write_bytes((paths.folder / "older").read_bytes())
    else:
        (paths.folder / "older").replace(paths.shard("amy"))
    del looked[:]
    with pytest.raises(ShardBehind, match="ends at change 2, but 4"):
        amy.create("four")
    assert looked == [""]


def test_another_process_of_the_profile(amy: Gateway, home: str) -> None:
    with Gateway("amy", home=home) as other:
        seqs = [each.comment(each.create("x"), "y") for each in (amy, other, amy, other)]
    assert seqs == [4, 6, 8, 10]
    amy.sync()
    assert len(amy.board.tasks()) == 5


def test_what_is_remembered_is_bounded(amy: Gateway, monkeypatch: pytest.MonkeyPatch, looked: list[str]) -> None:
    monkeypatch.setattr(looks, "TASKS_KNOWN", 2)
    first, *_ = [amy.create(str(number)) for number in range(3)]
    del looked[:]
    amy.comment(first, "it is looked up")
    assert looked == [first]


def test_a_closed_gateway_writes_nothing(amy: Gateway) -> None:
    task_id = amy.create("x")
    amy.close()
    for call in (lambda: amy.create("y"), lambda: amy.comment(task_id, "no")):
        with pytest.raises(GatewayClosed):
            call()
