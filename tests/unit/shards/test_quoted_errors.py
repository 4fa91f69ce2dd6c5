"""What is written is never said to be lost: an error that quotes another takes its facts and leaves its advice; and an
id that was given is told, in text and in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from kanban_shards import Gateway, Undecided
from kanban_shards.coordinator.errors import BackupFailed, LedgerBehind, NotCoordinator
from kanban_shards.coordinator.merge import inline
from kanban_shards.errors import BoardLost, Damaged, DiskFull, EarlierUndecided, KanbanError, StorageError
from kanban_shards.paths import BoardPaths
from kanban_shards.storage.locks import FileLock
from tests.docs.test_failures import classes
from tests.unit.verbs import MISSING, Shell

OTHER_ADVICE = ("free some space", "and repeat", "repeat the command", "Nothing was changed", "makes it again")
TROUBLES = [
    DiskFull(path="/b/kanban-ledger.db"),
    Damaged(path="/b/kanban.db", problem="malformed"),
    LedgerBehind(path="/b/kanban-ledger.db", shown=3, held=0),
    NotCoordinator(pid=1, folder="/b", lock="/b/kanban-coordinator.lock"),
    BoardLost(path="/b/kanban.db"),
]


@pytest.mark.parametrize("name", [name for name, kind in classes().items() if issubclass(kind, StorageError)])
def test_the_facts_of_an_error_come_first(name: str) -> None:
    """Up to its first semicolon or full stop a sentence says what happened, and behind that what to do."""
    facts = classes()[name].template
    facts = facts.split("; ")[0].split(". ")[0]
    for advice in ("`", "repeat", "{cure}", "Put ", "Move "):
        assert advice not in facts, facts


def test_facts_and_advice_are_the_whole_sentence() -> None:
    error = DiskFull(path="/a. b; c/kanban.db")
    assert error.happened == "The disk that holds /a. b; c/kanban.db is full"
    assert error.advice == "What was being written is not in the file; free some space and repeat it."
    assert KanbanError().advice == ""


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda error: type(error).__name__)
def test_a_create_that_waits_tells_its_id(shell: Shell, paths: BoardPaths, trouble: KanbanError, monkeypatch) -> None:
    """Whatever is the matter with ledger or board: repeated, it would be a second task."""
    shell.create("the first")
    with _no_pass(monkeypatch, trouble):
        ended = shell.run("create", "the second", "--json")
        text = shell.refuses(4, "create", "the third")
    told = json.loads(ended.stdout)
    assert (ended.exit_code, told["error"], told["profile"], told["seq"]) == (4, "Undecided", "amy", 2)
    assert f"({told['task_id']}) is safely written" in ended.stderr
    assert trouble.happened in text
    assert "Do not repeat it" in text
    assert not [advice for advice in OTHER_ADVICE if advice in text]
    shell.create("the fourth")
    made = {task["title"]: task["id"] for task in shell.json("list")}
    assert made["the second"] == told["task_id"]
    assert f"({made['the third']})" in text
    assert len(made) == 4


def test_a_board_that_fails_behind_the_write_is_no_trouble_of_the_write(gateway: Gateway, monkeypatch) -> None:
    """The verdict cannot be read, or whether the shard still holds the change: the change is written all the same."""
    trouble = Damaged(path=gateway.paths.board, problem="malformed")
    for owner, name in ((gateway.board, "own_verdict"), (gateway._writer._shard, "still_holds")):
        with monkeypatch.context() as patched, pytest.raises(Undecided, match="malformed") as undecided:
            patched.setattr(owner, name, _raising(trouble))
            gateway.make("a task")
        gateway.sync()
        assert gateway.board.task(undecided.value.task_id).title == "a task"


def test_what_is_said_at_the_end_of_a_call_is_no_advice_to_repeat_it(shell: Shell, monkeypatch) -> None:
    """A heartbeat with a note does not wait; the last pass of the call is what fails."""
    task_id = shell.create("x")
    shell.says("claim", task_id)
    with _no_pass(monkeypatch, DiskFull(path="/b/kanban-ledger.db")):
        said = shell.refuses(4, "heartbeat", task_id, "--note", "half way")
    assert "Do not repeat it" in said
    assert "free some space" not in said


def test_a_call_that_wrote_nothing_does_not_say_that_it_did(home: str, paths: BoardPaths) -> None:
    """It waits for the verdict on earlier changes, to see whether its task is among them."""
    with closing(FileLock(paths.coordinator_lock)) as held, Gateway("amy", home=home, patience_s=0.05) as amy:
        held.acquire(0)
        amy.create("a task")
        with pytest.raises(EarlierUndecided, match=r"Nothing was written, because change 1 of amy"):
            amy.comment(MISSING, "on what is not there")
        with pytest.raises(EarlierUndecided):
            amy.claim_next()
        assert amy._writer._shard.head(amy._writer._view()) == 1


def test_a_backup_that_fails_gives_one_piece_of_advice() -> None:
    quoted = Damaged(path="/b/kanban-ledger.db", problem="its chain breaks at position 3")
    said = str(BackupFailed(path="kanban.db", problem=quoted.happened))
    assert said.count("`") == 2
    assert "Nothing was changed" not in said


def test_create_with_a_key_that_exists_says_so(shell: Shell) -> None:
    """In text and in JSON: whoever repeats a call sees that nothing was made, and whose task it is."""
    made = shell.json("create", "one", "--idempotency-key", "k", "--assignee", "bob")
    assert made["created"] is True
    again = shell.json("create", "two", "--idempotency-key", "k", profile="bob")
    assert (again["created"], again["id"], again["title"]) == (False, made["id"], "one")
    said = shell.says("create", "three", "--idempotency-key", "k")
    assert said == (
        f"Nothing was created: {made['id']}, by amy, has the idempotency key already  (ready, assignee=bob)\n"
    )
    assert shell.says("create", "four", "--idempotency-key", "other").startswith("Created t_")


def test_make_says_whether_the_task_is_new(gateway: Gateway, home: str) -> None:
    made = gateway.make("one", idempotency_key="k")
    assert made.is_new
    assert gateway.make("plain").is_new
    with Gateway("bob", home=home) as bob:
        assert bob.make("two", idempotency_key="k") == (made.task_id, False)
        assert bob.create("three", idempotency_key="k") == made.task_id


@contextmanager
def _no_pass(monkeypatch: pytest.MonkeyPatch, trouble: KanbanError) -> Iterator[None]:
    """Each pass fails with ``trouble``."""
    with monkeypatch.context() as patched:
        patched.setattr(inline, "make_pass", _raising(trouble))
        yield


def _raising(error: KanbanError):
    def fail(*args: object) -> None:
        raise error

    return fail
