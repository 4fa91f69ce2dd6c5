"""What a caller says is spelled as Hermes spells it, and what can mean nothing is refused at once, before it is
written; what an older version wrote, or an import brought, is read as it is."""

from __future__ import annotations

import msgspec
import pytest

from kanban_shards import Gateway
from kanban_shards.changes.codec import decode_body
from kanban_shards.changes.kinds import Create
from kanban_shards.changes.normalize import spelled
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import InvalidChange, InvalidName
from kanban_shards.paths import BoardPaths
from tests.ids import new_task_id
from tests.unit.verbs import Shell, append_unmerged

NO_PROFILES = ["A Terminal", "amy!", "ämy", "@coordinator", " ", "", "a\nb"]


def test_an_assignee_is_spelled_as_a_profile(gateway: Gateway) -> None:
    """By every verb that takes one; so the profile finds the task."""
    task_id = gateway.make("x", assignee=" Amy ").task_id
    assert gateway.board.task(task_id).assignee == "amy"
    gateway.assign(task_id, "BOB")
    assert gateway.board.task(task_id).assignee == "bob"
    gateway.archive(task_id)
    triage = gateway.make("y", starts="triage").task_id
    gateway.specify(triage, title=" what is to be done ", assignee="Amy")
    assert (gateway.board.task(triage).title, gateway.board.task(triage).assignee) == ("what is to be done", "amy")
    root = gateway.make("z", starts="triage").task_id
    (child,) = gateway.decompose(root, [{"title": " c ", "assignee": "Bob "}], root_assignee="Default")
    assert (gateway.board.task(child).title, gateway.board.task(child).assignee) == ("c", "bob")
    assert gateway.board.task(root).assignee == "default"
    gateway.archive(triage)
    assert gateway.claim_next(runs_as="bob").task_id == child, "the oldest that bob may take"


@pytest.mark.parametrize("name", NO_PROFILES)
def test_what_can_name_no_profile_is_said_at_once(gateway: Gateway, name: str) -> None:
    """Else the task would be nobody's, silently."""
    task_id = gateway.make("x").task_id
    triage = gateway.make("y", starts="triage").task_id
    head = gateway._writer._shard.head(gateway._writer._view())
    for verb in (
        lambda: gateway.create("z", assignee=name),
        lambda: gateway.assign(task_id, name),
        lambda: gateway.specify(triage, assignee=name),
        lambda: gateway.decompose(triage, [{"title": "a", "assignee": name}]),
        lambda: gateway.decompose(triage, [{"title": "a"}], root_assignee=name),
    ):
        with pytest.raises(InvalidName, match="cannot name a profile"):
            verb()
    assert gateway._writer._shard.head(gateway._writer._view()) == head


def test_a_lane_of_somebody_outside(home: str, paths: BoardPaths) -> None:
    """A program that has such lanes says so when it opens its gateway. They are spelled as in Hermes; no profile claims
    what is in one, and whoever has looked may do the rest."""
    with Gateway("amy", home=home, lanes=True) as amy, Gateway("bob", home=home) as bob:
        task_id = amy.make("x", assignee=" A Terminal ").task_id
        assert amy.make("y", assignee="Ämy!").is_new
        triage = amy.make("z", starts="triage").task_id
        (child,) = amy.decompose(triage, [{"title": "a", "assignee": "Orion CC"}], root_assignee="A b")
        assert amy.make("w", assignee=" BOB ").is_new
        found = {task.title: task.assignee for task in amy.board.tasks()}
        assert found == {"x": "a terminal", "y": "ämy!", "z": "a b", "a": "orion cc", "w": "bob"}
        assert amy.claim_next() is None
        assert bob.claim_next().task_id not in (task_id, child)
        bob.complete(task_id, result="done at the terminal")
        for nobody in ("@coordinator", " ", "", "a\nb", "a\x1b[2J"):
            with pytest.raises(InvalidName):
                amy.assign(triage, nobody)
        with amy.batch() as batch:
            batch.create("of a batch", assignee="A Terminal")
    assert verify(paths).clean


def test_the_commands_say_so_too(shell: Shell) -> None:
    task_id = shell.create("x", "--assignee", "Amy")
    assert shell.says("assign", task_id, "Bob ") == f"Assigned {task_id} to bob\n"
    assert shell.json("reassign", task_id, "CARA")["assignee"] == "cara"
    assert [task["id"] for task in shell.json("list", "--assignee", " Cara")] == [task_id]
    for words in (("create", "y", "--assignee", "A Terminal"), ("assign", task_id, "A Terminal")):
        assert "'A Terminal' cannot name a profile" in shell.refuses(2, *words)
    swarm = ("swarm", "g", "--verifier", "v", "--synthesizer", "s", "--worker")
    assert "'a b' cannot name a profile" in shell.refuses(2, *swarm, "a b:do it")
    assert "'v w' cannot name a profile" in shell.refuses(2, *swarm, "a:do it", "--verifier", "v w")
    assert [task["title"] for task in shell.json("list")] == ["x"], "a call that is wrong leaves nothing behind"


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u3000"])
def test_blank_words_are_refused(gateway: Gateway, blank: str) -> None:
    task_id = gateway.make("x", starts="triage").task_id
    for verb, field in (
        (lambda: gateway.create(blank), "title"),
        (lambda: gateway.create("x", idempotency_key=blank), "idempotency_key"),
        (lambda: gateway.edit(task_id, title=blank), "title"),
        (lambda: gateway.specify(task_id, title=blank), "title"),
        (lambda: gateway.decompose(task_id, [{"title": "a"}, {"title": blank}]), "task 1: title"),
        (lambda: gateway.comment(task_id, blank), "text"),
        (lambda: gateway.subscribe(task_id, platform="telegram", chat_id=blank), "chat_id"),
        (lambda: gateway.subscribe(task_id, platform=blank, chat_id="1"), "platform"),
    ):
        with pytest.raises(InvalidChange, match=f"cannot be written: {field} is blank"):
            verb()


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\u2028", "\x85"])
@pytest.mark.parametrize("form", ["{}1", "1{}", "1{}2"])
def test_a_chat_is_named_on_one_line(gateway: Gateway, line_break: str, form: str) -> None:
    task_id, words = gateway.make("x").task_id, form.format(line_break)
    for chat in ({"chat_id": words}, {"chat_id": "1", "thread_id": words}):
        with pytest.raises(InvalidChange, match="_id has a line break"):
            gateway.subscribe(task_id, platform="telegram", **chat)


def test_what_says_something_is_left_as_it_is() -> None:
    for change in (Create(title="a  b", assignee="amy"), decode_body("comment", '{"text":" two\\n lines "}')):
        assert spelled(change) is change


def test_what_was_written_before_is_read_as_it_is(home: str, paths: BoardPaths, shell: Shell) -> None:
    """It is merged, found under either spelling, and replayed alike; anybody may hand it on."""
    with Gateway("amy", home=home) as gateway:
        gateway.make("the first")
    task_id = new_task_id()
    append_unmerged(paths, "amy", task_id, msgspec.convert({"title": " ", "assignee": "A Terminal"}, Create))
    shell.create("the third")
    assert shell.task(task_id)["task"]["assignee"] == "A Terminal"
    assert [task["id"] for task in shell.json("list", "--assignee", "A Terminal")] == [task_id]
    assert verify(paths).clean
    shell.says("assign", task_id, "amy", profile="bob")
    assert shell.task(task_id)["task"]["assignee"] == "amy"
