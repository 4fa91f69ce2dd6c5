"""The checks are worth something: each notices when the rule that it watches is broken on purpose."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from kanban_shards import pending
from kanban_shards.changes.fields import run_id_of
from kanban_shards.changes.kinds import ClaimNext, Create, Edit, Promote
from kanban_shards.coordinator.merge.rounds import Rounds
from kanban_shards.coordinator.rules import RULES, decide, outcomes, runs
from kanban_shards.coordinator.state import tasks as task_rows
from kanban_shards.coordinator.state.board_state import BoardState
from kanban_shards.paths import COORDINATOR
from tests import invariants
from tests.model.worlds import TASK, a_world
from tests.simulation.simulator import Simulation

# Each of these notices within so many seeds; most within the first.
SEEDS = range(12)


@contextmanager
def anybody_may_decide() -> Iterator[None]:
    def of_an_open_run(entry, body, task) -> None:  # else there is no run that it could be about
        if (run_id := run_id_of(body)) is not None:
            decide._check_run(entry, run_id, task)

    with patch.object(decide, "_check_may_decide", of_an_open_run):
        yield


@contextmanager
def nobody_saw_enough() -> Iterator[None]:
    with patch.object(decide.vectors, "unseen", lambda seen, vector: dict(vector)):
        yield


@contextmanager
def owners_are_asked_too() -> Iterator[None]:
    original = decide._check_may_decide

    def checked(entry, body, task) -> None:
        original(entry, body, task)
        if entry.change.profile == COORDINATOR:
            return
        missed = decide.vectors.unseen(decide.vectors.decode(entry.change.seen), task.vector)
        if missed:
            raise decide.Refusal("stale", "even the owner must have seen everything")

    with patch.object(decide, "_check_may_decide", checked):
        yield


@contextmanager
def a_taken_task_can_be_claimed() -> Iterator[None]:
    with patch.dict(RULES, claim=runs._open_run):
        yield


@contextmanager
def ownership_never_moves() -> Iterator[None]:
    original = BoardState.save

    def save(self, task) -> None:
        owner, epoch = task["owner"], task["epoch"]
        original(self, task)
        task["owner"], task["epoch"] = owner, epoch
        self._tasks.change(task.id, {"owner": owner, "epoch": epoch})

    with patch.object(BoardState, "save", save):
        yield


@contextmanager
def parents_do_not_count() -> Iterator[None]:
    with patch.object(BoardState, "has_open_parent", lambda self, task_id: False):
        yield


@contextmanager
def cycles_are_fine() -> Iterator[None]:
    with patch.object(BoardState, "leads_to", lambda self, start, goal: False):
        yield


@contextmanager
def the_newest_change_is_left() -> Iterator[None]:
    original = Rounds.next
    with patch.object(Rounds, "next", lambda self: original(self)[:-1]):
        yield


@contextmanager
def deciding_depends_on_more_than_the_entry() -> Iterator[None]:
    original, count = BoardState.add_comment, itertools.count()
    with patch.object(BoardState, "add_comment", lambda self, *args: original(self, *args[:2], f"no. {next(count)}")):
        yield


@contextmanager
def watermarks_run_ahead() -> Iterator[None]:
    original = BoardState.commit

    def commit(self, position: int, digest: str) -> None:
        self._reached = {name: (name, seq + 1, at) for name, (_, seq, at) in self._reached.items()}
        original(self, position, digest)

    with patch.object(BoardState, "commit", commit):
        yield


@contextmanager
def there_is_always_room() -> Iterator[None]:
    with patch.object(runs, "check_capacity", lambda board, profile: None):
        yield


@contextmanager
def gates_are_open() -> Iterator[None]:
    original = outcomes.promote

    def promote(board, entry, body, task) -> dict:
        answer = original(board, entry, Promote(force=True), task)
        task["forced"] = 1
        return answer

    with patch.dict(RULES, promote=promote):
        yield


@contextmanager
def graves_are_not_marked() -> Iterator[None]:
    with patch.object(BoardState, "is_deleted", lambda self, task_id: False):
        yield


@contextmanager
def what_was_of_a_deleted_task_stays() -> Iterator[None]:
    with patch.object(task_rows, "OF_A_TASK", ("merge_tasks", "kanban_notify_subs")):
        yield


@contextmanager
def the_next_id_is_above_the_last_that_is_there() -> Iterator[None]:
    original = BoardState.begin_entry

    def begin_entry(self, entry) -> None:
        for table in self._next_id:
            (self._next_id[table],) = self._execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()
        original(self, entry)

    with patch.object(BoardState, "begin_entry", begin_entry):
        yield


@contextmanager
def anybody_may_say_that_a_chat_was_told() -> Iterator[None]:
    original = BoardState.move_cursor

    def move_cursor(self, chat, upto) -> int:
        return original(self, chat, upto) if self._subscriptions.get(chat) else 0

    with (
        patch.object(BoardState, "deliverer", lambda self, chat: self.saying),
        patch.object(BoardState, "begin_entry", _remembering_who(BoardState.begin_entry)),
        patch.object(BoardState, "move_cursor", move_cursor),
    ):
        yield


def _remembering_who(original: Callable) -> Callable:
    def begin_entry(self, entry) -> None:
        self.saying = entry.change.profile
        original(self, entry)

    return begin_entry


@contextmanager
def cursors_go_anywhere() -> Iterator[None]:
    def move_cursor(self, chat, upto: int) -> int:
        chosen = "task_id = ? AND platform = ? AND chat_id = ? AND thread_id = ?"
        self._execute(f"UPDATE kanban_notify_subs SET last_event_id = ? WHERE {chosen}", (upto, *chat))
        return upto

    with patch.object(BoardState, "move_cursor", move_cursor):
        yield


@contextmanager
def old_events_go_untold() -> Iterator[None]:
    def forget_events(self, before_s: int) -> int:
        return self._execute("DELETE FROM task_events WHERE created_at < ?", (before_s,)).rowcount

    with patch.object(BoardState, "forget_events", forget_events):
        yield


@contextmanager
def vectors_are_not_kept() -> Iterator[None]:
    with patch.object(BoardState, "stamp", lambda self, task, entry: None):
        yield


@pytest.mark.parametrize(
    ("mutation", "invariant"),
    [
        (anybody_may_decide, "nothing_overwritten"),
        (vectors_are_not_kept, "nothing_overwritten"),
        (nobody_saw_enough, "owner_never_stale"),
        (owners_are_asked_too, "owner_never_stale"),
        (a_taken_task_can_be_claimed, "one_winner"),
        (ownership_never_moves, "single_owner"),
        (parents_do_not_count, "promotion"),
        (cycles_are_fine, "promotion"),
        (the_newest_change_is_left, "no_lost_change"),
        (deciding_depends_on_more_than_the_entry, "rebuild_equals_board"),
        (watermarks_run_ahead, "exactly_once"),
        (there_is_always_room, "capacity"),
        (gates_are_open, "promotion"),
        (graves_are_not_marked, "single_owner"),
        (what_was_of_a_deleted_task_stays, "single_owner"),
        (the_next_id_is_above_the_last_that_is_there, "never_reused"),
        (anybody_may_say_that_a_chat_was_told, "delivery"),
        (cursors_go_anywhere, "delivery"),
        (old_events_go_untold, "delivery"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_a_broken_rule_is_noticed(tmp_path: Path, mutation: Callable, invariant: str) -> None:
    """With the rule broken, the check of its invariant fails in one of the seeds."""
    noticed_by: set[str] = set()
    with mutation(), _only(invariant):
        for seed in SEEDS:
            folder = tmp_path / str(seed)
            folder.mkdir()
            try:
                Simulation(folder, seed, harm=False).run()
            except AssertionError as error:
                noticed_by = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
                break
    assert invariant in noticed_by


def test_an_unseen_claim_next_is_noticed() -> None:
    """The history of tests/model/test_ownership.py, where a shard overlooks its profile's undecided ``claim_next``. A
    seed of the simulator found it; which one does depends on every draw, so its history is written out."""
    with (
        a_world() as world,
        patch.object(pending, "ANY_TASK", "of no task"),
        pytest.raises(AssertionError, match="knew nothing of"),
    ):
        ann, other_ann, bob, *_ = world.writers
        world.write(bob, TASK, Create(title="t"))
        world.make_pass()
        ann.look(TASK)
        world.write(other_ann, "", ClaimNext(runs_as="cyd"))
        for title in ("one", "two"):
            world.write(ann, TASK, Edit(title=title), fresh=False)
        world.check_all()


@contextmanager
def _only(invariant: str) -> Iterator[None]:
    """Judge by this invariant alone, so that none hides behind another."""
    judged = getattr(invariants, invariant)
    remembers = {"nothing_overwritten": "known", "never_reused": "memory", "delivery": "memory"}.get(invariant)

    def check(evidence, known, memory) -> None:
        if invariant in _CHEAP:
            judged(evidence, *({"known": known, "memory": memory}[remembers],) if remembers else ())

    with patch.object(invariants, "check", check):
        if invariant != "no_lost_change":
            with patch.object(invariants, "no_lost_change", lambda *args, **kwargs: None):
                yield
        else:
            yield


_CHEAP = (
    "exactly_once", "single_owner", "one_winner", "capacity", "owner_never_stale", "nothing_overwritten", "promotion",
    "never_reused", "delivery",
)  # fmt: skip
